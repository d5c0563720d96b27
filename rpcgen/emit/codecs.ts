/**
 * Emits encode and decode functions: calls of writer and reader in the order of the `.x`. They must produce the same
 * bytes as the codecs that dynamic.ts makes of the same model.
 */

import {
  type AliasType,
  type EnumType,
  type Field,
  minBytesOf,
  type NamedType,
  type StructType,
  type Type,
  type UnionType,
  unalias,
} from '../model/model.js';
import { docLines, LINE_WIDTH, type Output, PURE, property } from './output.js';
import { boundedDoc, caseLabel, restType } from './types.js';

/** Emits the functions and the codec of a type. */
export function emitCodec(out: Output, type: NamedType): void {
  switch (type.kind) {
    case 'enum':
      emitEnum(out, type);
      return;
    case 'struct':
      emitStruct(out, type);
      return;
    case 'union':
      emitUnion(out, type);
      return;
    case 'alias':
      emitAlias(out, type);
      return;
    case 'external':
  }
}

/** Emits an encode function. */
function encoder(out: Output, name: string, type: string, body: readonly string[]): void {
  const text = body.join('\n');
  const w = /\bw\b/.test(text) ? 'w' : '_w';
  const v = /\bv\b/.test(text) ? 'v' : '_v';
  const writer = out.xdr('XdrWriter', true);
  const head = `export function ${name}(${w}: ${writer}, ${v}: ${type}): void {`;
  if (body.length === 0) out.write(`${head}}`);
  else out.write(head, ...indent(body), '}');
}

/** Emits a decode function. */
function decoder(out: Output, name: string, type: string, body: readonly string[]): void {
  const r = body.some((line) => /\br\b/.test(line)) ? 'r' : '_r';
  out.write(`export function ${name}(${r}: ${out.xdr('XdrReader', true)}): ${type} {`, ...indent(body), '}');
}

function codecLine(
  out: Output,
  name: string,
  type: string,
  minBytes: number,
  encode: string,
  decode: string,
): void {
  const line = `export const ${name}: ${out.xdr('Codec', true)}<${type}> =`;
  const [head, tail] = out.lenientCodec('|').split('|') as [string, string];
  const start = `${line} ${head}${PURE}${out.xdr('codec')}(`;
  const args = [String(minBytes), encode, decode];
  const whole = `${start}${args.join(', ')})${tail};`;
  if (whole.length <= LINE_WIDTH) out.write(whole);
  else out.write(start, ...args.map((arg) => `  ${arg},`), `)${tail};`);
}

function emitEnum(out: Output, type: EnumType): void {
  const names = out.namesOf(type);
  const quoted = `'${type.name}'`;
  if (out.hasOpenEnums) {
    out.write('');
    encoder(out, names.encode, names.type, ['w.int32(v);']);
    out.write('');
    decoder(out, names.decode, names.type, ['return r.int32();']);
    out.write('');
    codecLine(out, names.codec, names.type, 4, names.encode, names.decode);
    return;
  }
  const head = `const ${names.values} = ${PURE}new Set<number>(`;
  const values = `${PURE}Object.values(${names.type})`;
  const line = `${head}${values});`;
  out.write('', ...(line.length <= LINE_WIDTH ? [line] : [head, `  ${values},`, ');']), '');
  encoder(out, names.encode, names.type, [
    `if (!${names.values}.has(v)) w.badEnum(${quoted}, v);`,
    'w.int32(v);',
  ]);
  out.write('');
  decoder(out, names.decode, names.type, [
    'const value = r.int32();',
    `if (!${names.values}.has(value)) r.badEnum(${quoted}, value);`,
    `return value as ${names.type};`,
  ]);
  out.write('');
  codecLine(out, names.codec, names.type, 4, names.encode, names.decode);
}

function emitStruct(out: Output, type: StructType): void {
  const names = out.namesOf(type);
  const encode = type.fields.flatMap((field) => encodeLines(out, field.type, `v.${field.key}`));
  out.write('');
  encoder(out, names.encode, names.type, type.recursive ? ['w.enter();', ...encode, 'w.leave();'] : encode);
  out.write('');
  decoder(out, names.decode, names.type, structDecode(out, type.fields, type.recursive, ['{', '}']));
  out.write('');
  if (type.link === undefined) {
    codecLine(out, names.codec, names.type, type.minBytes, names.encode, names.decode);
    return;
  }
  const list = `${names.type}[]`;
  encoder(out, names.encodeList, list, [
    'for (const item of v) {',
    '  w.bool(true);',
    `  ${names.encode}(w, item);`,
    '}',
    'w.bool(false);',
  ]);
  out.write('');
  decoder(out, names.decodeList, list, [
    `const list: ${list} = [];`,
    `while (r.more()) list.push(${names.decode}(r));`,
    'return list;',
  ]);
  out.write('');
  codecLine(out, names.listCodec, list, 4, names.encodeList, names.decodeList);
  out.write('');
  emitFirst(out, type);
}

