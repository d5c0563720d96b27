/** rpcinfo-ts beside Debian's rpcinfo where things are unusual: broadcast, and tables no rpcbind of ours would hold. */

import { expect, it, vi } from 'vitest';
import { compare } from '../../support/rivals.js';
import { describeWith, sandbox } from '../../support/sandbox.js';

vi.setConfig({ testTimeout: 120_000 });

/** Another host: a network namespace with its own rpcbind, and the link to it. */
const HOSTS = `
ip link add here type veth peer name there
ip netns add far
ip link set there netns far
ip addr add 10.9.8.1/24 broadcast 10.9.8.255 dev here
ip link set here up
ip netns exec far ip addr add 10.9.8.2/24 broadcast 10.9.8.255 dev there
ip netns exec far ip link set there up
ip netns exec far ip link set lo up
linked() { ip -6 addr show dev here scope link -tentative | grep -q inet6; }
far_linked() { ip netns exec far ip -6 addr show dev there scope link -tentative | grep -q inet6; }
settled() { linked && far_linked; }
wait_for settled
`;

for (const [daemon, start] of Object.entries({
  "Debian's rpcbind": 'rpcbind -r -f',
  'our rpcbind': 'node $BIN/rpcbind-ts/main.js -r --no-state-dir --no-local',
})) {
  describeWith(
    ['sandbox', 'rpcinfo', 'rpcbind', 'ip'],
    `rpcinfo-ts -b, answered by ${daemon} of another host`,
    () => {
      it('finds the services that rpcinfo finds, each told once', async () => {
        const { stdout, stderr, code } = await sandbox(
          `${HOSTS}
cat > /run/answering.mjs <<'END'
const { createServer } = await import(process.env.BIN + '/../runtime/index.js');
const server = createServer({ services: [{ program: 0x20000778, version: 1, name: 'A', procedures: [] }] });
const { port } = await server.listenUdp({ host: '0.0.0.0', port: 0 });
console.log('U=0.0.0.0.' + (port >> 8) + '.' + (port & 255));
END
ip netns exec far ${start} >/run/log 2>&1 &
ip netns exec far node /run/answering.mjs > /run/answering &
wait_for ip netns exec far node $BIN/rpcinfo-ts/main.js -p 127.0.0.1
wait_for grep -q U= /run/answering
. /run/answering
ip netns exec far node $BIN/rpcinfo-ts/main.js --port 111 set 0x20000778 1 udp $U
rpcinfo -b 536872824 1 | sort -u > /run/theirs
node $BIN/rpcinfo-ts/main.js -b 0x20000778 1 --timeout 1 --total-time 3 > /run/ours
cat /run/ours; echo ==; cat /run/theirs`,
          100_000,
        );
        expect(code, stderr).toBe(0);
        const [ours, theirs] = stdout.split('==\n');
        expect(ours).toMatch(/^10\.9\.8\.2\.\d+\.\d+\tunknown\n$/);
        // The service has no IPv6 address: that rpcinfo names one is a difference in docs/rpcinfo.md.
        const found = theirs?.split('\n').filter((line) => !line.startsWith('fe80:'));
        expect(ours?.split('\n')).toEqual(found);
      });
    },
  );
}

