/** files with a gigabyte: up and down with the connection cut twenty times, in bounded memory. */

import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { mkdir, mkdtemp, readdir, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { startCutter } from '../../services/cutter.js';
import { root } from '../../support/sandbox.js';

const SIZE = 1024 ** 3;
const CUTS = 20;
const MAX_RSS = 150 * 1024 * 1024;

const SERVER = `
const [, folder] = process.argv;
const { createFiles } = await import('./dist/services/files/service.js');
const { createServer } = await import('./dist/runtime/index.js');
const files = await createFiles({ folder });
const server = createServer({ services: files.services });
const { port } = await server.listenTcp({ host: '127.0.0.1' });
console.log(port);
`;
const CLIENT = `
const [, port, way, from, to] = process.argv;
const { uploadFile, downloadFile } = await import('./dist/services/files/client.js');
const { connectTcp, createClient } = await import('./dist/runtime/index.js');
const client = createClient(connectTcp({ host: '127.0.0.1', port: Number(port) }));
await (way === 'up' ? uploadFile : downloadFile)(client, from, to);
await client.close();
const peak = /VmHWM:\\s+(\\d+)/.exec((await import('node:fs')).readFileSync('/proc/self/status', 'utf8'));
console.log(Number(peak[1]) * 1024);
`;

let base: string;
let server: ChildProcess;
let port: number;

function script(text: string, args: readonly string[]): ChildProcess {
  return spawn(process.execPath, ['--input-type=module', '-e', text, ...args], {
    cwd: root,
    stdio: ['ignore', 'pipe', 'inherit'],
  });
}

function firstLine(child: ChildProcess): Promise<number> {
  return new Promise((resolve, reject) => {
    child.stdout?.once('data', (line: Buffer) => resolve(Number(line)));
    child.once('exit', (code) => reject(new Error(`ended with ${code} without a word`)));
  });
}

/** The most memory a process has had, in bytes. */
function peakOf(pid: number | undefined): number {
  return Number(/VmHWM:\s+(\d+)/.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1]) * 1024;
}

const sum = (file: string): string => execFileSync('sha256sum', [file], { encoding: 'utf8' }).slice(0, 64);

beforeAll(async () => {
  base = await mkdtemp(path.join(tmpdir(), 'files-large-'));
  await mkdir(path.join(base, 'root'));
  execFileSync('sh', ['-c', `head -c ${SIZE} /dev/urandom > ${base}/up`]);
  server = script(SERVER, [path.join(base, 'root')]);
  port = await firstLine(server);
}, 60_000);

afterAll(async () => {
  server.kill('SIGKILL');
  await rm(base, { recursive: true });
});

describe.runIf(process.platform === 'linux')('a file of 1 GiB', () => {
  it(`goes up and down with the connection cut ${CUTS} times, and both ends stay below 150 MiB`, async () => {
    const expected = sum(path.join(base, 'up'));
    const cutter = await startCutter(port, (SIZE / CUTS) * 1.9, CUTS);
    try {
      const up = await firstLine(
        script(CLIENT, [String(cutter.port), 'up', path.join(base, 'up'), 'stored']),
      );
      const afterUp = cutter.cuts;
      const down = await firstLine(
        script(CLIENT, [String(cutter.port), 'down', 'stored', path.join(base, 'down')]),
      );
      expect(sum(path.join(base, 'root/stored'))).toBe(expected);
      expect(sum(path.join(base, 'down'))).toBe(expected);
      expect((await readdir(base)).sort()).toEqual(['down', 'root', 'up']);
      const mib = (bytes: number): string => `${Math.round(bytes / 1024 / 1024)} MiB`;
      console.log(
        `1 GiB: cut ${afterUp} times up and ${cutter.cuts - afterUp} down; peaks: sender ${mib(up)}, receiver ${mib(down)}, server ${mib(peakOf(server.pid))}`,
      );
      expect(cutter.cuts).toBe(CUTS);
      for (const peak of [up, down, peakOf(server.pid)]) expect(peak).toBeLessThan(MAX_RSS);
    } finally {
      await cutter.close();
    }
  }, 170_000);
});
