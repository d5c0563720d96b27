/**
 * Who is who: what an ordinary user of the host, and a host on the link, can pass for. The daemon is held
 * still (SIGSTOP) while an attacker closes its socket, so that the race it has to win is always won.
 */

import { expect, it } from 'vitest';
import { describeWith, sandbox } from '../../support/sandbox.js';

/** PROGRAM of the victim, which root registers over TCP; call.mjs does what it is told, over version 2. */
const TOOLS = `exec 2>&1
chmod 755 /run
cat > /run/call.mjs <<'END'
import dgram from 'node:dgram';
import net from 'node:net';
const [way, from, procedure, then = 'wait', program = '0x20000700'] = process.argv.slice(2);
const message = (prot, port) => {
  const call = Buffer.alloc(56);
  [process.pid, 0, 2, 100000, 2, { set: 1, unset: 2, getport: 3 }[procedure], 0, 0, 0, 0, Number(program), 1, prot, port]
    .forEach((word, i) => call.writeUInt32BE(word, i * 4));
  return call;
};
const at = from.lastIndexOf(':');
const [address, port] = [from.slice(0, at), Number(from.slice(at + 1))];
const to = address.startsWith('::') ? (address === '::1' ? '::1' : '::ffff:127.0.0.1') : '127.0.0.1';
const call = message(17, 2049);
const told = (reply) => console.log(way, procedure, reply.readUInt32BE(24));
if (way === 'udp') {
  const socket = dgram.createSocket(address.includes(':') ? 'udp6' : 'udp4');
  await new Promise((done) => socket.bind(port, address, done));
  const timer = setTimeout(() => { console.log(way, procedure, 'silence'); process.exit(); }, 3000);
  socket.on('message', (reply) => { told(reply); clearTimeout(timer); socket.close(); });
  socket.send(call, 111, to, () => { if (then === 'close') { clearTimeout(timer); socket.close(); console.log('sent'); } });
} else {
  const header = Buffer.from([0x80, 0, 0, call.length]);
  const socket = net.connect({ port: 111, host: to, localAddress: address, localPort: port, allowHalfOpen: true });
  socket.on('error', (error) => { console.log(way, procedure, error.code); process.exit(); });
  const write = (bytes, done) => socket.write(Buffer.concat([header, bytes]), done);
  if (then === 'wait') {
    socket.on('data', (reply) => { told(reply.subarray(4)); socket.destroy(); });
    write(call);
  } else if (then === 'hold') socket.on('connect', () => console.log('held'));
  else {
    // The daemon knows the connection; the signal comes once it is held still.
    write(Buffer.from(call).fill(3, 23, 24));
    socket.on('data', () => console.log('ready'));
    process.on('SIGUSR1', () => write(call, () => {
      if (then === 'close') socket.destroy();
      else socket.resetAndDestroy();
      process.exit();
    }));
  }
}
END
chmod 644 /run/call.mjs
root() { node /run/call.mjs "$@"; }
nobody() { setpriv --reuid 65534 --regid 65534 --clear-groups node /run/call.mjs "$@"; }
port() { root udp 127.0.0.1:0 getport wait \${1:-0x20000700} | cut -d' ' -f3; }
`;

const START = (native: string): string => `${TOOLS}
RPC_NATIVE=${native} node $BIN/rpcbind-ts/main.js --no-state-dir >/run/log 2>&1 & DAEMON=$!
wait_for grep -q serving /run/log
# Without koffi the process that root started waits for the one that serves.
SERVING=$(cat /proc/$DAEMON/task/$DAEMON/children); SERVING=\${SERVING:-$DAEMON}
root tcp 127.0.0.1:0 set
`;

const NATIVE = ['1', '0'] as const;