describeWith(
  ['sandbox', 'rpcinfo'],
  'rpcinfo-ts beside rpcinfo, asking a server with an unusual table',
  () => {
    it('keeps the columns of rpcinfo', async () => {
      const { pairs, outcome } = await compare(`
cat > /run/odd.mjs <<'END'
const { createServer } = await import(process.env.BIN + '/../runtime/index.js');
const { loadInterface } = await import(process.env.BIN + '/../rpcgen/index.js');
const { programs: [{ versions }] } = loadInterface(process.env.BIN + '/../../rpcbind/rpcbind.x');
const row = (r_prog, r_vers, r_netid, r_addr, r_owner) => ({ rpcb_map: { r_prog, r_vers, r_netid, r_addr, r_owner } });
const rows = [
  row(1, 1, 'udp', '1.2.3.4.5.6', 'superuser'),
  row(4294967295, 99999, 'a-long-netid', 'fe80:1111:2222:3333:4444:5555:6666:7777.255.255', 'somebody-with-a-long-name'),
  row(100003, 3, 'tcp', '', ''), row(100003, 4, 'udp', 'x', 'y'), row(100003, 3, 'udp', 'x', 'z'),
  ...Array.from({ length: 9 }, (_, i) => row(300000, 100 + i, 'netid' + i, '0.0.0.0.0.' + i, 'unknown')),
];
const entry = (r_maddr, r_nc_semantics, r_nc_protofmly, r_nc_proto) =>
  ({ rpcb_entry_map: { r_maddr, r_nc_netid: 'n', r_nc_semantics, r_nc_protofmly, r_nc_proto } });
const maps = [[1, 1, 6, 1], [100003, 12345, 17, 65535], [4294967295, 2147483647, 6, 111], [100024, 1, 132, 9]];
const count = (prog, vers, netid, success, failure, proc = 0) => ({ prog, vers, proc, netid, success, failure, indirect: 0 });
const stat = (n) => ({ info: Array.from({ length: 13 }, (_, i) => n * 1000 ** (i % 3)), setinfo: n, unsetinfo: 12345, addrinfo: [count(100003, 3, 'tcp', n, 1), count(1234567890, 1, 'a-netid', 123456789, 2)], rmtinfo: n === 2 ? [] : [count(100005, 1, 'udp', 1, n, 5)] });
const answers = {
  PMAPPROC_DUMP: () => maps.map(([prog, vers, prot, port]) => ({ map: { prog, vers, prot, port } })),
  RPCBPROC_DUMP: () => rows,
  RPCBPROC_GETADDR: () => '127.0.0.1.0.111',
  RPCBPROC_GETADDRLIST: () => [entry('127.0.0.1.0.111', 1, 'inet', 'udp'), entry('fe80:1111:2222:3333:4444:5555:6666:7777.255.255', 3, 'inet6', 'tcp'), entry('/run/x', 2, 'loopback', '-')],
  RPCBPROC_GETSTAT: () => [stat(2), stat(3), stat(4)],
};
const services = versions.map(({ number, procedures }) => ({ program: 100000, version: number, name: 'R',
  procedures: procedures.filter(({ name }) => answers[name]).map((procedure) => ({ procedure, handle: answers[procedure.name] })) }));
const server = createServer({ services });
await server.listenUdp({ host: '0.0.0.0', port: 111 });
await server.listenTcp({ host: '0.0.0.0', port: 111 });
END
node /run/odd.mjs & wait_for node $BIN/rpcinfo-ts/main.js -p 127.0.0.1
both -p 127.0.0.1
both 127.0.0.1
both -s 127.0.0.1
both -m 127.0.0.1
both -l 127.0.0.1 100003 3
both -l 127.0.0.1 4294967295 2147483647`);
      expect(pairs.length, outcome.stderr).toBe(6);
      for (const { args, theirs, ours } of pairs) expect({ args, ...ours }).toEqual({ args, ...theirs });
    });

    it('asks 256 versions of a program that claims more, and says so', async () => {
      const versions = async (high: number): Promise<string[]> => {
        const { stdout } = await sandbox(`
cat > /run/many.mjs <<'END'
const { createServer } = await import(process.env.BIN + '/../runtime/index.js');
const services = [1, ${high}].map((version) => ({ program: 0x20000779, version, name: 'M', procedures: [] }));
await createServer({ services }).listenTcp({ host: '127.0.0.1', port: 3 });
END
node /run/many.mjs & wait_for node $BIN/rpcinfo-ts/main.js -a 127.0.0.1.0.3 -T tcp 0x20000779 1
node $BIN/rpcinfo-ts/main.js -a 127.0.0.1.0.3 -T tcp 0x20000779 2>/run/err || true
tail -1 /run/err`);
        return stdout.trimEnd().split('\n');
      };
      const limit = await versions(256);
      expect(limit.length).toBe(257);
      expect(limit.at(-2)).toBe('program 536872825 version 256 ready and waiting');
      const above = await versions(257);
      expect(above.at(-1)).toBe('rpcinfo-ts: only the first 256 versions of 1 to 257 are asked; name one');
    });
  },
);
