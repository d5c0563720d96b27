/** Checks the cases of a union: each is a value of the discriminant, and occurs once (RFC 4506 section 4.15). */

import type { Diagnostics, Span } from '../model/errors.js';
import { type Case, MAX_UINT32, type Type, type UnionType, unalias } from '../model/model.js';
import type { UnionBody } from '../syntax/ast.js';
import type { Scope, TypeEntry } from './scope.js';
import type { Symbols } from './symbols.js';

/** What the check of cases needs. */
export interface CaseContext {
  readonly symbols: Symbols;
  readonly diagnostics: Diagnostics;
  /** The scope of the file that has the union. */
  readonly scope: Scope;
  /** The enum of the discriminant, if it has one. */
  readonly entry: TypeEntry | undefined;
}

/** The cases of each arm of `node`. The discriminant of `type` is resolved already. */
export function casesOf(
  type: UnionType,
  node: UnionBody,
  { symbols, diagnostics, scope, entry }: CaseContext,
): Case[][] {
  const of = unalias(type.discriminant.type);
  const enumeration = of.kind === 'named' && of.type.kind === 'enum' ? of.type : undefined;
  const isExternal = of.kind === 'named' && of.type.kind === 'external';
  if (
    enumeration === undefined &&
    !isExternal &&
    !['int', 'uint', 'hyper', 'uhyper', 'bool'].includes(of.kind)
  ) {
    // void: the type is missing, which has been reported.
    if (of.kind !== 'void')
      diagnostics.add(
        'IDL_TYPE',
        node.discriminant.span,
        `the discriminant of a union is an int, unsigned, hyper, bool or enum (RFC 4506 section 4.15)`,
      );
    return [];
  }
  const members = entry === undefined ? undefined : new Set(symbols.valuesOf(entry));
  const seen = new Map<bigint, Span>();
  return node.arms.map((arm) =>
    arm.cases.flatMap((value): Case[] => {
      const ref = symbols.evaluateCase(value, scope, entry);
      if (ref === undefined) return [];
      const problem = caseProblem(ref.value, of.kind, members, enumeration?.name ?? '');
      if (problem !== undefined) diagnostics.add('IDL_TYPE', value.span, problem);
      const first = seen.get(ref.value);
      if (first === undefined) seen.set(ref.value, value.span);
      else
        diagnostics.add('IDL_NAME', value.span, `duplicate case ${ref.value}`, {
          message: 'first used here',
          span: first,
        });
      return [{ ref, value: caseValue(ref.value, of.kind) }];
    }),
  );
}

function caseProblem(
  value: bigint,
  kind: Type['kind'],
  members: ReadonlySet<bigint> | undefined,
  name: string,
): string | undefined {
  const [low, high] = RANGES[kind] ?? [-(2n ** 31n), 2n ** 31n - 1n];
  if (value < low || value > high) return `case ${value} is out of range of the discriminant's type`;
  if (members !== undefined && !members.has(value)) return `case ${value} is not a member of enum ${name}`;
  return undefined;
}

const RANGES: Partial<Record<Type['kind'], readonly [bigint, bigint]>> = {
  uint: [0n, MAX_UINT32],
  hyper: [-(2n ** 63n), 2n ** 63n - 1n],
  uhyper: [0n, 2n ** 64n - 1n],
  bool: [0n, 1n],
};

function caseValue(value: bigint, kind: Type['kind']): number | bigint | boolean {
  if (kind === 'bool') return value !== 0n;
  return kind === 'hyper' || kind === 'uhyper' ? value : Number(value);
}
