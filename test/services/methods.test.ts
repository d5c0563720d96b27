/** methods over real sockets: who can be called, what hostile bytes do, and threads. */

import path from 'node:path';
import { pathToFileURL } from 'node:url';
import { afterEach, beforeEach, describe, expect, expectTypeOf, it } from 'vitest';
import { Calculator, DIVISION_BY_ZERO } from '../../services/methods/calculator.js';
import { MethodsClient, remoteMethods } from '../../services/methods/client.js';
import { MethodFault } from '../../services/methods/fault.js';
import { MethodsProgV1Client, methods_code } from '../../services/methods/methods.gen.js';
import { PackedError, pack, unpack } from '../../services/methods/packed.js';
import { createMethods, type Methods, type MethodsOptions } from '../../services/methods/service.js';
import { root } from '../support/sandbox.js';
import { type Served, serve } from './served.js';

const PRIMES = pathToFileURL(path.join(root, 'dist/services/methods/primes.js'));

class Base {
  inherited(): string {
    return 'inherited';
  }
}

class Account extends Base {
  #secret = 'secret';
  balance = 7;
  nested = { deep: { ask: (): string => 'deep' } };
  _hidden(): string {
    return this.#hush();
  }
  #hush(): string {
    return this.#secret;
  }
  get accessor(): () => string {
    throw new Error('an accessor was read');
  }
  open = (): string => 'open';
  deposit(amount: number): number {
    this.balance += amount;
    return this.balance;
  }
}

let methods: Methods;
let served: Served;
let client: MethodsClient;
let raw: MethodsProgV1Client;
const errors: unknown[] = [];

async function start(options: MethodsOptions = {}): Promise<void> {
  methods = createMethods({ onError: (error) => errors.push(error), ...options });
  served = await serve(methods.services);
  client = new MethodsClient(served.tcp);
  raw = new MethodsProgV1Client(served.tcp);
}

beforeEach(() => {
  errors.length = 0;
});

afterEach(async () => {
  await served.close();
  await methods.close();
});

const fault = (code: number) => expect.objectContaining({ name: 'MethodFault', code });

