/**
 * Emits programs: their numbers and, for each version, a table of procedures, a client class, a handlers interface and
 * a service factory. The output imports types of the runtime only.
 */

import { cap, type Field, minBytesOf, type Procedure, type Program, type Version } from '../model/model.js';
import { methodNames, upperFirst, versionName } from '../model/names.js';
import { encodeLines, indent, structDecode } from './codecs.js';
import { docLines, LINE_WIDTH, literal, type Output, PURE } from './output.js';

/** Which parts of a program to emit. */
export interface ProgramParts {
  readonly client: boolean;
  readonly server: boolean;
}

interface Method {
  readonly procedure: Procedure;
  /** The constant that holds its number. */
  readonly constant: string;
  readonly key: string;
  readonly method: string;
  /** The type of its arguments, and its codec. */
  readonly argsType: string;
  readonly argsCodec: string;
  readonly resultType: string;
}

/** Emits a program. */
export function emitProgram(out: Output, program: Program, parts: ProgramParts): void {
  out.write('');
  const number = numberLines(out, program.name, program.number, program.doc);
  program.versions.forEach((version, i) => {
    if (i > 0) out.write('');
    const versionNumber = numberLines(out, version.name, version.number, version.doc);
    const base = versionName(program, version);
    const table = out.names.allocate(base.charAt(0).toLowerCase() + base.slice(1));
    const methods = emitTable(out, program, version, { base, table, number, versionNumber });
    if (parts.client) emitClient(out, program, version, base, table, methods);
    if (parts.server) emitServer(out, program, version, { base, table, number, versionNumber }, methods);
  });
}

interface Context {
  /** `MessageprogV1`, from which all names are derived. */
  readonly base: string;
  readonly table: string;
  /** The constants of the program number and the version number. */
  readonly number: string;
  readonly versionNumber: string;
}

function numberLines(out: Output, name: string, ref: Program['number'], doc: string | undefined): string {
  const { name: constant, isNew } = out.numberConstant(name, ref.value);
  if (isNew) {
    const value = ref.symbol === undefined ? literal(ref) : out.number(ref);
    out.write(...docLines(doc), `export const ${constant} = ${value};`);
  }
  return constant;
}

function emitTable(out: Output, program: Program, version: Version, context: Context): Method[] {
  const keys = new Set(['program', 'version', 'name', 'uuid', '__proto__']);
  const names = methodNames(version);
  const numbers: string[] = [];
  const methods = version.procedures.map((procedure, i): Method => {
    const { name: constant, isNew } = out.numberConstant(procedure.name, procedure.number.value);
    const value =
      procedure.number.symbol === undefined ? literal(procedure.number) : out.number(procedure.number);
    if (isNew) numbers.push(`export const ${constant} = ${value};`);
    let key = procedure.name;
    while (keys.has(key)) key += '_';
    keys.add(key);
    const method = names[i] as string;
    return {
      procedure,
      constant,
      key,
      method,
      ...argsOf(out, context, method, procedure),
      resultType: out.typeOf(procedure.result),
    };
  });
  const isBehindArgs = out.lines.at(-1) === ');';
  if (numbers.length > 0) out.write(...(isBehindArgs ? [''] : []), ...numbers);
  out.write(
    '',
    `/** ${program.name} version ${version.number.value}: its procedures. */`,
    `export const ${context.table} = {`,
  );
  const at = `program: ${context.number}, version: ${context.versionNumber}`;
  out.write(
    `  program: ${context.number},`,
    `  version: ${context.versionNumber},`,
    `  name: '${program.name}',`,
  );
  const uuid = version.annotations.uuid ?? program.annotations.uuid;
  if (uuid !== undefined) out.write(`  uuid: '${uuid}',`);
  for (const { procedure, constant, key, argsType, argsCodec, resultType } of methods) {
    const parts = [
      at,
      `number: ${constant}`,
      `name: '${procedure.name}'`,
      `args: ${argsCodec}`,
      `result: ${out.publicCodecOf(procedure.result)}`,
    ];
    const { idempotent, deadlineMs } = procedure.annotations;
    if (idempotent === true) parts.push('idempotent: true');
    if (deadlineMs !== undefined) parts.push(`deadlineMs: ${deadlineMs}`);
    const type = `${out.runtime('Procedure')}<${argsType}, ${resultType}>`;
    out.write(
      ...docLines(procedure.doc, '  '),
      `  ${key}: {`,
      ...parts
        .join(', ')
        .split(', ')
        .reduce(joinParts, [])
        .map((part) => `    ${part},`),
      `  } satisfies ${type},`,
    );
  }
  out.write('} as const;');
  return methods;
}