/** A list declared by its first node, which is never empty. */
function emitFirst(out: Output, type: StructType): void {
  const names = out.namesOf(type);
  const first = `[${names.type}, ...${names.type}[]]`;
  encoder(out, names.encodeFirst, first, [
    'if (v.length < 1) w.fixedCount(0, 1);',
    'v.forEach((item, n) => {',
    '  if (n > 0) w.bool(true);',
    `  ${names.encode}(w, item);`,
    '});',
    'w.bool(false);',
  ]);
  out.write('');
  decoder(out, names.decodeFirst, first, [
    `const list: ${first} = [${names.decode}(r)];`,
    `while (r.more()) list.push(${names.decode}(r));`,
    'return list;',
  ]);
  out.write('');
  codecLine(
    out,
    names.codec,
    first,
    minBytesOf({ kind: 'list', node: type, minLength: 1 }),
    names.encodeFirst,
    names.decodeFirst,
  );
}

/** The body of a decode function of a struct (or tuple). */
export function structDecode(
  out: Output,
  fields: readonly Field[],
  recursive: boolean,
  [open, close]: readonly [string, string],
): string[] {
  const isTuple = open === '[';
  const direct = fields.map((field) => decodeExpression(out, field.type));
  if (!recursive && direct.every((expression) => expression !== undefined)) {
    const parts = fields.map((field, i) => (isTuple ? `${direct[i]}` : `${field.key}: ${direct[i]}`));
    const line = `return ${enclosed(open, parts, close)};`;
    return line.length < 80 && parts.length < 4
      ? [line]
      : [`return ${open}`, ...parts.map((part) => `  ${part},`), `${close};`];
  }
  const locals = localNames(out, fields);
  const lines = fields.flatMap((field, i) => decodeLines(out, field.type, locals[i] as string));
  const parts = fields.map((field, i) =>
    isTuple ? (locals[i] as string) : property(field, locals[i] as string),
  );
  const body = recursive ? ['r.enter();', ...lines, 'r.leave();'] : lines;
  const line = `return ${enclosed(open, parts, close)};`;
  if (line.length < LINE_WIDTH) return [...body, line];
  return [...body, `return ${open}`, ...parts.map((part) => `  ${part},`), `${close};`];
}

function enclosed(open: string, parts: readonly string[], close: string): string {
  const space = open === '{' && parts.length > 0 ? ' ' : '';
  return `${open}${space}${parts.join(', ')}${space}${close}`;
}

function localNames(out: Output, fields: readonly Field[]): string[] {
  const taken = new Set<string>();
  return fields.map((field) => {
    let name = out.names.local(field.key);
    while (taken.has(name)) name = out.names.local(`${name}_`);
    taken.add(name);
    return name;
  });
}

function emitUnion(out: Output, type: UnionType): void {
  const names = out.namesOf(type);
  out.write('');
  encoder(out, names.encode, names.type, unionEncode(out, type));
  out.write('');
  decoder(out, names.decode, names.type, unionDecode(out, type));
  out.write('');
  codecLine(out, names.codec, names.type, type.minBytes, names.encode, names.decode);
}

/** The `default:` of the switch statement; `null` if the cases cover all values. */
function defaultOf(out: Output, type: UnionType): { field: Field | null } | 'refuse' | null {
  if (restType(out, type) === undefined) return null;
  return type.defaultArm === undefined ? 'refuse' : { field: type.defaultArm };
}

function unionEncode(out: Output, type: UnionType): string[] {
  const { discriminant } = type;
  const lines: string[] = [];
  const arm = (labels: readonly string[], field: Field | null): void => {
    if (field === null) {
      lines.push(...labels, '  break;');
      return;
    }
    lines.push(...labels, ...indent([...encodeLines(out, field.type, `v.${field.key}`), 'break;']));
  };
  for (const { cases, field } of type.arms)
    if (cases.length > 0)
      arm(
        cases.map((each) => `case ${caseLabel(out, type, each)}:`),
        field,
      );
  const defaultArm = defaultOf(out, type);
  if (defaultArm === 'refuse')
    lines.push(
      'default:',
      `  w.badUnion('${type.name}', (v as ${out.namesOf(type).type}).${discriminant.key});`,
    );
  else if (defaultArm !== null && defaultArm.field !== null) arm(['default:'], defaultArm.field);
  // Without a field to encode, no switch is needed.
  const isVoid =
    type.arms.every((each) => each.field === null) &&
    defaultArm !== 'refuse' &&
    (defaultArm?.field ?? null) === null;
  const head = encodeLines(out, discriminant.type, `v.${discriminant.key}`);
  const body = isVoid ? head : [...head, `switch (v.${discriminant.key}) {`, ...indent(lines), '}'];
  return type.recursive ? ['w.enter();', ...body, 'w.leave();'] : body;
}