describeWith(['sandbox', 'setpriv'], 'a registration of root', () => {
  it.each(NATIVE)(
    'is not removed by a datagram that a wildcard socket of root vouches for (RPC_NATIVE=%s)',
    async (native) => {
      const { code, stdout } = await sandbox(`${START(native)}
# A service of root has port 4000 on [::], for IPv6 alone; nobody sends from 127.0.0.1:4000 and closes.
node -e "const s = require('dgram').createSocket({ type: 'udp6', ipv6Only: true }); s.bind(4000, '::', () => console.log('bound'))" >/run/service & SERVICE=$!
wait_for grep -q bound /run/service
kill -STOP $SERVING
nobody udp 127.0.0.1:4000 unset close
kill -CONT $SERVING
nobody udp 127.0.0.1:0 unset
echo "port $(port)"
kill $DAEMON $SERVICE`);
      expect(code, stdout).toBe(0);
      expect(stdout.split('\n')).toEqual(['tcp set 1', 'sent', 'udp unset 0', 'port 2049', '']);
    },
    60_000,
  );

  it.each(NATIVE)(
    'is not removed by a connection that is closed before it is looked at (RPC_NATIVE=%s)',
    async (native) => {
      const { code, stdout } = await sandbox(`${START(native)}
leave() {
  rm -f /run/attack
  setpriv --reuid 65534 --regid 65534 --clear-groups node /run/call.mjs tcp 127.0.0.1:$1 unset $2 >/run/attack 2>&1 & ATTACKER=$!
  wait_for grep -q ready /run/attack
  kill -STOP $SERVING; kill -USR1 $ATTACKER; wait $ATTACKER
}
for how in close reset; do leave 0 $how; kill -CONT $SERVING; done
# Closed, and its place taken by a connection of root from the same port.
leave 4100 reset
root tcp 127.0.0.1:4100 unset hold >/run/held & HOLDER=$!
wait_for grep -q held /run/held
kill -CONT $SERVING
echo "port $(port)"
kill $DAEMON $HOLDER`);
      expect(code, stdout).toBe(0);
      expect(stdout.split('\n')).toEqual(['tcp set 1', 'port 2049', '']);
    },
    60_000,
  );

  it.each(NATIVE)(
    'is removed by a connection of root, and by its reserved port over UDP, alone (RPC_NATIVE=%s)',
    async (native) => {
      const { code, stdout } = await sandbox(`${START(native)}
for from in 127.0.0.1:0 ::1:0 ::ffff:127.0.0.1:0; do nobody tcp $from unset; root tcp $from unset; root tcp $from set; done
for from in 127.0.0.1:0 ::1:0; do nobody udp $from unset; root udp $from unset; done
for from in 127.0.0.1:900 ::1:900; do root udp $from unset; root tcp 127.0.0.1:0 set; done
# Ports from 800 on are for everybody now.
echo 800 > /proc/sys/net/ipv4/ip_unprivileged_port_start
for way in udp tcp; do nobody $way 127.0.0.1:900 unset; done
root udp 127.0.0.1:901 unset
root udp 127.0.0.1:799 unset
kill $DAEMON`);
      expect(code, stdout).toBe(0);
      expect(stdout.trim().split('\n').slice(1)).toEqual([
        ...Array.from({ length: 3 }, () => ['tcp unset 0', 'tcp unset 1', 'tcp set 1']).flat(),
        ...Array.from({ length: 4 }, () => 'udp unset 0'),
        ...Array.from({ length: 2 }, () => ['udp unset 1', 'tcp set 1']).flat(),
        'udp unset 0',
        'tcp unset 0',
        'udp unset 0',
        'udp unset 1',
      ]);
    },
    60_000,
  );

  it('is not to be changed over TCP for a while, without koffi, where strangers have tables read all the time', async () => {
    const { code, stdout } = await sandbox(`${START('0')}
cat > /run/flood.mjs <<'END'
import dgram from 'node:dgram';
import net from 'node:net';
// Rows in the kernel's tables.
for (let i = 0; i < 300; i++) await new Promise((done) => net.createServer().listen(0, '127.0.0.1', done));
const message = (procedure) => {
  const call = Buffer.alloc(60);
  [0x80000038, 1, 0, 2, 100000, 2, procedure, 0, 0, 0, 0, 0x20000700, 1, 17, 2049].forEach((word, i) => call.writeUInt32BE(word, i * 4));
  return call;
};
const unset = () => new Promise((done, failed) => {
  const socket = net.connect(111, '127.0.0.1', () => socket.write(message(2)));
  socket.on('error', failed);
  // accept_stat, behind the record mark: 0 SUCCESS, 5 SYSTEM_ERR.
  socket.on('data', (reply) => { socket.destroy(); done(reply.readUInt32BE(24)); });
});
let statuses;
const isForEver = process.argv[2] === 'for-ever';
do statuses = await Promise.all(Array.from({ length: 10 }, unset));
while (statuses.every((status) => status === 0));
console.log('refused');
while (isForEver) await Promise.all(Array.from({ length: 10 }, unset));
process.exit();
END
chmod 644 /run/flood.mjs
strangers='setpriv --reuid 65534 --regid 65534 --clear-groups node /run/flood.mjs'
$strangers
echo "port $(port)"
# From a reserved port, root changes it at any time.
$strangers for-ever > /run/flooding & FLOOD=$!
wait_for test -s /run/flooding
for i in 1 2 3 4 5; do root tcp 127.0.0.1:70$i unset; root tcp 127.0.0.1:71$i set; done
kill $FLOOD
taken_back() { [ "$(root tcp 127.0.0.1:0 unset)" = 'tcp unset 1' ]; }
wait_for taken_back
kill $DAEMON`);
    expect(code, stdout).toBe(0);
    expect(stdout.trim().split('\n')).toEqual([
      'tcp set 1',
      'refused',
      'port 2049',
      ...Array.from({ length: 5 }, () => ['tcp unset 1', 'tcp set 1']).flat(),
    ]);
  }, 60_000);

  it('costs the daemon no reading of tables, however often strangers ask for its removal over UDP', async () => {
    const { code, stdout } = await sandbox(`${START('1')}
cat > /run/many.mjs <<'END'
import dgram from 'node:dgram';
// Rows in the kernel's tables, so that reading them would be seen.
for (let i = 0; i < 300; i++) await new Promise((done) => dgram.createSocket('udp4').bind(0, done));
const socket = dgram.createSocket('udp4');
let answers = 0;
for (let i = 0; i < 100; i++) {
  const call = Buffer.alloc(56);
  [i + 1, 0, 2, 100000, 2, 2, 0, 0, 0, 0, 0x20000700, 1, 17, 0].forEach((word, k) => call.writeUInt32BE(word, k * 4));
  const reply = new Promise((done) => socket.once('message', done));
  socket.send(call, 111, '127.0.0.1');
  if ((await reply).readUInt32BE(24) === 0) answers += 1;
}
console.log('refused', answers);
process.exit();
END
read_bytes() { sed -n 's/^rchar: //p' /proc/$SERVING/io; }
BEFORE=$(read_bytes)
setpriv --reuid 65534 --regid 65534 --clear-groups node /run/many.mjs
echo "read $(($(read_bytes) - BEFORE))"
kill $DAEMON`);
    expect(code, stdout).toBe(0);
    expect(stdout).toMatch(/^refused 100$/m);
    // Each look at the tables would read 300 rows of 128 bytes.
    expect(Number(/^read (\d+)$/m.exec(stdout)?.[1])).toBeLessThan(300 * 128);
  }, 60_000);
});

