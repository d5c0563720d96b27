/** Algorithms on graphs of types, without recursion: the depth of a hostile `.x` is not limited. */

/**
 * The strongly connected components of a graph (Tarjan), in topological order: each after those it depends on. A node
 * that is in no cycle is a component of one node.
 */
export function components<N>(nodes: Iterable<N>, edges: (node: N) => readonly N[]): N[][] {
  const found: N[][] = [];
  const index = new Map<N, number>();
  const low = new Map<N, number>();
  const open: N[] = [];
  const isOpen = new Set<N>();
  for (const root of nodes) {
    if (index.has(root)) continue;
    const path: { node: N; next: readonly N[]; at: number }[] = [];
    const visit = (node: N): void => {
      index.set(node, index.size);
      low.set(node, index.size - 1);
      open.push(node);
      isOpen.add(node);
      path.push({ node, next: edges(node), at: 0 });
    };
    visit(root);
    for (let step = path.at(-1); step !== undefined; step = path.at(-1)) {
      const { node } = step;
      const target = step.next[step.at];
      if (target !== undefined) {
        step.at += 1;
        if (!index.has(target)) visit(target);
        else if (isOpen.has(target)) lower(low, node, index.get(target) as number);
        continue;
      }
      path.pop();
      const parent = path.at(-1);
      if (parent !== undefined) lower(low, parent.node, low.get(node) as number);
      if (low.get(node) !== index.get(node)) continue;
      const component = open.splice(open.lastIndexOf(node));
      for (const member of component) isOpen.delete(member);
      found.push(component);
    }
  }
  return found;
}

function lower<N>(low: Map<N, number>, node: N, to: number): void {
  if (to < (low.get(node) as number)) low.set(node, to);
}
