/**
 * Sizes and cycles of checked types: the least bytes of each, which of them can hold
 * themselves, and that each has a value that ends.
 */

import type { Diagnostics } from './errors.js';
import { components } from './graph.js';
import { cap, minBytesOf, type NamedType, type Type } from './model.js';

/** Types inside types by value, without a cycle; generated code calls as deep. */
const MAX_TYPE_NESTING = 500;

/** Fills in `minBytes` and `recursive`, and reports types of infinite size. */
export function layOut(types: readonly NamedType[], diagnostics: Diagnostics): void {
  const depth = new Map<NamedType, number>();
  for (const group of components(types, byValue)) {
    const inner = group.flatMap((type) => byValue(type).map((t) => depth.get(t) ?? 0));
    const level = inner.reduce((a, b) => Math.max(a, b), 0) + 1;
    for (const type of group) depth.set(type, level);
    if (level === MAX_TYPE_NESTING + 1) {
      const type = group[0] as NamedType;
      diagnostics.add(
        'IDL_TYPE',
        type.span,
        `${type.name} holds types nested deeper than ${MAX_TYPE_NESTING}`,
      );
    }
    settle(group, diagnostics);
  }
  for (const group of components(types, anyHold)) {
    const first = group[0] as NamedType;
    const isCycle = group.length > 1 || anyHold(first).includes(first);
    if (isCycle && !group.some((type) => type.kind === 'struct' || type.kind === 'union'))
      diagnostics.add('IDL_TYPE', first.span, `typedef ${first.name} is made of itself`);
    // Typedefs have no functions of their own to count in; in each cycle stands a struct or a union.
    if (isCycle) for (const type of group) type.recursive = type.kind === 'struct' || type.kind === 'union';
  }
}

/** Sizes of one cycle (or one type): unions are finite by one finite arm, all else by all of its parts. */
function settle(group: readonly NamedType[], diagnostics: Diagnostics): void {
  const infinite = new Set(group);
  const isSettled = (type: Type): boolean => targetsByValue(type).every((t) => !infinite.has(t));
  for (let changed = true; changed; ) {
    changed = false;
    for (const type of infinite) {
      if (!ends(type, isSettled)) continue;
      infinite.delete(type);
      changed = true;
    }
  }
  // A circle of nothing but typedefs is reported as such.
  const isTypedefs = group.every((type) => type.kind === 'alias');
  for (const type of isTypedefs ? [] : infinite)
    diagnostics.add(
      'IDL_TYPE',
      type.span,
      `${type.name} holds itself and never ends: somewhere in the circle an optional ('*') or an array ('<>') is needed`,
    );
  // Within a cycle, what is not known yet counts as nothing: the result is a lower bound, which is all it is for.
  for (const type of group) type.minBytes = least(type);
}

function ends(type: NamedType, isSettled: (type: Type) => boolean): boolean {
  switch (type.kind) {
    case 'struct':
      return type.fields.every((field) => isSettled(field.type));
    case 'union': {
      const arms = armsOf(type);
      return (
        isSettled(type.discriminant.type) &&
        (arms.length === 0 || arms.some((arm) => arm === null || isSettled(arm)))
      );
    }
    case 'alias':
      return isSettled(type.type);
    default:
      return true;
  }
}

function least(type: NamedType): number {
  switch (type.kind) {
    case 'enum':
      return 4;
    case 'struct':
      return cap(type.fields.reduce((sum, field) => sum + minBytesOf(field.type), 0));
    case 'union': {
      const arms = armsOf(type).map((arm) => (arm === null ? 0 : minBytesOf(arm)));
      return cap(minBytesOf(type.discriminant.type) + arms.reduce((a, b) => Math.min(a, b), arms[0] ?? 0));
    }
    case 'alias':
      return minBytesOf(type.type);
    case 'external':
      return 0;
  }
}

type Union = NamedType & { kind: 'union' };

function armsOf(type: Union): (Type | null)[] {
  const arms = type.arms.map((arm) => arm.field?.type ?? null);
  return type.otherwise === undefined ? arms : [...arms, type.otherwise?.type ?? null];
}

/** The types of a type's own members. */
export function partsOf(type: NamedType): Type[] {
  switch (type.kind) {
    case 'struct':
      return type.fields.map((field) => field.type);
    case 'union':
      return [type.discriminant.type, ...armsOf(type).filter((arm) => arm !== null)];
    case 'alias':
      return [type.type];
    default:
      return [];
  }
}

/** The named types that a value of `type` cannot be without. */
function byValue(type: NamedType): NamedType[] {
  return partsOf(type).flatMap(targetsByValue);
}

function targetsByValue(type: Type): NamedType[] {
  switch (type.kind) {
    case 'named':
      return [type.type];
    case 'fixedArray':
      return type.size.size === 0 ? [] : targetsByValue(type.element);
    case 'list':
      return type.minLength === 1 ? [type.node] : [];
    default:
      return [];
  }
}

/** The named types that a value of `type` may hold. */
export function anyHold(type: NamedType): NamedType[] {
  return partsOf(type).flatMap(targets);
}

/** The named types that a value of `type` may hold at first hand. */
export function targets(type: Type): NamedType[] {
  switch (type.kind) {
    case 'named':
      return [type.type];
    case 'fixedArray':
    case 'array':
    case 'optional':
      return targets(type.element);
    case 'list':
      return [type.node];
    default:
      return [];
  }
}
