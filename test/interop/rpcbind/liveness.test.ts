/**
 * What leaves the table by itself: servers that are gone, found out from among busy ports and strangers who
 * open and close sockets at other people's addresses. That something stays is shown beside something that goes.
 */

import { expect, it } from 'vitest';
import { CONFIRM_MS } from '../../../rpcbind/internal.js';
import { describeWith, sandbox } from '../../support/sandbox.js';

const TOOLS = `exec 2>&1
chmod 755 /run
cat > /run/serve.mjs <<'END'
import dgram from 'node:dgram';
import net from 'node:net';
for (const port of process.argv.slice(2)) {
  if (port.startsWith('/')) await new Promise((done) => net.createServer().listen(port, done));
  else await new Promise((done) => dgram.createSocket('udp4').bind(Number(port), '0.0.0.0', done));
}
console.log('served');
setInterval(() => undefined, 1e6);
END
cat > /run/client.mjs <<'END'
const { connectRpcbind } = await import(process.env.BIN + '/../rpcbind/index.js');
const [what, first, ...rest] = process.argv.slice(2);
const client = await connectRpcbind({ transport: process.env.WAY ?? 'tcp' });
const netidOf = (port) => (port.startsWith('/') ? 'local' : 'udp');
const portOf = async (program) =>
  (await client.dumpAddresses()).find((one) => one.program === program)?.address?.replace(/^0\\.0\\.0\\.0\\.(\\d+)\\.(\\d+)$/, (_, a, b) => 256 * a + +b) ?? '0';
const jobs = {
  // register PROGRAM PORT...: one program after the other.
  async register() {
    for (const [i, port] of rest.entries()) {
      const address = port.startsWith('/') ? port : \`0.0.0.0.\${port >> 8}.\${port & 255}\`;
      const of = { program: Number(first) + i, version: 1, netid: netidOf(port), address };
      if (!(await client.setAddress(of))) console.log('not registered', port);
    }
  },
  // until PROGRAM [OTHER...]: asks for all of them again and again until the first is gone; prints the others' ports.
  async until() {
    const [goes, ...others] = [first, ...rest].map(Number);
    for (const end = Date.now() + 20_000; (await portOf(goes)) !== '0' && Date.now() < end; ) {
      for (const program of [goes, ...others]) await client.getport({ program, version: 1, protocol: 'udp' });
      await new Promise((again) => setTimeout(again, 50));
    }
    const ports = [];
    for (const program of [goes, ...others]) ports.push(await portOf(program));
    console.log(ports.join(' '));
  },
};
await jobs[what]();
await client.close();
END
chmod 644 /run/*.mjs
as() { setpriv --reuid $1 --regid $1 --clear-groups "\${@:2}"; }
serve() {
  local out=$(mktemp -p /run)
  setpriv --reuid $1 --regid $1 --clear-groups node /run/serve.mjs "\${@:2}" >$out 2>&1 & SERVER=$!
  wait_for grep -q served $out
}
stop() { kill -KILL $1; wait $1 2>/dev/null || true; }
client() { as $1 node /run/client.mjs "\${@:2}"; }
`;

const START = (native = '1', before = ''): string => `${TOOLS}
${before}RPC_NATIVE=${native} node $BIN/rpcbind-ts/main.js --no-state-dir >/run/log 2>&1 & DAEMON=$!
wait_for grep -q serving /run/log
`;

