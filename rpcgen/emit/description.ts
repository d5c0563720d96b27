/**
 * Emits the fingerprint of the wire format, and the types as data for JSON and printing. Both are free of side effects:
 * a bundle that does not use them does not contain them.
 */

import { memberTypes, typesIn } from '../model/layout.js';
import type { Field, Interface, NamedType, Type } from '../model/model.js';
import { fingerprint } from '../model/wire.js';
import { LINE_WIDTH, type Output, PURE, quote } from './output.js';

/** The names of the exports, which other modules import. */
export const FINGERPRINT = 'wireFingerprint';
export const DESCRIPTION = 'typeDescription';

/** Emits the last lines of a module with types or programs. */
export function emitDescription(out: Output, model: Interface): void {
  if (model.types.length === 0 && model.programs.length === 0) return;
  out.write(
    '',
    '/** Equal for all interfaces with the same wire format, whatever their names. */',
    `export const ${out.names.allocate(FINGERPRINT)} = '${fingerprint(model)}';`,
  );
  if (model.types.length === 0) return;
  const nodes = model.types.filter((type) => type.kind === 'struct' && type.link !== undefined);
  const name = out.names.allocate(DESCRIPTION);
  const others = specifiersOf(model).map((specifier) => out.imported(specifier, DESCRIPTION));
  const tail = [
    ...(nodes.length > 0 || others.length > 0
      ? [`[${nodes.map(({ name }) => quote(name)).join(', ')}]`]
      : []),
    ...(others.length > 0 ? [`() => [${others.join(', ')}]`] : []),
  ];
  out.write(
    '',
    '/** The types by name, as codecs with a shape, for toJson, fromJson, print and template. */',
    `export const ${name}: ${out.xdr('Description', true)} = ${PURE}${out.xdr('describe')}(`,
    '  {',
    ...model.types.filter(({ kind }) => kind !== 'external').flatMap((type) => entry(out, type)),
    '  },',
    ...tail.map((each) => `  ${each},`),
    ');',
  );
}

/** The specifiers of the other generated modules whose types are used. */
function specifiersOf(model: Interface): string[] {
  const found = model.types
    .flatMap(memberTypes)
    .flatMap(typesIn)
    .flatMap(({ origin, kind }) =>
      kind !== 'external' && origin.kind === 'module' ? [origin.specifier] : [],
    );
  return [...new Set(found)].toSorted();
}

function entry(out: Output, type: NamedType): string[] {
  // `__proto__: ...` in an object literal sets the prototype.
  const key = type.name === '__proto__' ? "['__proto__']" : type.name;
  const parts = partsText(out, type);
  const line = `    ${key}: ${typeof parts === 'string' ? parts : `[${parts.join(', ')}]`},`;
  if (typeof parts === 'string' || line.length <= LINE_WIDTH) return [line];
  return [`    ${key}: [`, ...parts.map((part) => `      ${part},`), '    ],'];
}

function partsText(out: Output, type: NamedType): string | string[] {
  switch (type.kind) {
    case 'enum': {
      const open = out.hasOpenEnums ? ["'open'"] : [];
      return ["'enum'", out.namesOf(type).type, ...open];
    }
    case 'struct':
      return ["'struct'", ...type.fields.map((field) => fieldText(out, field))];
    case 'union': {
      const arms = type.arms.map(({ cases, field }) => {
        const values = cases.map(({ value }) => (typeof value === 'bigint' ? `${value}n` : String(value)));
        return `[[${values.join(', ')}], ${armText(out, field)}]`;
      });
      const rest = type.defaultArm === undefined ? [] : [armText(out, type.defaultArm)];
      return ["'union'", fieldText(out, type.discriminant), `[${arms.join(', ')}]`, ...rest];
    }
    case 'alias':
      return typeText(out, type.type);
    case 'external':
      return '';
  }
}

function armText(out: Output, field: Field | null): string {
  return field === null ? 'null' : fieldText(out, field);
}

function fieldText(out: Output, field: Field): string {
  return `[${quote(field.key)}, ${typeText(out, field.type)}]`;
}

function typeText(out: Output, type: Type): string {
  switch (type.kind) {
    case 'string': {
      const mode = out.modeOf(type);
      const max = String(type.max?.size ?? null);
      return mode === 'bytes' ? `['opaque', ${max}]` : `['string', ${max}, '${mode}']`;
    }
    case 'opaque':
      return `['opaque', ${type.max?.size ?? null}]`;
    case 'fixedOpaque':
      return `['fixedOpaque', ${type.size.size}]`;
    case 'array':
      return `['array', ${typeText(out, type.element)}, ${type.max?.size ?? null}]`;
    case 'fixedArray':
      return `['fixedArray', ${typeText(out, type.element)}, ${type.size.size}]`;
    case 'optional':
      return `['optional', ${typeText(out, type.element)}]`;
    case 'list':
      return `['list', ${quote(`.${type.node.name}`)}, ${type.minLength}]`;
    case 'named':
      return quote(`.${type.type.name}`);
    default:
      return quote(type.kind);
  }
}