/** One property per line; arguments of a codec stay on its line. */
function joinParts(lines: string[], part: string): string[] {
  const last = lines.at(-1);
  const open = last === undefined ? 0 : last.split('(').length - last.split(')').length;
  if (open > 0) lines[lines.length - 1] = `${last}, ${part}`;
  else lines.push(part);
  return lines;
}

/** The type of the arguments: void, the type of a single argument, or a tuple, encoded in sequence (rpcgen -N). */
function argsOf(
  out: Output,
  context: Context,
  method: string,
  procedure: Procedure,
): { argsType: string; argsCodec: string } {
  const { args } = procedure;
  const [only] = args;
  if (only === undefined) return { argsType: 'void', argsCodec: out.xdr('voidCodec') };
  if (args.length === 1) return { argsType: out.typeOf(only.type), argsCodec: out.publicCodecOf(only.type) };
  const base = `${context.base}${upperFirst(method)}Args`;
  const type = out.names.allocate(base);
  const codec = out.names.allocate(`${base.charAt(0).toLowerCase()}${base.slice(1)}Codec`);
  const names = argNames(out, args);
  const encode = args.flatMap((arg, i) => encodeLines(out, arg.type, names[i] as string));
  const fields = args.map((arg, i): Field => ({ ...arg, key: names[i] as string }));
  const minBytes = cap(args.reduce((sum, arg) => sum + minBytesOf(arg.type), 0));
  const elements = args.map((arg, i) => `${names[i]}: ${out.typeOf(arg.type)}`);
  out.write(
    '',
    `/** The arguments of ${procedure.name}, encoded in sequence. */`,
    `export type ${type} = [${elements.join(', ')}];`,
    `export const ${codec}: ${out.xdr('Codec', true)}<${type}> = ${PURE}${out.xdr('codec')}(`,
    `  ${minBytes},`,
    `  (w, [${names.join(', ')}]) => {`,
    ...indent(indent(encode)),
    '  },',
    '  (r) => {',
    ...indent(indent(structDecode(out, fields, false, ['[', ']']))),
    '  },',
    ');',
  );
  return { argsType: type, argsCodec: out.lenientCodec(codec) };
}

/** The parameter names of the arguments: those of the `.x`, or arg1, arg2, ... */
function argNames(out: Output, args: readonly Field[]): string[] {
  const taken = new Set(['options', 'context', 'handlers', 'args']);
  return args.map((arg, i) => {
    let name = out.names.local(arg.name === '' ? `arg${i + 1}` : arg.name);
    while (taken.has(name)) name = out.names.local(`${name}_`);
    taken.add(name);
    return name;
  });
}

function parameters(out: Output, { procedure, argsType }: Method): { declared: string[]; passed: string } {
  const { args } = procedure;
  const [only] = args;
  if (only === undefined) return { declared: [], passed: 'undefined' };
  if (args.length === 1) {
    const [name] = argNames(out, args);
    const local = only.name === '' ? 'args' : (name as string);
    return { declared: [`${local}: ${argsType}`], passed: local };
  }
  const names = argNames(out, args);
  return {
    declared: args.map((arg, i) => `${names[i]}: ${out.typeOf(arg.type)}`),
    passed: `[${names.join(', ')}]`,
  };
}

