/** Aligns the members of two versions of a list, to find which were added, removed, renamed or changed. */

/** One step of the alignment: a member of both lists, or of one only. */
export interface Step<T> {
  readonly before: T | undefined;
  readonly after: T | undefined;
}

/** Costs of an added or removed member, a renamed one, one of another type, and one with another name and type. */
const ADDED = 1;
const RENAMED = 0.9;
const RETYPED = 0.6;
const REPLACED = 1.9;

/** With more pairs than this, members are paired by their position. */
const MAX_PAIRS = 4_000_000;

/** The alignment of `before` and `after` with the lowest cost. */
export function align<T>(
  before: readonly T[],
  after: readonly T[],
  sameName: (a: T, b: T) => boolean,
  sameType: (a: T, b: T) => boolean,
): Step<T>[] {
  const [rows, columns] = [before.length, after.length];
  if (rows * columns > MAX_PAIRS)
    return Array.from({ length: Math.max(rows, columns) }, (_, i) => ({
      before: before[i],
      after: after[i],
    }));
  const width = columns + 1;
  const cost = new Float64Array((rows + 1) * width);
  const at = (i: number, j: number): number => cost[i * width + j] as number;
  const pair = (i: number, j: number): number => {
    const [a, b] = [before[i] as T, after[j] as T];
    if (sameName(a, b)) return sameType(a, b) ? 0 : RETYPED;
    return sameType(a, b) ? RENAMED : REPLACED;
  };
  for (let i = rows; i >= 0; i--)
    for (let j = columns; j >= 0; j--) {
      const costs = [
        i < rows && j < columns ? pair(i, j) + at(i + 1, j + 1) : Infinity,
        i < rows ? ADDED + at(i + 1, j) : Infinity,
        j < columns ? ADDED + at(i, j + 1) : Infinity,
      ];
      cost[i * width + j] = i === rows && j === columns ? 0 : Math.min(...costs);
    }
  const steps: Step<T>[] = [];
  for (let i = 0, j = 0; i < rows || j < columns; ) {
    if (i < rows && j < columns && at(i, j) === pair(i, j) + at(i + 1, j + 1))
      steps.push({ before: before[i++], after: after[j++] });
    else if (i < rows && at(i, j) === ADDED + at(i + 1, j))
      steps.push({ before: before[i++], after: undefined });
    else steps.push({ before: undefined, after: after[j++] });
  }
  return steps;
}
