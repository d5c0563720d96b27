/** kv over real sockets: what its statuses say, its pages, its limits, and who watches. */

import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { KvProgV1Client, kv_event_kind, kv_status } from '../../services/kv/kv.gen.js';
import { createKv, type Kv, type KvOptions } from '../../services/kv/service.js';
import { until } from '../support/until.js';
import { killRounds } from './kv-kill.js';
import { type Served, serve } from './served.js';

const NO_TOKEN = new Uint8Array(16);
const token = (n: number): Uint8Array => new Uint8Array(16).fill(n);
const bytes = (text: string): Uint8Array => Buffer.from(text);
const write = (key: string, value: string, of: Uint8Array = NO_TOKEN, want_content = false) => ({
  key,
  value: bytes(value),
  token: of,
  want_content,
});

let folder: string;
let kv: Kv;
let served: Served;
let tcp: KvProgV1Client;
let udp: KvProgV1Client;

async function start(options: Partial<KvOptions> = {}): Promise<void> {
  kv = await createKv({ folder: path.join(folder, 'kv'), ...options });
  served = await serve(kv.services);
  tcp = new KvProgV1Client(served.tcp);
  udp = new KvProgV1Client(served.udp);
}

async function stop(): Promise<void> {
  await served.close();
  await kv.close();
}

beforeEach(async () => {
  folder = await mkdtemp(path.join(tmpdir(), 'kv-'));
});

afterEach(async () => {
  await stop();
  await rm(folder, { recursive: true, maxRetries: 10 });
});

