/** Finds the structs that are nodes of linked lists (RFC 4506 section 4.19), by the syntax tree alone. */

import type { Declaration } from '../syntax/ast.js';
import type { Scope, TypeEntry } from './scope.js';
import type { Symbols } from './symbols.js';

/** The linked lists among the types of `symbols`. */
export class LinkedLists {
  private readonly symbols: Symbols;
  private readonly found = new Map<TypeEntry, string | undefined>();

  constructor(symbols: Symbols) {
    this.symbols = symbols;
  }

  /**
   * The name of the last member of a struct if it is an optional pointer to the struct itself, directly or by a typedef,
   * and no other member refers to the struct: then the struct is a node of a linked list. (In a tree, several members
   * refer to the struct.)
   */
  linkOf(entry: TypeEntry): string | undefined {
    if (this.found.has(entry)) return this.found.get(entry);
    const { node, scope } = entry;
    const fields = node.kind === 'struct' ? node.fields : [];
    const last = fields.at(-1);
    const isLink = last !== undefined && this.pointee(last, scope) === entry;
    const isOnly = !fields.slice(0, -1).some((field) => this.refersTo(field, scope, entry));
    const link = isLink && isOnly ? last.name : undefined;
    this.found.set(entry, link);
    return link;
  }

  /** The type that `T *x`, or a typedef of it, points to. */
  private pointee(declaration: Declaration, scope: Scope): TypeEntry | undefined {
    let at: { declaration: Declaration; scope: Scope } | undefined = { declaration, scope };
    let isPointer = false;
    for (const seen = new Set<Declaration>(); at !== undefined && !seen.has(at.declaration); ) {
      const { type, form }: Declaration = at.declaration;
      seen.add(at.declaration);
      if (type.kind !== 'ref' || (form !== 'plain' && (form !== 'optional' || isPointer))) return undefined;
      isPointer ||= form === 'optional';
      const entry: TypeEntry | undefined = this.symbols.type(type.name, at.scope);
      if (entry?.node.kind !== 'typedef') return isPointer ? entry : undefined;
      at = { declaration: entry.node.declaration, scope: entry.scope };
    }
    return undefined;
  }

  /** Whether a member is, contains or points to `target`, through typedefs and nested bodies. */
  private refersTo(declaration: Declaration, scope: Scope, target: TypeEntry): boolean {
    const open = [{ declaration, scope }];
    const seen = new Set<Declaration>();
    for (let at = open.pop(); at !== undefined; at = open.pop()) {
      if (seen.has(at.declaration)) continue;
      seen.add(at.declaration);
      const { type } = at.declaration;
      const inner = { scope: at.scope };
      if (type.kind === 'struct') open.push(...type.fields.map((each) => ({ ...inner, declaration: each })));
      else if (type.kind === 'union')
        for (const arm of type.defaultArm === null ? type.arms : [...type.arms, type.defaultArm])
          if (arm.declaration !== null) open.push({ ...inner, declaration: arm.declaration });
      if (type.kind !== 'ref') continue;
      const entry = this.symbols.type(type.name, at.scope);
      if (entry === target) return true;
      if (entry?.node.kind === 'typedef')
        open.push({ declaration: entry.node.declaration, scope: entry.scope });
    }
    return false;
  }
}
