/**
 * The services that rpcserve knows by name, and how a module of the user's becomes one. What a
 * service does is its own affair.
 */

import { stat } from 'node:fs/promises';
import path from 'node:path';
import { pathToFileURL } from 'node:url';
import type { Procedure, ServedProcedure, Service } from '../../runtime/index.js';
import type { Listener } from '../../runtime/protocol.js';
import {
  createCalculator,
  createExec,
  createFiles,
  createKv,
  createPrintmsg,
  createRemotedir,
} from '../../services/index.js';
import { CliError, describe, UsageError } from './cli.js';
import { commandsOf, listOf, needed, numbers, type ServiceSettings } from './settings.js';

/** What runs under rpcserve: versions of programs, and how they are put away. */
export interface Hosted {
  readonly services: readonly Service[];
  close?(): Promise<void>;
  /** Why it must not be served on these listeners, or undefined. */
  refuses?(listeners: readonly Listener[]): string | undefined;
}

export type { ServiceSettings };

interface BuiltIn {
  readonly summary: string;
  /** The keys of its settings, and what each is. */
  readonly settings: Readonly<Record<string, string>>;
  create(settings: ServiceSettings): Hosted | Promise<Hosted>;
}

/** The folder of kv's database, unless another one is set. */
const KV_FOLDER = 'kv-data';

/** By name. */
export const builtIns: Readonly<Record<string, BuiltIn>> = {
  printmsg: {
    summary: 'prints messages on the console (rprintmsg HOST MESSAGE)',
    settings: {},
    create: () => ({ services: [createPrintmsg()] }),
  },
  remotedir: {
    summary: 'lists directories (rls HOST PATH)',
    settings: {
      root: 'directories to export, between commas',
      'remotedir-entries': 'most names of one answer',
      'remotedir-program': 'program number',
    },
    create: async (settings) => ({
      services: [
        await createRemotedir({
          roots: listOf(needed(settings, 'root', 'remotedir', 'directories to export')),
          ...numbers(settings, { maxEntries: 'remotedir-entries', program: 'remotedir-program' }),
        }),
      ],
    }),
  },
  kv: {
    summary: 'a store of keys and values (rkv HOST put|update|get|list|delete|stat|watch)',
    settings: {
      'kv-folder': `folder of the database (default: ${KV_FOLDER}, in the current directory)`,
      'kv-max-value': 'most bytes of a value',
      'kv-max-entries': 'most entries',
      'kv-max-bytes': 'most bytes of all',
      'kv-program': 'program number',
    },
    create: (settings) =>
      createKv({
        folder: needed(
          { 'kv-folder': KV_FOLDER, ...settings },
          'kv-folder',
          'kv',
          'a folder for its database',
        ),
        ...numbers(settings, {
          maxValueBytes: 'kv-max-value',
          maxEntries: 'kv-max-entries',
          maxBytes: 'kv-max-bytes',
          program: 'kv-program',
        }),
      }),
  },
  files: {
    summary: 'files up and down, and notices (rput HOST FILE, rget HOST NAME)',
    settings: {
      'files-folder': 'folder whose files are served',
      'files-max-file': 'most bytes of one file',
      'files-max-total': 'most bytes of all files',
      'files-program': 'program number',
    },
    create: (settings) =>
      createFiles({
        folder: needed(settings, 'files-folder', 'files', 'a folder'),
        onError: (error) => process.stderr.write(`files: ${describe(error)}\n`),
        ...numbers(settings, {
          maxFileBytes: 'files-max-file',
          maxTotalBytes: 'files-max-total',
          program: 'files-program',
        }),
      }),
  },
  exec: {
    summary: 'runs listed commands, on loopback only (rexec-ts HOST -- COMMAND)',
    settings: {
      'exec-allow': 'commands that may be run, between commas: date,up=/usr/bin/uptime',
      'exec-shell': 'yes to run any command line and script',
      'exec-time': 'most milliseconds of one call',
      'exec-output': 'most bytes of each output',
      'exec-program': 'program number',
    },
    create: (settings) =>
      createExec({
        commands: commandsOf(settings['exec-allow'] ?? ''),
        freeShell: yesOrNo(settings, 'exec-shell'),
        ...numbers(settings, {
          maxTimeMs: 'exec-time',
          maxOutputBytes: 'exec-output',
          program: 'exec-program',
        }),
      }),
  },
  methods: {
    summary: 'functions by name: the calculator (rmethods HOST call add 2 3)',
    settings: { 'methods-program': 'program number' },
    create: (settings) =>
      createCalculator({
        onError: (error, method) => process.stderr.write(`methods: ${method} failed: ${describe(error)}\n`),
        ...numbers(settings, { program: 'methods-program' }),
      }),
  },
};

