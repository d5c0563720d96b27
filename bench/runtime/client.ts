/**
 * A client of the bench in a process of its own: `client KIND PORT null|small CONCURRENT SECONDS`
 * prints calls a second and the median latency in microseconds.
 */

import dgram from 'node:dgram';
import net from 'node:net';
import { connectTcp, connectUdp, createClient } from '../../runtime/index.js';
import { Histogram } from '../../runtime/protocol.js';
import { grpcCaller, loadGrpc } from './grpc.js';
import { LOAD_PROGRAM, loadNull, loadSmall, value } from './program.js';

const [kind = '', portText = '', what = '', concurrentText = '', secondsText = ''] = process.argv.slice(2);
const port = Number(portText);
const host = '127.0.0.1';

interface Calling {
  call(): Promise<unknown>;
  close(): unknown;
}

async function ours(): Promise<Calling> {
  const isNative = kind !== 'plain';
  const transport =
    kind === 'tcp' ? connectTcp({ host, port }) : await connectUdp({ host, port, native: isNative });
  const client = createClient(transport);
  return {
    call: what === 'null' ? () => client.call(loadNull, undefined) : () => client.call(loadSmall, value),
    close: () => client.close(),
  };
}

/** One call at a time on a socket and nothing else. */
async function bare(): Promise<Calling> {
  const call = Buffer.alloc(44);
  call.writeUInt32BE(0x8000_0028, 0);
  call.writeUInt32BE(2, 12);
  call.writeUInt32BE(LOAD_PROGRAM, 16);
  call.writeUInt32BE(1, 20);
  let answered = (): void => undefined;
  const next = (send: () => void): Promise<void> =>
    new Promise((resolve) => {
      answered = resolve;
      send();
    });
  if (kind === 'bareTcp') {
    const socket = net.connect({ host, port, noDelay: true });
    await new Promise<void>((done) => socket.on('connect', done));
    socket.on('data', () => answered());
    return { call: () => next(() => socket.write(call)), close: () => socket.destroy() };
  }
  const socket = dgram.createSocket('udp4');
  await new Promise<void>((done) => socket.connect(port, host, done));
  socket.on('message', () => answered());
  return { call: () => next(() => socket.send(call.subarray(4))), close: () => socket.close() };
}

const calling = kind.startsWith('bare')
  ? await bare()
  : kind === 'grpc'
    ? grpcCaller(loadGrpc()!, port)
    : await ours();
const latency = new Histogram();
let calls = 0;
const startedAt = performance.now();
const warmUntil = startedAt + Number(secondsText) * 250;
const end = startedAt + Number(secondsText) * 1_000;
await Promise.all(
  Array.from({ length: Number(concurrentText) }, async () => {
    for (let before = performance.now(); before < end; ) {
      await calling.call();
      const now = performance.now();
      if (before > warmUntil) {
        latency.add(now - before);
        calls += 1;
      }
      before = now;
    }
  }),
);
const seconds = (performance.now() - warmUntil) / 1_000;
await calling.close();
console.log(`${Math.round(calls / seconds)} ${(latency.quantile(0.5) * 1_000).toFixed(1)}`);