function unionDecode(out: Output, type: UnionType): string[] {
  const { discriminant } = type;
  const which = out.names.local(discriminant.key);
  const lines: string[] = [];
  const leave = type.recursive ? ['r.leave();'] : [];
  const arm = (labels: readonly string[], field: Field | null, head: string): void => {
    if (field === null) {
      lines.push(...labels, ...indent([...leave, `return { ${head} };`]));
      return;
    }
    const direct = type.recursive ? undefined : decodeExpression(out, field.type);
    if (direct !== undefined) {
      lines.push(...labels, `  return { ${head}, ${field.key}: ${direct} };`);
      return;
    }
    let local = out.names.local(field.key);
    if (local === which) local = out.names.local(`${local}_`);
    const body = [
      ...decodeLines(out, field.type, local),
      ...leave,
      `return { ${head}, ${property(field, local)} };`,
    ];
    lines.push(...labels.slice(0, -1), `${labels.at(-1)} {`, ...indent(body), '}');
  };
  for (const { cases, field } of type.arms)
    if (cases.length > 0)
      arm(
        cases.map((each) => `case ${caseLabel(out, type, each)}:`),
        field,
        property(discriminant, which),
      );
  const defaultArm = defaultOf(out, type);
  if (defaultArm === 'refuse') lines.push('default:', `  return r.badUnion('${type.name}', ${which});`);
  else if (defaultArm !== null) {
    // TypeScript cannot exclude literals from `bigint`, so a cast is needed.
    const rest = restType(out, type);
    const isHyper = rest === out.xdr('OtherBigint', true);
    const head = isHyper ? `${discriminant.key}: ${which} as ${rest}` : property(discriminant, which);
    arm(['default:'], defaultArm.field, head);
  }
  const enter = type.recursive ? ['r.enter();'] : [];
  const head = [...enter, `const ${which} = ${decodeExpression(out, discriminant.type)};`];
  return [...head, `switch (${which}) {`, ...indent(lines), '}'];
}

function emitAlias(out: Output, type: AliasType): void {
  const names = out.namesOf(type);
  const { codec } = names;
  const target = type.type;
  const end = unalias(target);
  out.write(...docLines(boundedDoc(type.doc, target)), `export type ${names.type} = ${out.typeOf(target)};`);
  const isOwn =
    end === target && (end.kind === 'array' || end.kind === 'fixedArray' || end.kind === 'optional');
  if (isOwn) {
    out.write('');
    encoder(out, names.encode, names.type, encodeLines(out, target, 'v'));
    const direct = decodeExpression(out, target);
    out.write('');
    decoder(
      out,
      names.decode,
      names.type,
      direct === undefined ? [...decodeLines(out, target, 'list'), 'return list;'] : [`return ${direct};`],
    );
    out.write('');
    codecLine(out, codec, names.type, type.minBytes, names.encode, names.decode);
    return;
  }
  const functions = functionsOf(out, target);
  if (functions === undefined)
    out.write(`export const ${codec}: ${out.xdr('Codec', true)}<${names.type}> = ${out.publicCodecOf(end)};`);
  else codecLine(out, codec, names.type, type.minBytes, functions.encode, functions.decode);
}

/** The functions that encode and decode a type, if it has its own. */
function functionsOf(out: Output, type: Type): { encode: string; decode: string } | undefined {
  if (type.kind === 'list') {
    const names = out.namesOf(type.node);
    return type.minLength === 0
      ? { encode: names.encodeList, decode: names.decodeList }
      : { encode: names.encodeFirst, decode: names.decodeFirst };
  }
  if (type.kind !== 'named') return undefined;
  const { type: of } = type;
  if (of.kind === 'external') return undefined;
  if (of.kind === 'alias' && !isContainer(of.type)) return functionsOf(out, of.type);
  const names = out.namesOf(of);
  return { encode: names.encode, decode: names.decode };
}

function isContainer(type: Type): boolean {
  return type.kind === 'array' || type.kind === 'fixedArray' || type.kind === 'optional';
}

