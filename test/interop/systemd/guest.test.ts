/**
 * The units under systemd as process 1, in a guest, installed as docs/operations.md says: they serve, owners are right,
 * registrations outlive the daemon, and Debian's rpcbind is replaced and comes back.
 */

import { readFileSync } from 'node:fs';
import path from 'node:path';
import { beforeAll, expect, it } from 'vitest';
import { bootGuest, type GuestOutcome } from '../../support/guest.js';
import { describeWith, root } from '../../support/sandbox.js';

/** It takes 50 s where nothing else runs. */
const LIMIT_MS = 240_000;

/** The shell commands of a section of the page, one block after the other. */
function commandsOf(section: string): string[] {
  const page = readFileSync(path.join(root, 'docs/operations.md'), 'utf8');
  const text = page.split(/^##+ /m).find((part) => part.startsWith(`${section}\n`)) ?? '';
  return [...text.matchAll(/^```\n(.*?)^```$/gms)].map((match) => match[1] ?? '');
}

const [install = ''] = commandsOf('systemd');
const [replace = '', back = ''] = commandsOf("In the place of Debian's rpcbind");
/**
 * What npm would do, without a network: the folder, the command, and that it may be run. What it is asked for after that,
 * where global packages are, takes seconds in a guest, so it is said here.
 */
const NPM_INSTALL = `npm() { echo /usr/lib/node_modules; }
chmod +x $BIN/rpcbind-ts/main.js; mkdir -p $(npm root --global)
ln -s /run/project $(npm root --global)/rpcbind-ts
ln -s $BIN/rpcbind-ts/main.js /usr/local/bin/rpcbind-ts
`;

/** `call UID:WAY:WHAT:NUMBER...`: registers or takes back, as a user, by the local socket or by TCP. */
const CALL = `cat >/run/call.mjs <<'EOF'
const { connectRpcbind } = await import('/run/project/dist/rpcbind/index.js');
for (const job of process.argv.slice(2)) {
  const [uid, way, what, number] = job.split(':');
  const of = { program: 0x20000300 + Number(number), version: 1, netid: 'tcp', address: '127.0.0.1.234.97' };
  process.seteuid(Number(uid)); // the kernel has it for the socket
  const client = await connectRpcbind({ transport: way, timeoutMs: 20000, retransmitMs: 20000 });
  const done = await (what === 'set' ? client.setAddress(of) : client.unsetAddress(of)).catch((error) => error.code);
  console.log(job, done);
  await client.close();
  process.seteuid(0);
}
EOF
call() { node /run/call.mjs "$@"; }
rows() { rpcinfo -s | awk '$1 >= 536871680 && $1 < 536871780 { print "row", $1 - 536871680, $NF }'; }
`;

const SCRIPT = `exec 2>&1
set +e
${CALL}
part() { echo "== $1"; }
main() { systemctl show -P MainPID rpcbind-ts.service; }

part debian
systemctl start rpcbind.socket rpcbind.service
call 1000:local:set:9
rows

part install
set -e
${install.replace(/^npm install .*\n/m, NPM_INSTALL)}
${replace}
set +e
systemctl is-active rpcbind-ts.socket rpcbind-ts.service
systemctl show -P Id rpcbind.socket rpcbind.service

part serves
rpcinfo -p
for netid in udp tcp; do rpcinfo -T $netid 127.0.0.1 100000 4; rpcinfo -T $netid'6' ::1 100000 4; done
rpcinfo -T local 127.0.0.1 100000 4
setpriv --reuid 1000 --clear-groups rpcinfo -p 127.0.0.1 | grep -c portmapper

part owners
call 0:local:set:1 1000:local:set:2 1000:tcp:set:3 1001:local:set:4 \\
  1001:local:unset:1 1001:local:unset:2 1001:tcp:unset:1 1001:tcp:unset:3 1001:local:unset:9
rows

part rights
PID=$(main)
echo user $(id -u _rpc) threads $(ls /proc/$PID/task | wc -l)
cat /proc/$PID/task/*/status | grep -E '^(Uid|Cap[A-Z][a-z]+|NoNewPrivs|Seccomp):' | tr '\\t' ' ' | sort | uniq -c | tr -s ' '
for file in /etc/new /usr/new /var/new /run/new /run/lock/new; do nsenter -t $PID -m touch $file; done
nsenter -t $PID -m setpriv --reuid _rpc --clear-groups sh -c 'ls /home /root /tmp /dev/shm; touch /run/rpcbind/new && rm /run/rpcbind/new && echo state folder is writable'

part restart
systemctl restart rpcbind-ts.service; rows

part killed
PID=$(main); kill -9 $PID
wait_for eval '[ $(main) != $PID ] && [ $(main) != 0 ] && systemctl is-active rpcbind-ts.service'
rows

part activated
systemctl stop rpcbind-ts.service; echo "pid $(main)"
rows; [ $(main) != 0 ] && echo started by a call
call 1000:local:unset:2 1000:tcp:unset:3
rows

part stopped
systemctl stop rpcbind-ts.service rpcbind-ts.socket
systemctl show -P Result rpcbind-ts.service rpcbind-ts.socket
echo processes $(pgrep -u _rpc | wc -l) ports $(ss -Hlntu 'sport = :111' | wc -l) sockets $(ls /run/rpcbind.sock 2>/dev/null | wc -l)

part back
set -e
${back}
set +e
systemctl is-active rpcbind-ts.service rpcbind-ts.socket rpcbind.service
rows

part log
journalctl -b --no-pager -o cat -u rpcbind-ts.service -u rpcbind-ts.socket
`;

const READY = /program 100000 version 4 ready and waiting/g;
const BOTH = ['row 1 superuser', 'row 2 1000', 'row 3 1000', 'row 4 1001', 'row 9 1000'];

describeWith(['guest', 'root', 'systemctl', 'rpcbind', 'rpcinfo', 'ss'], 'the units under systemd', () => {
  let outcome: GuestOutcome;
  let parts = new Map<string, string>();

  const linesOf = (name: string): string[] => (parts.get(name) ?? '').trim().split('\n');
  const rowsOf = (name: string): string[] => linesOf(name).filter((line) => line.startsWith('row '));

  beforeAll(async () => {
    outcome = await bootGuest(SCRIPT, { systemd: true, limitMs: LIMIT_MS });
    const found = outcome.output.split(/^== /m).slice(1);
    parts = new Map(
      found.map((part) => [part.slice(0, part.indexOf('\n')), part.slice(part.indexOf('\n') + 1)]),
    );
    if (outcome.code !== 0)
      throw new Error(`the script ended with ${outcome.code}:\n${outcome.output}${outcome.console}`);
  }, LIMIT_MS + 60_000);

  it('take the place of Debian’s by the commands of the page, with what is registered there', () => {
    expect(linesOf('debian')).toContain('row 9 1000');
    expect(linesOf('install').slice(-5)).toEqual([
      'active',
      'active',
      'rpcbind-ts.socket',
      '',
      'rpcbind-ts.service',
    ]);
    expect(rowsOf('owners')).toContain('row 9 1000');
  });

  it('serve over each way, to root and to others', () => {
    const text = linesOf('serves').join('\n');
    expect(text.match(READY), text).toHaveLength(5);
    expect(text).toMatch(/^[1-9]\d*$/m);
  });

  it('know the user at the other end, and let nobody else take a registration back', () => {
    const lines = linesOf('owners');
    for (const made of ['0:local:set:1', '1000:local:set:2', '1000:tcp:set:3', '1001:local:set:4'])
      expect(lines).toContain(`${made} true`);
    for (const tried of ['local:unset:1', 'local:unset:2', 'tcp:unset:1', 'tcp:unset:3', 'local:unset:9'])
      expect(lines).toContain(`1001:${tried} false`);
    expect(rowsOf('owners').toSorted()).toEqual(BOTH);
  });

  it('give the daemon no capability, no more system calls than it needs, and its own folder alone', () => {
    const lines = linesOf('rights');
    const [, uid, threads] = /^user (\d+) threads (\d+)$/.exec(lines[0] ?? '') ?? [];
    expect(Number(threads)).toBeGreaterThan(4);
    const all = (text: string): string => ` ${threads} ${text}`;
    expect(lines).toContain(all(`Uid: ${uid} ${uid} ${uid} ${uid}`));
    for (const set of ['CapInh', 'CapPrm', 'CapEff', 'CapBnd', 'CapAmb'])
      expect(lines).toContain(all(`${set}: 0000000000000000`));
    expect(lines).toContain(all('NoNewPrivs: 1'));
    expect(lines).toContain(all('Seccomp: 2'));
    const text = lines.join('\n');
    expect(text.match(/Read-only file system/g), text).toHaveLength(5);
    expect(
      text.match(/cannot open directory '\/(home|root|tmp|dev\/shm)': Permission denied/g),
      text,
    ).toHaveLength(4);
    expect(text).toContain('state folder is writable');
  });

  it('keep registrations and their owners when the daemon is restarted, killed, and started by a call', () => {
    expect(rowsOf('restart').toSorted()).toEqual(BOTH);
    expect(rowsOf('killed').toSorted()).toEqual(BOTH);
    const lines = linesOf('activated');
    expect(lines).toContain('pid 0');
    expect(lines).toContain('started by a call');
    expect(lines).toContain('1000:local:unset:2 true');
    expect(lines).toContain('1000:tcp:unset:3 true');
    expect(rowsOf('activated').slice(BOTH.length).toSorted()).toEqual([
      'row 1 superuser',
      'row 4 1001',
      'row 9 1000',
    ]);
  });

  it('give the place back to Debian’s', () => {
    const states = linesOf('back').filter((line) => /^(in)?active$/.test(line));
    expect(states).toEqual(['inactive', 'inactive', 'active']);
    expect(rowsOf('back').toSorted()).toEqual(['row 1 superuser', 'row 4 1001', 'row 9 1000']);
  });

  it('end without a fault, and leave neither process nor socket', () => {
    expect(linesOf('stopped')).toEqual(['success', '', 'success', 'processes 0 ports 0 sockets 0']);
    // Said of the unix sockets, which have no packet info; and of the SIGKILL above.
    const expected = /Failed to enable packet info|Failed with result 'signal'|warning: refused UNSET/;
    const faults = linesOf('log').filter((line) => /fault|warning|failed|denied/i.test(line));
    expect(faults.filter((line) => !expected.test(line))).toEqual([]);
    expect(outcome.code).toBe(0);
  });
});
