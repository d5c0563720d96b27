/**
 * Sizes and cycles of checked types: the smallest encoded size of each type, which types are recursive, and that each
 * has a value of finite size.
 */

import type { Diagnostics } from './errors.js';
import { components } from './graph.js';
import { cap, minBytesOf, type NamedType, type Type } from './model.js';

/** Maximum nesting of types that contain each other by value; the generated functions call each other as deep. */
const MAX_TYPE_NESTING = 500;

/** Sets `minBytes` and `recursive`, and reports types of infinite size. */
export function computeLayout(types: readonly NamedType[], diagnostics: Diagnostics): void {
  const depth = new Map<NamedType, number>();
  for (const group of components(types, containedTypes)) {
    const inner = group.flatMap((type) => containedTypes(type).map((t) => depth.get(t) ?? 0));
    const level = inner.reduce((a, b) => Math.max(a, b), 0) + 1;
    for (const type of group) depth.set(type, level);
    if (level === MAX_TYPE_NESTING + 1) {
      const type = group[0] as NamedType;
      diagnostics.add(
        'IDL_TYPE',
        type.span,
        `${type.name} contains types nested deeper than ${MAX_TYPE_NESTING} levels`,
      );
    }
    computeSizes(group, diagnostics);
  }
  for (const group of components(types, referencedTypes)) {
    const first = group[0] as NamedType;
    const isCycle = group.length > 1 || referencedTypes(first).includes(first);
    if (isCycle && !group.some((type) => type.kind === 'struct' || type.kind === 'union'))
      diagnostics.add('IDL_TYPE', first.span, `typedef ${first.name} refers to itself`);
    // Depth is counted in structs and unions only: typedefs have no functions, and each cycle has a struct or union.
    if (isCycle) for (const type of group) type.recursive = type.kind === 'struct' || type.kind === 'union';
  }
}

/** Sizes of the types of one cycle. A union is finite if one arm is; any other type if all its members are. */
function computeSizes(group: readonly NamedType[], diagnostics: Diagnostics): void {
  const infinite = new Set(group);
  const isKnownFinite = (type: Type): boolean => typesContainedIn(type).every((t) => !infinite.has(t));
  for (let changed = true; changed; ) {
    changed = false;
    for (const type of infinite) {
      if (!hasFiniteSize(type, isKnownFinite)) continue;
      infinite.delete(type);
      changed = true;
    }
  }
  // A cycle of typedefs only is reported by the caller.
  const isTypedefs = group.every((type) => type.kind === 'alias');
  for (const type of isTypedefs ? [] : infinite)
    diagnostics.add(
      'IDL_TYPE',
      type.span,
      `${type.name} contains itself, so its size is infinite: use an optional ('*') or an array ('<>') in the cycle`,
    );
  // Within a cycle, an unknown size counts as 0: the result is used as a lower bound only.
  for (const type of group) type.minBytes = smallestSize(type);
}

function hasFiniteSize(type: NamedType, isKnownFinite: (type: Type) => boolean): boolean {
  switch (type.kind) {
    case 'struct':
      return type.fields.every((field) => isKnownFinite(field.type));
    case 'union': {
      const arms = armsOf(type);
      return (
        isKnownFinite(type.discriminant.type) &&
        (arms.length === 0 || arms.some((arm) => arm === null || isKnownFinite(arm)))
      );
    }
    case 'alias':
      return isKnownFinite(type.type);
    default:
      return true;
  }
}

function smallestSize(type: NamedType): number {
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
  return type.defaultArm === undefined ? arms : [...arms, type.defaultArm?.type ?? null];
}

/** The types of the members of a type. */
export function memberTypes(type: NamedType): Type[] {
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

/** The named types that every value of `type` contains. */
function containedTypes(type: NamedType): NamedType[] {
  return memberTypes(type).flatMap(typesContainedIn);
}

function typesContainedIn(type: Type): NamedType[] {
  switch (type.kind) {
    case 'named':
      return [type.type];
    case 'fixedArray':
      return type.size.size === 0 ? [] : typesContainedIn(type.element);
    case 'list':
      return type.minLength === 1 ? [type.node] : [];
    default:
      return [];
  }
}

/** The named types that a value of `type` may contain. */
export function referencedTypes(type: NamedType): NamedType[] {
  return memberTypes(type).flatMap(typesIn);
}

/** The named types in `type`, not those in their definitions. */
export function typesIn(type: Type): NamedType[] {
  switch (type.kind) {
    case 'named':
      return [type.type];
    case 'fixedArray':
    case 'array':
    case 'optional':
      return typesIn(type.element);
    case 'list':
      return [type.node];
    default:
      return [];
  }
}