describe('kv', () => {
  it('puts only what is new and updates only what is there, over TCP and UDP', async () => {
    await start();
    for (const [i, client] of [tcp, udp].entries()) {
      const key = `key ${i}`;
      expect((await client.update(write(key, 'x'))).status).toBe(kv_status.KV_NOT_FOUND);
      expect((await client.put(write(key, 'one'))).status).toBe(kv_status.KV_OK);
      expect((await client.put(write(key, 'two'))).status).toBe(kv_status.KV_EXISTS);
      expect((await client.update(write(key, 'three'))).status).toBe(kv_status.KV_OK);
      const got = await client.get(key);
      expect(got.status === kv_status.KV_OK && String(Buffer.from(got.entry.value))).toBe('three');
      const removal = { key, token: NO_TOKEN, want_content: false };
      expect((await client.delete(removal)).status).toBe(kv_status.KV_OK);
      expect((await client.delete(removal)).status).toBe(kv_status.KV_NOT_FOUND);
      expect((await client.get(key)).status).toBe(kv_status.KV_NOT_FOUND);
    }
  });

  it('sends the whole content back after a change where that was asked for', async () => {
    await start();
    await tcp.put(write('b', '2'));
    const result = await tcp.put(write('a', '1', NO_TOKEN, true));
    expect(result).toMatchObject({
      changed: { revision: 2n, content: { entries: [{ key: 'a' }, { key: 'b' }], more: false } },
    });
    const removed = await tcp.delete({ key: 'a', token: NO_TOKEN, want_content: true });
    expect(removed).toMatchObject({ changed: { content: { entries: [{ key: 'b' }] } } });
  });

  it('keeps everything, its counters and its tokens over a restart', async () => {
    await start();
    await tcp.put(write('a', 'first', token(1)));
    await tcp.put(write('b', 'second'));
    const before = await tcp.stat();
    await stop();
    await start();
    expect(await tcp.stat()).toEqual(before);
    expect(before).toEqual({ entries: 2n, size: 13n, revision: 2n });
    expect(await tcp.put(write('a', 'first', token(1)))).toMatchObject({ changed: { revision: 1n } });
  });

  it('makes a change once however often its token comes', async () => {
    await start();
    const all = await Promise.all(Array.from({ length: 20 }, () => tcp.put(write('k', 'v', token(7)))));
    expect(all.every((one) => one.status === kv_status.KV_OK && one.changed.revision === 1n)).toBe(true);
    expect((await tcp.stat()).revision).toBe(1n);
    expect((await tcp.put(write('k', 'v', token(8)))).status).toBe(kv_status.KV_EXISTS);
    const removal = { key: 'k', token: token(9), want_content: false };
    expect((await tcp.delete(removal)).status).toBe(kv_status.KV_OK);
    expect((await tcp.delete(removal)).status).toBe(kv_status.KV_OK);
  });

  it('lists by pages in the order of the bytes of the keys, below a prefix', async () => {
    await start();
    for (const key of ['b/2', 'a', 'b/1', 'b/\u00e9', 'b/3', 'c', 'b']) await tcp.put(write(key, key));
    const seen: string[] = [];
    let after = '';
    for (let more = true; more; ) {
      const result = await tcp.list({ prefix: 'b/', after, limit: 2 });
      if (result.status !== kv_status.KV_OK) throw new Error(String(result.status));
      expect(result.page.entries.length).toBeLessThanOrEqual(2);
      seen.push(...result.page.entries.map(({ key }) => key));
      after = seen.at(-1) ?? '';
      more = result.page.more;
    }
    expect(seen).toEqual(['b/1', 'b/2', 'b/3', 'b/\u00e9']);
  });

  it('takes keys and values at their limits and nothing beyond them', async () => {
    await start({ maxKeyBytes: 10, maxValueBytes: 20, maxEntries: 2, maxBytes: 50 });
    const put = async (key: string, size: number) => (await tcp.put(write(key, 'v'.repeat(size)))).status;
    expect(await put('k'.repeat(11), 1)).toBe(kv_status.KV_TOO_BIG);
    expect(await put('', 1)).toBe(kv_status.KV_TOO_BIG);
    expect(await put('k', 21)).toBe(kv_status.KV_TOO_BIG);
    expect(await put('k'.repeat(10), 20)).toBe(kv_status.KV_OK);
    expect(await put('0', 20)).toBe(kv_status.KV_FULL);
    expect(await put('0', 19)).toBe(kv_status.KV_OK);
    expect(await put('1', 0)).toBe(kv_status.KV_FULL);
    // What is full can still be made smaller.
    expect((await tcp.update(write('0', ''))).status).toBe(kv_status.KV_OK);
  });

  it('sends over UDP what fits and asks for TCP otherwise', async () => {
    await start({ maxUdpBytes: 1_000 });
    await tcp.put(write('large', 'x'.repeat(1_000)));
    await tcp.put(write('small', 'x'));
    expect((await udp.get('large')).status).toBe(kv_status.KV_USE_TCP);
    expect((await udp.get('small')).status).toBe(kv_status.KV_OK);
    expect((await udp.list({ prefix: '', after: '', limit: 0 })).status).toBe(kv_status.KV_USE_TCP);
    expect((await tcp.list({ prefix: '', after: '', limit: 0 })).status).toBe(kv_status.KV_OK);
  });

  it('answers a watch when something happens, and only of the wanted keys', async () => {
    await start();
    const { revision: after } = await tcp.stat();
    const watching = tcp.watch({ prefix: 'w/', after, wait_ms: 10_000 });
    await tcp.put(write('other', 'x'));
    await tcp.put(write('w/1', 'x'));
    expect(await watching).toMatchObject({
      happened: { events: [{ kind: kv_event_kind.KV_PUT_EVENT, key: 'w/1', revision: 2n }], next: 2n },
    });
    await tcp.update(write('w/1', 'y'));
    await tcp.delete({ key: 'w/1', token: NO_TOKEN, want_content: false });
    expect(await tcp.watch({ prefix: '', after: 2n, wait_ms: 0 })).toMatchObject({
      happened: {
        events: [{ kind: kv_event_kind.KV_UPDATE_EVENT }, { kind: kv_event_kind.KV_DELETE_EVENT }],
      },
    });
  });

  it('says to a watcher that came too late that it missed something', async () => {
    await start({ watch: { maxKept: 4 } });
    for (let i = 0; i < 20; i++) await tcp.put(write(`k${i}`, ''));
    expect(await tcp.watch({ prefix: '', after: 1n, wait_ms: 0 })).toMatchObject({
      happened: { missed: true, next: 20n },
    });
    expect(await tcp.watch({ prefix: '', after: 21n, wait_ms: 10_000 })).toMatchObject({
      happened: { missed: true, next: 20n },
    });
  });

  it('lets as many watch as its limit, and gives the place of one that is gone to another', async () => {
    await start({ watch: { maxWaiting: 2 } });
    const others = [served.another(), served.another()];
    const interest = { prefix: '', after: 0n, wait_ms: 20_000 };
    const waits = others.map((client) => new KvProgV1Client(client).watch(interest));
    for (const wait of waits) wait.catch(() => undefined);
    await until(async () => (await tcp.watch({ ...interest, wait_ms: 1 })).status === kv_status.KV_BUSY);
    await others[0]?.close();
    await until(async () => (await tcp.watch({ ...interest, wait_ms: 1 })).status === kv_status.KV_OK);
  });

  it('tells what is wrong where its folder is in use', async () => {
    await start();
    await expect(createKv({ folder: path.join(folder, 'kv') })).rejects.toThrow(
      'another process has it open',
    );
  });

  it('loses no acknowledged change to kill -9, and makes none twice', async () => {
    await start();
    const report = await killRounds(path.join(folder, 'killed'), 3);
    expect(report.problems).toEqual([]);
    expect(report.acknowledged).toBeGreaterThan(30);
  }, 60_000);
});