describe('methods', () => {
  it('calls functions by name with every type that MessagePack has, over TCP and UDP', async () => {
    await start();
    methods.registry.registerFunction('echo', (...all: unknown[]) => all);
    const all = [
      1,
      -1,
      2 ** 40,
      1.5,
      2n ** 63n,
      'h\u00e9',
      true,
      null,
      [1, [2]],
      { a: { b: 1 } },
      Uint8Array.of(1, 2),
    ];
    expect(await client.call('echo', all)).toEqual(all);
    expect(await new MethodsClient(served.udp).call('echo', all)).toEqual(all);
    expect(await client.call('echo', [new Date(5)])).toEqual([new Date(5)]);
  });

  it('gives a proxy that has the types of the server', async () => {
    await start();
    methods.registry.registerInstance(new Calculator());
    const calc = remoteMethods<Calculator>(client);
    expectTypeOf(calc.add).toEqualTypeOf<(a: number, b: number) => Promise<number>>();
    expect(await calc.add(2, 3)).toBe(5);
    expect(await calc.divide(1, 4)).toBe(0.25);
    await expect(calc.divide(1, 0)).rejects.toEqual(fault(DIVISION_BY_ZERO));
    // @ts-expect-error The server's types hold here.
    await expect(calc.add('2', 3)).rejects.toEqual(fault(methods_code.METHODS_BAD_PARAMS));
    expect(await (async () => calc)()).toBe(calc);
  });

  it('tells a fault of its own, and of any other failure only that there was one', async () => {
    await start();
    methods.registry.registerFunction('bad', () => {
      throw new Error('password is 1234');
    });
    methods.registry.registerFunction('rejects', () => Promise.reject(new MethodFault(42, 'so it is')));
    await expect(client.call('bad', [])).rejects.toMatchObject({ code: 1, message: 'the method failed' });
    expect(errors).toHaveLength(1);
    await expect(client.call('rejects', [])).rejects.toMatchObject({ code: 42, message: 'so it is' });
  });

  it('takes of an object the public methods that are its own', async () => {
    await start();
    methods.registry.registerInstance(new Account());
    expect(await client.list()).toEqual(['deposit', 'open']);
    expect(await client.call('deposit', [3])).toBe(10);
    expect(await client.call('deposit', [3])).toBe(13);
  });

  it.each([
    '__proto__',
    'constructor',
    'prototype',
    'toString',
    'hasOwnProperty',
    'valueOf',
    '__defineGetter__',
    'inherited',
    '_hidden',
    '#hush',
    '#secret',
    'hush',
    'accessor',
    'balance',
    'nested',
    'nested.deep.ask',
    'deposit.call',
    'deposit.constructor',
    'deposit.apply',
    'constructor.constructor',
    '',
    '.',
    'deposit.',
    '.deposit',
    'Deposit',
    'deposit\0',
    ' deposit',
    'then',
    'open.bind',
    'process.exit',
    '0',
    'n'.repeat(255),
  ])('does not call %j', async (name) => {
    await start();
    methods.registry.registerInstance(new Account());
    await expect(client.call(name, [])).rejects.toEqual(fault(methods_code.METHODS_NO_METHOD));
    expect(await client.help(name)).toBeUndefined();
    expect(await client.signature(name)).toBeUndefined();
    expect(errors).toEqual([]);
  });

  it('calls dotted names where that was asked for, and takes no built-in methods with them', async () => {
    await start();
    methods.registry.registerInstance(new Account(), { prefix: 'bank', dotted: true });
    methods.registry.registerInstance(
      { list: [1], map: new Map(), when: new Date() },
      { prefix: 'x', dotted: true },
    );
    expect(await client.list()).toEqual(['bank.deposit', 'bank.nested.deep.ask', 'bank.open']);
    expect(await remoteMethods<{ bank: Account }>(client).bank.nested.deep.ask()).toBe('deep');
  });

  it('asks a dispatch of the user for names it does not know', async () => {
    await start({ dispatch: (name, params) => `${name}(${params.join()})` });
    expect(await client.call('anything at all', [1, 2])).toBe('anything at all(1,2)');
  });

  it('tells of each method what it is for and how it is called', async () => {
    await start();
    methods.registry.registerFunction('f', (_a: unknown, _b: unknown) => 0, { help: 'Helps.' });
    expect(await client.help('f')).toBe('Helps.');
    expect(await client.signature('f')).toBe('(2 parameters)');
  });

  it('refuses names that could be mistaken, and a second method of one name', async () => {
    await start();
    for (const name of [
      '',
      '_a',
      'a b',
      '__proto__',
      'constructor',
      'a..b',
      'a.constructor',
      'n'.repeat(256),
    ])
      expect(() => methods.registry.registerFunction(name, () => 0)).toThrow(RangeError);
    methods.registry.registerFunction('n'.repeat(255), () => 0);
    expect(() => methods.registry.registerFunction('n'.repeat(255), () => 0)).toThrow('already');
  });

  it('answers a multicall of 1000 in one round trip, a value or a fault for each', async () => {
    await start();
    methods.registry.registerInstance(new Calculator());
    const before = served.tcp.stats().calls;
    const results = await client.multicall(
      Array.from({ length: 1_000 }, (_none, i) => (i % 10 === 9 ? ['divide', i, 0] : ['add', i, 1])),
    );
    expect(served.tcp.stats().calls - before).toBe(1);
    expect(results).toHaveLength(1_000);
    results.forEach((result, i) => {
      if (i % 10 === 9) expect(result).toEqual(fault(DIVISION_BY_ZERO));
      else expect(result).toBe(i + 1);
    });
  });

  it('takes 1024 calls at once and not one more', async () => {
    await start();
    methods.registry.registerInstance(new Calculator());
    const calls = Array.from({ length: 1_024 }, () => ['add', 1, 1] as const);
    expect(await client.multicall(calls)).toHaveLength(1_024);
    await expect(client.multicall([...calls, ['add', 1, 1]])).rejects.toMatchObject({ code: 'XDR_LIMIT' });
  });

  it('sends results at their limit, and a fault for each that is too long', async () => {
    await start();
    methods.registry.registerFunction('blob', (size: number) => new Uint8Array(size));
    // A binary of more than 64 KiB has a head of 5 bytes.
    expect(await client.call('blob', [1_048_576 - 5])).toHaveLength(1_048_571);
    await expect(client.call('blob', [1_048_576 - 4])).rejects.toEqual(
      fault(methods_code.METHODS_BAD_RESULT),
    );
    await expect(new MethodsClient(served.udp).call('blob', [9_000])).rejects.toEqual(
      fault(methods_code.METHODS_USE_TCP),
    );
    const many = await client.multicall(Array.from({ length: 8 }, () => ['blob', 1_000_000]));
    expect(many.filter((one) => one instanceof MethodFault)).toHaveLength(5);
    methods.registry.registerFunction('circle', () => {
      const circle: unknown[] = [];
      circle.push(circle);
      return circle;
    });
    await expect(client.call('circle', [])).rejects.toEqual(fault(methods_code.METHODS_BAD_RESULT));
  });

  const hostile: readonly (readonly [string, Buffer])[] = [
    ['an array of 2^32-1', Buffer.from('ddffffffff', 'hex')],
    [
      'an array of 2^31 with a megabyte behind it',
      Buffer.concat([Buffer.from('dd80000000', 'hex'), Buffer.alloc(1_000_000)]),
    ],
    ['a map of 2^32-1', Buffer.from('dfffffffff', 'hex')],
    ['a string of 2^32-1', Buffer.from('91dbffffffff', 'hex')],
    ['a binary of 2^32-1', Buffer.from('91c6ffffffff', 'hex')],
    ['an extension of 2^32-1', Buffer.from('91c9ffffffff01', 'hex')],
    ['a million arrays in each other', Buffer.alloc(1_000_000, 0x91)],
    [
      'a million empty arrays',
      Buffer.concat([Buffer.from('dd000f4240', 'hex'), Buffer.alloc(1_000_000, 0x90)]),
    ],
    ['counts that multiply', Buffer.from('dc00ff'.repeat(30), 'hex')],
    ['a map with numbers for keys', Buffer.from('91810102', 'hex')],
    ['a map with an array for a key', Buffer.from('91819002', 'hex')],
    ['a key __proto__', Buffer.from('9181a95f5f70726f746f5f5f80', 'hex')],
    ['nothing', Buffer.alloc(0)],
    ['the byte that is never used', Buffer.from('91c1', 'hex')],
    ['two values', Buffer.from('9090', 'hex')],
    ['half a value', Buffer.from('92', 'hex')],
    ['a timestamp of a wrong size', Buffer.from('91c701ff00', 'hex')],
  ];
  it.each(hostile)('answers %s with a fault', async (_what, params) => {
    await start();
    methods.registry.registerFunction('echo', (...all: unknown[]) => all);
    const outcome = await raw.call({ name: 'echo', params });
    expect(outcome).toMatchObject({ ok: false, fault: { code: methods_code.METHODS_BAD_MESSAGE } });
    expect(Object.prototype).not.toHaveProperty('a');
  });

  it('answers arguments that are no array with a fault', async () => {
    await start();
    methods.registry.registerFunction('echo', () => 0);
    expect(await raw.call({ name: 'echo', params: pack({ a: 1 }, 100) })).toMatchObject({
      fault: { code: methods_code.METHODS_BAD_PARAMS },
    });
  });

  it('needs no memory for hostile counts', async () => {
    await start();
    methods.registry.registerFunction('echo', () => 0);
    const before = process.memoryUsage().rss;
    for (let round = 0; round < 100; round++)
      for (const [, params] of hostile.slice(0, 7).filter(([, bytes]) => bytes.length < 1_000))
        await raw.call({ name: 'echo', params });
    expect(process.memoryUsage().rss - before).toBeLessThan(64 * 1024 * 1024);
  });

  it('runs two slow calls side by side on threads, and others meanwhile', async () => {
    await start({ workers: { maxWorkers: 2 } });
    await methods.registry.registerModule(PRIMES);
    methods.registry.registerFunction('quick', () => 'quick');
    expect(await client.call('countPrimes', [100])).toBe(25);
    const order: string[] = [];
    const note = (what: string) => (): number => order.push(what);
    const slow = [1, 2].map(() => client.call('countPrimes', [8_000_000]).then(note('slow')));
    await client.call('quick', []).then(note('quick'));
    await Promise.all(slow);
    expect(order).toEqual(['quick', 'slow', 'slow']);
    await expect(client.call('countPrimes', [-1])).rejects.toEqual(fault(methods_code.METHODS_BAD_PARAMS));
  });

  it('has two calls on two threads at the same time', async () => {
    await start({ workers: { maxWorkers: 2 } });
    const clock = `export function busy() {
      const from = Date.now();
      while (Date.now() - from < 300);
      return [from, Date.now()];
    }`;
    await methods.registry.registerModule(new URL(`data:text/javascript,${encodeURIComponent(clock)}`));
    const calc = remoteMethods<{ busy(): [number, number] }>(client);
    const [[from1, to1], [from2, to2]] = await Promise.all([calc.busy(), calc.busy()]);
    expect(Math.max(from1, from2)).toBeLessThan(Math.min(to1, to2));
  });

  it('ends a call that takes too long, and has a thread for the next', async () => {
    await start({ workers: { maxWorkers: 1, maxCallMs: 100, maxWaiting: 1 } });
    await methods.registry.registerModule(PRIMES);
    const [first, second, third] = [1, 2, 3].map(() => client.call('countPrimes', [200_000_000]));
    await expect(third).rejects.toEqual(fault(methods_code.METHODS_BUSY));
    await expect(first).rejects.toEqual(fault(methods_code.METHODS_TOO_LONG));
    await expect(second).rejects.toEqual(fault(methods_code.METHODS_TOO_LONG));
  });
});

