/** Stores (rpcbind/state/store.ts) through a running daemon: one that answers late, one that fails, one that reports changes. */

import { afterEach, describe, expect, it } from 'vitest';
import {
  connectRpcbind,
  createRpcbind,
  MemoryStore,
  type NewRegistration,
  type RegistrationStore,
  type Rpcbind,
  type RpcbindClient,
  type RpcbindEvent,
  type StoreChange,
  type StoredRegistration,
  type StoredTable,
  THIS_HOST,
} from '../../../rpcbind/index.js';
import { until } from '../../support/until.js';

const cleanUps: (() => unknown)[] = [];
afterEach(async () => {
  for (const cleanUp of cleanUps.splice(0).reverse()) await cleanUp();
});

/** A store that answers when the test says so, in the order of the calls. */
class LateStore implements RegistrationStore {
  readonly calls: string[] = [];
  stored: StoredTable = { registrations: [], held: [] };
  report: (change: StoreChange) => void = () => undefined;
  private readonly waiting: { resolve: () => void; reject: (error: Error) => void }[] = [];

  load(): Promise<StoredTable> {
    return Promise.resolve(this.stored);
  }

  put({ program, netid, address }: StoredRegistration): Promise<void> {
    return this.answerLater(`put ${program} ${netid} ${address}`);
  }

  delete(registrations: readonly StoredRegistration[]): Promise<void> {
    return this.answerLater(`delete ${registrations.map(({ program, netid }) => `${program} ${netid}`)}`);
  }

  watch(listener: (change: StoreChange) => void): void {
    this.report = listener;
  }

  close(): void {
    this.calls.push('close');
  }

  /** Answers the oldest call. */
  answer(error?: Error): void {
    const call = this.waiting.shift();
    if (error === undefined) call?.resolve();
    else call?.reject(error);
  }

  private answerLater(call: string): Promise<void> {
    this.calls.push(call);
    return new Promise((resolve, reject) => this.waiting.push({ resolve, reject }));
  }
}

/** A store that fails at once. */
class FailingStore extends MemoryStore {
  error: Error | undefined;

  override put(registration: StoredRegistration): void {
    if (this.error !== undefined) throw this.error;
    super.put(registration);
  }

  override delete(registrations: readonly StoredRegistration[]): void {
    if (this.error !== undefined) throw this.error;
    super.delete(registrations);
  }
}

const PROGRAM = 0x2000_0500;
const FULL = new Error('no quorum');
const tcp = (port: number, program = PROGRAM): NewRegistration => ({
  program,
  version: 1,
  netid: 'tcp',
  address: `127.0.0.1.${port >> 8}.${port & 255}`,
});
const stored = (of: NewRegistration, owner = 'unknown'): StoredRegistration => ({
  ...of,
  owner,
  host: THIS_HOST,
  wasAlive: true,
});

interface Started {
  readonly rpcbind: Rpcbind;
  readonly client: RpcbindClient;
  readonly errors: unknown[];
  readonly events: RpcbindEvent[];
}

async function start(store: RegistrationStore): Promise<Started> {
  const errors: unknown[] = [];
  const events: RpcbindEvent[] = [];
  const rpcbind = await createRpcbind({
    port: 0,
    store,
    liveness: 'off',
    onError: (error) => errors.push(error),
    onEvent: (event) => events.push(event),
  });
  cleanUps.push(() => rpcbind.close());
  const client = await connectRpcbind({ port: rpcbind.port, transport: 'tcp' });
  cleanUps.push(() => client.close());
  return { rpcbind, client, errors, events };
}

const table = (rpcbind: Rpcbind): string[] =>
  rpcbind
    .registrations()
    .filter(({ program }) => program !== 100_000)
    .map(({ program, netid, address }) => `${program} ${netid} ${address}`);

const called = (store: LateStore, count: number): Promise<void> =>
  until(() => store.calls.length === count, 5_000, `call ${count} of the store`);

