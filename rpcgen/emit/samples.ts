/**
 * Emits a sample server and a sample client of a program, to be edited; see `--samples`. The server replies to each call
 * with a default value (zero, empty, null). rpcserve runs it without changes.
 */

import type {
  CodecOptions,
  Field,
  Interface,
  NamedType,
  Procedure,
  Program,
  Type,
  UnionType,
} from '../model/model.js';
import { unalias } from '../model/model.js';
import { camelCase, isReserved, methodNames, upperFirst, versionName } from '../model/names.js';
import { Output } from './output.js';

/** Longer arrays of fixed length are made by a call and not written as a literal. */
const MAX_WRITTEN = 8;

/** Options of {@link emitSamples}: those of the generated module, and the runtime. */
export interface SampleOptions extends CodecOptions {
  /** Module of the runtime. Default `rpcbind-ts/runtime`. */
  readonly runtime?: string | undefined;
}

/** The texts of both files; `module` is the specifier of the generated module. */
export function emitSamples(
  model: Interface,
  program: Program,
  module: string,
  options: SampleOptions = {},
): { readonly server: string; readonly client: string } {
  return {
    server: serverOf(model, program, module, options),
    client: clientOf(program, module, options.runtime ?? 'rpcbind-ts/runtime'),
  };
}

function head(what: string, program: Program): string {
  return `// A sample ${what} for ${program.name}, to be edited: rpcgen-ts does not overwrite it.`;
}

function serverOf(model: Interface, program: Program, module: string, options: CodecOptions): string {
  const values = new SampleValues(model, options);
  const variables = variablesOf(program);
  const body = program.versions.flatMap((version, i) => {
    const methods = methodNames(version).flatMap((method, m) => {
      const procedure = version.procedures[m] as Procedure;
      if (isNull(procedure)) return [];
      const value = values.valueOf(procedure.result);
      const statement =
        value === undefined
          ? `throw new Error('the result of ${procedure.name} has no value of finite size');`
          : value === 'undefined'
            ? `// ${procedure.name} returns nothing.`
            : `return ${value};`;
      return [`  ${method}() {`, `    ${statement}`, '  },'];
    });
    return ['', `export const ${variables[i]} = create${versionName(program, version)}({`, ...methods, '});'];
  });
  const factories = program.versions.map((version) => `create${versionName(program, version)}`);
  return `${[
    head('server', program),
    '// Compile it and run it with: rpcserve ./THIS.js',
    '',
    ...values.importLines(),
    `import { ${[...factories, ...values.names()].join(', ')} } from '${module}';`,
    ...body,
    '',
    `export default [${variables.join(', ')}];`,
  ].join('\n')}\n`;
}

function clientOf(program: Program, module: string, runtime: string): string {
  const classes = program.versions.map((version) => `${versionName(program, version)}Client`);
  const variables = variablesOf(program);
  const body = program.versions.flatMap((version, i) => {
    const calls = methodNames(version).map((method, m) => {
      const procedure = version.procedures[m] as Procedure;
      return procedure.args.length === 0
        ? `  console.log('${procedure.name}', await client.${method}());`
        : `  // console.log('${procedure.name}', await client.${method}(...));`;
    });
    return [
      '',
      '/** Calls each procedure once: fill in the arguments. */',
      `export async function try${upperFirst(variables[i] as string)}(caller: Caller): Promise<${classes[i]}> {`,
      `  const client = new ${classes[i]}(caller);`,
      ...calls,
      '  return client;',
      '}',
    ];
  });
  return `${[
    head('client', program),
    '',
    `import type { Caller } from '${runtime}';`,
    `import { ${classes.join(', ')} } from '${module}';`,
    ...body,
  ].join('\n')}\n`;
}

function variablesOf(program: Program): string[] {
  const taken = new Set<string>();
  return program.versions.map((version) => {
    let name = camelCase(version.name);
    while (taken.has(name) || isReserved(name)) name += '_';
    taken.add(name);
    return name;
  });
}

/** Whether it is procedure 0 without arguments and result, which needs no handler. */
function isNull({ number, args, result }: Procedure): boolean {
  return number.value === 0n && args.length === 0 && result.kind === 'void';
}

