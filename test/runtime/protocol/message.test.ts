/** The header written by hand, held to the codec that comes from rpcmsg.x. */

import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { type Credentials, noCredentials, sysCredentials } from '../../../runtime/index.js';
import { type rpc_msg, rpc_msgCodec } from '../../../runtime/protocol/rpcmsg.gen.js';
import {
  emptyCallHeader,
  type Refusal,
  readCall,
  readReply,
  readReplyXid,
  refusalError,
  writeCall,
  writeRefusal,
  writeSuccess,
} from '../../../runtime/protocol.js';
import { decode, encode, voidCodec, XdrReader, XdrWriter } from '../../../xdr/index.js';

const uint = fc.integer({ min: 0, max: 0xffff_ffff });
const NO_AUTH = { flavor: 0, body: new Uint8Array(0) };

function written(write: (writer: XdrWriter) => void): Uint8Array {
  const writer = new XdrWriter();
  write(writer);
  return writer.take();
}

describe('message header', () => {
  it('of a call is what rpcmsg.x says', () => {
    fc.assert(
      fc.property(uint, uint, uint, uint, uint, (xid, program, version, number, uid) => {
        const procedure = { program, version, number, name: 'P', args: voidCodec, result: voidCodec };
        const bytes = written((w) =>
          writeCall(w, xid, procedure, sysCredentials({ uid, gid: 2, gids: [3] })),
        );
        const message = decode(rpc_msgCodec, bytes);
        expect(message).toMatchObject({
          xid,
          body: {
            mtype: 0,
            cbody: {
              rpcvers: 2,
              prog: program,
              vers: version,
              proc: number,
              cred: { flavor: 1 },
              verf: NO_AUTH,
            },
          },
        });
        const header = emptyCallHeader();
        expect(readCall(new XdrReader(bytes), header)).toBe('call');
        expect(header).toMatchObject({
          xid,
          program,
          version,
          procedure: number,
          credFlavor: 1,
          verfFlavor: 0,
        });
        expect(encode(rpc_msgCodec, message)).toEqual(bytes);
      }),
    );
  });

  const hex = (bytes: Uint8Array): string => Buffer.from(bytes).toString('hex');
  const procedure = { program: 2, version: 3, number: 4, name: 'P', args: voidCodec, result: voidCodec };
  const body = Uint8Array.of(1, 2, 3, 4, 5);
  it.each<[string, Credentials, string]>([
    ['none', noCredentials, '0000000000000000'],
    ['of another flavor', { flavor: 'other', number: 6, body }, '00000006000000050102030405000000'],
    [
      'of AUTH_SYS, with nothing but a user and a group',
      sysCredentials({ uid: 7, gid: 8 }),
      `00000001000000200000000000000009${Buffer.from('localhost').toString('hex')}000000000000070000000800000000`,
    ],
  ])(
    'of a call with credentials %s has them as RFC 5531 section 8.2 says',
    (_name, credentials, expected) => {
      const bytes = written((w) => writeCall(w, 1, procedure, credentials));
      expect(hex(bytes)).toBe(`000000010000000000000002000000020000000300000004${expected}0000000000000000`);
    },
  );

  it('holds credentials of 400 bytes and no more', () => {
    const of = (size: number): Credentials => ({ flavor: 'other', number: 6, body: new Uint8Array(size) });
    expect(written((w) => writeCall(w, 1, procedure, of(400)))).toHaveLength(440);
    expect(() => written((w) => writeCall(w, 1, procedure, of(401)))).toThrow('at most 400');
  });

  const refusals: Refusal[] = [
    { status: 1 },
    { status: 2, low: 3, high: 5 },
    { status: 3 },
    { status: 4 },
    { status: 5 },
    { denied: 'RPC_MISMATCH', low: 2, high: 2 },
    { denied: 'AUTH_ERROR', why: 5 },
  ];
  it.each(refusals)('of a reply that says %o is what rpcmsg.x says, and is read back', (refusal) => {
    const bytes = written((w) => writeRefusal(w, 77, refusal));
    expect(encode(rpc_msgCodec, decode(rpc_msgCodec, bytes))).toEqual(bytes);
    const reader = new XdrReader(bytes);
    expect(readReplyXid(reader)).toBe(77);
    expect(readReply(reader)).toEqual(refusal);
    reader.finish();
    expect(refusalError('P', refusal).refusal).toEqual(refusal);
  });

  it('of a success is what rpcmsg.x says', () => {
    const message: rpc_msg = {
      xid: 9,
      body: { mtype: 1, rbody: { stat: 0, areply: { verf: NO_AUTH, reply_data: { stat: 0 } } } },
    };
    const bytes = written((w) => writeSuccess(w, 9));
    expect(encode(rpc_msgCodec, message)).toEqual(bytes);
    const reader = new XdrReader(bytes);
    expect(readReplyXid(reader)).toBe(9);
    expect(readReply(reader)).toBeUndefined();
  });

  it('with a verifier is read past it', () => {
    const message: rpc_msg = {
      xid: 9,
      body: {
        mtype: 1,
        rbody: { stat: 0, areply: { verf: { flavor: 6, body: new Uint8Array(7) }, reply_data: { stat: 4 } } },
      },
    };
    const reader = new XdrReader(encode(rpc_msgCodec, message));
    readReplyXid(reader);
    expect(readReply(reader)).toEqual({ status: 4 });
  });
});
