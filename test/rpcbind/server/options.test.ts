/** Options of the daemon: each is checked before anything is opened. */

import { describe, expect, it } from 'vitest';
import { createRpcbind, MemoryStore, type RpcbindDaemonOptions } from '../../../rpcbind/index.js';
import { MAX_HOLD_MS, MAX_PROGRAM_RULES, MAX_RATE, MAX_REGISTRATIONS } from '../../../rpcbind/internal.js';
import { checkOptions } from '../../../rpcbind/server/options.js';

const rule = { first: 1, last: 1, users: [] };

describe('an option of createRpcbind', () => {
  it.each<[string, RpcbindDaemonOptions]>([
    ['port is -1;', { port: -1 }],
    ['port is 65536;', { port: 65_536 }],
    ['host is localhost;', { host: ['127.0.0.1', 'localhost'] }],
    ['local is a socket path of 108 bytes;', { local: [`/${'x'.repeat(107)}`] }],
    ['local is a socket path of 0 bytes;', { local: [''] }],
    ['advertise is example;', { advertise: ['example'] }],
    ['advertise has several addresses of IPv4;', { advertise: ['192.0.2.1', '192.0.2.2'] }],
    ['advertise has several addresses of IPv6;', { advertise: ['::1', '::2'] }],
    ['fd is -1;', { inherited: [{ fd: -1, netid: 'udp', address: '0.0.0.0' }] }],
    ['fd is 1.5;', { openedLocal: [{ fd: 1.5, netid: 'local', address: '/x' }] }],
    ['192.0.2.0/33 is not', { allow: ['192.0.2.0/33'] }],
    ['nowhere is not', { allowRegister: ['nowhere'] }],
    ['7-3 is not a range', { programs: [{ first: 7, last: 3, users: 'all' }] }],
    ['1025 rules', { programs: new Array<typeof rule>(MAX_PROGRAM_RULES + 1).fill(rule) }],
    ['privilegedUids is -1;', { privilegedUids: [0, -1] }],
    ['privilegedUids is 4294967296;', { privilegedUids: [2 ** 32] }],
    ['callsPerSecond is 0;', { callsPerSecond: 0 }],
    ['callsPerSecond is NaN;', { callsPerSecond: Number.NaN }],
    ['callsPerSecond is 1000000001;', { callsPerSecond: MAX_RATE + 1 }],
    ['tableBytesPerMinute is -1;', { tableBytesPerMinute: -1 }],
    ['tableBytesPerMinute is 1000000001;', { tableBytesPerMinute: MAX_RATE + 1 }],
    ['maxRegistrations is 0;', { maxRegistrations: 0 }],
    ['maxRegistrations is 16777217;', { maxRegistrations: MAX_REGISTRATIONS + 1 }],
    ['maxRegistrationsPerOwner is 0;', { maxRegistrationsPerOwner: 0 }],
    ['maxRegistrationsPerOwner is 16777217;', { maxRegistrationsPerOwner: MAX_REGISTRATIONS + 1 }],
    ['holdMs is -1;', { holdMs: -1 }],
    ['holdMs is 3600001;', { holdMs: MAX_HOLD_MS + 1 }],
    ['stateFolderFd is -1;', { stateFolderFd: -1 }],
    ['liveness is never;', { liveness: 'never' as 'off' }],
    ['store and stateFolder exclude', { store: new MemoryStore(), stateFolder: '/nowhere' }],
  ])('out of range is a RangeError that begins with "%s"', async (message, options) => {
    const error: unknown = await createRpcbind({ port: 0, ...options }).catch((reason: unknown) => reason);
    expect(error).toBeInstanceOf(RangeError);
    expect((error as RangeError).message.startsWith(message), (error as RangeError).message).toBe(true);
  });

  it.each<RpcbindDaemonOptions>([
    {},
    { port: 0, host: [], local: [], advertise: [] },
    { port: 65_535, host: ['0.0.0.0', '::', 'fe80::1%lo'], advertise: ['192.0.2.1', '2001:db8::1'] },
    { local: [`/${'x'.repeat(106)}`, '\0x'] },
    { privilegedUids: [0, 2 ** 32 - 1] },
    { callsPerSecond: 0.001, tableBytesPerMinute: 0, maxRegistrations: 1, maxRegistrationsPerOwner: 1 },
    { callsPerSecond: MAX_RATE, tableBytesPerMinute: MAX_RATE },
    { maxRegistrations: MAX_REGISTRATIONS, maxRegistrationsPerOwner: MAX_REGISTRATIONS },
    { holdMs: 0 },
    { holdMs: MAX_HOLD_MS, liveness: 'off' },
  ])('at its limit is accepted: %o', (options) => {
    expect(() => checkOptions(options)).not.toThrow();
  });
});