describe('a store that answers late', () => {
  it('has SET answered once it has the registration, which nobody finds before', async () => {
    const store = new LateStore();
    const { rpcbind, client } = await start(store);
    let isAnswered = false;
    const set = client.setAddress(tcp(1000)).then((isSet) => {
      isAnswered = true;
      return isSet;
    });
    await called(store, 1);
    expect(await client.getaddr(tcp(0))).toBeUndefined();
    expect((await client.dumpAddresses()).filter(({ program }) => program === PROGRAM)).toEqual([]);
    expect([isAnswered, table(rpcbind), rpcbind.stats().changes.pending]).toEqual([false, [], 1]);
    store.answer();
    expect(await set).toBe(true);
    expect(table(rpcbind)).toEqual([`${PROGRAM} tcp 127.0.0.1.3.232`]);
    expect(rpcbind.stats().changes).toEqual({ pending: 0, failed: 0 });
  });

  it('has lookups find another version meanwhile', async () => {
    const store = new LateStore();
    const { client } = await start(store);
    const first = client.setAddress(tcp(1000));
    await called(store, 1);
    store.answer();
    expect(await first).toBe(true);
    const second = client.setAddress({ ...tcp(2000), version: 2 });
    await called(store, 2);
    expect(await client.getaddr({ program: PROGRAM, version: 2 })).toBe('127.0.0.1.3.232');
    expect(await client.getVersionAddress({ program: PROGRAM, version: 2 })).toBeUndefined();
    store.answer();
    expect(await second).toBe(true);
    expect(await client.getaddr({ program: PROGRAM, version: 2 })).toBe('127.0.0.1.7.208');
  });

  it('has further changes of the program wait, in their order, and those of other programs not', async () => {
    const store = new LateStore();
    const { rpcbind, client } = await start(store);
    const sets = [client.setAddress(tcp(1000))];
    await called(store, 1);
    sets.push(
      client.setAddress(tcp(1000)),
      client.setAddress(tcp(2000)),
      client.setAddress({ ...tcp(1000), netid: 'udp' }),
    );
    const unset = client.unsetAddress({ program: PROGRAM, version: 1 });
    const other = client.setAddress(tcp(3000, PROGRAM + 1));
    await called(store, 2);
    expect(store.calls).toEqual([
      `put ${PROGRAM} tcp 127.0.0.1.3.232`,
      `put ${PROGRAM + 1} tcp 127.0.0.1.11.184`,
    ]);
    store.answer();
    store.answer();
    expect(await other).toBe(true);
    await called(store, 3);
    expect(store.calls[2]).toBe(`put ${PROGRAM} udp 127.0.0.1.3.232`);
    store.answer();
    // The same again, and another address.
    expect(await Promise.all(sets)).toEqual([true, true, false, true]);
    await called(store, 4);
    expect(store.calls[3]).toBe(`delete ${PROGRAM} tcp,${PROGRAM} udp`);
    // Until the store has deleted them, they are found.
    expect(await client.getaddr(tcp(0))).toBe('127.0.0.1.3.232');
    store.answer();
    expect(await unset).toBe(true);
    expect(table(rpcbind)).toEqual([`${PROGRAM + 1} tcp 127.0.0.1.11.184`]);
  });

  it('has a SET after an UNSET of the same registration made once that is done', async () => {
    const store = new LateStore();
    const { rpcbind, client } = await start(store);
    const set = client.setAddress(tcp(1000));
    await called(store, 1);
    store.answer();
    await set;
    const unset = client.unsetAddress({ program: PROGRAM, version: 1 });
    await called(store, 2);
    const again = client.setAddress(tcp(2000));
    store.answer();
    expect(await unset).toBe(true);
    await called(store, 3);
    store.answer();
    expect(await again).toBe(true);
    expect(table(rpcbind)).toEqual([`${PROGRAM} tcp 127.0.0.1.7.208`]);
  });

  it('is waited for when the daemon ends, and closed after that', async () => {
    const store = new LateStore();
    const { rpcbind, client } = await start(store);
    const set = client.setAddress(tcp(1000));
    await called(store, 1);
    const closed = rpcbind.close();
    store.answer();
    expect(await set).toBe(true);
    await closed;
    expect(store.calls).toEqual([`put ${PROGRAM} tcp 127.0.0.1.3.232`, 'close']);
  });
});

describe('a store that fails', () => {
  it('late has nothing acknowledged, and the table stays as it was', async () => {
    const store = new LateStore();
    const { rpcbind, client, errors } = await start(store);
    const set = client.setAddress(tcp(1000));
    await called(store, 1);
    const second = client.setAddress(tcp(2000));
    store.answer(FULL);
    await expect(set).rejects.toMatchObject({ code: 'RPC_SYSTEM_ERR' });
    expect([errors, table(rpcbind)]).toEqual([[FULL], []]);
    // The next one finds the key free.
    await called(store, 2);
    store.answer();
    expect(await second).toBe(true);
    const unset = client.unsetAddress({ program: PROGRAM, version: 1 });
    await called(store, 3);
    store.answer(FULL);
    await expect(unset).rejects.toMatchObject({ code: 'RPC_SYSTEM_ERR' });
    expect(table(rpcbind)).toEqual([`${PROGRAM} tcp 127.0.0.1.7.208`]);
    expect(rpcbind.stats()).toMatchObject({ changes: { pending: 0, failed: 2 }, held: 0 });
  });

  it('at once has nothing acknowledged either', async () => {
    const store = new FailingStore();
    const { rpcbind, client, errors, events } = await start(store);
    expect(await client.setAddress(tcp(1000))).toBe(true);
    store.error = FULL;
    await expect(client.setAddress(tcp(2000, PROGRAM + 1))).rejects.toMatchObject({ code: 'RPC_SYSTEM_ERR' });
    await expect(client.unsetAddress({ program: PROGRAM, version: 1 })).rejects.toMatchObject({
      code: 'RPC_SYSTEM_ERR',
    });
    expect([errors, table(rpcbind)]).toEqual([[FULL, FULL], [`${PROGRAM} tcp 127.0.0.1.3.232`]]);
    expect(rpcbind.stats().changes).toEqual({ pending: 0, failed: 2 });
    expect(events.map(({ event }) => event)).toEqual(['set']);
    store.error = undefined;
    expect(await client.unsetAddress({ program: PROGRAM, version: 1 })).toBe(true);
    expect(table(rpcbind)).toEqual([]);
  });

  it('when it is read has the start fail, and is closed', async () => {
    const store = new LateStore();
    store.load = () => Promise.reject(new Error('no member answers'));
    await expect(createRpcbind({ port: 0, store })).rejects.toThrow('no member answers');
    expect(store.calls).toEqual(['close']);
  });
});