describeWith(['sandbox', 'setpriv', 'cc'], 'the registration of a server', () => {
  it.each(['1', '0'])(
    'that lives stays while a stranger opens and closes hundreds of sockets (RPC_NATIVE=%s)',
    async (native) => {
      const { code, stdout } = await sandbox(
        `${START(native)}
LIVING=$(seq 5000 5059)
serve 0 $LIVING; LIVE=$SERVER
for port in 5101 5102 5103; do serve 0 $port; eval CONTROL$port=$SERVER; done
client 0 register 0x20000800 $LIVING
client 0 register 0x20000900 5101 5102 5103
cc -O2 -o /run/churn /run/project/test/interop/fixtures/churn.c
setpriv --reuid 65534 --regid 65534 --clear-groups /run/churn >/run/churned & CHURN=$!
wait_for grep -q churning /run/churned
for i in 0 1 2; do
  port=$((5101 + i)); eval stop \\$CONTROL$port
  client 0 until $((0x20000900 + i)) $(for n in $(seq 0 59); do echo $((0x20000800 + n)); done)
done
grep -c dropped /run/log
kill $DAEMON $CHURN $LIVE`,
        100_000,
      );
      expect(code, stdout).toBe(0);
      const all = Array.from({ length: 60 }, (_, i) => 5000 + i).join(' ');
      expect(stdout.trim().split('\n')).toEqual([`0 ${all}`, `0 ${all}`, `0 ${all}`, '3']);
    },
    120_000,
  );

  it.each(['1', '0'])(
    'that was never there stays, whatever a stranger opens and closes at its port (RPC_NATIVE=%s)',
    async (native) => {
      const { code, stdout } = await sandbox(`${START(native)}
client 0 register 0x20000801 5001
# Of the same process, the one port is the stranger's own, and the other is root's.
serve 65534 5001 5002; STRANGER=$SERVER
client 65534 register 0x20000802 5002
# Long enough to be looked at again: so long takes what goes meanwhile.
serve 0 5003; OTHER=$SERVER
client 0 register 0x20000803 5003
stop $OTHER
client 0 until 0x20000803 0x20000801 0x20000802
stop $STRANGER
client 0 until 0x20000802 0x20000801
kill $DAEMON`);
      expect(code, stdout).toBe(0);
      expect(stdout.trim().split('\n')).toEqual(['0 5001 5002', '0 5001']);
    },
    60_000,
  );

  it('that is gone goes, though a stranger has its port now', async () => {
    const { code, stdout } = await sandbox(`${START()}
serve 0 5001; ROOT=$SERVER
client 0 register 0x20000801 5001
# Root may serve for others.
serve 0 5002; HELPER=$SERVER
client 65534 register 0x20000802 5002
BEFORE=$(date +%s%3N)
stop $ROOT
serve 65534 5001; STRANGER=$SERVER
client 0 until 0x20000801 0x20000802
# A server that starts again has some seconds.
[ $(($(date +%s%3N) - BEFORE)) -ge ${CONFIRM_MS} ] && echo "not at once"
stop $HELPER
client 0 until 0x20000802
kill $DAEMON $STRANGER`);
    expect(code, stdout).toBe(0);
    expect(stdout.trim().split('\n')).toEqual(['0 5002', 'not at once', '0']);
  }, 60_000);

  it('that is gone stays without koffi as long as a stranger has its port, since nobody can tell', async () => {
    const { code, stdout } = await sandbox(`${START('0')}
serve 0 5001; ROOT=$SERVER; serve 0 5002; OTHER=$SERVER
client 0 register 0x20000801 5001 5002
stop $ROOT
serve 65534 5001; STRANGER=$SERVER
stop $OTHER
client 0 until 0x20000802 0x20000801
stop $STRANGER
client 0 until 0x20000801
kill $DAEMON`);
    expect(code, stdout).toBe(0);
    expect(stdout.trim().split('\n')).toEqual(['0 5001', '0']);
  }, 60_000);

  it('on the local socket, and one of unknown, go as well', async () => {
    const { code, stdout } = await sandbox(`${START()}
serve 0 /run/one.sock /run/two.sock; ONE=$SERVER
serve 0 /run/three.sock; THREE=$SERVER
client 0 register 0x20000801 /run/one.sock /run/two.sock /run/three.sock
serve 65534 5001; FOUR=$SERVER
WAY=udp client 65534 register 0x20000805 5001
stop $ONE
client 0 until 0x20000801 0x20000803; client 0 until 0x20000802
stop $FOUR
client 0 until 0x20000805 0x20000803
kill $DAEMON $THREE`);
    expect(code, stdout).toBe(0);
    expect(stdout.trim().split('\n')).toEqual(['0 /run/three.sock', '0', '0 /run/three.sock']);
  }, 60_000);
});

describeWith(['sandbox', 'setpriv', 'cc'], 'the registration of a server that is gone', () => {
  it('stays as long as the kernel does not answer', async () => {
    const { code, stdout } = await sandbox(`${TOOLS}
cc -shared -fPIC -o /run/nosockdiag.so /run/project/test/interop/fixtures/nosockdiag.c -ldl
LD_PRELOAD=/run/nosockdiag.so node $BIN/rpcbind-ts/main.js --no-state-dir >/run/log 2>&1 & DAEMON=$!
node $BIN/rpcbind-ts/main.js --no-state-dir --port 1111 --no-local >/run/log2 2>&1 & CONTROL=$!
wait_for grep -q serving /run/log; wait_for grep -q serving /run/log2
serve 0 5001
client 0 register 0x20000801 5001
RPCBIND_PORT=1111 client 0 register 0x20000801 5001
touch /run/block
stop $SERVER
RPCBIND_PORT=1111 client 0 until 0x20000801
client 0 until 0x20000899 0x20000801
rm /run/block
client 0 until 0x20000801
kill $DAEMON $CONTROL`);
    expect(code, stdout).toBe(0);
    expect(stdout.trim().split('\n')).toEqual(['0', '0 5001', '0']);
  }, 60_000);
});

describeWith(['sandbox'], 'a daemon with 100 000 registrations', () => {
  it('spends a few milliseconds a second on looking at them', async () => {
    const { code, stdout } = await sandbox(
      `exec 2>&1
cat > /run/many.mjs <<'END'
const { createRpcbind, connectRpcbind } = await import(process.env.BIN + '/../rpcbind/index.js');
const daemon = await createRpcbind({ port: 0, maxRegistrations: 131_072 });
const client = await connectRpcbind({ transport: 'tcp', port: daemon.port });
for (let next = 0; next < 100_000; ) {
  const batch = Array.from({ length: 500 }, () => next++);
  const all = batch.map((i) => client.set({ program: 0x2000_0000 + i, version: 1, protocol: i % 2 ? 'tcp' : 'udp', port: 1 + (i >> 1) }));
  if (!(await Promise.all(all)).every(Boolean)) throw new Error('not registered');
}
await client.close();
await new Promise((done) => setTimeout(done, 1000));
const before = process.cpuUsage();
await new Promise((done) => setTimeout(done, 5000));
const { user, system } = process.cpuUsage(before);
console.log(daemon.registrations().length, (user + system) / 1000);
await daemon.close();
END
node /run/many.mjs`,
      100_000,
    );
    expect(code, stdout).toBe(0);
    const [count = 0, cpuMs = Infinity] = stdout.trim().split(' ').map(Number);
    expect(count).toBeGreaterThanOrEqual(100_000);
    // Five turns of 5 ms, and what a process needs that does nothing.
    expect(cpuMs).toBeLessThan(100);
  }, 120_000);
});
