/**
 * `npm run soak [-- calls] [-- seed]`: calls by the million through proxies that lose, delay and
 * double datagrams and cut connections. A counter is increased by each call; over UDP, with the
 * duplicate cache, each acknowledged call must have increased it exactly once, and every call ends.
 */

import dgram from 'node:dgram';
import net from 'node:net';
import {
  connectTcp,
  connectUdp,
  createClient,
  createServer,
  type Procedure,
  TimeoutError,
  TransportError,
} from '../runtime/index.js';
import { DEFAULT_DUP_CACHE_BYTES } from '../runtime/protocol.js';
import { uint } from '../xdr/index.js';
import { randomFrom } from './random.js';

const HOST = '127.0.0.1';
const CONCURRENT = 256;
/** Messages a proxy holds back at a time; beyond it they are lost as on any full link. */
const MAX_DELAYED = 4_096;

const increase: Procedure<number, number> = {
  ...{ program: 0x2000_5041, version: 1, number: 1, name: 'INCREASE' },
  ...{ args: uint, result: uint },
};

/** What a run came to. Any of the last four but `lost` being more than zero is a fault. */
export interface SoakResult {
  readonly calls: number;
  readonly acknowledged: number;
  readonly resends: number;
  readonly replayed: number;
  /** Calls that ended in TimeoutError or TransportError, as they may. */
  readonly lost: number;
  /** Acknowledged over UDP and not counted exactly once. */
  readonly notOnce: number;
  /** Not acknowledged, and counted more than once. */
  readonly twice: number;
  /** Ended in anything else. */
  readonly wrong: number;
}

/** Makes `calls` calls, nine of ten over UDP, the rest over TCP. Resolves when every one has ended. */
export async function soak(options: { readonly calls: number; readonly seed: number }): Promise<SoakResult> {
  const random = randomFrom(options.seed);
  const counts = new Uint8Array(options.calls);
  const acknowledged = new Uint8Array(options.calls);
  const server = createServer({
    services: [
      {
        ...{ program: increase.program, version: 1, name: 'SOAK' },
        procedures: [
          {
            procedure: increase as unknown as Procedure,
            handle: (args: unknown) => {
              const id = args as number;
              counts[id]! += 1;
              return id % 3 === 0 ? new Promise((done) => setImmediate(() => done(id))) : id;
            },
          },
        ],
      },
    ],
    dupCache: { maxEntries: 1_000_000, maxBytes: DEFAULT_DUP_CACHE_BYTES * 4 },
  });
  const udp = await server.listenUdp({ host: HOST });
  const tcp = await server.listenTcp({ host: HOST });
  const lossy = await udpProxy(udp.port, random);
  const cutting = await tcpProxy(tcp.port, random);
  const byUdp = createClient(await connectUdp({ host: HOST, port: lossy.port }), {
    retransmitMs: 20,
    timeoutMs: 4_000,
    backoff: 1.5,
  });
  const byTcp = createClient(
    connectTcp({ host: HOST, port: cutting.port, reconnectMs: 1, maxReconnectMs: 10 }),
    {
      timeoutMs: 4_000,
    },
  );
  let next = 0;
  let [done, lost, wrong] = [0, 0, 0];
  const caller = async (): Promise<void> => {
    while (next < options.calls) {
      const id = next++;
      try {
        const answer = await (id % 10 === 0 ? byTcp : byUdp).call(increase, id);
        if (answer === id) acknowledged[id] = 1;
        else wrong += 1;
      } catch (error) {
        if (error instanceof TimeoutError || error instanceof TransportError) lost += 1;
        else wrong += 1;
      }
      done += 1;
      if (done % 250_000 === 0) console.log(`${done} calls`);
    }
  };
  await Promise.all(Array.from({ length: CONCURRENT }, caller));
  const { resends } = byUdp.stats();
  const { dupCache } = server.stats();
  await Promise.all([byUdp.close(), byTcp.close()]);
  await lossy.close();
  await cutting.close();
  await server.close();
  let [notOnce, twice, total] = [0, 0, 0];
  for (let id = 0; id < options.calls; id++) {
    total += acknowledged[id] as number;
    if (acknowledged[id] === 1 && counts[id] !== 1) notOnce += 1;
    if (acknowledged[id] === 0 && (counts[id] as number) > 1) twice += 1;
  }
  return {
    ...{ calls: done, acknowledged: total, resends, replayed: dupCache?.replayed ?? 0 },
    ...{ lost, notOnce, twice, wrong },
  };
}