describe('a store that reports changes', () => {
  it('has them in the table, and is not asked for them', async () => {
    const store = new LateStore();
    const { rpcbind, client, events } = await start(store);
    store.report({ put: stored(tcp(1000)) });
    expect(await client.getaddr(tcp(0))).toBe('127.0.0.1.3.232');
    // The same again changes nothing.
    store.report({ put: stored(tcp(1000)) });
    store.report({ put: stored(tcp(2000)) });
    expect(table(rpcbind)).toEqual([`${PROGRAM} tcp 127.0.0.1.7.208`]);
    store.report({ delete: stored(tcp(0)) });
    store.report({ delete: stored(tcp(0)) });
    expect([table(rpcbind), store.calls]).toEqual([[], []]);
    expect(events).toMatchObject(
      ['set', 'unset', 'set', 'unset'].map((event) => ({ event, source: 'store' })),
    );
  });

  it('has a change wait for one of the same program that is under way', async () => {
    const store = new LateStore();
    const { rpcbind, client } = await start(store);
    const set = client.setAddress(tcp(1000));
    await called(store, 1);
    store.report({ put: stored(tcp(2000)) });
    expect(table(rpcbind)).toEqual([]);
    // Compare and set: the other daemon was first.
    store.answer(new Error('the key has another value'));
    await expect(set).rejects.toMatchObject({ code: 'RPC_SYSTEM_ERR' });
    await until(() => table(rpcbind).length > 0);
    expect(table(rpcbind)).toEqual([`${PROGRAM} tcp 127.0.0.1.7.208`]);
  });

  it('holds what another daemon deleted for its owner', async () => {
    const store = new LateStore();
    const { rpcbind } = await start(store);
    store.report({ put: stored(tcp(1000), '1234') });
    store.report({ put: stored(tcp(2000), '1234') });
    expect(rpcbind.stats().held).toBe(0);
    store.report({ delete: stored(tcp(0)) });
    expect(rpcbind.stats().held).toBe(1);
  });

  it('reports some that are not for this daemon, and some that are not valid', async () => {
    const store = new LateStore();
    const { rpcbind, events } = await start(store);
    const before = rpcbind.registrations();
    store.report({ put: { ...stored(tcp(1000)), host: 'other' } });
    store.report({ put: stored(tcp(1000, 100_000)) });
    store.report({ delete: { ...stored(tcp(0, 100_000)), version: 4 } });
    store.report({ put: { ...stored(tcp(1000)), address: 'nonsense' } });
    expect(rpcbind.registrations()).toEqual(before);
    store.report({ put: stored(tcp(1000)) });
    store.report({ delete: { ...stored(tcp(0)), host: 'other' } });
    expect(table(rpcbind)).toHaveLength(1);
    expect(events.map(({ event }) => event)).toEqual(['dropped', 'set']);
  });
});

describe('what a store has at the start', () => {
  it('is taken over, as far as it is this host’s and valid', async () => {
    const store = new LateStore();
    store.stored = {
      registrations: [
        stored(tcp(1000), '1234'),
        { ...stored(tcp(1000, PROGRAM + 1)), host: 'other' },
        { ...stored(tcp(1000, PROGRAM + 2)), address: 'nonsense' },
        stored(tcp(1000, 100_000)),
      ],
      held: [{ program: PROGRAM + 3, version: 1, netid: 'tcp', owner: '1234' }],
    };
    const { rpcbind, events } = await start(store);
    expect(table(rpcbind)).toEqual([`${PROGRAM} tcp 127.0.0.1.3.232`]);
    expect(events).toMatchObject([
      { event: 'restored', registration: { program: PROGRAM, owner: '1234' } },
      { event: 'dropped', registration: { program: PROGRAM + 2 }, why: 'invalid' },
      { event: 'held', registration: { program: PROGRAM + 3, owner: '1234' } },
    ]);
  });
});

describe('a store in memory', () => {
  it('hands what one daemon leaves to the next', async () => {
    const store = new MemoryStore();
    const first = await start(store);
    expect(await first.client.setAddress(tcp(1000))).toBe(true);
    expect(await first.client.setAddress(tcp(2000, PROGRAM + 1))).toBe(true);
    expect(await first.client.unsetAddress({ program: PROGRAM + 1, version: 1 })).toBe(true);
    await first.rpcbind.close();
    const second = await start(store);
    expect(table(second.rpcbind)).toEqual([`${PROGRAM} tcp 127.0.0.1.3.232`]);
  });
});
