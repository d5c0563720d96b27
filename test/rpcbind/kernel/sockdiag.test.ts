/** What the kernel says of sockets: bytes recorded from Linux 6.18 on x86-64, whole, cut and spoiled. */

import dgram from 'node:dgram';
import { once } from 'node:events';
import net from 'node:net';
import { describe, expect, it } from 'vitest';
import {
  connectionOf,
  parseInetSocket,
  parseUnixListener,
  socketsOnPort,
} from '../../../rpcbind/kernel/sockdiag.js';
import { hasNative } from '../../../runtime/protocol.js';
import { parseMessages } from '../../../runtime/transport/netlink.js';

const SEQUENCE = 7;
const bytes = (hex: string): Uint8Array => Uint8Array.from(Buffer.from(hex, 'hex'));

const DONE = '140000000300020007000000a51e000000000000';
/** The end of a dump that the kernel could not make: it has no module for SCTP. */
const FAILED = '140000000300020007000000a51e0000feffffff';
const NO_SUCH =
  '5c0000000200000007000000a51e0000feffffff4800000014000100070000000000000002060000ffffffff9dd79dd87f0000010000000000000000000000007f00000100000000000000000000000000000000ffffffffffffffff';
const UDP4 =
  '740000001400020007000000a51e0000020700009dd40000000000000000000000000000000000000000000000000000000000000000000000000000ec01000000000000000000000000000000000000e803000089b1120105000800000000000c00150001000000000000000600160050000000';
const UDP6_ALONE =
  '7c0000001400020007000000a51e00000a0700009dd40000000000000000000000000000000000000000000000000000000000000000000000000000ed01000000000000000000000000000000000000e80300008ab11201050008000000000005000b00010000000c00150001000000000000000600160010000000';
const CLIENT =
  '740000001400000007000000a51e0000020100009dd69dd57f0000010000000000000000000000007f00000100000000000000000000000000000000ef01000000000000000000000000000000000000e80300008cb1120105000800000000000c00150001000000000000000600160052000000';
const SERVER_MAPPED =
  '740000001400000007000000a51e00000a0100009dd59dd600000000000000000000ffff7f00000100000000000000000000ffff7f00000100000000f001000000000000000000000000000000000000e80300008db1120105000800000000000c00150001000000000000000600160012000000';
const UNIX = `a00000001400020007000000a51e000001010a008eb11201f10100000000000070000000007265636f726465642d6162737472616374${'00'.repeat(90)}050006000000000008000700e8030000`;

const rowOf = (hex: string): Uint8Array =>
  parseMessages(bytes(hex), SEQUENCE).messages[0] ?? new Uint8Array();

describe('an answer of netlink', () => {
  it('ends with DONE, and rows before it are its messages', () => {
    const part = parseMessages(bytes(UDP4 + UDP6_ALONE + DONE), SEQUENCE);
    expect(part).toMatchObject({ isEnd: true, errno: undefined });
    expect(part.messages.map(({ length }) => length)).toEqual([0x74 - 16, 0x7c - 16]);
  });

  it('goes on where no DONE came', () => {
    expect(parseMessages(bytes(UDP4), SEQUENCE)).toMatchObject({ isEnd: false, errno: undefined });
  });

  it('for one object is that object', () => {
    expect(parseMessages(bytes(CLIENT), SEQUENCE)).toMatchObject({ isEnd: true, errno: undefined });
  });

  it('is a failure where the kernel says so, also at the end of a dump', () => {
    expect(parseMessages(bytes(NO_SUCH), SEQUENCE).errno).toBe(2);
    expect(parseMessages(bytes(FAILED), SEQUENCE).errno).toBe(2);
    expect(parseMessages(bytes(UDP4 + FAILED), SEQUENCE).errno).toBe(2);
  });

  it('is none where the table changed while it was read', () => {
    const interrupted = bytes(DONE);
    interrupted[6] = (interrupted[6] ?? 0) | 0x10;
    expect(parseMessages(interrupted, SEQUENCE).errno).toBe(4);
  });

  it('is none to another request', () => {
    expect(parseMessages(bytes(DONE), SEQUENCE + 1).errno).toBe(71);
  });

  it('is none where it is cut, wherever that is, except between messages', () => {
    const whole = bytes(UDP4 + DONE);
    for (let size = 1; size < whole.length; size++) {
      const part = parseMessages(whole.subarray(0, size), SEQUENCE);
      if (size === 0x74) expect(part).toMatchObject({ isEnd: false, errno: undefined });
      else expect(part.errno, `cut at ${size}`).toBe(71);
    }
  });

  it('is none with a length of its messages that leads nowhere', () => {
    for (const length of [0, 15, 17, 0xffff_ffff]) {
      const spoiled = bytes(DONE);
      new DataView(spoiled.buffer).setUint32(0, length, true);
      expect(parseMessages(spoiled, SEQUENCE).errno, String(length)).toBe(71);
    }
  });
});

