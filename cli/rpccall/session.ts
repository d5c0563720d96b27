/**
 * Calls of one interface on one host: JSON in, JSON out. It keeps a client for each version it has
 * called, and takes an older version where the server does not have the newest.
 */

import { ReplyError, type RpcClient } from '../../runtime/index.js';
import {
  type Codec,
  fromJson,
  type Json,
  type JsonOptions,
  template,
  toJson,
  XdrError,
} from '../../xdr/index.js';
import { UsageError } from '../support/cli.js';
import { type Choice, chooseProcedures, type Opened } from './interface.js';
import { connectTarget, type Tap, type TargetOptions } from './target.js';

/** Arguments of a call as they were given: JSON text, or none. */
export type ArgsText = string | undefined;

/** One interface on one host. */
export class Session {
  readonly opened: Opened;
  readonly walk: JsonOptions;
  private readonly host: string;
  private readonly options: TargetOptions;
  private readonly tap: Tap | undefined;
  private readonly clients = new Map<string, Promise<RpcClient>>();

  constructor(host: string, opened: Opened, options: TargetOptions, walk: JsonOptions = {}, tap?: Tap) {
    this.host = host;
    this.opened = opened;
    this.options = options;
    this.walk = walk;
    this.tap = tap;
  }

  /** Calls a procedure. Throws UsageError for JSON that does not fit, and whatever the call ends in. */
  async call(name: string, args: ArgsText): Promise<Json> {
    const [first, ...others] = chooseProcedures(this.opened, name);
    try {
      return await this.callOne(first, args);
    } catch (error) {
      // Nobody said which version, and the server told which it has.
      const older = others.filter(({ procedure: { version } }) => isServed(error, version));
      for (const choice of older) return this.callOne(choice, args);
      throw error;
    }
  }

  /** A call that has been found and checked, to be made often. */
  async prepare(name: string, args: ArgsText): Promise<() => Promise<unknown>> {
    const [{ procedure }, ...others] = chooseProcedures(this.opened, name);
    const value = argsOf(procedure.args, args, procedure.name, this.walk);
    const client = await this.clientOf({ procedure });
    try {
      await client.ping(procedure.program, procedure.version);
    } catch (error) {
      const older = others.find((choice) => isServed(error, choice.procedure.version));
      if (older !== undefined)
        return this.prepare(`${older.procedure.version}.${older.procedure.name}`, args);
    }
    return () => client.call(procedure, value);
  }

  private async callOne({ procedure }: Choice, args: ArgsText): Promise<Json> {
    const value = argsOf(procedure.args, args, procedure.name, this.walk);
    const client = await this.clientOf({ procedure });
    let spare = 0;
    const lenient = {
      ...procedure,
      result: withSpare(procedure.result, (bytes) => {
        spare = bytes;
      }),
    };
    const result = await this.wrongFields(client.call(lenient, value));
    if (spare > 0)
      process.stderr.write(
        `rpccall: ${procedure.name} answered ${spare} bytes more than its result has: is that the right version of the interface?\n`,
      );
    return toJson(procedure.result, result, this.walk);
  }

  /** A value that does not fit its type is found only when it is encoded. */
  private async wrongFields<T>(call: Promise<T>): Promise<T> {
    try {
      return await call;
    } catch (error) {
      throw error instanceof XdrError ? wrongJson(error) : error;
    }
  }

  private clientOf({ procedure: { program, version } }: Pick<Choice, 'procedure'>): Promise<RpcClient> {
    const key = `${program} ${version}`;
    let client = this.clients.get(key);
    if (client === undefined) {
      client = connectTarget(this.host, { program, version }, this.options, this.tap);
      this.clients.set(key, client);
      // A way that could not be found is looked for again by the next call.
      client.catch(() => this.clients.delete(key));
    }
    return client;
  }

  async close(): Promise<void> {
    for (const client of await Promise.allSettled(this.clients.values()))
      if (client.status === 'fulfilled') await client.value.close();
  }
}

/** A result with whatever stands behind it: old servers send more than they declare, and C's clients never look. */
function withSpare(type: Codec<unknown>, onSpare: (bytes: number) => void): Codec<unknown> {
  return {
    ...type,
    decode(reader) {
      const value = type.decode(reader);
      const { remaining } = reader;
      if (remaining > 0 && remaining % 4 === 0) {
        reader.fixedOpaque(remaining);
        onSpare(remaining);
      }
      return value;
    },
  };
}

function isServed(error: unknown, version: number): boolean {
  if (!(error instanceof ReplyError) || error.code !== 'RPC_PROG_MISMATCH') return false;
  const { refusal } = error;
  return 'low' in refusal && version >= refusal.low && version <= refusal.high;
}

/** The value that an argument stands for. Throws UsageError that names the field and what is due. */
export function argsOf(
  type: Choice['procedure']['args'],
  text: ArgsText,
  name: string,
  walk: JsonOptions,
): unknown {
  const kind = type.shape?.kind;
  if (text === undefined) {
    if (kind === 'void') return undefined;
    throw new UsageError(`${name} takes arguments as JSON, as in '${JSON.stringify(template(type))}'`);
  }
  try {
    return fromJson(type, kind === 'string' && !/^\s*"/.test(text) ? text : parseJson(text), walk);
  } catch (error) {
    throw error instanceof XdrError ? wrongJson(error) : error;
  }
}

/** What a text of JSON says. Throws UsageError with the place where it breaks off. */
export function parseJson(text: string): Json {
  try {
    return JSON.parse(text) as Json;
  } catch (cause) {
    const why = cause instanceof Error ? cause.message : String(cause);
    throw new UsageError(`this is no JSON: ${why}`, { cause });
  }
}

/** An error of a codec as one of the person who wrote the JSON. */
export function wrongJson(error: XdrError): UsageError {
  const where = error.path === '' ? 'the JSON' : `member ${error.path} of the JSON`;
  return new UsageError(`${where} does not fit: ${error.reason}`, { cause: error });
}