describeWith(['sandbox', 'root', 'ip', 'gcc'], 'a loopback source that came in by another interface', () => {
  it.each(NATIVE)(
    'is a stranger’s (RPC_NATIVE=%s)',
    async (native) => {
      const call = (procedure: number, program: number): string =>
        [1, 0, 2, 100000, 2, procedure, 0, 0, 0, 0, program, 1, 17, 2049]
          .map((word) => word.toString(16).padStart(8, '0'))
          .join('');
      const { code, stdout } = await sandbox(`${TOOLS}
gcc -o /run/forge /run/project/test/interop/fixtures/forge.c
ip netns add far
ip link add near0 type veth peer name far0 netns far
ip addr add 10.8.0.1/24 dev near0; ip link set near0 up
ip -n far addr add 10.8.0.9/24 dev far0; ip -n far link set far0 up; ip -n far link set lo up
echo 0 > /proc/sys/net/ipv4/conf/all/rp_filter; echo 0 > /proc/sys/net/ipv4/conf/near0/rp_filter
# Both hosts take and send 127.0.0.0/8 on the link.
echo 1 > /proc/sys/net/ipv4/conf/near0/route_localnet
ip netns exec far sh -c 'echo 1 > /proc/sys/net/ipv4/conf/far0/route_localnet'
RPC_NATIVE=${native} node $BIN/rpcbind-ts/main.js --no-state-dir >/run/log 2>&1 & DAEMON=$!
wait_for grep -q serving /run/log
grep -c route_localnet /run/log || true
root tcp 127.0.0.1:0 set
# That the way is open: a datagram of the far host's own address, and one of 127.0.0.2 at a plain socket.
node -e "const s = require('dgram').createSocket('udp4'); s.on('message', (m, from) => console.log('from', from.address)); s.bind(4000, '10.8.0.1', () => console.log('bound'))" >/run/plain & PLAIN=$!
wait_for grep -q bound /run/plain
for from in 10.8.0.9 127.0.0.2; do ip netns exec far /run/forge $from 700 10.8.0.1 4000 00; wait_for grep -q "from $from" /run/plain; done
for to in 10.8.0.1 127.0.0.1; do
  ip netns exec far ip route replace 127.0.0.1 via 10.8.0.1 dev far0 2>/dev/null || true
  ip netns exec far /run/forge 127.0.0.2 700 $to 111 ${call(2, 0x2000_0700)}
  ip netns exec far /run/forge 127.0.0.2 701 $to 111 ${call(1, 0x2000_0701)}
done
echo "port $(port)"
echo "own from a reserved port: $(root udp 127.0.0.1:702 unset)"
kill $DAEMON $PLAIN`);
      expect(code, stdout).toBe(0);
      expect(stdout.trim().split('\n')).toEqual([
        native === '1' ? '0' : '1',
        'tcp set 1',
        'port 2049',
        // Without koffi the two cannot be told apart, so neither is believed.
        `own from a reserved port: udp unset ${native}`,
      ]);
    },
    60_000,
  );
});

