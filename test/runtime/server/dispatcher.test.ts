import { describe, expect, it } from 'vitest';
import { AuthError, sysCredentials } from '../../../runtime/index.js';
import {
  auth_stat,
  Dispatcher,
  type ReplyChannel,
  type SysCredentials,
  writeCall,
} from '../../../runtime/protocol.js';
import { type Codec, string, XdrWriter } from '../../../xdr/index.js';
import { add, ECHO_PROGRAM, echo, echoService, fail, misfit, silent } from '../../support/echo.js';

const hex = (bytes: Uint8Array): string => Buffer.from(bytes).toString('hex');
const bytes = (text: string): Uint8Array => Uint8Array.from(Buffer.from(text.replaceAll(' ', ''), 'hex'));
const PROGRAM = ECHO_PROGRAM.toString(16);
const NO_AUTH = '00000000 00000000 00000000 00000000';

interface Exchange {
  readonly replies: string[];
  readonly errors: unknown[];
}

function exchange(message: string, options: { maxReplyBytes?: number } = {}): Exchange {
  const errors: unknown[] = [];
  const dispatcher = new Dispatcher({ onError: (error) => errors.push(error) });
  dispatcher.add(echoService());
  dispatcher.add(echoService(undefined, 4));
  const replies: string[] = [];
  const origin: ReplyChannel = {
    peer: { transport: 'loopback', address: '', port: 0, localAddress: '', localPort: 0 },
    maxReplyBytes: options.maxReplyBytes ?? 1000,
    signal: new AbortController().signal,
    reply: (reply) => replies.push(hex(reply)),
  };
  dispatcher.handle(bytes(message), origin);
  return { replies, errors };
}

const call = (program: string, version: number, procedure: number, args = '', auth = NO_AUTH): string =>
  `00000001 00000000 00000002 ${program} 0000000${version} 0000000${procedure} ${auth} ${args}`;
const accepted = (status: string): string => `000000010000000100000000${'0'.repeat(16)}${status}`;

