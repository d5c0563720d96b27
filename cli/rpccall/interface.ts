/**
 * Which interface a command line means: a `.x` of the user's, or one of the well-known ones that
 * come along. It is read and checked anew by every command.
 */

import { readdirSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import {
  compileFiles,
  type FileOptions,
  IdlError,
  type Interface,
  type LiveInterface,
  type LiveProcedure,
  live,
} from '../../rpcgen/index.js';
import { CliError, UsageError } from '../support/cli.js';

/** An interface, as it was declared and ready to be called. */
export interface Opened {
  /** As the user named it. */
  readonly name: string;
  readonly model: Interface;
  readonly live: LiveInterface;
}

/** What the text of a `.x` may need beside it. */
export type InterfaceOptions = Pick<FileOptions, 'defines' | 'includeDirs' | 'imports'>;

const root = new URL('../../../', import.meta.url);

/** Other names of well-known interfaces. */
const ALIASES: Readonly<Record<string, string>> = {
  portmapper: 'rpcbind',
  portmap: 'rpcbind',
  sunrpc: 'rpcbind',
  mountd: 'mount',
  nfs3: 'nfs',
  nlockmgr: 'nlm',
  lockd: 'nlm',
  nsm: 'status',
  statd: 'status',
  rstatd: 'rstat',
  rusersd: 'rusers',
  rquotad: 'rquota',
  nis: 'yp',
  ypserv: 'yp',
  'vxi-11': 'vxi11',
};

/** The well-known interfaces by name, with their files. */
export function wellKnown(): ReadonlyMap<string, string> {
  const folder = fileURLToPath(new URL('interfaces/', root));
  const found = readdirSync(folder)
    .filter((file) => file.endsWith('.x'))
    .map((file): [string, string] => [file.slice(0, -2), `${folder}${file}`]);
  const rpcbind = fileURLToPath(new URL('rpcbind/rpcbind.x', root));
  return new Map([...found, ['rpcbind', rpcbind] as const].toSorted(([a], [b]) => (a < b ? -1 : 1)));
}

/** Reads an interface by its file (one that ends in `.x` or has a slash) or its well-known name. Throws CliError. */
export function openInterface(name: string, options: InterfaceOptions = {}): Opened {
  const file = /\.x$|[/\\]/.test(name)
    ? name
    : wellKnown().get(ALIASES[name.toLowerCase()] ?? name.toLowerCase());
  if (file === undefined)
    throw new UsageError(
      `no well-known interface is called ${name} (there are: ${[...wellKnown().keys()].join(', ')}); a file of yours is given by its name, as in ${name}.x`,
    );
  try {
    const [model] = compileFiles([file], options);
    if (model === undefined) throw new TypeError('one file compiles to one interface');
    return { name, model, live: live(model) };
  } catch (cause) {
    if (cause instanceof IdlError) throw new CliError(firstLines(cause), { cause });
    if (cause instanceof Error && 'syscall' in cause)
      throw new CliError(`${file} cannot be read: ${cause.message.replace(/,.*$/, '')}`, { cause });
    throw cause;
  }
}

/** The first of many complaints about a `.x`, and how many there are. */
function firstLines(error: IdlError): string {
  const [first = ''] = error.message.split('\n');
  const more = error.diagnostics.length - 1;
  return more === 0 ? first : `${first} (and ${more} more: rpcgen-ts shows them)`;
}

/** Finds which well-known interface has a program; undefined where none has. */
export function wellKnownWith(program: number): Opened | undefined {
  for (const name of wellKnown().keys()) {
    const opened = openInterface(name);
    if (opened.live.programs.some(({ number }) => number === program)) return opened;
  }
  return undefined;
}

/** A procedure and the names of where it is. */
export interface Choice {
  readonly procedure: LiveProcedure;
  readonly program: string;
  readonly versionName: string;
}

/** All procedures of an interface, in its order. */
export function choices({ live: { programs } }: Opened): Choice[] {
  return programs.flatMap((program) =>
    program.versions.flatMap((version) =>
      version.procedures.map((procedure) => ({
        procedure,
        program: program.name,
        versionName: version.name,
      })),
    ),
  );
}

/** `MOUNTPROG.3.MOUNTPROC3_EXPORT`, which is never ambiguous. */
export function fullName({ procedure, program }: Choice): string {
  return `${program}.${procedure.version}.${procedure.name}`;
}

/**
 * The procedures that `PROC`, `VERS.PROC` or `PROG.VERS.PROC` means: one program's, the newest
 * version first. Each part is a name or a number; a procedure may be named without the prefix that
 * all of its version share (EXPORT for MOUNTPROC3_EXPORT), in any case of letters. Throws UsageError.
 */
export function chooseProcedures(opened: Opened, text: string): [Choice, ...Choice[]] {
  const parts = text.split('.');
  const [name = ''] = parts.slice(-1);
  const [version] = parts.slice(-2, -1);
  const [program] = parts.slice(-3, -2);
  if (parts.length > 3 || parts.includes(''))
    throw new UsageError(`${text} is no procedure: it is PROC, VERS.PROC or PROG.VERS.PROC`);
  const all = choices(opened);
  const within = all.filter(
    (choice) =>
      (program === undefined ||
        sameName(choice.program, program) ||
        numberIs(program, choice.procedure.program)) &&
      (version === undefined ||
        sameName(choice.versionName, version) ||
        numberIs(version, choice.procedure.version)),
  );
  const tests: ((choice: Choice) => boolean)[] = [
    ({ procedure }) => procedure.name === name,
    ({ procedure }) =>
      sameName(procedure.name, name) ||
      sameName(procedure.method, name) ||
      sameName(shortName(procedure.name), name),
    ({ procedure }) => numberIs(name, procedure.number),
  ];
  const found = tests.map((test) => within.filter(test)).find((some) => some.length > 0) ?? [];
  const [first, ...rest] = found.toSorted((a, b) => b.procedure.version - a.procedure.version);
  if (first === undefined)
    throw new UsageError(`${opened.name} has no procedure ${text}${nearest(name, within)}`);
  if (rest.some(({ procedure }) => procedure.program !== first.procedure.program))
    throw new UsageError(
      `${text} is ambiguous in ${opened.name}: it is one of ${found.map(fullName).join(', ')}`,
    );
  return [first, ...rest];
}

/** Without the prefix that tells the protocol: `MOUNTPROC3_EXPORT` is EXPORT. */
export function shortName(name: string): string {
  return name.replace(/^[A-Za-z0-9]*PROC\d*_/, '');
}

function sameName(one: string, other: string): boolean {
  const plain = (text: string): string => text.replaceAll('_', '').toLowerCase();
  return plain(one) === plain(other);
}

function numberIs(text: string, number: number): boolean {
  return /^(0x[0-9a-f]+|\d+)$/i.test(text) && Number(text) === number;
}

/** Most names that a complaint lists. */
const MAX_LISTED = 30;

function nearest(name: string, among: readonly Choice[]): string {
  const names = [...new Set(among.map(({ procedure }) => shortName(procedure.name)))];
  const near = names.filter((each) => each.toLowerCase().includes(name.toLowerCase()));
  const list = near.length > 0 ? near : names;
  if (list.length === 0) return '';
  const more = list.length > MAX_LISTED ? `, and ${list.length - MAX_LISTED} more` : '';
  return `: it has ${list.slice(0, MAX_LISTED).join(', ')}${more}`;
}
