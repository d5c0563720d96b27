/**
 * Prints a checked interface in canonical form, in the language of RFC 4506 and RFC 5531: all names of numbers are
 * resolved, comments are omitted. Two files with the same output are the same interface. The output compiles.
 */

import type { Bound, Field, Interface, NamedType, NumberRef, Procedure, Type } from './model.js';

/** The canonical text of `model`. Numbers are decimal, lengths are numbers, comments are omitted. */
export function print(model: Interface): string {
  const constants = model.constants.map(
    ({ name, value }) => `const ${name} = ${typeof value === 'string' ? JSON.stringify(value) : value};`,
  );
  const types = model.types.map(definition);
  const programs = model.programs.map((program) => {
    const versions = program.versions.map((version) => {
      const lines = version.procedures.map((procedure) => `    ${procedureLine(procedure)}`);
      return [`  version ${version.name} {`, ...lines, `  } = ${version.number.value};`].join('\n');
    });
    return [`program ${program.name} {`, ...versions, `} = ${program.number.value};`].join('\n');
  });
  return [...(constants.length === 0 ? [] : [constants.join('\n')]), ...types, ...programs]
    .map((part) => `${part}\n`)
    .join('\n');
}

function definition(type: NamedType): string {
  switch (type.kind) {
    case 'enum': {
      const members = type.members.map(({ name, value }) => `  ${name} = ${value}`);
      return `enum ${type.name} {\n${members.join(',\n')}\n};`;
    }
    case 'struct': {
      const link = type.link === undefined ? [] : [`  ${type.name} *${type.link};\n`];
      const fields = type.fields.map((field) => `  ${declaration(field.type, field.name)};\n`);
      return `struct ${type.name} {\n${[...fields, ...link].join('')}};`;
    }
    case 'union': {
      const arms = type.arms.map(({ cases, field }) => {
        const labels = cases
          .map((each) => `case ${caseText(type.discriminant.type, each.value)}:\n`)
          .join('');
        return `${labels}  ${arm(field)};\n`;
      });
      if (type.defaultArm !== undefined) arms.push(`default:\n  ${arm(type.defaultArm)};\n`);
      const head = declaration(type.discriminant.type, type.discriminant.name);
      return `union ${type.name} switch (${head}) {\n${arms.join('')}};`;
    }
    case 'alias':
      return `typedef ${declaration(type.type, type.name)};`;
    case 'external':
      return '';
  }
}

function arm(field: Field | null): string {
  return field === null ? 'void' : declaration(field.type, field.name);
}

function caseText(type: Type, value: number | bigint | boolean): string {
  if (typeof value === 'boolean') return value ? 'TRUE' : 'FALSE';
  let at = type;
  while (at.kind === 'named' && at.type.kind === 'alias') at = at.type.type;
  if (at.kind === 'named' && at.type.kind === 'enum')
    return at.type.members.find((member) => member.value === value)?.name ?? String(value);
  return String(value);
}

function procedureLine(procedure: Procedure): string {
  const args = procedure.args.map((each) => declaration(each.type, each.name));
  const result = declaration(procedure.result, '');
  return `${result} ${procedure.name}(${args.length === 0 ? 'void' : args.join(', ')}) = ${numberText(procedure.number)};`;
}

function numberText(ref: NumberRef): string {
  return String(ref.value);
}

const WORDS: Partial<Record<Type['kind'], string>> = {
  uint: 'unsigned int',
  uhyper: 'unsigned hyper',
  fixedOpaque: 'opaque',
};

/** The declaration of a member: `opaque name<8>`. With an empty name, the declaration of a result. */
export function declaration(type: Type, name: string): string {
  const text = spaced(type, name);
  return name === '' ? text.trim().replace(/ (?=[<[])/, '') : text;
}

function spaced(type: Type, name: string): string {
  switch (type.kind) {
    case 'named':
      return `${type.type.name} ${name}`;
    case 'list':
      return type.minLength === 0 ? `${type.node.name} *${name}` : `${type.node.name} ${name}`;
    case 'string':
    case 'opaque':
      return `${type.kind} ${name}<${size(type.max)}>`;
    case 'fixedOpaque':
      return `opaque ${name}[${size(type.size)}]`;
    case 'array':
      return `${element(type.element)} ${name}<${size(type.max)}>`;
    case 'fixedArray':
      return `${element(type.element)} ${name}[${size(type.size)}]`;
    case 'optional':
      // An optional of an optional is represented as an array of one element, which has the same encoding.
      return type.element.kind === 'fixedArray'
        ? `${element(type.element.element)} *${name}`
        : `${element(type.element)} *${name}`;
    default:
      return `${WORDS[type.kind] ?? type.kind} ${name}`;
  }
}

function element(type: Type): string {
  return type.kind === 'string' ? 'string' : declaration(type, '');
}

function size(bound: Bound | null): string {
  return bound === null ? '' : String(bound.size);
}
