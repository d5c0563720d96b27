/**
 * How fast the codecs are, beside other codecs of the same machine in the same run: rounds
 * are interleaved, medians compared. Peers that are not installed are named and left out;
 * PEERS_DIR may say where else they are.
 */

import { createRequire } from 'node:module';
import { join } from 'node:path';
import { compile, emit } from '../rpcgen/index.js';
import { type Codec, XdrReader, XdrWriter } from '../xdr/index.js';
import { type small, smallCodec, type thousand, thousandCodec } from './codec.gen.js';

const ROUNDS = 41;
const ROUND_MS = 12;

/** One way to encode and decode one value. */
interface Contestant {
  readonly name: string;
  readonly encode: () => unknown;
  readonly decode: () => unknown;
}

/** The least ratio to each peer that the project promises. */
const TARGETS: Readonly<Record<string, number>> = { 'json-pack': 1.5, 'js-xdr': 4, JSON: 2 };

const smallValue: small = {
  name: 'sixteen letters!',
  id: 42,
  numbers: [1, -2, 3, -4, 5, -6, 7, 2_000_000_000],
};
const thousandValue: thousand = {
  values: Array.from({ length: 1000 }, (_, i) => i * 2_147_483 - 1_000_000_000),
};

const { PEERS_DIR } = process.env;
const requirePeer = createRequire(
  PEERS_DIR === undefined ? import.meta.url : join(PEERS_DIR, 'package.json'),
);

function ours<T>(codec: Codec<T>, value: T): Contestant {
  const writer = new XdrWriter();
  codec.encode(writer, value);
  const bytes = writer.take();
  const reader = new XdrReader(bytes);
  return {
    name: 'rpcbind-ts',
    encode() {
      writer.reset();
      codec.encode(writer, value);
      return writer.peek();
    },
    decode() {
      reader.reset(bytes);
      return codec.decode(reader);
    },
  };
}

/** JSON as bytes, as it would travel. */
function json(value: unknown): Contestant {
  const bytes = Buffer.from(JSON.stringify(value));
  return {
    name: 'JSON',
    encode: () => Buffer.from(JSON.stringify(value)),
    decode: () => JSON.parse(bytes.toString()) as unknown,
  };
}

interface JsonPack {
  readonly XdrSchemaEncoder: new (writer: unknown) => { encode(value: unknown, schema: unknown): Uint8Array };
  readonly XdrSchemaDecoder: new () => { decode(bytes: Uint8Array, schema: unknown): unknown };
}

function jsonPack(value: unknown, schema: unknown): Contestant {
  const { XdrSchemaEncoder, XdrSchemaDecoder } = requirePeer('@jsonjoy.com/json-pack/lib/xdr') as JsonPack;
  const { Writer } = requirePeer('@jsonjoy.com/buffers/lib/Writer') as { Writer: new () => unknown };
  const encoder = new XdrSchemaEncoder(new Writer());
  const decoder = new XdrSchemaDecoder();
  const bytes = Uint8Array.from(encoder.encode(value, schema));
  return {
    name: 'json-pack',
    encode: () => encoder.encode(value, schema),
    decode: () => decoder.decode(bytes, schema),
  };
}

interface JsXdrType {
  new (value: unknown): { toXDR(): Uint8Array };
  fromXDR(bytes: Uint8Array): Record<string, (() => unknown) | undefined>;
}
interface JsXdrBuilder {
  struct(name: string, fields: readonly (readonly [string, unknown])[]): void;
  string(max: number): unknown;
  int(): unknown;
  array(of: unknown, size: number): unknown;
  varArray(of: unknown, max: number): unknown;
}

function jsXdr(value: unknown, define: (xdr: JsXdrBuilder) => (readonly [string, unknown])[]): Contestant {
  const { config } = requirePeer('@stellar/js-xdr') as {
    config(build: (xdr: JsXdrBuilder) => void): Record<string, JsXdrType>;
  };
  const { Value } = config((xdr) => xdr.struct('Value', define(xdr)));
  if (Value === undefined) throw new TypeError('js-xdr made no type');
  const instance = new Value(value);
  const bytes = instance.toXDR();
  // It leaves a string as bytes and does less than the others; it is measured as it comes all the same.
  return { name: 'js-xdr', encode: () => instance.toXDR(), decode: () => Value.fromXDR(bytes) };
}

/** Those of `makers` whose packages are there. */
function present(makers: readonly (() => Contestant)[]): Contestant[] {
  return makers.flatMap((make) => {
    try {
      return [make()];
    } catch (error) {
      if (!(error instanceof Error && 'code' in error && error.code === 'MODULE_NOT_FOUND')) throw error;
      console.log(`left out, not installed: ${error.message.split('\n')[0]}`);
      return [];
    }
  });
}

