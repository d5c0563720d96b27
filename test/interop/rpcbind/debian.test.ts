/** Our daemon in the place of Debian's rpcbind: the same programs, the same answers. */

import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { describeWith, type Outcome, root, sandbox } from '../../support/sandbox.js';

const DEBIAN = 'chown _rpc /run/rpcbind; rpcbind -f -w -r';
const OURS = 'node $BIN/rpcbind-ts/main.js -r';
const LIMIT_MS = 120_000;

/** Runs a script beside a daemon; the daemon's own words go to /run/log. */
function beside(daemon: string, script: string): Promise<Outcome> {
  return sandbox(
    `exec 2>&1
( ${daemon} ) >/run/log 2>&1 & DAEMON=$!
wait_for rpcinfo -p 127.0.0.1
${script}
kill $DAEMON`,
    LIMIT_MS,
  );
}

/** What both say, without what differs from run to run: ports, times, the order in which services came up. */
async function both(script: string): Promise<{ readonly debian: string[]; readonly ours: string[] }> {
  const [debian, ours] = [await beside(DEBIAN, script), await beside(OURS, script)];
  expect(debian.code, debian.stdout).toBe(0);
  expect(ours.code, ours.stdout).toBe(0);
  return { debian: plain(debian.stdout), ours: plain(ours.stdout) };
}

function plain(text: string): string[] {
  return text
    .replaceAll(/(\d+\.\d+\.\d+\.\d+|::1?)\.\d+\.\d+ */g, '$1.P.P ')
    .replaceAll(/(udp|tcp) +\d{4,5} /g, '$1 PORT ')
    .replaceAll(/ up .*/g, ' up')
    .replaceAll(/ +\d+:\d\d/g, ' TIME')
    .split('\n')
    .map((line) => line.trimEnd())
    .toSorted();
}

describeWith(['sandbox', 'rpcbind', 'rpcinfo', 'gcc'], 'libtirpc as a client', () => {
  let folder = '';
  let program = '';
  beforeAll(() => {
    folder = mkdtempSync(path.join(tmpdir(), 'rpcbind-c-'));
    program = path.join(folder, 'rpcbcalls');
    const source = path.join(root, 'test/interop/fixtures/rpcbcalls.c');
    execFileSync('gcc', ['-I/usr/include/tirpc', source, '-o', program, '-ltirpc']);
  });
  afterAll(() => rmSync(folder, { recursive: true }));

  it('gets from us what it gets from Debian’s rpcbind, as root and as another user', async () => {
    // Root last: what it takes back is kept for it for a while.
    const script = `cp ${program} /run/calls; chmod 755 /run/calls
setpriv --reuid 1000 --clear-groups /run/calls; /run/calls`;
    const { debian, ours } = await both(script);
    expect(ours).toEqual(debian);
    expect(ours).toContain('rpcb_rmtcall NULL of rpcbind: RPC: Success');
    expect(ours.filter((line) => line === 'rpcb_set: 1')).toHaveLength(8);
  }, 300_000);

  it('finds us by broadcast from another network namespace', async () => {
    const { stdout } = await sandbox(
      `ip netns add far
ip link add near0 type veth peer name far0 netns far
ip addr add 10.9.0.1/24 brd + dev near0; ip link set near0 up
ip -n far addr add 10.9.0.2/24 brd + dev far0; ip -n far link set far0 up; ip -n far link set lo up
ip netns exec far node $BIN/rpcbind-ts/main.js -r --no-state-dir >/run/log 2>&1 & DAEMON=$!
wait_for rpcinfo -p 10.9.0.2
timeout 20 ${program} broadcast
timeout 30 rpcinfo -b 100000 4 || true
kill $DAEMON`,
      LIMIT_MS,
    );
    expect(stdout).toContain('answer from 10.9.0.2');
    expect(stdout).toContain('broadcast: RPC: Success');
    expect(stdout).toMatch(/^10\.9\.0\.2\.0\.111/m);
  }, 120_000);
});

describeWith(
  ['sandbox', 'rpcbind', 'rpcinfo', 'rpc.statd', 'rpc.rstatd', 'rpc.rusersd', 'rup', 'rusers'],
  'rpc.statd, rpc.rstatd and rpc.rusersd',
  () => {
    it('register and work, and rpcinfo says the same of them as beside Debian’s rpcbind', async () => {
      const { debian, ours } = await both(`
rpc.statd --no-notify -F >/dev/null 2>&1 &
rpc.rstatd & rpc.rusersd &
wait_for rpcinfo -T tcp6 ::1 100024 1
wait_for rpcinfo -u 127.0.0.1 100001 1
wait_for rpcinfo -u 127.0.0.1 100002 2
echo "== tables"; rpcinfo | sort; rpcinfo -s | sort; rpcinfo -p | sort; rpcinfo -p ::1 | sort; rpcinfo ::1 | sort
echo "== services"; rup 127.0.0.1; rusers 127.0.0.1 || true
for netid in udp tcp; do rpcinfo -T $netid 127.0.0.1 100024; rpcinfo -T $netid 127.0.0.1 100024 1; done
rpcinfo -T udp6 ::1 100024 1; rpcinfo -T local 127.0.0.1 100000
rpcinfo -l 127.0.0.1 100024 1; rpcinfo -l ::1 100024 1; rpcinfo -l 127.0.0.1 100000 4
rpcinfo -u 127.0.0.1 100024; rpcinfo -t 127.0.0.1 100024 9 || true; rpcinfo -u 127.0.0.1 100099 || true
echo "== statistics"; rpcinfo -m | grep -o '^[A-Z][A-Za-z_ ()0-9]*' | sort -u
echo "== removed"; rpcinfo -d 100024 1; rpcinfo -d -T udp 100001 3; rpcinfo -s | sort`);
      expect(ours).toEqual(debian);
      expect(ours.some((line) => /100024 +1 +tcp6,udp6,tcp,udp +status +\d+$/.test(line))).toBe(true);
    }, 300_000);
  },
);

describeWith(['sandbox', 'rpcinfo', 'ganesha.nfsd', 'showmount', 'nfs-ls'], 'nfs-ganesha', () => {
  it('registers NFS and MOUNT with us, and clients find and read it', async () => {
    const { code, stdout } = await beside(
      OURS,
      `
mkdir -p /run/ganesha /run/export
cat > /run/ganesha.conf <<END
NFS_CORE_PARAM { Protocols = 3; Enable_NLM = false; Enable_RQUOTA = false; NFS_Port = 20490; MNT_Port = 20048; }
EXPORT { Export_Id = 1; Path = /run/export; Pseudo = /export; Protocols = 3; Access_Type = RW; Squash = None; SecType = sys;
         Transports = UDP, TCP; FSAL { Name = MEM; } }
END
ganesha.nfsd -F -L /run/ganesha.log -f /run/ganesha.conf -p /run/ganesha.pid >/dev/null 2>&1 &
wait_for rpcinfo -t 127.0.0.1 100003 3
wait_for rpcinfo -t 127.0.0.1 100005 3
rpcinfo -s
showmount -e 127.0.0.1
nfs-ls nfs://127.0.0.1/run/export && echo listed`,
    );
    expect(code, stdout).toBe(0);
    expect(stdout).toMatch(/\/run\/export/);
    expect(stdout).toContain('listed');
    expect(stdout).toMatch(/100003 +3 /);
  }, 120_000);
});
