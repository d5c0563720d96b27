/** The systemd units that come along: systemd itself finds no fault in them, and little that the daemon could do. */

import { expect, it } from 'vitest';
import { describeWith, sandbox } from '../../support/sandbox.js';

/** What systemd calls an exposure, from 0 to 10: an ordinary unit has 9.2. */
const MAX_EXPOSURE = 2;
/** What the daemon is left, and why. */
const LEFT_OPEN = {
  RestrictAddressFamilies_AF_INET_INET6: 'it serves them',
  RestrictAddressFamilies_AF_UNIX: 'it serves them',
  RestrictAddressFamilies_AF_NETLINK: 'sock_diag says what is listened at',
  PrivateNetwork: 'it serves the network of the host',
  IPAddressDeny: 'which networks are answered is for --allow',
  PrivateUsers: 'all peers would be one user',
  ProcSubset: '/proc/net and /proc/sys are read',
  MemoryDenyWriteExecute: 'V8 compiles at run time',
  NotifyAccess: 'systemd-notify is a child, where koffi is not installed',
  DeviceAllow: 'ProtectClock= allows reading of the clock',
};

/** Units where a host would have them, with the command that they run. */
const INSTALLED = `exec 2>&1
mkdir /run/bin /run/units; cp /run/project/systemd/rpcbind-ts.socket /run/project/systemd/rpcbind-ts.service /run/units
install -m 755 $BIN/rpcbind-ts/main.js /run/bin/rpcbind-ts; mount --bind /run/bin /usr/local/bin
`;

interface Row {
  readonly set: boolean | null;
  readonly name: string;
  readonly json_field: string;
}

describeWith(['sandbox', 'systemd-analyze'], 'the systemd units', () => {
  it('are valid', async () => {
    const { code, stdout } = await sandbox(
      `${INSTALLED}systemd-analyze verify --man=no /run/units/rpcbind-ts.socket /run/units/rpcbind-ts.service`,
    );
    expect(stdout).toBe('');
    expect(code).toBe(0);
  }, 60_000);

  it(`leave an exposure below ${MAX_EXPOSURE}, and nothing open that need not be`, async () => {
    const { code, stdout } = await sandbox(`${INSTALLED}
analyze() { systemd-analyze security --no-pager --offline=yes "$@" /run/units/rpcbind-ts.service; }
analyze --json=short; echo; analyze --threshold=${MAX_EXPOSURE * 10}`);
    expect(code, stdout).toBe(0);
    const exposure = /Overall exposure level for rpcbind-ts\.service: ([\d.]+)/.exec(stdout)?.[1];
    expect(Number(exposure)).toBeLessThan(MAX_EXPOSURE);
    const rows = JSON.parse(stdout.slice(0, stdout.indexOf(']') + 1)) as Row[];
    const open = rows.filter(({ set }) => set === false).map(({ json_field: field }) => field);
    expect(open.toSorted()).toEqual(Object.keys(LEFT_OPEN).toSorted());
  }, 60_000);

  it('name the user that systemd-sysusers makes', async () => {
    const { code, stdout } = await sandbox(`mkdir -p /run/root/etc
systemd-sysusers --root=/run/root - </run/project/systemd/rpcbind-ts.sysusers.conf
sed -n 's/^User=//p' /run/project/systemd/rpcbind-ts.service; cut -d: -f1 /run/root/etc/passwd`);
    expect(code, stdout).toBe(0);
    expect(stdout).toBe('_rpc\n_rpc\n');
  }, 60_000);
});