describe('a socket of sock_diag', () => {
  it('has its ends, state, user and inode', () => {
    expect(parseInetSocket(rowOf(CLIENT))).toEqual({
      family: 4,
      state: 1,
      localAddress: '127.0.0.1',
      localPort: 40406,
      remoteAddress: '127.0.0.1',
      remotePort: 40405,
      uid: 1000,
      inode: 0x0112_b18c,
      isV6Only: undefined,
    });
  });

  it('of IPv6 that serves IPv4 has addresses of IPv4', () => {
    expect(parseInetSocket(rowOf(SERVER_MAPPED))).toMatchObject({
      family: 6,
      localAddress: '127.0.0.1',
      localPort: 40405,
      remoteAddress: '127.0.0.1',
      remotePort: 40406,
    });
  });

  it('says whether it takes IPv4 as well', () => {
    expect(parseInetSocket(rowOf(UDP6_ALONE))).toMatchObject({
      family: 6,
      state: 7,
      localAddress: '::',
      isV6Only: true,
    });
  });

  it('is none where the row is short or of another family', () => {
    const row = rowOf(UDP4);
    expect(parseInetSocket(row.subarray(0, 71))).toBeUndefined();
    expect(parseInetSocket(row.subarray(0, 72))).toBeDefined();
    expect(parseInetSocket(Uint8Array.from([1, ...row.subarray(1)]))).toBeUndefined();
  });

  it('that is a unix socket has its name and user', () => {
    expect(parseUnixListener(rowOf(UNIX))).toEqual({ path: '\0recorded-abstract', uid: 1000 });
    // Before Linux 5.3 nothing is said of the user.
    expect(parseUnixListener(rowOf(UNIX).subarray(0, -8))).toEqual({
      path: '\0recorded-abstract',
      uid: undefined,
    });
    expect(parseUnixListener(rowOf(UNIX).subarray(0, 16))).toBeUndefined();
  });
});

describe.runIf(hasNative())('the kernel', () => {
  it('tells the sockets of a port, and that there are none', async () => {
    const socket = dgram.createSocket('udp4');
    socket.bind(0, '127.0.0.1');
    await once(socket, 'listening');
    const { port } = socket.address();
    expect(socketsOnPort('udp', 4, port)).toMatchObject([
      { localAddress: '127.0.0.1', uid: process.getuid?.() },
    ]);
    socket.close();
    await once(socket, 'close');
    expect(socketsOnPort('udp', 4, port)).toEqual([]);
  });

  it('tells one connection from its listener and from none', async () => {
    const server = net.createServer();
    server.listen(0, '127.0.0.1');
    await once(server, 'listening');
    const { port } = server.address() as net.AddressInfo;
    const client = net.connect(port, '127.0.0.1');
    const [accepted] = (await once(server, 'connection')) as [net.Socket];
    const ends = {
      localAddress: '127.0.0.1',
      localPort: client.localPort ?? 0,
      remoteAddress: '127.0.0.1',
      remotePort: port,
    };
    expect(connectionOf(ends)).toMatchObject({ ...ends, state: 1, uid: process.getuid?.() });
    const { localPort } = ends;
    expect(connectionOf({ ...ends, remoteAddress: '127.0.0.2' })).toBe('none');
    // The kernel falls back on the listener where no connection fits.
    expect(connectionOf({ ...ends, localPort: port, remotePort: localPort === 1 ? 2 : 1 })).toBe('none');
    accepted.destroy();
    client.destroy();
    server.close();
    await once(server, 'close');
  });
});
