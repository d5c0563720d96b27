import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { unmapped } from '../../../runtime/protocol.js';

describe('an IPv4-mapped address', () => {
  it('is the IPv4 address, however it is written (RFC 4291 section 2.5.5.2)', () => {
    expect(unmapped('::ffff:192.0.2.1')).toBe('192.0.2.1');
    expect(unmapped('::ffff:c000:201')).toBe('192.0.2.1');
    expect(unmapped('::ffff:0:1')).toBe('0.0.0.1');
    fc.assert(
      fc.property(fc.ipV4(), (address) => {
        const [a, b, c, d] = address.split('.').map(Number) as [number, number, number, number];
        const hex = `::ffff:${((a << 8) | b).toString(16)}:${((c << 8) | d).toString(16)}`;
        expect([unmapped(hex), unmapped(`::ffff:${address}`)]).toEqual([address, address]);
      }),
    );
  });

  it.each(['::1', '192.0.2.1', '::ffff:1', 'fe80::1%eth0', '2001:db8::ffff:1:2', '::ffff:1:2:3', ''])(
    'is none where it is "%s", which stays as it is',
    (address) => {
      expect(unmapped(address)).toBe(address);
    },
  );
});