/** The default value of each type, as an expression. */
class SampleValues {
  private readonly out: Output;
  private readonly used = new Set<string>();

  constructor(model: Interface, options: CodecOptions) {
    this.out = new Output(model, { xdr: '', runtime: '' }, options);
  }

  /** The enums of the module that the values use. */
  names(): string[] {
    return [...this.used].toSorted();
  }

  /** Imports of enums of other modules. */
  importLines(): string[] {
    return this.out.importLines();
  }

  /** Undefined if the type has no value of finite size. */
  valueOf(type: Type, within: ReadonlySet<NamedType> = new Set()): string | undefined {
    switch (type.kind) {
      case 'void':
        return 'undefined';
      case 'bool':
        return 'false';
      case 'hyper':
      case 'uhyper':
        return '0n';
      case 'string':
        return this.out.modeOf(type) === 'bytes' ? 'new Uint8Array()' : "''";
      case 'opaque':
        return 'new Uint8Array()';
      case 'fixedOpaque':
        return `new Uint8Array(${type.size.size})`;
      case 'quadruple':
        return 'new Uint8Array(16)';
      case 'array':
        return '[]';
      case 'optional':
        return 'null';
      case 'fixedArray': {
        const { size } = type.size;
        const element = this.valueOf(type.element, within);
        if (size === 0) return '[]';
        if (element === undefined) return undefined;
        return size <= MAX_WRITTEN
          ? `[${Array.from({ length: size }, () => element).join(', ')}]`
          : `Array.from({ length: ${size} }, () => (${element}))`;
      }
      case 'list': {
        const node = type.minLength === 0 ? '' : this.named(type.node, within);
        return node === undefined ? undefined : `[${node}]`;
      }
      case 'named':
        return this.named(type.type, within);
      default:
        return '0';
    }
  }

  private named(type: NamedType, within: ReadonlySet<NamedType>): string | undefined {
    if (within.has(type)) return undefined;
    const inside = new Set([...within, type]);
    switch (type.kind) {
      case 'enum':
        return this.member(type, type.members[0]?.name ?? '');
      case 'alias':
        return this.valueOf(type.type, inside);
      case 'struct':
        return object(type.fields.map((field) => this.field(field, inside)));
      case 'union':
        return this.union(type, inside);
      case 'external':
        return undefined;
    }
  }

  private member(type: NamedType & { kind: 'enum' }, name: string): string {
    const text = this.out.member(type, name);
    if (type.origin.kind === 'module') this.out.write(text);
    else this.used.add(this.out.namesOf(type).type);
    return text;
  }

  private field(field: Field, within: ReadonlySet<NamedType>): string | undefined {
    const value = this.valueOf(field.type, within);
    return value === undefined ? undefined : `${field.key}: ${value}`;
  }

  /** The first arm with a finite value; the default arm if there are no cases. */
  private union(type: UnionType, within: ReadonlySet<NamedType>): string | undefined {
    const { discriminant } = type;
    for (const { cases, field } of type.arms) {
      const [first] = cases;
      const value = field === null ? '' : this.field(field, within);
      if (first === undefined || value === undefined) continue;
      const of = unalias(discriminant.type);
      const found =
        of.kind === 'named' && of.type.kind === 'enum'
          ? of.type.members.find((each) => each.value === first.value)?.name
          : undefined;
      const which =
        of.kind === 'named' && of.type.kind === 'enum' && found !== undefined
          ? this.member(of.type, found)
          : `${first.value}${typeof first.value === 'bigint' ? 'n' : ''}`;
      return object([`${discriminant.key}: ${which}`, value]);
    }
    if (type.defaultArm === undefined) return undefined;
    const rest = type.defaultArm === null ? '' : this.field(type.defaultArm, within);
    return object([this.field(discriminant, within), rest]);
  }
}

function object(parts: readonly (string | undefined)[]): string | undefined {
  if (parts.some((part) => part === undefined)) return undefined;
  const there = parts.filter((part) => part !== '');
  return there.length === 0 ? '{}' : `{ ${there.join(', ')} }`;
}