describe('packed values', () => {
  it('are taken at the limits of depth and number and not beyond', async () => {
    await start();
    const nested = (depth: number): Buffer => Buffer.concat([Buffer.alloc(depth, 0x91), Buffer.from([0xc0])]);
    expect(() => unpack(nested(32))).not.toThrow();
    expect(() => unpack(nested(33))).toThrow('nested deeper than 32');
    const flat = (count: number): Uint8Array =>
      pack(
        Array.from({ length: count }, () => 0),
        1e6,
      );
    expect(() => unpack(flat(9), { maxValues: 10 })).not.toThrow();
    expect(() => unpack(flat(10), { maxValues: 10 })).toThrow('more than 10 values');
  });

  it('are refused with the one declared error, whichever byte is changed', async () => {
    await start();
    const good = pack(
      [{ a: [1, 'two', 3.5, null, true], b: new Date(0) }, Uint8Array.of(1), 2n ** 40n],
      1_000,
    );
    for (let at = 0; at < good.length; at++)
      for (let byte = 0; byte < 256; byte++) {
        const bad = good.slice();
        bad[at] = byte;
        try {
          unpack(bad);
        } catch (error) {
          expect(error).toBeInstanceOf(PackedError);
        }
      }
    for (let end = 0; end < good.length; end++)
      expect(() => unpack(good.subarray(0, end))).toThrow(PackedError);
  });
});
