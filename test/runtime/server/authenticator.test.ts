/** What a server does with the decisions of its security mechanisms. */

import { randomBytes } from 'node:crypto';
import { describe, expect, it } from 'vitest';
import { AuthError } from '../../../runtime/index.js';
import {
  accept_stat,
  auth_stat,
  Dispatcher,
  type DispatcherOptions,
  type ReplyChannel,
  type SecurityDecision,
  type ServerSecurity,
} from '../../../runtime/protocol.js';
import { XdrError } from '../../../xdr/index.js';
import { add, ECHO_PROGRAM, echoService } from '../../support/echo.js';
import { ToyServerSecurity, toyClientSecurity } from '../../support/toysecurity.js';

const key = randomBytes(32);
const target = { xid: 7, program: ECHO_PROGRAM, version: 1, procedure: add.number };
const args = Buffer.from('0000000200000003', 'hex');
/** The same call with AUTH_NONE. */
const plain = Buffer.from(
  `00000007 00000000 00000002 ${ECHO_PROGRAM.toString(16)} 00000001 00000002 ${'00000000 '.repeat(4)}`.replaceAll(
    ' ',
    '',
  ) + args.toString('hex'),
  'hex',
);

function serve(options: DispatcherOptions): Dispatcher {
  const dispatcher = new Dispatcher(options);
  dispatcher.add(echoService());
  return dispatcher;
}

/** Hands a message to a server, as a datagram; the replies are added to the list that is returned, as they come. */
function handle(dispatcher: Dispatcher, message: Uint8Array, more: Partial<ReplyChannel> = {}): Buffer[] {
  const replies: Buffer[] = [];
  dispatcher.handle(message, {
    peer: { transport: 'udp', address: '192.0.2.1', port: 1, localAddress: '', localPort: 0 },
    maxReplyBytes: 10_000,
    signal: new AbortController().signal,
    source: '192.0.2.1 1',
    reply: (reply) => replies.push(Buffer.from(reply)),
    ...more,
  });
  return replies;
}

function statusOf(reply: Buffer | undefined): number | undefined {
  return reply?.readUInt32BE(20 + reply.readUInt32BE(16));
}

const denied = (why: number): string =>
  `00000007000000010000000100000001${why.toString(16).padStart(8, '0')}`;
const hexOf = (replies: readonly Buffer[]): string[] => replies.map((reply) => reply.toString('hex'));

describe.each([
  ['at once', false],
  ['later', true],
] as const)('what a mechanism decides %s', (_when, isSlow) => {
  it.each([
    ['AuthError', new AuthError(auth_stat.RPCSEC_GSS_CTXPROBLEM), denied(14), 0],
    ['XdrError', new XdrError('XDR_TRUNCATED', 'the credential is cut off'), denied(1), 0],
    ['anything else', new Error('no keytab'), `${'0000000700000001'}${'00000000'.repeat(3)}00000005`, 1],
  ])('is a refusal where it throws %s', async (_what, error, reply, reports) => {
    const errors: unknown[] = [];
    const security = [new ToyServerSecurity(key, { isSlow, error })];
    const dispatcher = serve({ security, onError: (failure) => errors.push(failure) });
    const replies = handle(dispatcher, toyClientSecurity(key).protect(args).seal(target));
    await dispatcher.idle();
    expect(hexOf(replies)).toEqual([reply]);
    expect(errors).toEqual(reports === 0 ? [] : [error]);
    expect(dispatcher.stats().security).toMatchObject({ refused: 1, accepted: 0 });
  });

  it('is GARBAGE_ARGS, with a verifier, where the arguments cannot be unwrapped', async () => {
    const security = new ToyServerSecurity(key, { isSlow });
    const dispatcher = serve({ security: [security] });
    const message = toyClientSecurity(key).protect(args).seal(target);
    message[message.length - 1]! ^= 1;
    const replies = handle(dispatcher, message);
    await dispatcher.idle();
    expect(replies.map(statusOf)).toEqual([accept_stat.GARBAGE_ARGS]);
    expect(replies[0]?.readUInt32BE(16)).toBe(32);
    expect(security.counts.garbage).toBe(1);
    expect(dispatcher.stats().security).toMatchObject({ refused: 1 });
  });

  it('is told the operator and met with silence where the result cannot be wrapped', async () => {
    const errors: unknown[] = [];
    const wrapError = new Error('the context has expired');
    const security = [new ToyServerSecurity(key, { isSlow, wrapError })];
    const dispatcher = serve({ security, onError: (failure) => errors.push(failure) });
    const replies = handle(dispatcher, toyClientSecurity(key).protect(args).seal(target));
    await dispatcher.idle();
    expect(replies).toEqual([]);
    expect(errors).toEqual([wrapError]);
  });
});