interface Proxy {
  readonly port: number;
  close(): Promise<void>;
}

/** Loses 3 of 100 datagrams each way, doubles 3, and delays 3 by up to 50 ms, so that they overtake each other. */
async function udpProxy(target: number, random: () => number): Promise<Proxy> {
  const [front, back] = [dgram.createSocket('udp4'), dgram.createSocket('udp4')];
  for (const socket of [front, back]) {
    await new Promise<void>((done) => socket.bind(0, HOST, done));
    socket.setRecvBufferSize(4 * 1024 * 1024);
    socket.on('error', () => undefined);
  }
  let client = 0;
  let delayed = 0;
  let isClosed = false;
  const carry = (bytes: Buffer, from: dgram.Socket, port: number): void => {
    const send = (): void => {
      if (!isClosed) from.send(bytes, port, HOST);
    };
    const copies = random() < 0.03 ? 2 : 1;
    for (let i = 0; i < copies; i++) {
      const fate = random();
      if (fate < 0.03) continue;
      if (fate < 0.06 && delayed < MAX_DELAYED) {
        delayed += 1;
        setTimeout(() => {
          delayed -= 1;
          send();
        }, random() * 50);
      } else send();
    }
  };
  front.on('message', (bytes, from) => {
    client = from.port;
    carry(bytes, back, target);
  });
  back.on('message', (bytes) => carry(bytes, front, client));
  return {
    port: front.address().port,
    close: async () => {
      isClosed = true;
      for (const socket of [front, back]) await new Promise<void>((done) => socket.close(() => done()));
    },
  };
}

/** Cuts a connection after 1 to 2000 chunks, in the middle of one. */
async function tcpProxy(target: number, random: () => number): Promise<Proxy> {
  const sockets = new Set<net.Socket>();
  const server = net.createServer((near) => {
    const far = net.connect({ host: HOST, port: target, noDelay: true });
    let left = 1 + Math.floor(random() * 2_000);
    const cut = (): void => {
      near.destroy();
      far.destroy();
    };
    for (const [from, to] of [
      [near, far],
      [far, near],
    ] as const) {
      sockets.add(from);
      from.on('error', cut);
      from.on('close', () => {
        sockets.delete(from);
        cut();
      });
      from.on('data', (chunk) => {
        left -= 1;
        if (left > 0) to.write(chunk);
        else to.write(chunk.subarray(0, chunk.length / 2), cut);
      });
    }
  });
  await new Promise<void>((done) => server.listen(0, HOST, done));
  return {
    port: (server.address() as net.AddressInfo).port,
    close: () =>
      new Promise((done) => {
        server.close(() => done());
        for (const socket of sockets) socket.destroy();
      }),
  };
}

/** Five million calls unless told otherwise; exit code 1 where a call was run twice or none. */
export async function soakBench(words: readonly string[]): Promise<void> {
  const calls = Number(words[0] ?? 5_000_000);
  const seed = Number(words[1] ?? Math.floor(Math.random() * 0x1_0000_0000));
  console.log(`${calls} calls, seed ${seed}`);
  const startedAt = performance.now();
  const result = await soak({ calls, seed });
  console.log(JSON.stringify(result));
  console.log(`${Math.round((performance.now() - startedAt) / 1_000)} s`);
  if (result.notOnce + result.twice + result.wrong > 0 || result.calls !== calls) process.exitCode = 1;
}
