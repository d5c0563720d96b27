/** The plainest value of a type: zero, empty, nothing there. What a mock answers unless told otherwise. */

import type { Codec, Field, Json, Shape } from '../../xdr/index.js';

/** Most bytes and elements of one fixed array or opaque that are made. */
const MAX_FIXED = 1_048_576;

/** The plainest value of a type as JSON. Throws TypeError for a type without a shape or one that has no finite value. */
export function zero(type: Codec<unknown>, depth = 0): Json {
  const { shape } = type;
  if (shape === undefined) throw new TypeError('a codec without a shape has no zero');
  if (depth > MAX_DEPTH) throw new TypeError(`${shape.name ?? 'a type'} has no finite value`);
  switch (shape.kind) {
    case 'void':
    case 'optional':
      return null;
    case 'bool':
      return false;
    case 'string':
    case 'opaque':
      return '';
    case 'hyper':
    case 'uhyper':
      return '0';
    case 'quadruple':
      return Buffer.alloc(16).toString('base64');
    case 'fixedOpaque':
      return Buffer.alloc(Math.min(shape.size, MAX_FIXED)).toString('base64');
    case 'enum':
      return zeroMember(shape);
    case 'array':
      return [];
    case 'list':
      return shape.minLength === 0 ? [] : [zero(shape.element, depth + 1)];
    case 'fixedArray':
      return Array.from({ length: Math.min(shape.size, MAX_FIXED) }, () => zero(shape.element, depth + 1));
    case 'tuple':
      return shape.fields.map((field) => zero(field.type, depth + 1));
    case 'struct':
      return members(shape.fields, depth);
    case 'union':
      return zeroUnion(shape, depth);
    case 'lazy':
      return zero(shape.target(), depth + 1);
    default:
      return 0;
  }
}

/** Deepest nesting of a value. */
const MAX_DEPTH = 256;

function members(fields: readonly Field[], depth: number): { [key: string]: Json } {
  return Object.fromEntries(fields.map((field) => [field.name, zero(field.type, depth + 1)]));
}

/** The member that is 0, which by custom is success; else the first. */
function zeroMember({ members: all }: Shape & { readonly kind: 'enum' }): string | number {
  return Object.keys(all).find((name) => all[name] === 0) ?? Object.keys(all)[0] ?? 0;
}

function zeroUnion(shape: Shape & { readonly kind: 'union' }, depth: number): Json {
  const { discriminant, arms, defaultArm } = shape;
  const head = zero(discriminant.type, depth + 1);
  const members_ = discriminant.type.shape?.kind === 'enum' ? discriminant.type.shape.members : undefined;
  const plain = (json: Json): number | bigint | boolean =>
    typeof json === 'string' ? (members_?.[json] ?? BigInt(json)) : (json as number | boolean);
  const arm = arms.find(({ cases }) => (cases as readonly unknown[]).includes(plain(head)));
  const field = arm === undefined ? defaultArm : arm.field;
  if (field !== undefined)
    return { [discriminant.name]: head, ...(field === null ? {} : members([field], depth)) };
  // Zero chooses no arm: the first there is.
  const [first] = arms;
  const which = first?.cases[0];
  if (first === undefined || which === undefined)
    throw new TypeError(`union ${shape.name ?? ''} has no value`);
  const name = Object.keys(members_ ?? {}).find((each) => members_?.[each] === which);
  const chosen = name ?? (typeof which === 'bigint' ? String(which) : which);
  return { [discriminant.name]: chosen, ...(first.field === null ? {} : members([first.field], depth)) };
}
