/** A program as a user of the package writes it: a service, a client, and codecs, all types checked strictly. */

import { formatUaddr } from 'rpcbind-ts/rpcbind';
import { compile, emit } from 'rpcbind-ts/rpcgen';
import { connectTcp, createClient, createServer, type RpcServer, StatusError } from 'rpcbind-ts/runtime';
import { array, type Codec, decode, encode, type Infer, int, optional, string, struct } from 'rpcbind-ts/xdr';
import { CalcV1Client, createCalcV1, sign } from './calc.gen.js';

const entry = struct({ name: string(255), sizes: array(int, 10), note: optional(string()) });
type Entry = Infer<typeof entry>;
const entryCodec: Codec<Entry> = entry;

// @ts-expect-error a number is no codec: the types are there, and are not any
const wrong: Codec<Entry> = 5;

const service = createCalcV1({
  add: ({ a, b }) => a + b,
  divide: ({ a, b }) =>
    b === 0 ? { ok: false, reason: 'division by zero' } : { ok: true, value: BigInt(Math.trunc(a / b)) },
  sign: (value) => (value < 0 ? sign.NEGATIVE : value > 0 ? sign.POSITIVE : sign.ZERO),
});

async function serve(): Promise<{ readonly server: RpcServer; readonly port: number }> {
  const server = createServer({ services: [service], onError: () => undefined });
  const { port } = await server.listenTcp({ host: '127.0.0.1' });
  return { server, port };
}

const { server, port } = await serve();
const client = createClient(connectTcp({ host: '127.0.0.1', port }), { timeoutMs: 5_000 });
const calc = new CalcV1Client(client);
const quotient = await calc.divide({ a: 7, b: 2 });
const value: bigint | undefined = quotient.ok ? quotient.value : undefined;
try {
  await calc.add({ a: 2 ** 31 - 1, b: 1 });
} catch (error) {
  if (!(error instanceof StatusError || error instanceof Error)) throw error;
}
const { name, sizes, note } = decode(
  entryCodec,
  encode(entryCodec, { name: 'motd', sizes: [6, 8], note: null }),
);
console.log(
  await calc.add({ a: 2, b: 3 }),
  value,
  await calc.sign(-7),
  name,
  sizes.length,
  note,
  typeof wrong,
  formatUaddr('127.0.0.1', 111),
  emit(compile('const A = 1;')).includes('A = 1'),
);
await client.close();
await server.close();
