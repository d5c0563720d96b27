/** rpccall beside real servers: nfs-ganesha's MOUNT and NFS version 3, and Debian's rpc.rstatd. */

import { expect, it, vi } from 'vitest';
import { describeWith, sandbox } from '../../support/sandbox.js';

// ganesha takes its time to start.
vi.setConfig({ testTimeout: 120_000 });

const RPCBINDS = {
  "Debian's rpcbind": 'rpcbind -w\n',
  'our rpcbind':
    'node $BIN/rpcbind-ts/main.js --no-state-dir >/run/log &\nwait_for test -S /run/rpcbind.sock\n',
};

const GANESHA = `
mkdir -p /run/ganesha
cat > /run/g.conf <<'END'
NFS_CORE_PARAM { Protocols = 3; Enable_NLM = false; Enable_RQUOTA = false; NFS_Port = 20490; MNT_Port = 20048; }
EXPORT { Export_Id = 1; Path = /tmp/export; Pseudo = /export; Protocols = 3; Access_Type = RW; Squash = None;
         SecType = sys; Transports = UDP, TCP; FSAL { Name = MEM; } }
END
ganesha.nfsd -F -L /run/g.log -f /run/g.conf -p /run/g.pid >/dev/null 2>&1 &
call() { node $BIN/rpccall/main.js 127.0.0.1 --auth sys --compact "$@"; }
exported() { call mount EXPORT | grep -q /tmp/export; }
wait_for exported || wait_for exported
`;

/** One JSON a line. */
function results(stdout: string): Record<string, unknown>[] {
  return stdout
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line) as Record<string, unknown>);
}

for (const [daemon, start] of Object.entries(RPCBINDS)) {
  const needs = ['sandbox', 'ganesha.nfsd', ...(daemon.startsWith('Debian') ? ['rpcbind'] : [])];
  describeWith(needs, `rpccall asks nfs-ganesha, found through ${daemon}`, () => {
    it('for its exports, and reads, makes and lists files from JSON', async () => {
      const { stdout, stderr, code } = await sandbox(
        `${start}${GANESHA}
root=$(call mount MNT /tmp/export | sed 's/.*"fhandle":"\\([^"]*\\)".*/\\1/')
call mount EXPORT
call nfs GETATTR "{\\"object\\":{\\"data\\":\\"$root\\"}}"
call nfs MKDIR "{\\"where\\":{\\"dir\\":{\\"data\\":\\"$root\\"},\\"name\\":\\"made\\"},\\"attributes\\":{\\"mode\\":{\\"set_it\\":true,\\"mode\\":493},\\"uid\\":{\\"set_it\\":false},\\"gid\\":{\\"set_it\\":false},\\"size\\":{\\"set_it\\":false},\\"atime\\":{\\"set_it\\":\\"DONT_CHANGE\\"},\\"mtime\\":{\\"set_it\\":\\"DONT_CHANGE\\"}}}"
call nfs READDIR "{\\"dir\\":{\\"data\\":\\"$root\\"},\\"cookie\\":\\"0\\",\\"cookieverf\\":\\"AAAAAAAAAAA=\\",\\"count\\":4096}" --transport udp
call nfs GETATTR '{"object":{"data":"AAAA"}}'
`,
        100_000,
      );
      expect(code, stderr).toBe(0);
      const [exports, root, made, listing, bad] = results(stdout);
      expect(exports).toEqual([{ ex_dir: '/tmp/export', ex_groups: [] }]);
      expect(root).toMatchObject({ status: 'NFS3_OK', resok: { obj_attributes: { type: 'NF3DIR' } } });
      expect(made).toMatchObject({ status: 'NFS3_OK' });
      expect(listing).toMatchObject({ status: 'NFS3_OK', resok: { reply: { eof: true } } });
      expect(JSON.stringify(listing)).toContain('"name":"made"');
      expect(bad).toEqual({ status: 'NFS3ERR_BADHANDLE' });
    });
  });

  const rstatNeeds = ['sandbox', 'rpc.rstatd', ...(daemon.startsWith('Debian') ? ['rpcbind'] : [])];
  describeWith(rstatNeeds, `rpccall asks rpc.rstatd, found through ${daemon}`, () => {
    it('for the load of the host', async () => {
      const { stdout, stderr } = await sandbox(
        `${start}registered() { rpc.rstatd; node $BIN/rpcinfo-ts/main.js -p 127.0.0.1 | grep -q rstatd; }
wait_for node $BIN/rpcinfo-ts/main.js -p 127.0.0.1
wait_for registered
answers() { node $BIN/rpccall/main.js 127.0.0.1 rstat STATS --compact; }
wait_for answers
answers`,
      );
      const [stats] = results(stdout);
      const number = expect.any(Number) as unknown;
      expect(stats, stderr).toMatchObject({
        cp_time: [number, number, number, number],
        avenrun: [number, number, number],
        curtime: { tv_sec: number },
      });
      const now = (stats as { curtime: { tv_sec: number } } | undefined)?.curtime.tv_sec ?? 0;
      expect(Math.abs(Date.now() / 1000 - now)).toBeLessThan(60);
    });
  });
}