describeWith(
  ['sandbox', 'setpriv', 'gcc'],
  'an old program that registers over UDP from an unprivileged port',
  () => {
    it.each(NATIVE)(
      'is started, killed, started again and stopped (RPC_NATIVE=%s)',
      async (native) => {
        const { code, stdout } = await sandbox(`${START(native)}
gcc -o /run/oldserver /run/project/test/interop/fixtures/oldserver.c
start() { rm -f /run/old; setpriv --reuid 1000 --regid 1000 --clear-groups /run/oldserver >/run/old 2>&1 & OLD=$!; wait_for grep -q port /run/old; cat /run/old; }
is_registered() { [ "$(port 0x20000777)" = "$(sed -n 's/.* port //p' /run/old)" ] && echo registered; }
start; is_registered
kill -KILL $OLD; wait $OLD 2>/dev/null || true
start; is_registered
kill $OLD; wait $OLD
tail -1 /run/old
echo "port $(port 0x20000777)"
# What a known user owns is none of unknown's.
nobody udp 127.0.0.1:0 unset; nobody tcp 127.0.0.1:0 unset
kill $DAEMON`);
        expect(code, stdout).toBe(0);
        expect(
          stdout
            .replace(/ port \d\d+/g, '')
            .trim()
            .split('\n'),
        ).toEqual([
          'tcp set 1',
          ...Array.from({ length: 2 }, () => ['unset 1', 'set 1', 'registered']).flat(),
          'stop 1',
          'port 0',
          'udp unset 0',
          'tcp unset 0',
        ]);
      },
      60_000,
    );
  },
);