/** Nanoseconds of one run, from as many as fill a round. */
function time(run: () => unknown, batch: number): number {
  const start = process.hrtime.bigint();
  for (let i = 0; i < batch; i++) sink = run();
  return Number(process.hrtime.bigint() - start) / batch;
}

/** Keeps results alive, so that no work is optimised away. */
let sink: unknown;

function batchFor(run: () => unknown): number {
  let batch = 16;
  for (let spent = 0; spent < ROUND_MS * 1e6; ) {
    batch *= 2;
    spent = time(run, batch) * batch;
  }
  return batch;
}

function median(values: readonly number[]): number {
  return values.toSorted((a, b) => a - b)[Math.floor(values.length / 2)] as number;
}

/** Compares all contestants on one value; gives whether every target is met. */
function compare(title: string, contestants: readonly Contestant[]): boolean {
  let isMet = true;
  for (const way of ['encode', 'decode'] as const) {
    const batches = contestants.map((each) => batchFor(each[way]));
    const times = contestants.map((): number[] => []);
    for (let round = 0; round < ROUNDS; round++)
      for (const [i, each] of contestants.entries()) times[i]?.push(time(each[way], batches[i] as number));
    const medians = times.map(median);
    const own = medians[0] as number;
    console.log(`\n${title}, ${way}`);
    contestants.forEach(({ name }, i) => {
      const ratio = (medians[i] as number) / own;
      const target = TARGETS[name];
      const verdict =
        target === undefined
          ? ''
          : `  ${ratio.toFixed(2)}x (target ${target}x${ratio >= target ? '' : ', MISSED'})`;
      if (target !== undefined && ratio < target) isMet = false;
      console.log(`  ${name.padEnd(12)}${(medians[i] as number).toFixed(1).padStart(10)} ns${verdict}`);
    });
  }
  return isMet;
}

/** About `lines` lines of `.x`, as varied as a real interface. */
function interfaceOf(lines: number): string {
  const parts: string[] = ['program P { version V { void P_NULL(void) = 0; } = 1; } = 0x20000001;'];
  for (let i = 0; parts.length * 20 < lines; i++)
    parts.push(`
/* The outcome of call ${i}. */
enum status${i} {
	OK_${i} = 0,	/* it worked */
	NOENT_${i} = 2,
	IO_${i} = 5
};
const MAX_${i} = 0x${(i + 16).toString(16)};
typedef string name${i}<MAX_${i}>;
struct entry${i} {
	name${i} name;
	unsigned hyper size;
	opaque handle[32];
	entry${i} *next;
};
union result${i} switch (status${i} status) {
case OK_${i}:
	entry${i} *entries;
default:
	void;
};
`);
  return parts.join('');
}

function compileTime(): boolean {
  const text = interfaceOf(2000);
  const count = text.split('\n').length;
  const start = process.hrtime.bigint();
  emit(compile(text));
  const first = Number(process.hrtime.bigint() - start) / 1e6;
  console.log(
    `\n${count} lines of .x compile in ${first.toFixed(0)} ms, the first time in a process (target 1000 ms)`,
  );
  return first < 1000;
}

/** Runs everything; exit code 1 where a target is missed. */
export function codecBench(): void {
  const compiles = compileTime();
  const int = { type: 'int' };
  const isSmall = compare(
    'struct { string<>; int; int<> }, 16 characters, 8 ints',
    present([
      () => ours(smallCodec, smallValue),
      () =>
        jsonPack(smallValue, {
          type: 'struct',
          fields: [
            [{ type: 'string' }, 'name'],
            [int, 'id'],
            [{ type: 'varray', elements: int }, 'numbers'],
          ],
        }),
      () =>
        jsXdr(smallValue, (xdr) => [
          ['name', xdr.string(0x7fff_ffff)],
          ['id', xdr.int()],
          ['numbers', xdr.varArray(xdr.int(), 0x7fff_ffff)],
        ]),
      () => json(smallValue),
    ]),
  );
  const isThousand = compare(
    'struct of 1000 ints',
    present([
      () => ours(thousandCodec, thousandValue),
      () =>
        jsonPack(thousandValue, {
          type: 'struct',
          fields: [[{ type: 'array', elements: int, size: 1000 }, 'values']],
        }),
      () => jsXdr(thousandValue, (xdr) => [['values', xdr.array(xdr.int(), 1000)]]),
      () => json(thousandValue),
    ]),
  );
  if (!(compiles && isSmall && isThousand)) process.exitCode = 1;
  if (sink === undefined) console.log('nothing was measured');
}