/** The functions to call for a type: its own, or the methods of its codec if it is external. */
function callee(out: Output, type: Type): { encode: string; decode: string } {
  const functions = functionsOf(out, type);
  if (functions !== undefined) return functions;
  const codec = out.codecOf(unalias(type));
  return { encode: `${codec}.encode`, decode: `${codec}.decode` };
}

/** Statements that encode `value`. */
export function encodeLines(out: Output, type: Type, value: string): string[] {
  const call = out.call(type);
  if (call !== undefined) return [`w.${call.name}(${[value, ...call.args].join(', ')});`];
  switch (type.kind) {
    case 'void':
      return [];
    case 'optional':
      return [
        `w.bool(${value} !== null);`,
        ...controlled(`if (${value} !== null)`, encodeLines(out, type.element, value)),
      ];
    case 'array':
    case 'fixedArray': {
      const bulk = bulkCall(type);
      const max =
        type.kind === 'fixedArray' ? [out.bound(type.size)] : type.max === null ? [] : [out.bound(type.max)];
      if (bulk !== undefined) return [`w.${bulk}(${[value, ...max].join(', ')});`];
      const count = type.kind === 'array' ? 'count' : 'fixedCount';
      const inner = encodeLines(out, type.element, 'item');
      return [
        `w.${count}(${[`${value}.length`, ...max].join(', ')});`,
        ...controlled(`for (const item of ${value})`, inner),
      ];
    }
    default:
      return [`${callee(out, type).encode}(w, ${value});`];
  }
}

/** The method of writer and reader for a whole array of int or unsigned. */
function bulkCall(type: Type & { kind: 'array' | 'fixedArray' }): string | undefined {
  const { kind } = unalias(type.element);
  if (kind !== 'int' && kind !== 'uint') return undefined;
  if (type.kind === 'array') return kind === 'int' ? 'int32s' : 'uint32s';
  return kind === 'int' ? 'fixedInt32s' : 'fixedUint32s';
}

/** The expression that decodes a value; undefined if statements are needed. */
function decodeExpression(out: Output, type: Type): string | undefined {
  const call = out.call(type);
  if (call !== undefined) return `r.${call.name}(${call.args.join(', ')})`;
  switch (type.kind) {
    case 'void':
      return 'undefined';
    case 'optional': {
      const inner = decodeExpression(out, type.element);
      return inner === undefined ? undefined : `r.bool() ? ${inner} : null`;
    }
    case 'array': {
      const bulk = bulkCall(type);
      return bulk === undefined ? undefined : `r.${bulk}(${type.max === null ? '' : out.bound(type.max)})`;
    }
    case 'fixedArray': {
      const bulk = bulkCall(type);
      if (bulk !== undefined) return `r.${bulk}(${out.bound(type.size)})`;
      const inner = type.size.size === 1 ? decodeExpression(out, type.element) : undefined;
      return inner === undefined ? undefined : `[${inner}]`;
    }
    default:
      return `${callee(out, type).decode}(r)`;
  }
}

/** Statements that decode a value into a new constant. */
function decodeLines(out: Output, type: Type, local: string): string[] {
  const direct = decodeExpression(out, type);
  if (direct !== undefined) return [`const ${local} = ${direct};`];
  if (type.kind !== 'array' && type.kind !== 'fixedArray') throw new TypeError(`cannot decode ${type.kind}`);
  const declared = `const ${local}: ${out.typeOf(type)} = [];`;
  const push = `${local}.push(${decodeExpression(out, type.element)});`;
  if (type.kind === 'fixedArray')
    return [declared, `for (let n = 0; n < ${out.bound(type.size)}; n++) ${push}`];
  const max = type.max === null ? out.xdr('MAX_LENGTH') : out.bound(type.max);
  return [declared, `for (let n = r.count(${max}, ${elementBytes(out, type.element)}); n > 0; n--) ${push}`];
}

/** The smallest size of an element, against which a count is checked; for an external type it is taken from its codec. */
function elementBytes(out: Output, element: Type): string {
  const end = unalias(element);
  return end.kind === 'named' && end.type.kind === 'external'
    ? `${out.codecOf(end)}.minBytes`
    : String(minBytesOf(element));
}

/** `head statement`, or a block for several statements. */
function controlled(head: string, body: readonly string[]): string[] {
  const [first = ''] = body;
  if (body.length === 1 && head.length + first.length < LINE_WIDTH) return [`${head} ${first}`];
  return [`${head} {`, ...indent(body), '}'];
}

/** Indents lines by two columns. */
export function indent(lines: readonly string[]): string[] {
  return lines.map((line) => (line === '' ? '' : `  ${line}`));
}
