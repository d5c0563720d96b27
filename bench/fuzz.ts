/**
 * `npm run fuzz -- rpcgen [files] [seed]`: random `.x` files against C; see test/interop/rpcgen/random.test.ts.
 *
 * `npm run fuzz [-- seconds] [-- seed]`: mutated messages into the record parser, the message
 * decoder, the auth bodies and the dispatcher. Only declared errors may come out, no reply but a
 * well-formed one, and memory must not grow. It ends by time and by count, and prints its seed.
 */

import { spawnSync } from 'node:child_process';
import { AuthError, sysCredentials, TransportError } from '../runtime/index.js';
import {
  Dispatcher,
  emptyCallHeader,
  RecordFramer,
  RecordParser,
  type ReplyChannel,
  readCall,
  readReply,
  readReplyXid,
  readSysCredentials,
  writeCall,
  writeRefusal,
  writeSuccess,
} from '../runtime/protocol.js';
import { array, int, list, opaque, string, struct, XdrError, XdrReader, XdrWriter } from '../xdr/index.js';
import { randomFrom } from './random.js';

const MAX_MUTATIONS = 8;
const MAX_BYTES = 4_096;

const row = struct({ id: int, name: string(64) });
const base = { program: 77, version: 1 };
const procedures = [
  { ...base, number: 1, name: 'ECHO', args: string(255), result: string(255) },
  { ...base, number: 2, name: 'ROWS', args: array(row, 100), result: list(row) },
  { ...base, number: 3, name: 'BLOB', args: opaque(1_000), result: opaque(1_000) },
  { ...base, number: 4, name: 'FAIL', args: int, result: int },
];

/** What a run did. */
export interface FuzzResult {
  readonly runs: number;
  readonly replies: number;
  readonly refusals: number;
  readonly errors: Readonly<Record<string, number>>;
  readonly grownBytes: number;
}

/** Fuzzes until either bound is met. Throws what should not have come out, with the input in its message. */
export function fuzz(options: {
  readonly seed: number;
  readonly runs: number;
  readonly seconds: number;
}): FuzzResult {
  const random = randomFrom(options.seed);
  const pick = (below: number): number => Math.floor(random() * below);
  const corpus = seeds();
  const errors: Record<string, number> = {};
  let replies = 0;
  let refusals = 0;
  const dispatcher = dispatcherOf();
  const origin = (source: number | undefined): ReplyChannel => ({
    peer: { transport: 'loopback', address: '', port: 0, localAddress: '', localPort: 0 },
    maxReplyBytes: 65_507,
    signal: new AbortController().signal,
    ...(source === undefined ? {} : { source }),
    reply: (message) => {
      replies += 1;
      const reader = new XdrReader(message);
      if (readReplyXid(reader) === undefined) throw new Error('a reply that is none');
      if (readReply(reader) !== undefined) refusals += 1;
    },
  });
  const attempt = (what: () => void, input: Uint8Array): void => {
    try {
      what();
    } catch (error) {
      const isDeclared =
        error instanceof XdrError || error instanceof TransportError || error instanceof AuthError;
      if (!isDeclared)
        throw new Error(`seed ${options.seed}: ${String(error)} from ${Buffer.from(input).toString('hex')}`, {
          cause: error,
        });
      const name = 'code' in error ? error.code : error.name;
      errors[name] = (errors[name] ?? 0) + 1;
    }
  };
  const header = emptyCallHeader();
  const end = performance.now() + options.seconds * 1_000;
  let before = 0;
  let runs = 0;
  const warmUp = Math.min(20_000, options.runs / 2);
  for (; runs < options.runs && performance.now() < end; runs++) {
    if (runs === warmUp) before = heap();
    const input = mutate(corpus[pick(corpus.length)] as Uint8Array, pick);
    attempt(() => readCall(new XdrReader(input), header), input);
    attempt(() => readReply(new XdrReader(input)), input);
    attempt(() => readSysCredentials(input), input);
    attempt(() => dispatcher.handle(input, origin(runs % 2 === 0 ? undefined : pick(3))), input);
    const parser = new RecordParser({ maxRecordBytes: 2_000, maxFragments: 8 });
    attempt(() => {
      for (let at = 0; at < input.length; ) {
        const size = 1 + pick(64);
        parser.push(input.subarray(at, at + size), (record) => dispatcher.handle(record, origin(undefined)));
        at += size;
      }
    }, input);
    if (parser.pendingBytes > 2_000) throw new Error(`seed ${options.seed}: the parser holds too much`);
  }
  return { runs, replies, refusals, errors, grownBytes: before === 0 ? 0 : heap() - before };
}

function heap(): number {
  globalThis.gc?.();
  const { heapUsed, arrayBuffers } = process.memoryUsage();
  return heapUsed + arrayBuffers;
}

