/** The seam of stores (rpcbind/state/store.ts), through a running daemon: one that answers late, fails, and tells of changes. */

import { afterEach, describe, expect, it } from 'vitest';
import {
  connectRpcbind,
  createRpcbind,
  MemoryStore,
  type RegistrationStore,
  type Rpcbind,
  type RpcbindClient,
  type StoreChange,
  type StoredRegistration,
  THIS_HOST,
} from '../../rpcbind/index.js';
import { until } from '../support/until.js';

const cleanUps: (() => unknown)[] = [];
afterEach(async () => {
  for (const one of cleanUps.splice(0).reverse()) await one();
});

/** A store whose answers the test gives, one by one. */
class SlowStore implements RegistrationStore {
  readonly asked: string[] = [];
  onChange: (change: StoreChange) => void = () => undefined;
  private readonly waiting: { resolve: () => void; reject: (error: Error) => void }[] = [];

  load() {
    return Promise.resolve({ registrations: [], holds: [] });
  }

  put({ program, address }: StoredRegistration): Promise<void> {
    return this.answer(`put ${program} ${address}`);
  }

  delete(registrations: readonly StoredRegistration[]): Promise<void> {
    return this.answer(`delete ${registrations.map(({ program }) => program).join(' ')}`);
  }

  watch(onChange: (change: StoreChange) => void): void {
    this.onChange = onChange;
  }

  close(): void {}
  abandon(): void {}

  /** Answers the oldest question. */
  next(error?: Error): void {
    const one = this.waiting.shift();
    if (error === undefined) one?.resolve();
    else one?.reject(error);
  }

  private answer(what: string): Promise<void> {
    this.asked.push(what);
    return new Promise((resolve, reject) => this.waiting.push({ resolve, reject }));
  }
}

const PROGRAM = 0x2000_0500;
const registration = (port: number, program = PROGRAM) => ({
  program,
  version: 1,
  netid: 'tcp',
  address: `127.0.0.1.${port >> 8}.${port & 255}`,
});

async function start(
  store: RegistrationStore,
): Promise<{ rpcbind: Rpcbind; client: RpcbindClient; errors: unknown[] }> {
  const errors: unknown[] = [];
  const rpcbind = await createRpcbind({
    port: 0,
    store,
    liveness: 'off',
    onError: (error) => errors.push(error),
  });
  cleanUps.push(() => rpcbind.close());
  const client = await connectRpcbind({ port: rpcbind.port, transport: 'tcp' });
  cleanUps.push(() => client.close());
  return { rpcbind, client, errors };
}

const registered = (rpcbind: Rpcbind): string[] =>
  rpcbind
    .registrations()
    .filter(({ program }) => program !== 100_000)
    .map(({ program, address }) => `${program} ${address}`);

const asked = (store: SlowStore, count: number): Promise<void> =>
  until(() => store.asked.length === count, 5_000, `question ${count} to the store`);

describe('a store that answers late', () => {
  it('has SET answered once it has the registration, which nobody finds before', async () => {
    const store = new SlowStore();
    const { rpcbind, client } = await start(store);
    let isAnswered = false;
    const set = client.setAddress(registration(1000)).then((done) => {
      isAnswered = true;
      return done;
    });
    await asked(store, 1);
    expect(await client.getaddr(registration(0))).toBeUndefined();
    expect((await client.dumpAddresses()).filter(({ program }) => program === PROGRAM)).toEqual([]);
    expect([isAnswered, registered(rpcbind)]).toEqual([false, []]);
    store.next();
    expect(await set).toBe(true);
    expect(registered(rpcbind)).toEqual([`${PROGRAM} 127.0.0.1.3.232`]);
  });

  it('has a second SET and an UNSET of the same place wait for the first', async () => {
    const store = new SlowStore();
    const { rpcbind, client } = await start(store);
    const first = client.setAddress(registration(1000));
    await asked(store, 1);
    const second = client.setAddress(registration(2000));
    const unset = client.unsetAddress({ program: PROGRAM, version: 1 });
    const other = client.setAddress(registration(3000, PROGRAM + 1));
    await asked(store, 2);
    expect(store.asked).toEqual([`put ${PROGRAM} 127.0.0.1.3.232`, `put ${PROGRAM + 1} 127.0.0.1.11.184`]);
    store.next();
    store.next();
    expect([await first, await second, await other]).toEqual([true, false, true]);
    await asked(store, 3);
    expect(store.asked[2]).toBe(`delete ${PROGRAM}`);
    store.next();
    expect(await unset).toBe(true);
    expect(registered(rpcbind)).toEqual([`${PROGRAM + 1} 127.0.0.1.11.184`]);
  });
});

describe('a store that fails', () => {
  it('has nothing acknowledged, and the table stays as it was', async () => {
    const store = new SlowStore();
    const { rpcbind, client, errors } = await start(store);
    const set = client.setAddress(registration(1000));
    await asked(store, 1);
    store.next(new Error('no quorum'));
    await expect(set).rejects.toMatchObject({ code: 'RPC_SYSTEM_ERR' });
    expect(errors).toEqual([new Error('no quorum')]);
    expect(registered(rpcbind)).toEqual([]);
    const again = client.setAddress(registration(2000));
    await asked(store, 2);
    store.next();
    expect(await again).toBe(true);
    const unset = client.unsetAddress({ program: PROGRAM, version: 1 });
    await asked(store, 3);
    store.next(new Error('no quorum'));
    await expect(unset).rejects.toMatchObject({ code: 'RPC_SYSTEM_ERR' });
    expect(registered(rpcbind)).toEqual([`${PROGRAM} 127.0.0.1.7.208`]);
  });

  it('has the start fail where it cannot be read', async () => {
    const store = new SlowStore();
    store.load = () => Promise.reject(new Error('no member answers'));
    await expect(createRpcbind({ port: 0, store })).rejects.toThrow('no member answers');
  });
});

describe('a store that tells of changes', () => {
  it('has them in the table without a question', async () => {
    const store = new SlowStore();
    const { rpcbind, client } = await start(store);
    const put = { ...registration(1000), owner: 'superuser', host: THIS_HOST, wasAlive: true };
    store.onChange({ put });
    expect(await client.getaddr(registration(0))).toBe('127.0.0.1.3.232');
    store.onChange({ put: { ...put, address: '127.0.0.1.7.208' } });
    expect(registered(rpcbind)).toEqual([`${PROGRAM} 127.0.0.1.7.208`]);
    store.onChange({ delete: put });
    expect(registered(rpcbind)).toEqual([]);
    expect(store.asked).toEqual([]);
  });
});

describe('a store in memory', () => {
  it('hands what one daemon leaves to the next', async () => {
    const store = new MemoryStore();
    const first = await start(store);
    expect(await first.client.setAddress(registration(1000))).toBe(true);
    await first.rpcbind.close();
    const second = await start(store);
    expect(registered(second.rpcbind)).toEqual([`${PROGRAM} 127.0.0.1.3.232`]);
  });

  it('is instead of a folder, not beside one', async () => {
    const options = { port: 0, store: new MemoryStore(), stateFolder: '/nowhere' };
    await expect(createRpcbind(options)).rejects.toThrow(
      new RangeError('store and stateFolder exclude each other'),
    );
  });
});
