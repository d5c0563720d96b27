/** files over real sockets: up, down, on after a cut, names that lead nowhere, limits, notices. */

import { execFileSync } from 'node:child_process';
import { createHash, randomBytes, randomInt } from 'node:crypto';
import { existsSync } from 'node:fs';
import { mkdir, mkdtemp, readdir, readFile, rm, symlink, utimes, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { connectTcp, createClient } from '../../runtime/index.js';
import { downloadFile, TransferError, uploadFile } from '../../services/files/client.js';
import { FilesProgV1Client, files_status } from '../../services/files/files.gen.js';
import { wireTime } from '../../services/files/folder.js';
import { createFiles, type Files, type FilesOptions } from '../../services/files/service.js';
import { MAX_STRETCHES } from '../../services/files/uploads.js';
import { until } from '../support/until.js';
import { startCutter } from './cutter.js';
import { type Served, serve } from './served.js';

let base: string;
let root: string;
let local: string;
let files: Files;
let served: Served;
let tcp: FilesProgV1Client;

async function start(options: Partial<FilesOptions> = {}): Promise<void> {
  files = await createFiles({ folder: root, ...options });
  served = await serve(files.services);
  tcp = new FilesProgV1Client(served.tcp);
}

async function stop(): Promise<void> {
  await served.close();
  await files.close();
}

async function make(name: string, size: number): Promise<{ file: string; content: Buffer }> {
  const content = randomBytes(size);
  const file = path.join(local, name);
  await writeFile(file, content);
  return { file, content };
}

/** Whether a file has just this content; a matcher would go through millions of keys. */
const holds = async (file: string, content: Buffer): Promise<boolean> =>
  (await readFile(file)).equals(content);

const offerOf = (name: string, content: Uint8Array, replace = false) => ({
  name,
  size: BigInt(content.length),
  sha256: createHash('sha256').update(content).digest(),
  replace,
});

async function begin(name: string, content: Uint8Array, replace = false) {
  const begun = await tcp.begin(offerOf(name, content, replace));
  if (begun.status !== files_status.FILES_OK) throw new Error(`status ${begun.status}`);
  return begun.upload;
}

beforeEach(async () => {
  base = await mkdtemp(path.join(tmpdir(), 'files-'));
  root = path.join(base, 'root');
  local = path.join(base, 'local');
  await mkdir(root);
  await mkdir(local);
});

afterEach(async () => {
  await stop();
  await rm(base, { recursive: true, maxRetries: 10 });
});

describe('files', () => {
  it.each([0, 1, 262_144, 262_145, 3_000_001])(
    'come up and down again, whole, with %i bytes',
    async (size) => {
      await start();
      const { file, content } = await make('up', size);
      await uploadFile(served.tcp, file, 'stored');
      expect(await holds(path.join(root, 'stored'), content)).toBe(true);
      await downloadFile(served.tcp, 'stored', path.join(local, 'down'));
      expect(await holds(path.join(local, 'down'), content)).toBe(true);
      expect((await readdir(local)).sort()).toEqual(['down', 'up']);
      expect(await readdir(root)).toEqual(['stored']);
    },
  );

  it('come up and down over UDP by pieces that fit', async () => {
    await start();
    const { file, content } = await make('up', 100_000);
    const options = { chunkBytes: 8_000, inFlight: 4 };
    await uploadFile(served.udp, file, 'stored', options);
    await downloadFile(served.udp, 'stored', path.join(local, 'down'), options);
    expect(await holds(path.join(local, 'down'), content)).toBe(true);
  });

  it('go on where they were cut off', async () => {
    await start();
    const { file, content } = await make('up', 20_000_000);
    const cutter = await startCutter(served.tcpPort, 4_000_000, 8);
    const client = createClient(connectTcp({ host: '127.0.0.1', port: cutter.port }));
    try {
      await uploadFile(client, file, 'stored');
      expect(cutter.cuts).toBeGreaterThanOrEqual(4);
      await downloadFile(client, 'stored', path.join(local, 'down'));
      expect(cutter.cuts).toBe(8);
      expect(await holds(path.join(root, 'stored'), content)).toBe(true);
      expect(await holds(path.join(local, 'down'), content)).toBe(true);
    } finally {
      await client.close();
      await cutter.close();
    }
  });

  it('go on after the server was restarted', async () => {
    await start();
    const content = randomBytes(9_000_000);
    const first = await begin('file', content);
    const piece = 250_000;
    for (let at = 0; at < 8_000_000; at += piece)
      await tcp.write({ id: first.id, offset: BigInt(at), data: content.subarray(at, at + piece) });
    await stop();
    await start();
    const second = await begin('file', content);
    expect(second.offset).toBe(8_000_000n - 4n * 1024n * 1024n);
    for (let at = Number(second.offset); at < content.length; at += piece)
      await tcp.write({ id: second.id, offset: BigInt(at), data: content.subarray(at, at + piece) });
    expect(await tcp.commit(second.id)).toBe(files_status.FILES_OK);
    expect(await holds(path.join(root, 'file'), content)).toBe(true);
  });

  it('take pieces in any order within the window, twice too, and say OK to a second commit', async () => {
    await start();
    const content = randomBytes(100_000);
    const { id } = await begin('file', content);
    for (const at of [90_000, 0, 50_000, 50_000, 20_000, 0, 10_000])
      expect(await tcp.write({ id, offset: BigInt(at), data: content.subarray(at, at + 10_000) })).toBe(0);
    expect(await tcp.commit(id)).toBe(files_status.FILES_INCOMPLETE);
    expect(await tcp.write({ id, offset: 15_000n, data: content.subarray(15_000, 95_000) })).toBe(0);
    expect(await tcp.commit(id)).toBe(files_status.FILES_OK);
    expect(await tcp.commit(id)).toBe(files_status.FILES_OK);
    expect(await holds(path.join(root, 'file'), content)).toBe(true);
  });

  it('do not appear with a wrong checksum, and leave nothing behind', async () => {
    await start();
    const content = randomBytes(1_000);
    const { id } = await begin('file', content);
    await tcp.write({ id, offset: 0n, data: randomBytes(1_000) });
    expect(await tcp.commit(id)).toBe(files_status.FILES_BAD_CHECKSUM);
    expect(await readdir(root)).toEqual([]);
    expect(await tcp.commit(id)).toBe(files_status.FILES_NO_UPLOAD);
  });

  it('cannot be changed in what was checked already', async () => {
    await start();
    const content = randomBytes(1_000_000);
    const { id } = await begin('file', content);
    for (let at = 0; at < 1_000_000; at += 250_000)
      await tcp.write({ id, offset: BigInt(at), data: content.subarray(at, at + 250_000) });
    await tcp.write({ id, offset: 0n, data: randomBytes(250_000) });
    expect(await tcp.commit(id)).toBe(files_status.FILES_OK);
    expect(await holds(path.join(root, 'file'), content)).toBe(true);
  });

  it('replace another only where that was asked for, and at once', async () => {
    await start();
    await writeFile(path.join(root, 'file'), 'old');
    const content = randomBytes(10);
    expect(await tcp.begin(offerOf('file', content))).toEqual({ status: files_status.FILES_EXISTS });
    const { id } = await begin('file', content, true);
    await tcp.write({ id, offset: 0n, data: content });
    expect(await readFile(path.join(root, 'file'), 'utf8')).toBe('old');
    expect(await tcp.commit(id)).toBe(files_status.FILES_OK);
    expect(await holds(path.join(root, 'file'), content)).toBe(true);
    // A file that came meanwhile is not replaced either.
    const other = await begin('other', content);
    await tcp.write({ id: other.id, offset: 0n, data: content });
    await writeFile(path.join(root, 'other'), 'first');
    expect(await tcp.commit(other.id)).toBe(files_status.FILES_EXISTS);
    expect(await readdir(root)).toEqual(['file', 'other']);
  });

  it.each([
    '',
    '.',
    '..',
    '../secret',
    '../local/secret',
    '/etc/passwd',
    'a/b',
    'a/../../secret',
    'sub',
    'link',
    'a\\b',
    'nul\0',
    '\0',
    '.part-00',
    '.hidden',
    'line\nbreak',
    'pipe',
    'dangling',
    `${'\u00e9'.repeat(127)}ab`,
  ])('are not reached by the name %j', async (name) => {
    await mkdir(path.join(root, 'sub'));
    await writeFile(path.join(local, 'secret'), 'secret');
    await symlink('../local/secret', path.join(root, 'link'));
    await symlink('../local/new', path.join(root, 'dangling'));
    execFileSync('mkfifo', [path.join(root, 'pipe')]);
    await start();
    const none = [files_status.FILES_BAD_NAME, files_status.FILES_NOT_FOUND];
    const content = Buffer.from('overwritten');
    // The longest name there may be is a good one.
    if (Buffer.byteLength(name) > 254) {
      expect(Buffer.byteLength(name)).toBe(256);
      await expect(tcp.stat(name)).rejects.toMatchObject({ code: 'XDR_LIMIT' });
      return;
    }
    expect(none).toContain((await tcp.begin(offerOf(name, content, true))).status);
    expect(none).toContain((await tcp.stat(name)).status);
    const part = { name, id: new Uint8Array(16), offset: 0n, count: 100 };
    expect(none).toContain((await tcp.read(part)).status);
    expect(none).toContain(await tcp.remove(name));
    expect(await readFile(path.join(local, 'secret'), 'utf8')).toBe('secret');
    expect(existsSync(path.join(local, 'new'))).toBe(false);
    expect(existsSync(path.join(root, 'link'))).toBe(true);
  });

  it('come to the limits of one, of all together and of their number, and not beyond', async () => {
    await start({ maxFileBytes: 1_000, maxTotalBytes: 1_500, maxFiles: 2 });
    const { file: full } = await make('full', 1_000);
    const { file: over } = await make('over', 1_001);
    const { file: half } = await make('half', 501);
    const { file: fits } = await make('fits', 500);
    const { file: empty } = await make('empty', 0);
    await expect(uploadFile(served.tcp, over, 'over')).rejects.toThrow('larger than the server takes');
    await uploadFile(served.tcp, full, 'full');
    await expect(uploadFile(served.tcp, half, 'half')).rejects.toThrow('no room');
    await uploadFile(served.tcp, fits, 'fits');
    await expect(uploadFile(served.tcp, empty, 'empty')).rejects.toThrow('no room');
    expect(await readdir(root)).toEqual(['fits', 'full']);
  });

  it('are begun as many at a time as the limit, and given up when nobody goes on', async () => {
    await start({ maxUploads: 2, staleMs: 1_000 });
    const contents = [1, 2, 3].map((n) => Buffer.alloc(10, n));
    await begin('a', contents[0]!);
    await begin('b', contents[1]!);
    expect(await tcp.begin(offerOf('c', contents[2]!))).toEqual({ status: files_status.FILES_BUSY });
    await until(async () => (await readdir(root)).length === 0);
    await begin('c', contents[2]!);
    await tcp.abort((await begin('c', contents[2]!)).id);
    expect(await readdir(root)).toEqual([]);
  });

  it('refuse pieces that are beyond the end or too far ahead', async () => {
    await start();
    const content = Buffer.alloc(10_000_000);
    const { id, window } = await begin('file', content);
    const write = (offset: bigint, size: number) => tcp.write({ id, offset, data: Buffer.alloc(size) });
    expect(await write(window - 10n, 10)).toBe(files_status.FILES_OK);
    expect(await write(window - 10n, 11)).toBe(files_status.FILES_BAD_OFFSET);
    expect(await write(2n ** 64n - 1n, 1)).toBe(files_status.FILES_BAD_OFFSET);
    expect(await write(10_000_000n, 1)).toBe(files_status.FILES_BAD_OFFSET);
  });

  it('come in pieces of which up to 1024 stretches with gaps between them are remembered, and not one more', async () => {
    await start();
    const content = randomBytes(2 * MAX_STRETCHES + 20);
    const { id } = await begin('file', content);
    const write = (at: number, size = 1) =>
      tcp.write({ id, offset: BigInt(at), data: content.subarray(at, at + size) });
    // One byte again and again is one stretch, and so are neighbours, in any order.
    await Promise.all(Array.from({ length: 2 * MAX_STRETCHES }, () => write(5)));
    for (const at of [9, 7, 8, 6]) expect(await write(at)).toBe(files_status.FILES_OK);
    const places = Array.from({ length: MAX_STRETCHES - 1 }, (_none, i) => 11 + 2 * i);
    expect(new Set(await Promise.all(places.map((at) => write(at))))).toEqual(
      new Set([files_status.FILES_OK]),
    );
    const beyond = 2 * MAX_STRETCHES + 9;
    expect(await write(beyond)).toBe(files_status.FILES_BAD_OFFSET);
    // What adds none is taken: again, beside another, where the first gap is.
    expect(await write(11)).toBe(files_status.FILES_OK);
    expect(await write(10)).toBe(files_status.FILES_OK);
    expect(await write(beyond)).toBe(files_status.FILES_OK);
    expect(await write(beyond + 2)).toBe(files_status.FILES_BAD_OFFSET);
    expect(await write(0)).toBe(files_status.FILES_OK);
    expect(await tcp.commit(id)).toBe(files_status.FILES_INCOMPLETE);
    expect(await write(1, content.length - 1)).toBe(files_status.FILES_OK);
    expect(await tcp.commit(id)).toBe(files_status.FILES_OK);
    expect(await holds(path.join(root, 'file'), content)).toBe(true);
  });

  it('are whole whatever the order, the size and the overlap of their pieces', async () => {
    await start();
    for (let round = 0; round < 20; round++) {
      const content = randomBytes(2_000);
      const { id } = await begin(`file ${round}`, content);
      for (let piece = 0; piece < 30; piece++) {
        const at = randomInt(2_000);
        const size = randomInt(200);
        await tcp.write({ id, offset: BigInt(at), data: content.subarray(at, at + size) });
      }
      // Backwards, a byte more than the step: each touches the one before.
      for (let at = 1_950; at > 0; at -= 50)
        expect(await tcp.write({ id, offset: BigInt(at), data: content.subarray(at, at + 51) })).toBe(0);
      expect(await tcp.commit(id)).toSatisfy(
        (status) => status === files_status.FILES_INCOMPLETE || status === files_status.FILES_OK,
      );
      await tcp.write({ id, offset: 0n, data: content.subarray(0, 50) });
      expect(await tcp.commit(id)).toBe(files_status.FILES_OK);
      expect(await holds(path.join(root, `file ${round}`), content)).toBe(true);
    }
  });

  it('tell a reader when they have changed', async () => {
    await start();
    const { content } = await make('x', 1_000);
    await writeFile(path.join(root, 'file'), content);
    const before = await tcp.stat('file');
    if (before.status !== files_status.FILES_OK) throw new Error();
    await writeFile(path.join(root, 'file'), 'other');
    const part = { name: 'file', id: before.file.id, offset: 0n, count: 100 };
    expect(await tcp.read(part)).toEqual({ status: files_status.FILES_CHANGED });
  });

  it('are listed by pages and removed', async () => {
    await start();
    const many = Array.from({ length: 1_030 }, (_none, i) => `file ${String(i).padStart(4, '0')}`);
    for (const name of many) await writeFile(path.join(root, name), name);
    const names: string[] = [];
    for (let more = true; more; ) {
      const result = await tcp.list(names.at(-1) ?? '');
      if (result.status !== files_status.FILES_OK) throw new Error();
      expect(result.page.files.length).toBeLessThanOrEqual(1_024);
      names.push(...result.page.files.map(({ name }) => name));
      more = result.page.more;
    }
    expect(names).toEqual(many);
    expect(await tcp.remove('file 0000')).toBe(files_status.FILES_OK);
    expect(await tcp.remove('file 0000')).toBe(files_status.FILES_NOT_FOUND);
  });

  it('send notices to all who listen, and forget who is gone', async () => {
    await start();
    const clients = Array.from({ length: 20 }, () => served.another());
    const news = clients.map((client) =>
      new FilesProgV1Client(client).subscribe({ after: 0n, wait_ms: 15_000 }),
    );
    for (const one of news) one.catch(() => undefined);
    await until(() => files.subscribers === 20);
    await Promise.all(clients.splice(10).map((client) => client.close()));
    await until(() => files.subscribers === 10);
    expect(await tcp.sendAll('to all')).toBe(files_status.FILES_OK);
    for (const one of news.slice(0, 10))
      expect(await one).toMatchObject({ news: { notices: [{ number: 1n, text: 'to all' }], next: 1n } });
    expect(files.subscribers).toBe(0);
    expect(await tcp.sendAll('x'.repeat(1_024))).toBe(files_status.FILES_OK);
    expect(await tcp.sendAll('x'.repeat(1_025))).toBe(files_status.FILES_TOO_BIG);
    const latest = await tcp.subscribe({ after: 2n ** 64n - 1n, wait_ms: 0 });
    expect(latest).toMatchObject({ news: { notices: [], next: 2n, missed: false } });
  });

  it('have dates of the whole range a file system may hold, brought into what the protocol can say', async () => {
    await start();
    await writeFile(path.join(root, 'old'), '');
    await writeFile(path.join(root, 'new'), '');
    execFileSync('touch', ['-d', '@-1000000', path.join(root, 'old')]);
    await utimes(path.join(root, 'new'), 1_700_000_000.5, 1_700_000_000.5);
    const whole = await tcp.stat('old');
    expect(whole).toMatchObject({ status: files_status.FILES_OK, file: { info: { modified: 0n } } });
    const result = await tcp.list('');
    if (result.status !== files_status.FILES_OK) throw new Error();
    expect(result.page.files.map(({ name, modified }) => [name, modified])).toEqual([
      ['new', 1_700_000_000_500n],
      ['old', 0n],
    ]);
    const most = 2n ** 63n - 1n;
    const times = [Number.NaN, -Infinity, -1, -0.5, 0, 1.9, 2 ** 53, 2 ** 63, 9.2e21, Infinity];
    expect(times.map(wireTime)).toEqual([0n, 0n, 0n, 0n, 0n, 1n, 2n ** 53n, most, most, most]);
    for (const ms of [-(2n ** 63n), -1n, 0n, most, most + 1n])
      expect(wireTime(ms)).toBe(ms < 0n ? 0n : ms > most ? most : ms);
  });

  it('are not written over on this side unless that was asked for', async () => {
    await start();
    await writeFile(path.join(root, 'file'), 'remote');
    const { file, content } = await make('mine', 10);
    await expect(downloadFile(served.tcp, 'file', file)).rejects.toThrow(TransferError);
    expect(await holds(file, content)).toBe(true);
    await downloadFile(served.tcp, 'file', file, { replace: true });
    expect(await readFile(file, 'utf8')).toBe('remote');
    await expect(downloadFile(served.tcp, 'none', path.join(local, 'none'))).rejects.toThrow('no such file');
  });
});
