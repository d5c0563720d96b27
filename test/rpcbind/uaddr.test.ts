import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import {
  canonicalIPv6,
  formatUaddr,
  fromSockaddr,
  MAX_LOCAL_ADDRESS_BYTES,
  parseUaddr,
  toSockaddr,
} from '../../rpcbind/uaddr.js';

describe('universal addresses', () => {
  it('take an IPv4 address and a port apart (RFC 5665 section 5.2.3.3)', () => {
    expect(parseUaddr('udp', '127.0.0.1.0.111')).toEqual({ family: 'inet', host: '127.0.0.1', port: 111 });
    expect(parseUaddr('tcp', '0.0.0.0.255.255')?.port).toBe(65_535);
  });

  it('take an IPv6 address and a port apart (RFC 5665 section 5.2.3.4)', () => {
    expect(parseUaddr('tcp6', '::1.8.1')).toEqual({ family: 'inet6', host: '::1', port: 2049 });
    expect(parseUaddr('udp6', '::ffff:10.0.0.1.0.111')?.host).toBe('::ffff:10.0.0.1');
  });

  it.each([
    ['udp', '127.0.0.1.0.256'],
    ['udp', '127.0.0.1.256.0'],
    ['udp', '127.0.0.0.111'],
    ['udp', '::1.0.111'],
    ['udp6', '127.0.0.1.0.111'],
    ['udp6', 'fe80::1%eth0.0.111'],
    ['udp', '127.0.0.1.0.111 '],
    ['udp', ''],
    ['tcp', '/run/rpcbind.sock'],
    ['local', ''],
    ['local', 'relative'],
    ['carrier-pigeon', '127.0.0.1.0.111'],
    ['constructor', '127.0.0.1.0.111'],
  ])('of %s are refused when they are none: "%s"', (netid, uaddr) => {
    expect(parseUaddr(netid, uaddr)).toBeUndefined();
  });

  it('of local sockets hold a path of at most 107 bytes', () => {
    const path = `/${'x'.repeat(MAX_LOCAL_ADDRESS_BYTES - 1)}`;
    expect(parseUaddr('local', path)?.host).toBe(path);
    expect(parseUaddr('local', `${path}x`)).toBeUndefined();
  });

  it('come back as they were put together', () => {
    fc.assert(
      fc.property(fc.ipV4(), fc.ipV6(), fc.nat(65_535), (v4, v6, port) => {
        expect(parseUaddr('udp', formatUaddr(v4, port))).toEqual({ family: 'inet', host: v4, port });
        expect(parseUaddr('tcp6', formatUaddr(v6, port))).toEqual({ family: 'inet6', host: v6, port });
      }),
    );
  });

  it('go through the system’s own form and back', () => {
    fc.assert(
      fc.property(fc.ipV4(), fc.ipV6(), fc.nat(65_535), (v4, v6, port) => {
        const four = toSockaddr({ family: 'inet', host: v4, port });
        expect(fromSockaddr('udp', four)).toBe(formatUaddr(v4, port));
        const six = toSockaddr({ family: 'inet6', host: v6, port });
        expect(fromSockaddr('udp6', six)).toBe(formatUaddr(canonicalIPv6(v6), port));
      }),
    );
    const path = toSockaddr({ family: 'loopback', host: '@/run/rpcbind.sock', port: 0 });
    expect(fromSockaddr('local', path)).toBe('@/run/rpcbind.sock');
    expect(fromSockaddr('udp', path)).toBeUndefined();
    expect(fromSockaddr('udp', new Uint8Array(1))).toBeUndefined();
  });
});
