/**
 * kv under load, killed over and over: a process serves, clients change, SIGKILL comes at some
 * moment, and the next process must have every acknowledged change, whole. What was asked and not
 * answered is asked again with the same token and must happen exactly once.
 */

import { type ChildProcess, spawn } from 'node:child_process';
import { createHash, randomBytes, randomInt } from 'node:crypto';
import path from 'node:path';
import { connectTcp, createClient, RpcError } from '../../runtime/index.js';
import { KvProgV1Client, type kv_change_result, kv_status } from '../../services/kv/kv.gen.js';
import { root } from '../support/sandbox.js';

const SERVER = `
const [, folder] = process.argv;
const { createKv } = await import('./dist/services/kv/service.js');
const { createServer } = await import('./dist/runtime/index.js');
const kv = await createKv({ folder });
const server = createServer({ services: kv.services });
const { port } = await server.listenTcp({ host: '127.0.0.1' });
console.log(port);
`;
const WRITERS = 8;

/** What was found. */
export interface KillReport {
  readonly acknowledged: number;
  readonly repeated: number;
  readonly problems: readonly string[];
}

/** One key as the clients know it: what it must hold now, null for nothing. */
type Known = Map<string, Uint8Array | null>;

interface Unanswered {
  readonly key: string;
  readonly value: Uint8Array | null;
  ask(client: KvProgV1Client): Promise<kv_change_result>;
}

/** Runs the rounds in a folder of their own. The built server of dist is what runs. */
export async function killRounds(folder: string, rounds: number): Promise<KillReport> {
  const known: Known = new Map();
  const problems: string[] = [];
  let acknowledged = 0;
  let repeated = 0;
  let unanswered: Unanswered[] = [];
  for (let round = 0; round <= rounds; round++) {
    const { child, port } = await startServer(folder);
    const exited = new Promise((done) => child.once('exit', done));
    const rpc = createClient(connectTcp({ host: '127.0.0.1', port }));
    const client = new KvProgV1Client(rpc);
    for (const one of unanswered) {
      const { status } = await one.ask(client);
      if (status !== kv_status.KV_OK) problems.push(`round ${round}: ${one.key} again: status ${status}`);
      known.set(one.key, one.value);
      repeated += 1;
    }
    const isLast = round === rounds;
    const recent = [...known.keys()].slice(isLast ? 0 : -300);
    problems.push(...(await check(client, known, recent)).map((problem) => `round ${round}: ${problem}`));
    if (!isLast) {
      const timer = setTimeout(() => child.kill('SIGKILL'), randomInt(20, 200));
      const writers = await Promise.all(
        Array.from({ length: WRITERS }, (_none, i) => writeUntilDead(client, known, `r${round}w${i}`)),
      );
      clearTimeout(timer);
      acknowledged += writers.reduce((sum, writer) => sum + writer.acknowledged, 0);
      unanswered = writers.flatMap((writer) => writer.unanswered);
    }
    child.kill('SIGKILL');
    await exited;
    await rpc.close();
  }
  return { acknowledged, repeated, problems };
}

async function startServer(folder: string): Promise<{ child: ChildProcess; port: number }> {
  const child = spawn(process.execPath, ['--input-type=module', '-e', SERVER, path.resolve(folder)], {
    cwd: root,
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  const port = await new Promise<number>((resolve, reject) => {
    child.stdout.once('data', (line: Buffer) => resolve(Number(line)));
    child.once('exit', (code) => reject(new Error(`the server ended with ${code} before it served`)));
  });
  return { child, port };
}

/** Changes keys of its own, one after the other, until the connection breaks. */
async function writeUntilDead(
  client: KvProgV1Client,
  known: Known,
  name: string,
): Promise<{ acknowledged: number; unanswered: Unanswered[] }> {
  for (let n = 0; ; n++) {
    const key = n % 4 === 0 ? `${name}-${n}` : `${name}-${n - (n % 4)}`;
    const token = randomBytes(16);
    const value = n % 8 === 7 ? null : selfChecking();
    const want_content = false;
    const ask = (of: KvProgV1Client): Promise<kv_change_result> =>
      value === null
        ? of.delete({ key, token, want_content })
        : n % 4 === 0
          ? of.put({ key, value, token, want_content })
          : of.update({ key, value, token, want_content });
    try {
      const { status } = await ask(client);
      if (status !== kv_status.KV_OK) throw new Error(`${key}: status ${status}`);
      known.set(key, value);
    } catch (error) {
      if (!(error instanceof RpcError)) throw error;
      return { acknowledged: n, unanswered: [{ key, value, ask }] };
    }
  }
}

/** A value that shows by itself whether it is whole: its SHA-256 and what that is of. */
function selfChecking(): Uint8Array {
  const body = randomBytes(randomInt(0, 3_000));
  return Buffer.concat([createHash('sha256').update(body).digest(), body]);
}

async function check(client: KvProgV1Client, known: Known, keys: readonly string[]): Promise<string[]> {
  const problems: string[] = [];
  for (let at = 0; at < keys.length; at += 64) {
    const lump = keys.slice(at, at + 64);
    const results = await Promise.all(lump.map((key) => client.get(key)));
    for (const [i, result] of results.entries()) {
      const key = lump[i]!;
      const expected = known.get(key) ?? null;
      if (result.status === kv_status.KV_OK) {
        const value = Buffer.from(result.entry.value);
        const sum = createHash('sha256').update(value.subarray(32)).digest();
        if (!sum.equals(value.subarray(0, 32))) problems.push(`${key} is torn`);
        if (expected === null || !value.equals(expected))
          problems.push(`${key} is not what was acknowledged`);
      } else if (expected !== null) problems.push(`${key} is gone`);
    }
  }
  return problems;
}
