/**
 * Which functions may be called by which name. All names are put into one table beforehand; what a
 * caller sends is looked up there and nowhere else, so that no name can reach a prototype, an inherited or a
 * private member.
 */

import type { CallContext } from '../../runtime/index.js';
import { MethodFault } from './fault.js';
import { METHODS_MAX_LIST, METHODS_MAX_NAME, METHODS_MAX_TEXT, methods_code } from './methods.gen.js';
import type { WorkerPool } from './workers.js';

/** Any function at all; what its parameters are is between it and its callers. */
export type AnyFunction = (...params: never[]) => unknown;

/** What may be told of a method. */
export interface MethodOptions {
  /** One or several lines for METHOD_HELP. Default: none. */
  readonly help?: string;
  /** For METHOD_SIGNATURE: `(a: number, b: number) => number`. Default: the number of parameters. */
  readonly signature?: string;
}

/** See {@link MethodRegistry.registerInstance}. */
export interface InstanceOptions {
  /** Put before each name, with a dot: `calc` makes `add` to `calc.add`. Default: nothing. */
  readonly prefix?: string;
  /** Whether methods of the objects in its own public fields are taken too, by dotted names. Default false. */
  readonly dotted?: boolean;
  readonly about?: Readonly<Record<string, MethodOptions>>;
}

/** Answers to names that are not registered; throws {@link MethodFault} for those it does not know either. */
export type Dispatch = (method: string, params: readonly unknown[], context: CallContext) => unknown;

interface Method {
  readonly help: string;
  readonly signature: string;
  call(params: readonly unknown[], context: CallContext): unknown;
}

/** Dotted names go no deeper. */
const MAX_DOTS = 4;
const SEGMENT = /^[A-Za-z][A-Za-z0-9_]*$/;
/** `then` would make a promise of whoever awaits a proxy. */
const NEVER = new Set(['constructor', 'then']);

/** The table of methods of one service. */
export class MethodRegistry {
  private readonly table = new Map<string, Method>();
  private readonly pool: WorkerPool;
  private readonly dispatch: Dispatch | undefined;

  constructor(pool: WorkerPool, dispatch?: Dispatch) {
    this.pool = pool;
    this.dispatch = dispatch;
  }

  /** All names, sorted. */
  get names(): string[] {
    return [...this.table.keys()].sort();
  }

  /** The help text of a method, maybe empty, or undefined where there is no such method. */
  help(name: string): string | undefined {
    return this.table.get(name)?.help;
  }

  signature(name: string): string | undefined {
    return this.table.get(name)?.signature;
  }

  /**
   * Makes a function callable. Throws RangeError for a name that is taken, is not made of letters,
   * digits, `_` and dots, has a part that begins with `_`, or is over 255 bytes; and for one too many.
   */
  registerFunction(name: string, fn: AnyFunction, options: MethodOptions = {}): void {
    this.add(name, options, fn.length, (params) => Reflect.apply(fn, undefined, params));
  }

  /**
   * Makes the public methods of an object callable: functions in fields of its own, and methods of its
   * own class. Not: what the class inherits, accessors, names that begin with `_`, `#private` ones, the constructor.
   * TypeScript's `private` leaves no trace at run time: use `#`. Fields that come later are not seen.
   */
  registerInstance(instance: object, options: InstanceOptions = {}): void {
    this.addMembers(instance, options.prefix ?? '', options, new Set());
  }

  /**
   * Makes the functions that a module exports callable; they run on worker threads, so arguments and
   * results must be such as can be copied. Rejects where the module cannot be imported or exports no function.
   */
  async registerModule(module: URL, options: InstanceOptions = {}): Promise<void> {
    const exported: unknown = await import(module.href);
    const functions = Object.entries(exported as object).filter(
      (entry): entry is [string, AnyFunction] =>
        typeof entry[1] === 'function' && isPublic(entry[0]) && !/^class\b/.test(String(entry[1])),
    );
    if (functions.length === 0) throw new RangeError(`${module.href} exports no function`);
    const prefix = options.prefix === undefined ? '' : `${options.prefix}.`;
    for (const [name, fn] of functions)
      this.add(prefix + name, options.about?.[name] ?? {}, fn.length, (params, { signal, peer }) =>
        // Over UDP nobody can tell whether the caller is still there.
        this.pool.run(module.href, name, params, peer.transport === 'udp' ? undefined : signal),
      );
  }

  /** Calls a method. Throws, or rejects with, what it fails with; {@link MethodFault} METHODS_NO_METHOD for an unknown name. */
  call(name: string, params: readonly unknown[], context: CallContext): unknown {
    const method = this.table.get(name);
    if (method !== undefined) return method.call(params, context);
    if (this.dispatch !== undefined) return this.dispatch(name, params, context);
    throw new MethodFault(methods_code.METHODS_NO_METHOD, 'there is no such method');
  }

  private add(name: string, options: MethodOptions, arity: number, call: Method['call']): void {
    if (!name.split('.').every(isPublic) || name.length > METHODS_MAX_NAME)
      throw new RangeError(`${name} cannot be the name of a method`);
    if (this.table.has(name)) throw new RangeError(`${name} is registered already`);
    if (this.table.size >= METHODS_MAX_LIST) throw new RangeError(`more than ${METHODS_MAX_LIST} methods`);
    const { help = '', signature = `(${arity} ${arity === 1 ? 'parameter' : 'parameters'})` } = options;
    for (const text of [help, signature])
      if (Buffer.byteLength(text) > METHODS_MAX_TEXT)
        throw new RangeError(`the text about ${name} is over ${METHODS_MAX_TEXT} bytes`);
    this.table.set(name, { help, signature, call });
  }

  private addMembers(instance: object, prefix: string, options: InstanceOptions, above: Set<object>): void {
    above.add(instance);
    const members = new Map<string, unknown>();
    const prototype: unknown = Object.getPrototypeOf(instance);
    // The built-in ones belong to the language, not to the object's class.
    const isOwnClass = isObject(prototype) && !BUILT_IN.has(prototype);
    for (const source of isOwnClass ? [prototype, instance] : [instance])
      for (const [key, { value }] of Object.entries(Object.getOwnPropertyDescriptors(source)))
        if (isPublic(key)) members.set(key, value);
    for (const [key, member] of members) {
      const name = prefix === '' ? key : `${prefix}.${key}`;
      if (typeof member === 'function') {
        const fn = member as AnyFunction;
        this.add(name, options.about?.[name] ?? {}, fn.length, (params) =>
          Reflect.apply(fn, instance, params),
        );
      } else if (
        options.dotted === true &&
        isObject(member) &&
        !above.has(member) &&
        name.split('.').length <= MAX_DOTS
      )
        this.addMembers(member, name, options, new Set(above));
    }
  }
}

const BUILT_IN = new Set<object>([
  Object.prototype,
  Function.prototype,
  Array.prototype,
  Map.prototype,
  Set.prototype,
  Date.prototype,
  Promise.prototype,
  RegExp.prototype,
  Buffer.prototype,
  Uint8Array.prototype,
]);

function isObject(value: unknown): value is object {
  return typeof value === 'object' && value !== null;
}

function isPublic(name: string): boolean {
  return SEGMENT.test(name) && !NEVER.has(name);
}
