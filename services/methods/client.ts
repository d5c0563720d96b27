/**
 * The calling end of methods: a proxy on which every name is a method, typed by the server's own
 * types, and the client behind it. It knows nothing of what runs on the server.
 */

import type { Caller, CallOptions } from '../../runtime/index.js';
import { callingProgram } from '../support/program.js';
import { MethodFault } from './fault.js';
import { METHODS_MAX_PACKED, MethodsProgV1Client, type methods_outcome } from './methods.gen.js';
import { PackedError, pack, unpack } from './packed.js';

/**
 * What the methods of `T`, a class or an object on the server, are to a caller: the same parameters, and a
 * promise. Objects in its fields are its dotted names.
 */
export type Remote<T> = {
  readonly [K in keyof T as T[K] extends object ? K : never]: T[K] extends (...params: infer P) => infer R
    ? (...params: P) => Promise<Awaited<R>>
    : Remote<T[K]>;
};

/** One call of several. */
export type MethodCall = readonly [name: string, ...params: unknown[]];

/** Calls methods by name. */
export class MethodsClient {
  private readonly remote: MethodsProgV1Client;

  /** `program` is the service's number where it is not the usual one. */
  constructor(caller: Caller, program?: number) {
    this.remote = new MethodsProgV1Client(callingProgram(caller, program));
  }

  /**
   * Calls one method. Rejects with {@link MethodFault} where it says so, with PackedError where the
   * arguments cannot be sent or the result is none, and with what any call may end in.
   */
  async call(name: string, params: readonly unknown[], options?: CallOptions): Promise<unknown> {
    const outcome = await this.remote.call({ name, params: pack(params, METHODS_MAX_PACKED) }, options);
    const value = read(outcome);
    if (value instanceof MethodFault) throw value;
    return value;
  }

  /** Calls up to 1024 methods in one round trip: a value or a {@link MethodFault} for each, in their order. */
  async multicall(calls: readonly MethodCall[], options?: CallOptions): Promise<unknown[]> {
    const outcomes = await this.remote.multicall(
      calls.map(([name, ...params]) => ({ name, params: pack(params, METHODS_MAX_PACKED) })),
      options,
    );
    if (outcomes.length !== calls.length)
      throw new PackedError(`${outcomes.length} answers to ${calls.length} calls`);
    return outcomes.map(read);
  }

  /** The names there are. */
  list(options?: CallOptions): Promise<string[]> {
    return this.remote.list(options);
  }

  /** The help text of a method, or undefined where there is no such method. */
  async help(name: string, options?: CallOptions): Promise<string | undefined> {
    const about = await this.remote.help(name, options);
    return about.known ? about.text : undefined;
  }

  /** How a method is called, or undefined where there is no such method. */
  async signature(name: string, options?: CallOptions): Promise<string | undefined> {
    const about = await this.remote.signature(name, options);
    return about.known ? about.text : undefined;
  }
}

/** The methods of a server as an object. `Remote<T>` promises what the server says of itself; nothing checks it at run time. */
export function remoteMethods<T>(client: MethodsClient): Remote<T> {
  return pathProxy(client, '') as Remote<T>;
}

function pathProxy(client: MethodsClient, path: string): object {
  // The target is a function so that the proxy can be called.
  return new Proxy(() => undefined, {
    // An object with `then` would be taken for a promise by whoever awaits it.
    get: (_target, key) =>
      typeof key === 'symbol' || key === 'then'
        ? undefined
        : pathProxy(client, path === '' ? key : `${path}.${key}`),
    apply: (_target, _this, params: unknown[]) => client.call(path, params),
  });
}

function read(outcome: methods_outcome): unknown {
  if (!outcome.ok) return new MethodFault(outcome.fault.code, outcome.fault.message);
  return unpack(outcome.value);
}
