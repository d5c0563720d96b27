/** docs/runtime.md: each example runs against what `npm run build` made, and prints what stands below it. */

import { execFile } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import { mkdir, rm, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { promisify } from 'node:util';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import * as runtime from '../../runtime/protocol.js';

const root = path.resolve(import.meta.dirname, '../..');
const manual = readFileSync(path.join(root, 'docs/runtime.md'), 'utf8');
/** Inside the package, so that an example may import it by its name. */
const folder = path.join(root, 'dist', `manual-${process.pid}`);

const blocks = [...manual.matchAll(/```(js|text)\n([\s\S]*?)```/g)].map(([, kind, text = '']) => ({
  kind,
  text,
}));
const files = blocks.flatMap(({ kind, text }) => {
  const name = /^\/\/ file: (\S+)/.exec(text)?.[1];
  return kind === 'js' && name !== undefined ? [{ name, text }] : [];
});
const examples = blocks.flatMap(({ kind, text }, i) => {
  const output = blocks[i + 1];
  return kind === 'js' && output?.kind === 'text' ? [{ code: text, output: output.text, number: i }] : [];
});

describe.skipIf(!existsSync(path.join(root, 'dist/runtime/index.js')))('the manual of the runtime', () => {
  beforeAll(async () => {
    await mkdir(folder, { recursive: true });
    for (const { name, text } of files) await writeFile(path.join(folder, name), text);
  });
  afterAll(() => rm(folder, { recursive: true, force: true }));

  it.each(examples)('has an example that prints $output', async ({ code, output, number }) => {
    const file = path.join(folder, `example-${number}.mjs`);
    await writeFile(file, code);
    const { stdout } = await promisify(execFile)(process.execPath, [file], { timeout: 20_000 });
    expect(stdout).toBe(output);
  });
});

describe('the limits in the manual', () => {
  const rows = [...manual.matchAll(/^\| [^|]+ \| (?:`([\w.]+)`|none) \| ([^|]+) \|/gm)];
  it.each([
    ['maxRecordBytes', runtime.DEFAULT_MAX_RECORD_BYTES, '4 MiB'],
    ['maxFragments', runtime.DEFAULT_MAX_FRAGMENTS, '1024'],
    ['maxConnections', runtime.DEFAULT_MAX_CONNECTIONS, '4096'],
    ['maxConnectionsPerSource', runtime.DEFAULT_MAX_CONNECTIONS_PER_SOURCE, '1024'],
    ['reservedConnections', runtime.DEFAULT_RESERVED_CONNECTIONS, '256'],
    ['maxUnfinishedBytes', runtime.DEFAULT_MAX_UNFINISHED_BYTES, '64 MiB'],
    ['maxUnsentBytes', runtime.DEFAULT_MAX_UNSENT_BYTES, '256 MiB'],
    ['idleTimeoutMs', runtime.DEFAULT_IDLE_TIMEOUT_MS, '5 minutes'],
    ['maxPendingPerConnection', runtime.DEFAULT_MAX_PENDING_PER_CONNECTION, '1024'],
    ['maxPending', runtime.DEFAULT_MAX_PENDING, '65536'],
    ['maxBufferedBytes', runtime.DEFAULT_MAX_BUFFERED_BYTES, '8 MiB'],
    ['callTimeoutMs', runtime.DEFAULT_CALL_TIMEOUT_MS, '5 minutes'],
    ['dupCache.maxEntries', runtime.DEFAULT_DUP_CACHE_ENTRIES, '65536'],
    ['dupCache.maxBytes', runtime.DEFAULT_DUP_CACHE_BYTES, '32 MiB'],
    ['dupCache.maxAgeMs', runtime.DEFAULT_DUP_CACHE_AGE_MS, '60 s'],
    ['maxLocalAddresses', runtime.DEFAULT_MAX_LOCAL_ADDRESSES, '1024'],
    ['maxPendingCalls', runtime.DEFAULT_MAX_PENDING_CALLS, '65536'],
    ['connectTimeoutMs', runtime.DEFAULT_CONNECT_TIMEOUT_MS, '5 s'],
    ['maxReplies', runtime.DEFAULT_MAX_BROADCAST_REPLIES, '65536'],
    ['graceMs', runtime.DEFAULT_WORKER_GRACE_MS, '1 s'],
    ['startMs', runtime.DEFAULT_WORKER_START_MS, '30 s'],
    ['minRestartMs', runtime.DEFAULT_MIN_RESTART_MS, '100 ms'],
    ['maxRestartMs', runtime.DEFAULT_MAX_RESTART_MS, '30 s'],
  ])('say of %s what the code says', (option, value, text) => {
    const [amount = '', unit = ''] = text.split(' ');
    const factor = { MiB: 1024 * 1024, minutes: 60_000, s: 1_000, ms: 1, '': 1 }[unit] ?? Number.NaN;
    expect(Number(amount) * factor).toBe(value);
    const row = rows.find((found) => found[1] === option);
    expect(row?.[2]).toMatch(new RegExp(`^${text}`));
  });
});
