/**
 * What another host may cost and what it is sent: accounts of calls by what may be forged, bytes that a
 * forged datagram brings to whose address it has, and callers over IPv4 on sockets of both families.
 */

import { expect, it } from 'vitest';
import { DEFAULT_TABLE_BYTES_PER_MINUTE } from '../../../rpcbind/internal.js';
import { describeWith, sandbox } from '../../support/sandbox.js';

/** Two hosts on a link: `far` with the daemon, `near` with the callers. */
const NETWORK = `exec 2>&1
ip netns add near; ip netns add far
ip link add near0 netns near type veth peer name far0 netns far
for host in near far; do ip -n $host link set lo up; ip -n $host link set \${host}0 up; done
ip -n near addr add 10.8.0.9/24 dev near0; ip -n far addr add 10.8.0.1/24 dev far0
far_runs() { ip -n far -o link show far0 | grep -q 'state UP'; }
wait_for far_runs
serve() { ip netns exec far node $BIN/rpcbind-ts/main.js --no-state-dir --no-local "$@" >/run/log 2>&1 & DAEMON=$!; wait_for grep -q serving /run/log; }
near() { ip netns exec near node "$@"; }
`;

const FLOOD = `
cat > /run/flood.mjs <<'END'
import dgram from 'node:dgram';
const { connectRpcbind } = await import(process.env.BIN + '/../rpcbind/index.js');
// The daemon cannot tell these from datagrams that another host forged in our name.
const socket = dgram.createSocket('udp4');
const call = Buffer.alloc(40);
[7, 0, 2, 100000, 4, 0].forEach((word, i) => call.writeUInt32BE(word, i * 4));
let answers = 0;
socket.on('message', () => { answers += 1; });
const host = '10.8.0.1';
const client = await connectRpcbind({ host, transport: 'tcp', timeoutMs: 4000 });
let isOver = false;
const flood = (async () => {
  while (!isOver) {
    for (let i = 0; i < 50; i++) socket.send(call, 111, host);
    await new Promise((done) => setTimeout(done, 5));
  }
})();
while (answers < 10) await new Promise((done) => setTimeout(done, 5));
let answered = 0;
for (let i = 0; i < 100; i++)
  answered += await client.getport({ program: 100000, version: 2, protocol: 'tcp' }).then((port) => Number(port === 111), () => 0);
isOver = true;
await flood;
console.log('over TCP', answered, 'of 100; over UDP', answers < 150 ? 'few' : answers);
await client.close();
socket.close();
END
`;

/** A program that answers with 1000 bytes, and a caller who asks for it through rpcbind as often as it can. */
const AMPLIFY = `
cat > /run/large.mjs <<'END'
const { createServer } = await import(process.env.BIN + '/../runtime/index.js');
const { connectRpcbind } = await import(process.env.BIN + '/../rpcbind/index.js');
const { opaque, voidCodec } = await import(process.env.BIN + '/../xdr/index.js');
const procedure = { program: 0x20000900, version: 1, number: 1, name: 'LARGE', args: voidCodec, result: opaque() };
const service = { program: procedure.program, version: 1, name: 'LARGE', procedures: [{ procedure, handle: () => new Uint8Array(1000) }] };
const server = createServer({ services: [service] });
const { port } = await server.listenUdp({ host: '127.0.0.1' });
const client = await connectRpcbind({ transport: 'tcp' });
await client.setAddress({ program: procedure.program, version: 1, netid: 'udp', address: '127.0.0.1.' + (port >> 8) + '.' + (port & 255) });
await client.close();
console.log('registered');
END
cat > /run/ask.mjs <<'END'
import dgram from 'node:dgram';
const [version, procedure, xids, from] = process.argv.slice(2);
const socket = dgram.createSocket('udp4');
await new Promise((done) => socket.bind(0, from, done));
let [sent, received, replies] = [0, 0, 0];
socket.on('message', (bytes) => { received += bytes.length; replies += 1; });
for (let i = 0; i < 400; i++) {
  const call = Buffer.alloc(56);
  [xids === 'same' ? 7 : i + 10, 0, 2, 100000, Number(version), Number(procedure), 0, 0, 0, 0, 0x20000900, 1, 1, 0]
    .forEach((word, at) => call.writeUInt32BE(word, at * 4));
  sent += call.length;
  socket.send(call, 111, '10.8.0.1');
  // One at a time, so that none is lost for want of room.
  await new Promise((done) => setTimeout(done, 2));
}
await new Promise((done) => setTimeout(done, 300));
console.log(version, procedure, xids, 'sent', sent, 'received', received, 'replies', replies);
socket.close();
END
`;

