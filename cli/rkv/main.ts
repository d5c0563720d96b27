#!/usr/bin/env node

/** rkv: the store of keys and values of another host. */

import { randomBytes } from 'node:crypto';
import {
  KV_PROG,
  KV_V1,
  KvProgV1Client,
  kv_event_kind,
  type kv_page,
  kv_status,
} from '../../services/index.js';
import { CliError, command, integer, run, UsageError } from '../support/cli.js';
import { type RemoteOptions, remoteOptions, withProgram } from '../support/remote.js';
import { printable } from '../support/terminal.js';

const TEXTS: Readonly<Record<kv_status, string>> = {
  [kv_status.KV_OK]: 'done',
  [kv_status.KV_EXISTS]: 'the key is there already (update changes it)',
  [kv_status.KV_NOT_FOUND]: 'no such key (put makes it)',
  [kv_status.KV_TOO_BIG]: 'the key or the value is larger than the server takes, or the key is empty',
  [kv_status.KV_FULL]: 'the store is full: delete something',
  [kv_status.KV_USE_TCP]: 'the answer is too long for UDP: use --transport tcp',
  [kv_status.KV_BUSY]: 'the server is busy: try again later',
};
const KINDS: Readonly<Record<kv_event_kind, string>> = {
  [kv_event_kind.KV_PUT_EVENT]: 'put',
  [kv_event_kind.KV_UPDATE_EVENT]: 'update',
  [kv_event_kind.KV_DELETE_EVENT]: 'delete',
};
/** How long one call of watch waits; the server waits less where the total time is shorter. */
const WATCH_MS = 15_000;

interface Options extends RemoteOptions {
  readonly show?: boolean;
  readonly limit?: number;
  readonly count?: number;
}

const MAX_COUNT = 1_000_000_000;

const program = remoteOptions(
  command('rkv', 'Keeps values by keys on HOST.')
    .argument('<host>', 'name or address of a host that runs kv')
    .argument('<action>', 'put, update, get, delete, list, stat or watch')
    .argument('[words...]', 'key and value')
    .option('--show', 'after a change, print the whole content')
    .option('--limit <count>', 'of list: most entries', integer('COUNT', 1, MAX_COUNT))
    .option('--count <count>', 'of watch: end after so many changes', integer('COUNT', 1, MAX_COUNT)),
).addHelpText(
  'after',
  `
Actions:
  put KEY VALUE      stores a new key
  update KEY VALUE   stores another value under a key that is there
  get KEY            prints a value, byte for byte
  delete KEY         takes a key out
  list [PREFIX]      prints keys and values, in the order of the keys
  stat               prints how much there is
  watch [PREFIX]     prints changes as they happen, until it is ended

Examples:
  rkv localhost put greeting hello
  rkv localhost get greeting
  rkv --show localhost update greeting "good morning"
  rkv localhost watch`,
);

/** By name: how many words each takes, and what it does with them. */
const ACTIONS = new Map<
  string,
  {
    readonly least: number;
    readonly most: number;
    run(kv: KvProgV1Client, words: readonly string[], options: Options): Promise<void>;
  }
>(
  Object.entries({
    put: {
      least: 2,
      most: 2,
      run: async (kv, [key = '', value = ''], { show = false }) =>
        job(kv.put(write(key, value, show)), key, ({ changed }) => printContent(changed.content)),
    },
    update: {
      least: 2,
      most: 2,
      run: async (kv, [key = '', value = ''], { show = false }) =>
        job(kv.update(write(key, value, show)), key, ({ changed }) => printContent(changed.content)),
    },
    delete: {
      least: 1,
      most: 1,
      run: async (kv, [key = ''], { show = false }) =>
        job(kv.delete({ key, token: randomBytes(16), want_content: show }), key, ({ changed }) =>
          printContent(changed.content),
        ),
    },
    get: {
      least: 1,
      most: 1,
      run: async (kv, [key = '']) =>
        job(kv.get(key), key, ({ entry }) => {
          process.stdout.write(Buffer.concat([entry.value, Buffer.from('\n')]));
        }),
    },
    list: {
      least: 0,
      most: 1,
      run: (kv, [prefix = ''], { limit = MAX_COUNT }) => listAll(kv, prefix, limit),
    },
    stat: {
      least: 0,
      most: 0,
      run: async (kv) => {
        const { entries, size, revision } = await kv.stat();
        process.stdout.write(`${entries} entries, ${size} bytes, revision ${revision}\n`);
      },
    },
    watch: {
      least: 0,
      most: 1,
      run: (kv, [prefix = ''], { count = Number.POSITIVE_INFINITY }) => watch(kv, prefix, count),
    },
  }),
);

program.action(async (host: string, name: string, words: readonly string[], options: Options) => {
  const action = ACTIONS.get(name);
  if (action === undefined || words.length < action.least || words.length > action.most)
    throw new UsageError(
      action === undefined
        ? `there is no action ${printable(name)}, only ${[...ACTIONS.keys()].join(', ')}`
        : `${name} takes ${action.least === action.most ? action.least : `up to ${action.most}`} words, not ${words.length}`,
    );
  await withProgram(host, { program: KV_PROG, version: KV_V1 }, options, (caller) =>
    action.run(new KvProgV1Client(caller), words, options),
  );
});

async function job<R extends { readonly status: kv_status }>(
  call: Promise<R>,
  what: string,
  print: (result: Extract<R, { status: typeof kv_status.KV_OK }>) => void,
): Promise<void> {
  const result = await call;
  if (!isOk(result)) throw refusal(what, result.status);
  print(result);
}

function isOk<R extends { readonly status: kv_status }>(
  result: R,
): result is Extract<R, { status: typeof kv_status.KV_OK }> {
  return result.status === kv_status.KV_OK;
}

function refusal(what: string, status: kv_status): CliError {
  return new CliError(`${printable(what)}: ${TEXTS[status]}`);
}

function write(key: string, value: string, want_content: boolean) {
  return { key, value: Buffer.from(value), token: randomBytes(16), want_content };
}

function printContent(content: kv_page | null): void {
  if (content === null) return;
  printPage(content);
  if (content.more) process.stdout.write('... (rkv HOST list shows all)\n');
}

function printPage({ entries }: kv_page): void {
  for (const { key, value } of entries)
    process.stdout.write(`${printable(key)}\t${printable(Buffer.from(value).toString())}\n`);
}

async function listAll(kv: KvProgV1Client, prefix: string, most: number): Promise<void> {
  let after = '';
  for (let left = most; left > 0; ) {
    const result = await kv.list({ prefix, after, limit: Math.min(left, 1_024) });
    if (result.status !== kv_status.KV_OK) throw refusal('list', result.status);
    printPage(result.page);
    left -= result.page.entries.length;
    after = result.page.entries.at(-1)?.key ?? after;
    if (!result.page.more) return;
  }
}

async function watch(kv: KvProgV1Client, prefix: string, most: number): Promise<void> {
  let { revision: after } = await kv.stat();
  process.stderr.write(`rkv: watching from revision ${after}\n`);
  for (let left = most; left > 0; ) {
    const result = await kv.watch({ prefix, after, wait_ms: WATCH_MS });
    if (result.status !== kv_status.KV_OK) throw refusal('watch', result.status);
    const { events, next, missed } = result.happened;
    if (missed) process.stdout.write('... (changes were missed: rkv HOST list shows all)\n');
    for (const { kind, key, revision } of events.slice(0, left))
      process.stdout.write(`${revision} ${KINDS[kind]} ${printable(key)}\n`);
    left -= events.length;
    after = next;
  }
}

await run(program);
