import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import {
  connectLoopback,
  createClient,
  ReplyError,
  ResultError,
  type RpcClient,
  TimeoutError,
  TransportError,
} from '../../../runtime/index.js';
import { Dispatcher, type LoopbackFaults } from '../../../runtime/protocol.js';
import { XdrError } from '../../../xdr/index.js';
import { add, ECHO_PROGRAM, echo, echoAsHyper, echoService, fail, silent, slow } from '../../support/echo.js';

function clientOf(faults?: LoopbackFaults, options = {}, onSlow?: () => Promise<number>): RpcClient {
  const dispatcher = new Dispatcher();
  dispatcher.add(echoService(onSlow));
  return createClient(connectLoopback(dispatcher, faults), options);
}

describe('client', () => {
  it('resolves with the result, many at a time', async () => {
    const client = clientOf();
    const sums = await Promise.all(Array.from({ length: 500 }, (_, i) => client.call(add, { a: i, b: i })));
    expect(sums).toEqual(Array.from({ length: 500 }, (_, i) => 2 * i));
    expect(client.stats()).toMatchObject({ pending: 0, calls: 500, resends: 0, strayReplies: 0 });
  });

  it('pings procedure 0', async () => {
    expect(await clientOf().ping(ECHO_PROGRAM, 1)).toBeGreaterThan(0);
  });

  it('rejects before anything is sent where the arguments do not fit, naming the field', async () => {
    const client = clientOf();
    await expect(client.call(add, { a: 1, b: 2 ** 31 })).rejects.toThrow(XdrError);
    await expect(client.call(add, { a: 1, b: 2 ** 31 })).rejects.toThrow(/^b: 2147483648 is not an integer/);
    expect(client.stats()).toMatchObject({ pending: 0, calls: 0 });
  });

  it.each([
    [{ ...add, program: 1 }, 'RPC_PROG_UNAVAIL', 'no'],
    [{ ...add, version: 2 }, 'RPC_PROG_MISMATCH', 'no'],
    [{ ...add, number: 99 }, 'RPC_PROC_UNAVAIL', 'no'],
    [{ ...add, number: slow.number }, 'RPC_GARBAGE_ARGS', 'no'],
    [{ ...add, number: fail.number, args: fail.args }, 'RPC_SYSTEM_ERR', 'unknown'],
  ])('rejects with what the server says: %o', async (procedure, code, executed) => {
    const args = procedure.number === fail.number ? 'boom' : { a: 1, b: 2 };
    const error = await clientOf()
      .call(procedure as typeof add, args as never)
      .catch((reason: unknown) => reason);
    expect(error).toBeInstanceOf(ReplyError);
    expect(error).toMatchObject({ code, executed });
  });

  it('says which versions are served', async () => {
    await expect(clientOf().call({ ...add, version: 2 }, { a: 1, b: 2 })).rejects.toThrow('(1 to 1 are)');
  });

  it('rejects with ResultError where the result is of another type', async () => {
    const error = await clientOf()
      .call(echoAsHyper, 'long enough not to be a hyper')
      .catch((reason: unknown) => reason);
    expect(error).toBeInstanceOf(ResultError);
    expect(error).toMatchObject({ code: 'RPC_GARBAGE_RESULT', executed: 'yes' });
  });

  it('gives up a call whose signal fires, with its reason, and stays usable', async () => {
    const client = clientOf(undefined, {}, () => new Promise(() => undefined));
    const controller = new AbortController();
    const call = client.call(slow, undefined, { signal: controller.signal });
    controller.abort(new Error('changed my mind'));
    await expect(call).rejects.toThrow('changed my mind');
    await expect(client.call(slow, undefined, { signal: controller.signal })).rejects.toThrow(
      'changed my mind',
    );
    expect(await client.call(echo, 'still here')).toBe('still here');
    expect(client.stats().pending).toBe(0);
  });

  it('takes maxPendingCalls calls and refuses one more', async () => {
    const client = clientOf(undefined, { maxPendingCalls: 2 }, () => new Promise(() => undefined));
    const calls = [client.call(slow, undefined), client.call(slow, undefined)];
    await expect(client.call(echo, 'x')).rejects.toThrow('2 calls are under way');
    await client.close();
    for (const call of calls)
      await expect(call).rejects.toMatchObject({ code: 'RPC_CLOSED', executed: 'unknown' });
    await expect(client.call(echo, 'x')).rejects.toThrow(TransportError);
    await client.close();
  });
});

