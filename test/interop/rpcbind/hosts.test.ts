/** Two hosts in namespaces, one of them with several addresses: who answers, and with which address. */

import { expect, it } from 'vitest';
import { describeWith, sandbox } from '../../support/sandbox.js';

const NETWORK = `exec 2>&1
ip netns add near; ip netns add far
ip link add near0 netns near type veth peer name far0 netns far
ip -n near addr add 10.8.0.9/24 dev near0; ip -n near addr add 10.8.1.9/24 dev near0; ip -n near addr add fd00:8::9/64 dev near0 nodad
ip -n near link set near0 up; ip -n near link set lo up
for address in 10.8.0.1/24 10.8.0.2/24 10.8.1.1/24; do ip -n far addr add $address brd + dev far0; done
ip -n far addr add fd00:8::1/64 dev far0 nodad; ip -n far addr add fd00:8::2/64 dev far0 nodad
ip -n far link set far0 up; ip -n far link set lo up
# Node shows the addresses of links that run; one that is just up takes a moment.
far_runs() { ip -n far -o link show far0 | grep -q 'state UP'; }
wait_for far_runs
cat > /run/ask.mjs <<'END'
import dgram from 'node:dgram';
const { connectRpcbind } = await import(process.env.BIN + '/../rpcbind/index.js');
// Unconnected on purpose: a reply from another address than the one asked would be seen.
const ping = (address) => new Promise((done) => {
  const socket = dgram.createSocket(address.includes(':') ? 'udp6' : 'udp4');
  const call = Buffer.alloc(40);
  [7, 0, 2, 100000, 4, 0].forEach((word, i) => call.writeUInt32BE(word, i * 4));
  const timer = setTimeout(() => { socket.close(); done('silence'); }, 3000);
  socket.on('message', (_bytes, from) => { clearTimeout(timer); socket.close(); done(from.address); });
  socket.send(call, 111, address);
});
for (const address of process.argv.slice(2)) {
  console.log(address, 'answers from', await ping(address));
  for (const transport of ['udp', 'tcp']) {
    const client = await connectRpcbind({ host: address, transport, timeoutMs: 4000 });
    for (const program of [100000, 0x20000300])
      console.log(address, transport, program, await client.getaddr({ program, version: program === 100000 ? 4 : 1 }).catch((e) => e.message));
    await client.close();
  }
}
END
`;

const SERVE = (more: string): string => `
ip netns exec far node $BIN/rpcbind-ts/main.js --no-state-dir --no-local ${more} >/run/log 2>&1 & DAEMON=$!
wait_for grep -q serving /run/log
for row in "udp 0.0.0.0.8.1" "tcp 0.0.0.0.8.1" "udp6 ::.8.1" "tcp6 ::.8.1"; do
  ip netns exec far node $BIN/rpcinfo-ts/main.js set 0x20000300 1 $row >/dev/null
done
`;

describeWith(['sandbox', 'ip'], 'a host with several addresses', () => {
  it.each(['1', '0'])(
    'answers from the address that was asked, and names that address (RPC_NATIVE=%s)',
    async (native) => {
      const addresses = ['10.8.0.1', '10.8.0.2', '10.8.1.1', 'fd00:8::1', 'fd00:8::2'];
      const { code, stdout } = await sandbox(
        `${NETWORK}${SERVE('')}
ip netns exec near node /run/ask.mjs ${addresses.join(' ')}
kill $DAEMON`,
        60_000,
        { RPC_NATIVE: native },
      );
      expect(code, stdout).toBe(0);
      for (const address of addresses) {
        expect(stdout).toContain(`${address} answers from ${address}\n`);
        for (const transport of ['udp', 'tcp']) {
          expect(stdout).toContain(`${address} ${transport} 100000 ${address}.0.111\n`);
          expect(stdout).toContain(`${address} ${transport} ${0x2000_0300} ${address}.8.1\n`);
        }
      }
    },
    60_000,
  );

  it('names the address it is told to advertise, to other hosts alone', async () => {
    const { code, stdout } = await sandbox(`${NETWORK}${SERVE('--advertise 203.0.113.5')}
ip netns exec near node /run/ask.mjs 10.8.0.1
ip netns exec far node /run/ask.mjs 127.0.0.1
kill $DAEMON`);
    expect(code, stdout).toBe(0);
    expect(stdout).toContain(`10.8.0.1 udp ${0x2000_0300} 203.0.113.5.8.1\n`);
    expect(stdout).toContain(`127.0.0.1 udp ${0x2000_0300} 127.0.0.1.8.1\n`);
  }, 60_000);

  it('lets other hosts look up, and register only where they may', async () => {
    const { stdout } = await sandbox(`${NETWORK}
cat > /run/register.mjs <<'END'
const { connectRpcbind } = await import(process.env.BIN + '/../rpcbind/index.js');
const client = await connectRpcbind({ host: process.argv[2], transport: process.argv[3], timeoutMs: 3000 });
console.log(await client.setAddress({ program: 0x20000301, version: 1, netid: 'udp', address: '10.8.0.9.8.1' }).catch((e) => e.code));
await client.close();
END
try() { ip netns exec far node $BIN/rpcbind-ts/main.js --no-state-dir --no-local "$@" >/run/log 2>&1 & DAEMON=$!
  wait_for grep -q serving /run/log
  for t in udp tcp; do ip netns exec near node /run/register.mjs 10.8.0.1 $t; done
  kill $DAEMON; wait $DAEMON; : > /run/log; }
try; try -i; try -i --allow-register 10.8.1.0/24; try --allow 10.8.1.0/24`);
    expect(stdout.trim().split('\n')).toEqual([
      'RPC_AUTH',
      'RPC_AUTH',
      'true',
      'true',
      'RPC_AUTH',
      'RPC_AUTH',
      // Who is on no list is not answered over UDP, and its connections are closed when they come.
      'RPC_TIMEOUT',
      'RPC_CLOSED',
    ]);
  }, 60_000);
});
