/**
 * methods: functions by name over RPC, with no `.x` of their own. It knows how a call is unpacked,
 * run, and answered with a value or a fault; which names there are is registry.ts's.
 */

import type { CallContext, Service } from '../../runtime/index.js';
import { DEFAULT_MAX_UDP_BYTES, limit, MAX_UDP_BYTES } from '../support/limits.js';
import { servedAs } from '../support/program.js';
import { MethodFault } from './fault.js';
import {
  createMethodsProgV1,
  METHODS_MAX_PACKED,
  METHODS_MAX_TEXT,
  type methods_call,
  methods_code,
  type methods_outcome,
} from './methods.gen.js';
import { PackedError, type PackedLimits, pack, unpack } from './packed.js';
import { type Dispatch, MethodRegistry } from './registry.js';
import { WorkerPool, type WorkerPoolOptions } from './workers.js';

/** See {@link createMethods}. */
export interface MethodsOptions extends PackedLimits {
  /** Answers to names that are not registered. Default: a fault, METHODS_NO_METHOD. */
  readonly dispatch?: Dispatch;
  /** Called with what a method failed with, unless it was a {@link MethodFault}; its caller learns METHODS_ERROR. Default: nothing. */
  readonly onError?: (error: unknown, method: string, context: CallContext) => void;
  /** Bounds of the threads. */
  readonly workers?: WorkerPoolOptions;
  /** Most bytes of one answer, over UDP. Default 8192. */
  readonly maxUdpBytes?: number;
  /** Program number. Default 0x20000006. */
  readonly program?: number;
}

/** Methods that are served; more can be registered at any time. */
export interface Methods {
  readonly services: readonly [Service];
  readonly registry: MethodRegistry;
  /** Ends the threads. */
  close(): Promise<void>;
}

/** Most calls of one METHODS_MULTICALL that run at a time. */
const MULTICALL_WIDTH = 16;
/** Most bytes of the outcomes of one METHODS_MULTICALL over TCP, so that they fit into a record of 4 MiB. */
export const MAX_MULTICALL_BYTES = 3 * 1024 * 1024;
/** Bytes of an outcome around its value. */
const OUTCOME_BYTES = 12;

/** The service METHODS_PROG version 1, without methods yet. Throws RangeError for a bound out of range. */
export function createMethods(options: MethodsOptions = {}): Methods {
  const udpBytes = limit('maxUdpBytes', options.maxUdpBytes, DEFAULT_MAX_UDP_BYTES, 64, MAX_UDP_BYTES);
  const limits: PackedLimits = {
    maxDepth: limit('maxDepth', options.maxDepth, 32, 1, 32),
    maxValues: limit('maxValues', options.maxValues, 65_536, 1, METHODS_MAX_PACKED),
  };
  const pool = new WorkerPool(options.workers);
  const registry = new MethodRegistry(pool, options.dispatch);

  const invoke = async (call: methods_call, context: CallContext): Promise<methods_outcome> => {
    try {
      const params = readParams(call.params, limits);
      const value = await registry.call(call.name, params, context);
      return { ok: true, value: packResult(value) };
    } catch (error) {
      if (error instanceof MethodFault) return refuse(error.code, error.message);
      options.onError?.(error, call.name, context);
      return refuse(methods_code.METHODS_ERROR, 'the method failed');
    }
  };

  const service = createMethodsProgV1({
    async call(call, context) {
      return sized(await invoke(call, context), METHODS_MAX_PACKED + 2 * OUTCOME_BYTES, udpBytes, context);
    },
    async multicall(calls, context) {
      const outcomes: methods_outcome[] = [];
      let next = 0;
      let used = calls.length * OUTCOME_BYTES;
      const runner = async (): Promise<void> => {
        for (let i = next++; i < calls.length; i = next++) {
          const outcome = await invoke(calls[i]!, context);
          const fitting = sized(outcome, MAX_MULTICALL_BYTES - used, udpBytes - used, context);
          used += wireBytes(fitting) - OUTCOME_BYTES;
          outcomes[i] = fitting;
        }
      };
      await Promise.all(Array.from({ length: Math.min(MULTICALL_WIDTH, calls.length) }, runner));
      return outcomes;
    },
    list: () => registry.names,
    help: (name) => about(registry.help(name)),
    signature: (name) => about(registry.signature(name)),
  });
  return { services: [servedAs(service, options.program)], registry, close: () => pool.close() };
}

function readParams(packed: Uint8Array, limits: PackedLimits): unknown[] {
  let params: unknown;
  try {
    params = unpack(packed, limits);
  } catch (error) {
    if (!(error instanceof PackedError)) throw error;
    throw new MethodFault(methods_code.METHODS_BAD_MESSAGE, `the arguments are not taken: ${error.message}`);
  }
  if (!Array.isArray(params))
    throw new MethodFault(methods_code.METHODS_BAD_PARAMS, 'the arguments are no array');
  return params as unknown[];
}

function packResult(value: unknown): Uint8Array {
  try {
    return pack(value, METHODS_MAX_PACKED);
  } catch (error) {
    if (!(error instanceof PackedError)) throw error;
    throw new MethodFault(methods_code.METHODS_BAD_RESULT, `the result cannot be sent: ${error.message}`);
  }
}

/** The outcome, or where that is too long a fault which never is. */
function sized(
  outcome: methods_outcome,
  tcpBytes: number,
  udpBytes: number,
  { peer }: CallContext,
): methods_outcome {
  const isUdp = peer.transport === 'udp';
  if (wireBytes(outcome) <= Math.max(isUdp ? udpBytes : tcpBytes, 2 * OUTCOME_BYTES)) return outcome;
  return refuse(isUdp ? methods_code.METHODS_USE_TCP : methods_code.METHODS_BAD_RESULT, 'too long');
}

function wireBytes(outcome: methods_outcome): number {
  return OUTCOME_BYTES + 3 + (outcome.ok ? outcome.value.length : Buffer.byteLength(outcome.fault.message));
}

function refuse(code: number, message: string): methods_outcome {
  const isInt = Number.isInteger(code) && Math.abs(code) < 2 ** 31;
  // A message may be cut in the middle of a letter; what is left of that letter goes too.
  const text = Buffer.from(message)
    .subarray(0, METHODS_MAX_TEXT)
    .toString()
    .replace(/\ufffd+$/, '');
  return { ok: false, fault: { code: isInt ? code : methods_code.METHODS_ERROR, message: text } };
}

function about(text: string | undefined): { known: true; text: string } | { known: false } {
  return text === undefined ? { known: false } : { known: true, text };
}
