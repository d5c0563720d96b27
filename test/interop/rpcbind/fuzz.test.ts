/** Garbage: real requests, mutated, at a daemon in a process of its own. It goes on serving and does not grow. */

import dgram from 'node:dgram';
import { readFileSync } from 'node:fs';
import net from 'node:net';
import { afterEach, expect, it } from 'vitest';
import { connectRpcbind, RPCBPROG } from '../../../rpcbind/index.js';
import { type Running, startCommand } from '../../support/command.js';
import { freePort } from '../../support/ports.js';

/** Requests over UDP and TCP together. */
const CALLS = 200_000;
const MAX_GROWTH_BYTES = 32 * 1024 * 1024;
/** Requests sent before the daemon gets time to read them. */
const BATCH = 64;
/** Records on one connection; a broken one ends it earlier. */
const RECORDS = 500;

let running: Running | undefined;
afterEach(async () => {
  await running?.stop('SIGKILL');
});

/** A small generator of its own, so that a find can be had again. */
function seeded(seed: number): (below: number) => number {
  let state = seed >>> 0;
  return (below) => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    return Math.floor((state / 0x1_0000_0000) * below);
  };
}

const text = (value: string): number[] => {
  const bytes = Buffer.from(value);
  const padded = Buffer.concat([bytes, Buffer.alloc(-bytes.length & 3)]);
  return [bytes.length, ...Array.from({ length: padded.length / 4 }, (_, i) => padded.readUInt32BE(i * 4))];
};

function request(version: number, procedure: number, args: readonly number[]): Buffer {
  const words = [7, 0, 2, RPCBPROG, version, procedure, 0, 0, 0, 0, ...args];
  const bytes = Buffer.alloc(words.length * 4);
  words.forEach((word, i) => {
    bytes.writeUInt32BE(word >>> 0, i * 4);
  });
  return bytes;
}

const row = [0x2000_0999, 1, ...text('udp'), ...text('0.0.0.0.8.1'), ...text('me')];
const corpus = [
  ...[0, 1, 2, 3, 4].map((procedure) =>
    request(2, procedure, procedure % 4 === 0 ? [] : [0x2000_0999, 1, 17, 99]),
  ),
  request(2, 5, [RPCBPROG, 2, 0, 4, 0]),
  ...[3, 4].flatMap((version) => [1, 2, 3, 9, 11].map((procedure) => request(version, procedure, row))),
  ...[3, 4].flatMap((version) => [4, 6, 12].map((procedure) => request(version, procedure, []))),
  ...[3, 4].map((version) => request(version, 7, text('127.0.0.1.0.111'))),
  ...[3, 4].map((version) => request(version, 8, [16, 16, 0x0200006f, 0x7f000001, 0, 0])),
  ...[5, 10].map((procedure) => request(4, procedure, [0x2000_0999, 1, 0, 8, 1, 2])),
];

function mutate(random: (below: number) => number): Buffer {
  const bytes = Buffer.from(corpus[random(corpus.length)] as Buffer);
  switch (random(5)) {
    case 0:
      return bytes.subarray(0, random(bytes.length + 1));
    case 1:
      return Buffer.concat([bytes, Buffer.alloc(random(64), random(256))]);
    case 2:
      // A whole word, as a length or a count is one.
      bytes.writeUInt32BE(
        [0, 0xffff_ffff, 0x7fff_ffff, 0x8000_0000, random(1 << 20)][random(5)]!,
        4 * random(bytes.length / 4),
      );
      return bytes;
    case 3:
      return bytes;
    default:
      for (let i = random(4); i >= 0; i--) bytes[random(bytes.length)] = random(256);
      return bytes;
  }
}

async function overUdp(port: number, count: number, random: (below: number) => number): Promise<void> {
  const socket = dgram.createSocket('udp4');
  socket.on('message', () => undefined);
  await new Promise<void>((done) => socket.connect(port, '127.0.0.1', done));
  for (let i = 0; i < count; i += BATCH) {
    for (let j = 0; j < BATCH - 1; j++) socket.send(mutate(random));
    await new Promise((sent) => socket.send(mutate(random), sent));
    await new Promise((turn) => setImmediate(turn));
  }
  socket.close();
}

async function overTcp(port: number, count: number, random: (below: number) => number): Promise<void> {
  for (let sent = 0; sent < count; sent += RECORDS) {
    const records = Array.from({ length: RECORDS }, () => {
      const bytes = mutate(random);
      const mark = Buffer.alloc(4);
      // Now and then a mark that lies, at the end of the batch's life.
      mark.writeUInt32BE((0x8000_0000 + (random(2_000) === 0 ? random(0x7fff_ffff) : bytes.length)) >>> 0);
      return Buffer.concat([mark, bytes]);
    });
    await new Promise<void>((done) => {
      const socket = net.connect(port, '127.0.0.1', () => socket.end(Buffer.concat(records)));
      socket.on('data', () => undefined);
      socket.on('error', () => undefined);
      socket.on('close', () => done());
    });
  }
}

function residentBytes(pid: number): number {
  const kib = /^VmRSS:\s+(\d+) kB/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1];
  return Number(kib) * 1024;
}

it.skipIf(process.platform !== 'linux')(
  `${CALLS} mutated requests leave the daemon serving, within 32 MiB of where it started`,
  async () => {
    const port = await freePort();
    running = await startCommand(
      'rpcbind-ts',
      ['--host', '127.0.0.1', '--port', String(port), '--remote-calls', '--log-format', 'json'],
      /serving on/,
    );
    const pid = running.process.pid ?? 0;
    const random = seeded(1833);
    const ask = async (): Promise<void> => {
      const client = await connectRpcbind({ port, timeoutMs: 10_000 });
      const found = await client.getport({ program: RPCBPROG, version: 2, protocol: 'udp' });
      await client.close();
      expect(found).toBe(port);
    };
    await ask();
    const before = residentBytes(pid);
    await overUdp(port, CALLS / 2, random);
    await overTcp(port, CALLS / 2, random);
    await ask();
    const growth = residentBytes(pid) - before;
    console.log(`fuzz: ${CALLS} requests, ${(growth / 1024 / 1024).toFixed(1)} MiB more than at the start`);
    expect(growth).toBeLessThan(MAX_GROWTH_BYTES);
    const faults = running
      .output()
      .split('\n')
      .filter((line) => line.includes('"event":"fault"'));
    expect(faults).toEqual([]);
  },
  180_000,
);