describeWith(['sandbox', 'ip', 'root'], 'calls over UDP in the name of a host', () => {
  it('never cost it an answer over TCP', async () => {
    const { code, stdout } = await sandbox(`${NETWORK}${FLOOD}
serve --calls-per-second 50
near /run/flood.mjs
kill $DAEMON`);
    expect(code, stdout).toBe(0);
    // A burst of twice the rate for each way, and what was earned meanwhile.
    expect(stdout).toMatch(/^over TCP 100 of 100; over UDP few$/m);
  }, 60_000);

  it('bring it no more bytes by forwarded replies than by tables, however they are asked for', async () => {
    const { code, stdout } = await sandbox(`${NETWORK}${AMPLIFY}
serve -r
ip netns exec far node /run/large.mjs > /run/large & LARGE=$!
wait_for grep -q registered /run/large
last=10
for way in '2 5' '3 5' '4 5' '4 10'; do
  for xids in new same; do
    # Each address has a budget of its own.
    last=$((last + 1)); ip -n near addr add 10.8.0.$last/24 dev near0
    near /run/ask.mjs $way $xids 10.8.0.$last
  done
done
kill $DAEMON $LARGE`);
    expect(code, stdout).toBe(0);
    const found = [...stdout.matchAll(/received (\d+) replies (\d+)/g)].map((match) =>
      match.slice(1).map(Number),
    );
    expect(found).toHaveLength(8);
    for (const [received = 0, replies = 0] of found) {
      // The budget, what it earns in five seconds, and no more.
      expect(received, stdout).toBeLessThanOrEqual(DEFAULT_TABLE_BYTES_PER_MINUTE * (1 + 5 / 60));
      expect(replies, stdout).toBeGreaterThan(10);
    }
  }, 120_000);
});

/** Plays a service manager that opens one socket for both families, as systemd does unless BindIPv6Only says otherwise. */
const MANAGER = `exec 2>&1
cat > /run/manager.py <<'END'
import os, socket
def opened(kind):
    s = socket.socket(socket.AF_INET6, kind)
    s.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
    s.bind(('::', 111))
    if kind == socket.SOCK_STREAM: s.listen(64)
    return s
sockets = [opened(socket.SOCK_STREAM), opened(socket.SOCK_DGRAM)]
high = [os.dup2(s.fileno(), 100 + i, True) for i, s in enumerate(sockets)]
for i, fd in enumerate(high): os.dup2(fd, 3 + i, True)
os.environ.update(LISTEN_PID=str(os.getpid()), LISTEN_FDS=str(len(high)))
os.execvp('node', ['node', os.environ['BIN'] + '/rpcbind-ts/main.js', '--no-state-dir', '--no-local', '--user', 'root'] + os.sys.argv[1:])
END
cat > /run/both.mjs <<'END'
const { connectRpcbind } = await import(process.env.BIN + '/../rpcbind/index.js');
const of = { program: 0x20000901, version: 1 };
for (const host of ['127.0.0.1', '::1'])
  for (const transport of ['tcp', 'udp']) {
    const client = await connectRpcbind({ host, transport, timeoutMs: 3000 });
    const netid = host === '::1' ? transport + '6' : transport;
    if (transport === 'tcp')
      for (const name of [netid, netid.replace('tcp', 'udp')])
        await client.setAddress({ ...of, netid: name, address: (host === '::1' ? '::' : '0.0.0.0') + '.8.1' });
    console.log(netid, await client.getaddr(of).catch((error) => error.code), (await client.addressList(of)).map((row) => row.netid).join());
    await client.close();
  }
END
`;

describeWith(['sandbox', 'python3', 'root'], 'a caller over IPv4 on a socket of both families', () => {
  it.each(['1', '0'])(
    'is a caller over IPv4 (RPC_NATIVE=%s)',
    async (native) => {
      const { code, stdout } = await sandbox(
        `${MANAGER}
python3 /run/manager.py >/run/log 2>/dev/null & DAEMON=$!
wait_for grep -q serving /run/log
node /run/both.mjs
kill $DAEMON`,
        60_000,
        { RPC_NATIVE: native },
      );
      expect(code, stdout).toBe(0);
      expect(stdout.trim().split('\n')).toEqual([
        'tcp 127.0.0.1.8.1 tcp,udp',
        'udp 127.0.0.1.8.1 tcp,udp',
        'tcp6 ::1.8.1 tcp6,udp6',
        'udp6 ::1.8.1 tcp6,udp6',
      ]);
    },
    60_000,
  );
});

describeWith(['sandbox', 'python3', 'ip', 'root'], 'a list of networks', () => {
  it('holds for callers over IPv4 on a socket of both families, by IPv4 addresses', async () => {
    const { code, stdout } = await sandbox(`${NETWORK}${MANAGER}
cat > /run/ping.mjs <<'END'
const { connectRpcbind } = await import(process.env.BIN + '/../rpcbind/index.js');
for (const transport of ['udp', 'tcp']) {
  const client = await connectRpcbind({ host: '10.8.0.1', transport, timeoutMs: 2000 });
  console.log(transport, await client.ping().then(() => 'answered', (error) => error.code));
  await client.close();
}
END
for network in 10.8.0.0/24 ::ffff:10.8.0.0/120 10.9.0.0/24; do
  ip netns exec far python3 /run/manager.py --allow $network >/run/log 2>/dev/null & DAEMON=$!
  wait_for grep -q serving /run/log
  near /run/ping.mjs
  kill $DAEMON; wait $DAEMON || true; : > /run/log
done`);
    expect(code, stdout).toBe(0);
    expect(stdout.trim().split('\n')).toEqual([
      'udp answered',
      'tcp answered',
      'udp answered',
      'tcp answered',
      'udp RPC_TIMEOUT',
      // Closed at accept.
      'tcp RPC_CLOSED',
    ]);
  }, 60_000);
});