function emitClient(
  out: Output,
  program: Program,
  version: Version,
  base: string,
  table: string,
  methods: readonly Method[],
): void {
  const name = out.names.allocate(`${base}Client`);
  const caller = out.runtime('Caller');
  out.write(
    '',
    `/** Calls ${program.name} version ${version.number.value}. */`,
    `export class ${name} {`,
    `  readonly #caller: ${caller};`,
    '',
    `  constructor(caller: ${caller}) {`,
    '    this.#caller = caller;',
    '  }',
  );
  for (const each of methods) {
    const { declared, passed } = parameters(out, each);
    const signature = [...declared, `options?: ${out.runtime('CallOptions')}`].join(', ');
    out.write(
      '',
      ...docLines(each.procedure.doc, '  '),
      ...wrapped(`  ${each.method}(`, signature, `): Promise<${each.resultType}> {`),
      `    return this.#caller.call(${table}.${each.key}, ${passed}, options);`,
      '  }',
    );
  }
  out.write('}');
}

function emitServer(
  out: Output,
  program: Program,
  version: Version,
  context: Context,
  methods: readonly Method[],
): void {
  const { base, table } = context;
  const handlers = out.names.allocate(`${base}Handlers`);
  const factory = out.names.allocate(`create${base}`);
  out.write(
    '',
    `/** The handlers of ${program.name} version ${version.number.value}. */`,
    `export interface ${handlers} {`,
  );
  methods.forEach((each, i) => {
    const { declared } = parameters(out, each);
    const signature = [...declared, `context: ${out.runtime('CallContext')}`].join(', ');
    const mark = isNull(each) ? '?' : '';
    const result =
      each.resultType === 'void'
        ? 'void | Promise<void>'
        : `${each.resultType} | Promise<${each.resultType}>`;
    const doc =
      isNull(each) && each.procedure.doc === undefined
        ? 'Optional: without it, the procedure does nothing.'
        : each.procedure.doc;
    if (i > 0) out.write('');
    out.write(...docLines(doc, '  '), ...wrapped(`  ${each.method}${mark}(`, signature, `): ${result};`));
  });
  out.write(
    '}',
    '',
    `/** The service of ${program.name} version ${version.number.value} that calls \`handlers\`. */`,
    `export function ${factory}(handlers: ${handlers}): ${out.runtime('Service')} {`,
    '  return {',
    `    program: ${context.number},`,
    `    version: ${context.versionNumber},`,
    `    name: '${program.name}',`,
    '    procedures: [',
  );
  for (const each of methods) {
    const count = each.procedure.args.length;
    const passed = count === 0 ? 'context' : count === 1 ? 'args, context' : '...args, context';
    const args = count === 0 ? '_args: void' : `args: ${each.argsType}`;
    const call = `handlers.${each.method}${isNull(each) ? '?.' : ''}(${passed})`;
    const head = `        handle: (${args}, context: ${out.runtime('CallContext')}) =>`;
    const line = `${head} ${call},`;
    out.write(
      '      {',
      `        procedure: ${table}.${each.key},`,
      ...(line.length <= LINE_WIDTH ? [line] : [head, `          ${call},`]),
      '      },',
    );
  }
  out.write('    ],', '  };', '}');
}

/** Whether it is procedure 0, which does nothing by convention (RFC 5531 section 12.1), so its handler is optional. */
function isNull({ procedure, resultType, argsType }: Method): boolean {
  return procedure.number.value === 0n && resultType === 'void' && argsType === 'void';
}

function wrapped(head: string, parts: string, tail: string): string[] {
  const line = head + parts + tail;
  if (line.length <= LINE_WIDTH) return [line];
  const indentation = ' '.repeat(head.search(/\S/));
  return [head, `${indentation}  ${parts},`, `${indentation}${tail}`];
}