describe('dispatcher', () => {
  it('answers a call with its result', () => {
    expect(exchange(call(PROGRAM, 1, 2, '00000002 00000003')).replies).toEqual([
      accepted('0000000000000005'),
    ]);
  });

  it('answers procedure 0 of every program by itself', () => {
    expect(exchange(call(PROGRAM, 1, 0)).replies).toEqual([accepted('00000000')]);
    expect(exchange(call(PROGRAM, 1, 0, '00000001')).replies).toEqual([accepted('00000004')]);
  });

  it('repliesWithLowAndHighWhenVersionUnknown', () => {
    expect(exchange(call(PROGRAM, 2, 0)).replies).toEqual([accepted('000000020000000100000004')]);
  });

  it('says PROG_UNAVAIL for an unknown program', () => {
    expect(exchange(call('20009999', 1, 0)).replies).toEqual([accepted('00000001')]);
  });

  it('says PROC_UNAVAIL for an unknown procedure', () => {
    expect(exchange(call(PROGRAM, 1, 9)).replies).toEqual([accepted('00000003')]);
  });

  it.each([
    ['too short', '00000002'],
    ['too long', '00000002 00000003 00000004'],
  ])('says GARBAGE_ARGS for arguments that are %s', (_name, args) => {
    expect(exchange(call(PROGRAM, 1, 2, args)).replies).toEqual([accepted('00000004')]);
  });

  it('says SYSTEM_ERR where a procedure throws, and tells the operator why', () => {
    const { replies, errors } = exchange(call(PROGRAM, 1, fail.number, '00000004 626f6f6d'));
    expect(replies).toEqual([accepted('00000005')]);
    expect(errors).toEqual([new Error('boom')]);
  });

  it('says SYSTEM_ERR where a result does not fit its type, with nothing of it on the wire', () => {
    const { replies, errors } = exchange(call(PROGRAM, 1, misfit.number));
    expect(replies).toEqual([accepted('00000005')]);
    expect(errors).toHaveLength(1);
  });

  it('says SYSTEM_ERR where the reply is one byte over what the way can carry', () => {
    const request = call(PROGRAM, 1, echo.number, `00000004 61626364`);
    expect(exchange(request, { maxReplyBytes: 32 }).replies).toEqual([accepted('000000000000000461626364')]);
    expect(exchange(request, { maxReplyBytes: 31 }).replies).toEqual([accepted('00000005')]);
  });

  it('is silent where a procedure asks for silence', () => {
    expect(exchange(call(PROGRAM, 1, silent.number))).toEqual({ replies: [], errors: [] });
  });

  it('says RPC_MISMATCH for another version of RPC', () => {
    const message = `00000001 00000000 00000003 ${PROGRAM} 00000001 00000000 ${NO_AUTH}`;
    expect(exchange(message).replies).toEqual(['0000000100000001000000010000000000000002' + '00000002']);
  });

  it.each([
    ['nothing', ''],
    ['an xid alone', '00000001'],
    ['a reply', `${accepted('00000000')}`],
    [
      'a message type that does not exist',
      `00000001 00000002 00000002 ${PROGRAM} 00000001 00000000 ${NO_AUTH}`,
    ],
    ['a header that is cut off', `00000001 00000000 00000002 ${PROGRAM} 00000001`],
    [
      'a credential that is cut off',
      `00000001 00000000 00000002 ${PROGRAM} 00000001 00000000 00000001 00000190`,
    ],
  ])('meets %s with silence', (_name, message) => {
    expect(exchange(message)).toEqual({ replies: [], errors: [] });
  });

  it('says AUTH_REJECTEDCRED for a flavor it does not speak', () => {
    const auth = '00000063 00000000 00000000 00000000';
    expect(exchange(call(PROGRAM, 1, 0, '', auth)).replies).toEqual([
      '0000000100000001000000010000000100000002',
    ]);
  });

  it('says AUTH_BADCRED for AUTH_SYS that does not decode', () => {
    const auth = '00000001 00000004 00000000 00000000 00000000';
    expect(exchange(call(PROGRAM, 1, 0, '', auth)).replies).toEqual([
      '0000000100000001000000010000000100000001',
    ]);
  });

  it('takes a credential of 400 bytes and says AUTH_BADCRED for one byte more', () => {
    const none = (size: number): string => {
      const padded = '00'.repeat(Math.ceil(size / 4) * 4);
      return `00000000 ${size.toString(16).padStart(8, '0')} ${padded} 00000000 00000000`;
    };
    expect(exchange(call(PROGRAM, 1, 0, '', none(400))).replies).toEqual([accepted('00000000')]);
    expect(exchange(call(PROGRAM, 1, 0, '', none(401))).replies).toEqual([
      '0000000100000001000000010000000100000001',
    ]);
  });

  it('refuses two services of one version, and two procedures of one number', () => {
    const dispatcher = new Dispatcher();
    dispatcher.add(echoService());
    expect(() => dispatcher.add(echoService())).toThrow(
      'ECHO_PROGRAM (program 536875008) version 1 is served already',
    );
    const twice = {
      ...echoService(undefined, 2),
      procedures: [...echoService().procedures, ...echoService().procedures],
    };
    expect(() => dispatcher.add(twice)).toThrow('two procedures of number 1');
  });

  it('serves the versions that are left after one is removed', () => {
    const dispatcher = new Dispatcher();
    const first = echoService();
    dispatcher.add(first);
    dispatcher.add(echoService(undefined, 3));
    dispatcher.remove(first);
    expect(dispatcher.services.map(({ version }) => version)).toEqual([3]);
  });
});

describe('credentials', () => {
  const record = (credentials: SysCredentials): string => {
    let seen: unknown;
    const dispatcher = new Dispatcher();
    const whoami = { ...echo, args: string(0) as Codec<string> };
    dispatcher.add({
      program: ECHO_PROGRAM,
      version: 1,
      name: 'WHO',
      procedures: [
        {
          procedure: whoami as never,
          handle: (_args, context) => {
            seen = context.credentials;
            throw new AuthError(auth_stat.AUTH_TOOWEAK);
          },
        },
      ],
    });
    const writer = new XdrWriter();
    writeCall(writer, 1, whoami as never, credentials);
    writer.string('');
    let reply = '';
    const origin = { reply: (message: Uint8Array) => (reply = hex(message)) };
    dispatcher.handle(writer.take(), origin as unknown as ReplyChannel);
    expect(seen).toEqual(credentials);
    return reply;
  };

  it('reach the procedure, whose AuthError becomes MSG_DENIED', () => {
    const reply = record(sysCredentials({ uid: 7, gid: 8, gids: [9, 10], machineName: 'box', stamp: 5 }));
    expect(reply).toBe('0000000100000001000000010000000100000005');
  });

  it('hold 16 groups and a machine name of 255 bytes; one more of either does not fit', () => {
    const of = (gids: number, name: number): SysCredentials =>
      sysCredentials({ uid: 1, gid: 1, gids: Array<number>(gids).fill(1), machineName: 'x'.repeat(name) });
    record(of(16, 255));
    const writer = new XdrWriter();
    expect(() => writeCall(writer, 1, add as never, of(17, 1))).toThrow('17 elements, at most 16');
    expect(() => writeCall(writer, 1, add as never, of(1, 256))).toThrow('at most 255');
  });
});
