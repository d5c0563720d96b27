/** A small program for the tests of the runtime: it echoes, adds, fails and waits. */

import { type CallContext, NoReply, type Procedure, type Service } from '../../runtime/index.js';
import { hyper, int, opaque, string, struct, voidCodec } from '../../xdr/index.js';

export const ECHO_PROGRAM = 0x2000_1000;
const base = { program: ECHO_PROGRAM, version: 1 };
const pair = struct({ a: int, b: int });

export const echo = { ...base, number: 1, name: 'ECHO', args: string(), result: string() };
export const add = { ...base, number: 2, name: 'ADD', args: pair, result: int };
export const fail = { ...base, number: 3, name: 'FAIL', args: string(), result: voidCodec };
export const blob = { ...base, number: 4, name: 'BLOB', args: int, result: opaque() };
export const slow = { ...base, number: 5, name: 'SLOW', args: voidCodec, result: int };
export const silent = { ...base, number: 6, name: 'SILENT', args: voidCodec, result: voidCodec };
export const misfit = { ...base, number: 7, name: 'MISFIT', args: voidCodec, result: int };

function serve<A, R>(
  procedure: Procedure<A, R>,
  handle: (args: A, context: CallContext) => R | Promise<R>,
): Service['procedures'][number] {
  return { procedure, handle } as Service['procedures'][number];
}

/** The service; `onSlow` makes the promise that SLOW waits for. */
export function echoService(
  onSlow: (context: CallContext) => Promise<number> = () => Promise.resolve(1),
  version = 1,
): Service {
  return {
    program: ECHO_PROGRAM,
    version,
    name: 'ECHO_PROGRAM',
    procedures: [
      serve(echo, (text) => text),
      serve(add, ({ a, b }) => a + b),
      serve(fail, (text) => {
        throw new Error(text);
      }),
      serve(blob, (size) => new Uint8Array(size).fill(7)),
      serve(slow, (_none, context) => onSlow(context)),
      serve(silent, () => {
        throw new NoReply();
      }),
      serve(misfit, () => 'no integer' as unknown as number),
    ],
  };
}

/** The same procedure as if it had another result, for replies that do not decode. */
export const echoAsHyper = { ...echo, result: hyper };