function dispatcherOf(): Dispatcher {
  const dispatcher = new Dispatcher({ dupCache: { maxEntries: 100, maxBytes: 10_000 } });
  dispatcher.add({
    ...base,
    name: 'FUZZ',
    procedures: procedures.map((procedure) => ({
      procedure: procedure as never,
      handle: (args: unknown) => {
        if (procedure.name === 'FAIL') throw new Error('as it should');
        return args;
      },
    })),
  });
  return dispatcher;
}

/** Whole calls, replies and streams of them: mutations of what is nearly right go deepest. */
function seeds(): Uint8Array[] {
  const made: Uint8Array[] = [];
  const sys = sysCredentials({ uid: 1, gid: 2, gids: [3, 4], machineName: 'box' });
  const args: ((writer: XdrWriter) => void)[] = [
    (writer) => writer.string('hello'),
    (writer) => {
      writer.count(2);
      for (const id of [1, 2]) {
        writer.int32(id);
        writer.string('row');
      }
    },
    (writer) => writer.opaque(new Uint8Array(100)),
    (writer) => writer.int32(5),
  ];
  const framer = new RecordFramer();
  procedures.forEach((procedure, i) => {
    for (const credentials of [{ flavor: 'none' } as const, sys]) {
      const writer = new XdrWriter();
      writeCall(writer, i + 1, procedure as never, credentials);
      args[i]?.(writer);
      made.push(writer.take());
      framer.add(writer.peek());
    }
  });
  const writer = new XdrWriter();
  writeSuccess(writer, 1);
  made.push(writer.take());
  for (const refusal of [
    { status: 1 } as const,
    { status: 2, low: 1, high: 2 } as const,
    { denied: 'AUTH_ERROR', why: 1 } as const,
  ]) {
    writer.reset();
    writeRefusal(writer, 2, refusal);
    made.push(writer.take());
  }
  made.push(new Uint8Array(framer.take()), new Uint8Array(0));
  return made;
}

function mutate(seed: Uint8Array, pick: (below: number) => number): Uint8Array {
  let bytes = seed.slice();
  for (let i = pick(MAX_MUTATIONS); i > 0; i--) {
    const at = pick(Math.max(1, bytes.length));
    switch (pick(6)) {
      case 0:
        if (bytes.length > 0) bytes[at] = pick(256);
        break;
      case 1:
        if (bytes.length > 0) bytes[at]! ^= 1 << pick(8);
        break;
      case 2:
        bytes = bytes.slice(0, at);
        break;
      case 3:
        // A word that lengths and counts are made of.
        if (at + 4 <= bytes.length)
          new DataView(bytes.buffer).setUint32(
            at & ~3,
            [0, 1, 0x7fff_ffff, 0xffff_ffff, 400, 401][pick(6)] as number,
          );
        break;
      case 4: {
        const longer = new Uint8Array(Math.min(MAX_BYTES, bytes.length + pick(64)));
        longer.set(bytes.subarray(0, longer.length));
        bytes = longer;
        break;
      }
      default: {
        const from = pick(Math.max(1, bytes.length));
        bytes.copyWithin(at, from, Math.min(bytes.length, from + pick(32)));
      }
    }
  }
  return bytes;
}

/** Random pairs of `.x` files against C, 500 unless `words` say how many; the test does the work and prints its seed. */
function fuzzRpcgen([files = '500', seed]: readonly string[]): void {
  const { status } = spawnSync('npx', ['vitest', 'run', 'test/interop/rpcgen/random.test.ts'], {
    stdio: 'inherit',
    env: { ...process.env, RANDOM_X: files, ...(seed === undefined ? {} : { SEED: seed }) },
  });
  process.exitCode = status ?? 1;
}

/** Runs it for the seconds and with the seed given, 60 and a new one otherwise; at most ten million inputs. */
export function fuzzBench(words: readonly string[]): Promise<void> {
  if (words[0] === 'rpcgen') {
    fuzzRpcgen(words.slice(1));
    return Promise.resolve();
  }
  const seconds = Number(words[0] ?? 60);
  const seed = Number(words[1] ?? Math.floor(Math.random() * 0x1_0000_0000));
  console.log(`seed ${seed}, at most ${seconds} s`);
  const result = fuzz({ seed, runs: 10_000_000, seconds });
  console.log(`${result.runs} inputs, ${result.replies} replies, ${result.refusals} of them refusals`);
  console.log(
    `errors: ${JSON.stringify(result.errors)}; memory grew by ${Math.round(result.grownBytes / 1024)} KiB`,
  );
  if (result.grownBytes > 4 * 1024 * 1024) {
    console.error('memory grew');
    process.exitCode = 1;
  }
  return Promise.resolve();
}