describe('the duplicate request cache', () => {
  it('does not send the reply of a protected call to who forges its sender, xid and arguments', () => {
    const dispatcher = serve({ security: [new ToyServerSecurity(key)] });
    const call = toyClientSecurity(key).protect(args);
    const [reply] = handle(dispatcher, call.seal(target));
    expect(statusOf(reply)).toBe(0);
    expect(handle(dispatcher, plain).map(statusOf)).toEqual([0]);
    // Each ran by itself, and each is a duplicate of itself alone.
    expect(dispatcher.stats().dupCache).toMatchObject({ misses: 2, replayed: 0 });
    expect(handle(dispatcher, call.seal(target)).map(statusOf)).toEqual([0]);
    expect(handle(dispatcher, plain).map(statusOf)).toEqual([0]);
    expect(dispatcher.stats().dupCache).toMatchObject({ misses: 2, replayed: 2 });
  });

  it('takes callers with long names, which differ in one character, for two', () => {
    let caller = '';
    const security: ServerSecurity = {
      flavor: 300_000,
      accept: () => ({ kind: 'accept', credentials: { flavor: 'none' }, caller, args }),
    };
    const dispatcher = serve({ security: [security] });
    const message = toyClientSecurity(key).protect(args).seal(target);
    for (const length of [63, 64, 65, 400])
      for (const last of ['a', 'b']) {
        caller = 'x'.repeat(length) + last;
        for (let i = 0; i < 2; i++) expect(handle(dispatcher, message).map(statusOf)).toEqual([0]);
      }
    expect(dispatcher.stats().dupCache).toMatchObject({ misses: 8, replayed: 8, sources: 1 });
  });
});

describe('calls that are being decided', () => {
  it('are at most maxPending; a further one is dropped before its mechanism is asked', async () => {
    const deciding: ((decision: SecurityDecision) => void)[] = [];
    const security: ServerSecurity = {
      flavor: 300_000,
      accept: () => new Promise((resolve) => deciding.push(resolve)),
    };
    const dispatcher = serve({ security: [security], maxPending: 2 });
    const counts = { started: 0, ended: 0 };
    const channel = {
      callStarted: () => {
        counts.started += 1;
      },
      callEnded: () => {
        counts.ended += 1;
      },
    };
    const message = toyClientSecurity(key).protect(args).seal(target);
    const replies = [1, 2, 3].map(() => handle(dispatcher, message, channel));
    expect(deciding).toHaveLength(2);
    expect(dispatcher.pendingCalls).toBe(2);
    expect(dispatcher.stats().security).toMatchObject({ pending: 2, dropped: 1 });
    for (const decide of deciding)
      decide({ kind: 'reply', verifier: { flavor: 0, body: new Uint8Array(0) }, result: args });
    await dispatcher.idle();
    expect(dispatcher.pendingCalls).toBe(0);
    expect(replies.map(({ length }) => length)).toEqual([1, 1, 0]);
    expect(counts).toEqual({ started: 2, ended: 2 });
    expect(dispatcher.stats().security).toMatchObject({ pending: 0, answered: 2, dropped: 1 });
  });
});
