/** What an interface offers, as text: `rpccall list` and `rpccall describe`. Comments of the file come along. */

import { declaration, type Interface } from '../../rpcgen/index.js';
import { UsageError } from '../support/cli.js';
import { type Opened, shortName } from './interface.js';

type Program = Interface['programs'][number];
type Version = Program['versions'][number];
type Procedure = Version['procedures'][number];
type NamedType = Interface['types'][number];

/** Programs, versions and procedures, one a line. */
export function listInterface({ model }: Opened): string {
  const lines: string[] = [];
  for (const program of model.programs) {
    lines.push(...comment(program.doc, ''), `${program.name} = ${program.number.value}`);
    for (const version of program.versions) {
      lines.push(...comment(version.doc, '  '), `  ${version.name} = ${version.number.value}`);
      for (const procedure of version.procedures) lines.push(...procedureLines(procedure, '    '));
    }
  }
  if (model.programs.length === 0)
    lines.push('no programs; its types:', ...model.types.map(({ name }) => `  ${name}`));
  return lines.join('\n');
}

/** Everything, or what has that name: a program, a version, a procedure, a type, a constant or a member of an enum. */
export function describeInterface(opened: Opened, name?: string): string {
  const { model } = opened;
  if (name === undefined) {
    const constants = model.constants.map((constant) =>
      [...comment(constant.doc, ''), constantLine(constant)].join('\n'),
    );
    const types = model.types.map((type) => typeText(type).join('\n'));
    return [...(constants.length > 0 ? [constants.join('\n')] : []), ...types, listInterface(opened)].join(
      '\n\n',
    );
  }
  const found: string[] = [];
  const needed: NamedType[] = [];
  for (const constant of model.constants)
    if (same(constant.name, name))
      found.push([...comment(constant.doc, ''), constantLine(constant)].join('\n'));
  for (const type of model.types)
    if (same(type.name, name) || (type.kind === 'enum' && type.members.some((each) => same(each.name, name))))
      needed.push(type);
  for (const program of model.programs) {
    if (same(program.name, name))
      found.push(listInterface({ ...opened, model: { ...model, programs: [program] } }));
    for (const version of program.versions) {
      const where = `/* ${program.name} ${program.number.value}, version ${version.number.value} */`;
      if (same(version.name, name))
        found.push([where, ...version.procedures.flatMap((each) => procedureLines(each, ''))].join('\n'));
      for (const procedure of version.procedures)
        if (same(procedure.name, name) || same(shortName(procedure.name), name)) {
          found.push([where, ...procedureLines(procedure, '')].join('\n'));
          needed.push(...typesOf(procedure));
        }
    }
  }
  found.push(...withParts(model, needed).map((type) => typeText(type).join('\n')));
  if (found.length === 0)
    throw new UsageError(
      `${opened.name} has nothing called ${name} (rpccall list ${opened.name} shows its procedures)`,
    );
  return found.join('\n\n');
}

/** Types with all that they are made of, in the order of the file. */
function withParts(model: Interface, from: readonly NamedType[]): NamedType[] {
  const used = new Set<NamedType>(from);
  for (const type of used) for (const inner of partsOf(type)) used.add(inner);
  return model.types.filter((type) => used.has(type));
}

type Type = Procedure['result'];

function typesOf(procedure: Procedure): NamedType[] {
  return [...procedure.args.map(({ type }) => type), procedure.result].flatMap(namedIn);
}

function partsOf(type: NamedType): NamedType[] {
  switch (type.kind) {
    case 'struct':
      return type.fields.flatMap((field) => namedIn(field.type));
    case 'union':
      return [type.discriminant, ...type.arms.map(({ field }) => field), type.defaultArm ?? null].flatMap(
        (field) => (field === null ? [] : namedIn(field.type)),
      );
    case 'alias':
      return namedIn(type.type);
    default:
      return [];
  }
}

function namedIn(type: Type): NamedType[] {
  if (type.kind === 'named') return [type.type];
  if (type.kind === 'list') return [type.node];
  return 'element' in type ? namedIn(type.element) : [];
}

function constantLine({ name, value }: Interface['constants'][number]): string {
  return `const ${name} = ${typeof value === 'string' ? JSON.stringify(value) : value};`;
}

function procedureLines(procedure: Procedure, indent: string): string[] {
  const plain = (type: Type): string => declaration(type, '').trim().replace(/ \*$/, '*');
  const args = procedure.args.map(({ type, name }) => declaration(type, name).trim()).join(', ');
  const head = `${plain(procedure.result)} ${procedure.name}(${args === '' ? 'void' : args}) = ${procedure.number.value};`;
  return [...comment(procedure.doc, indent), `${indent}${head}`];
}

function typeText(type: NamedType): string[] {
  const field = (
    of: { readonly name: string; readonly type: Type; readonly doc: string | undefined },
    indent: string,
  ): string[] => [...comment(of.doc, indent), `${indent}${declaration(of.type, of.name)};`];
  const head = comment(type.doc, '');
  switch (type.kind) {
    case 'enum':
      return [
        ...head,
        `enum ${type.name} {`,
        ...type.members.flatMap(({ name, value, doc }) => [...comment(doc, '  '), `  ${name} = ${value},`]),
        '};',
      ];
    case 'struct':
      return [
        ...head,
        `struct ${type.name} {`,
        ...type.fields.flatMap((each) => field(each, '  ')),
        ...(type.link === undefined ? [] : [`  ${type.name} *${type.link};`]),
        '};',
      ];
    case 'union': {
      const arm = (of: Parameters<typeof field>[0] | null): string[] =>
        of === null ? ['    void;'] : field(of, '    ');
      return [
        ...head,
        `union ${type.name} switch (${declaration(type.discriminant.type, type.discriminant.name)}) {`,
        ...type.arms.flatMap(({ cases, field: of }) => [
          ...cases.map((each) => `  case ${caseName(each)}:`),
          ...arm(of),
        ]),
        ...(type.defaultArm === undefined ? [] : ['  default:', ...arm(type.defaultArm)]),
        '};',
      ];
    }
    case 'alias':
      return [...head, `typedef ${declaration(type.type, type.name)};`];
    case 'external':
      return [...head, `/* ${type.name} is of another module */`];
  }
}

function caseName({
  value,
  ref,
}: {
  readonly value: unknown;
  readonly ref: { readonly symbol?: unknown };
}): string {
  const symbol = ref.symbol as
    | { readonly kind?: string; readonly name?: string; readonly constant?: { readonly name: string } }
    | undefined;
  if (typeof value === 'boolean') return value ? 'TRUE' : 'FALSE';
  return symbol?.name ?? symbol?.constant?.name ?? String(value);
}

function comment(doc: string | undefined, indent: string): string[] {
  if (doc === undefined || doc === '') return [];
  const lines = doc.split('\n');
  if (lines.length === 1) return [`${indent}/* ${lines[0]} */`];
  return [`${indent}/*`, ...lines.map((line) => `${indent} * ${line}`.trimEnd()), `${indent} */`];
}

function same(one: string, other: string): boolean {
  return one.toLowerCase() === other.toLowerCase();
}