describe('client and time', () => {
  beforeEach(() => {
    vi.useFakeTimers();
  });
  afterEach(() => {
    vi.useRealTimers();
  });

  it('sends the same xid at 0, 5, 10, 15 and 20 s and rejects at 25 s', async () => {
    const sent: [atMs: number, xid: number][] = [];
    const startedAt = performance.now();
    const client = createClient({
      kind: 'udp',
      isLossy: true,
      target: 'nowhere',
      maxMessageBytes: 1000,
      start: () => undefined,
      send: (message) => {
        sent.push([Math.round(performance.now() - startedAt), Buffer.from(message).readUInt32BE(0)]);
      },
      close: () => Promise.resolve(),
    });
    const call = client.call(add, { a: 1, b: 2 }).catch((reason: unknown) => reason);
    await vi.advanceTimersByTimeAsync(24_990);
    expect(client.stats().pending).toBe(1);
    await vi.advanceTimersByTimeAsync(20);
    const error = await call;
    expect(error).toBeInstanceOf(TimeoutError);
    expect((error as Error).message).toBe('ADD at nowhere: no reply within 25 s');
    expect(sent.map(([at]) => Math.round(at / 10) * 10)).toEqual([0, 5_000, 10_000, 15_000, 20_000]);
    expect(new Set(sent.map(([, xid]) => xid)).size).toBe(1);
  });

  it('does not send again on a reliable way, and gives up at total time', async () => {
    const client = clientOf();
    const call = client.call(silent, undefined, { timeoutMs: 3_000 }).catch((reason: unknown) => reason);
    await vi.advanceTimersByTimeAsync(3_010);
    expect(await call).toMatchObject({ code: 'RPC_TIMEOUT', executed: 'unknown' });
    expect(client.stats().resends).toBe(0);
  });

  it('ends 10 000 calls on a lossy way in the right answer or in TimeoutError at total time, none in a wrong one', async () => {
    const client = clientOf({ loss: 0.3, duplication: 0.1, jitterMs: 8_000, seed: 42 });
    const outcomes = { right: 0, wrong: 0, timeout: 0, early: 0, other: 0 };
    const call = async (i: number): Promise<void> => {
      const startedAt = performance.now();
      try {
        const text = `message ${i}`;
        outcomes[(await client.call(echo, text)) === text ? 'right' : 'wrong'] += 1;
      } catch (error) {
        if (!(error instanceof TimeoutError)) outcomes.other += 1;
        else if (performance.now() - startedAt < 25_000) outcomes.early += 1;
        else outcomes.timeout += 1;
      }
    };
    // Twenty waves: the fake clock's cost grows with the square of the timers under way.
    for (let wave = 0; wave < 20; wave++) {
      const calls = Array.from({ length: 500 }, (_, i) => call(wave * 500 + i));
      // In steps, with the promises served between them, so that an early end would be seen as early.
      for (let atMs = 0; atMs < 25_100; atMs += 50) {
        vi.advanceTimersByTime(50);
        await Promise.resolve();
      }
      await Promise.all(calls);
    }
    expect(outcomes).toMatchObject({ wrong: 0, early: 0, other: 0 });
    expect(outcomes.right + outcomes.timeout).toBe(10_000);
    // Five sendings, each of which comes through both ways with probability 0.7 * 0.7.
    expect(outcomes.right).toBeGreaterThan(9_000);
    expect(outcomes.timeout).toBeGreaterThan(50);
    expect(client.stats().strayReplies).toBeGreaterThan(1_000);
  });
});