function yesOrNo(settings: ServiceSettings, key: string): boolean {
  const text = settings[key] ?? 'no';
  if (text !== 'yes' && text !== 'no') throw new UsageError(`--set ${key} takes yes or no, not ${text}`);
  return text === 'yes';
}

/** A built-in service by name, or the user's module by path (one with a slash, or a `.js`, `.mjs` or `.ts`). */
export async function loadService(name: string, settings: ServiceSettings): Promise<Hosted> {
  if (!/[/\\]|\.[mc]?[jt]s$/.test(name)) {
    const builtIn = Object.hasOwn(builtIns, name) ? builtIns[name] : undefined;
    if (builtIn === undefined)
      throw new UsageError(
        `no built-in service is called ${name} (there are: ${Object.keys(builtIns).join(', ')}); a module of yours is given by its path, as in ./${name}.js`,
      );
    try {
      return await builtIn.create(settings);
    } catch (cause) {
      if (cause instanceof UsageError) throw cause;
      throw new CliError(`${name} cannot be served: ${describe(cause)}`, { cause });
    }
  }
  return fromModule(name, settings);
}

async function fromModule(name: string, settings: ServiceSettings): Promise<Hosted> {
  const file = path.resolve(name);
  const found = await stat(file).catch((cause: unknown) => {
    throw new CliError(`no such file: ${name}`, { cause });
  });
  if (!found.isFile()) throw new CliError(`${name} is no file: give the path of a module`);
  let given: unknown;
  try {
    const loaded = (await import(pathToFileURL(file).href)) as { readonly default?: unknown };
    given =
      typeof loaded.default === 'function'
        ? await (loaded.default as (of: ServiceSettings) => unknown)(settings)
        : loaded.default;
  } catch (cause) {
    // What a module throws is its own; the path of this file in it helps nobody.
    throw new CliError(`${name} could not be loaded: ${describe(cause ?? 'it threw nothing')}`, { cause });
  }
  const hosted = isHosted(given)
    ? given
    : { services: Array.isArray(given) ? (given as unknown[]) : [given] };
  const fault = hosted.services.length === 0 ? 'it exports none' : hosted.services.map(faultOf).find(Boolean);
  if (fault !== undefined)
    throw new CliError(
      `${name} must export by default a service, a list of services, or a function that returns one (what createXyzV1 of its .gen file returns): ${fault}`,
    );
  return hosted as Hosted;
}

function isHosted(value: unknown): value is Hosted {
  return typeof value === 'object' && value !== null && 'services' in value && Array.isArray(value.services);
}

/** What keeps a value from being a service, or undefined. */
function faultOf(value: unknown): string | undefined {
  if (typeof value !== 'object' || value === null) return `${String(value)} is no service`;
  const { name, program, version, procedures } = value as Partial<Record<keyof Service, unknown>>;
  if (typeof name !== 'string') return 'its name is no text';
  if (!isUint32(program)) return `its program ${String(program)} is no number from 0 to 4294967295`;
  if (!isUint32(version)) return `its version ${String(version)} is no number from 0 to 4294967295`;
  if (!Array.isArray(procedures)) return 'its procedures are no list';
  const at = procedures.findIndex((one) => !isServed(one));
  return at < 0
    ? undefined
    : `procedures[${at}] lacks a handle function, or a procedure with number, args and result`;
}

function isServed(value: unknown): boolean {
  if (typeof value !== 'object' || value === null) return false;
  const { handle, procedure } = value as Partial<Record<keyof ServedProcedure, unknown>>;
  if (typeof handle !== 'function' || typeof procedure !== 'object' || procedure === null) return false;
  const { number, args, result } = procedure as Partial<Record<keyof Procedure, unknown>>;
  return isUint32(number) && typeof args === 'object' && typeof result === 'object';
}

function isUint32(value: unknown): boolean {
  return typeof value === 'number' && value >>> 0 === value;
}
