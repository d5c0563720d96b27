/**
 * The services that rpcserve knows by name, and how a module of the user's becomes one. What a
 * service does is its own affair.
 */

import { access } from 'node:fs/promises';
import path from 'node:path';
import { pathToFileURL } from 'node:url';
import type { Service } from '../../runtime/index.js';
import { createPrintmsg } from '../../services/index.js';
import { CliError, describe, UsageError } from './cli.js';

/** What runs under rpcserve: versions of programs, and how they are put away. */
export interface Hosted {
  readonly services: readonly Service[];
  close?(): Promise<void>;
}

/** Options of services, as `--set KEY=VALUE` gives them. */
export type ServiceSettings = Readonly<Record<string, string>>;

interface BuiltIn {
  readonly summary: string;
  /** The keys of its settings, and what each is. */
  readonly settings: Readonly<Record<string, string>>;
  create(settings: ServiceSettings): Hosted | Promise<Hosted>;
}

/** By name. */
export const builtIns: Readonly<Record<string, BuiltIn>> = {
  printmsg: {
    summary: 'prints messages on the console (rprintmsg HOST MESSAGE)',
    settings: {},
    create: () => ({ services: [createPrintmsg()] }),
  },
};

/** A built-in service by name, or the user's module by path (one with a slash, or a `.js`, `.mjs` or `.ts`). */
export async function loadService(name: string, settings: ServiceSettings): Promise<Hosted> {
  if (!/[/\\]|\.[mc]?[jt]s$/.test(name)) {
    const builtIn = Object.hasOwn(builtIns, name) ? builtIns[name] : undefined;
    if (builtIn === undefined)
      throw new UsageError(
        `no built-in service is called ${name} (there are: ${Object.keys(builtIns).join(', ')}); a module of yours is given by its path, as in ./${name}.js`,
      );
    return builtIn.create(settings);
  }
  return fromModule(name, settings);
}

async function fromModule(name: string, settings: ServiceSettings): Promise<Hosted> {
  const file = path.resolve(name);
  try {
    await access(file);
  } catch (cause) {
    throw new CliError(`no such file: ${name}`, { cause });
  }
  let loaded: { readonly default?: unknown };
  try {
    loaded = (await import(pathToFileURL(file).href)) as { readonly default?: unknown };
  } catch (cause) {
    throw new CliError(`${name} could not be loaded: ${describe(cause)}`, { cause });
  }
  const given: unknown =
    typeof loaded.default === 'function'
      ? await (loaded.default as (of: ServiceSettings) => unknown)(settings)
      : loaded.default;
  const hosted = isHosted(given)
    ? given
    : { services: Array.isArray(given) ? (given as unknown[]) : [given] };
  if (hosted.services.length === 0 || !hosted.services.every(isService))
    throw new CliError(
      `${name} must export by default a service, a list of services, or a function that returns one (what createXyzV1 of its .gen file returns)`,
    );
  return hosted as Hosted;
}

function isHosted(value: unknown): value is Hosted {
  return typeof value === 'object' && value !== null && 'services' in value && Array.isArray(value.services);
}

function isService(value: unknown): value is Service {
  return (
    typeof value === 'object' &&
    value !== null &&
    'program' in value &&
    typeof value.program === 'number' &&
    'version' in value &&
    typeof value.version === 'number' &&
    'procedures' in value &&
    Array.isArray(value.procedures)
  );
}
