/** Another user of this host tries to bind a UDP service's port beside it: at no moment does that work. */

import { expect, it } from 'vitest';
import { describeWith, sandbox } from '../../support/sandbox.js';

/**
 * A server of the user $SERVICE on the wildcards of both families, port 7000. The attacker is nobody: it
 * tries every address with every option that lets sockets share a port, from before the service starts
 * until /run/stop is there. What it binds before /run/listening is there is its right, and given up at once.
 */
const SCRIPT = `
chmod 777 /run
ip link add here type veth peer name there
ip addr add 192.0.2.1/24 dev here
ip addr add 2001:db8::1/64 dev here nodad
ip link set here up
ip link set there up
wait_for sh -c 'ip link show here | grep -q "state UP"'
cat > /run/attacker.py <<'END'
import itertools, os, socket, time
os.setgroups([]); os.setgid(65534); os.setuid(65534)
ADDRESSES = ['127.0.0.1', '192.0.2.1', '192.0.2.255', '0.0.0.0', '::1', '2001:db8::1', '::', '::ffff:127.0.0.1']
if os.environ['NATIVE'] == '1': ADDRESSES += ['127.0.0.2', '192.0.2.101', '2001:db8::101']
OPTIONS = [[], [socket.SO_REUSEADDR], [socket.SO_REUSEPORT], [socket.SO_REUSEADDR, socket.SO_REUSEPORT]]
# Bound to the interface as well, which sets apart sockets that would collide otherwise.
SO_BINDTODEVICE = 25
def attempt(address, options, device):
    s = socket.socket(socket.AF_INET6 if ':' in address else socket.AF_INET, socket.SOCK_DGRAM)
    try:
        for option in options: s.setsockopt(socket.SOL_SOCKET, option, 1)
        if device: s.setsockopt(socket.SOL_SOCKET, SO_BINDTODEVICE, device)
        if ':' in address: s.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        s.bind((address, 7000))
        return True
    except OSError: return False
    finally: s.close()
before = attempts = 0
beside = set()
while not os.path.exists('/run/stop'):
    for address, options, device in itertools.product(ADDRESSES, OPTIONS, [None, b'lo']):
        is_listening = os.path.exists('/run/listening')
        if is_listening: attempts += 1
        if not attempt(address, options, device): continue
        if is_listening: beside.add(address)
        else:
            before += 1
            time.sleep(0.02)
            open('/run/attacking', 'w')
print('before', before > 0, 'attempts', attempts > 2000, 'beside', sorted(beside))
END
cat > /run/program.mjs <<'END'
const { int } = await import(process.env.BIN + '/../xdr/index.js');
export const who = { program: 0x20000055, version: 1, number: 1, name: 'WHO', args: int, result: int };
END
cat > /run/server.mjs <<'END'
import { writeFileSync } from 'node:fs';
const { createServer } = await import(process.env.BIN + '/../runtime/index.js');
const { who } = await import('/run/program.mjs');
const server = createServer({ services: [{ ...who, procedures: [{ procedure: who, handle: () => process.getuid() }] }] });
const options = { port: 7000, native: process.env.NATIVE === '1', rescanMs: 20 };
for (const host of ['0.0.0.0', '::'])
  for (;;) {
    // While the attacker has the port, the service does not start.
    try { await server.listenUdp({ host, ...options }); break; }
    catch (error) { if (error.code !== 'EADDRINUSE') throw error; }
  }
writeFileSync('/run/listening', '');
END
cat > /run/client.mjs <<'END'
const { connectUdp, createClient } = await import(process.env.BIN + '/../runtime/index.js');
const { who } = await import('/run/program.mjs');
for (const host of ['127.0.0.1', '192.0.2.1', '::1', '2001:db8::1']) {
  const client = createClient(await connectUdp({ host, port: 7000 }), { retransmitMs: 200, timeoutMs: 3000 });
  console.log(host, await client.call(who, 1).catch((error) => error.code));
  await client.close();
}
END
python3 /run/attacker.py >/run/attack & ATTACKER=$!
wait_for test -e /run/attacking
setpriv --reuid $SERVICE --regid 65534 --clear-groups node /run/server.mjs & SERVER=$!
wait_for test -e /run/listening
for i in $(seq 8); do
  ip addr add 192.0.2.10$i/24 dev here
  ip addr add 2001:db8::10$i/64 dev here nodad
  node /run/client.mjs >> /run/answers
done
touch /run/stop
wait $ATTACKER
cat /run/attack
sort /run/answers | uniq -c
`;

describeWith(['sandbox', 'ip', 'python3', 'setpriv'], 'a UDP service on all addresses', () => {
  it.each([
    ['native', '1', '0'],
    ['native', '1', '1000'],
    ['plain', '0', '0'],
    ['plain', '0', '1000'],
  ])(
    'shares its port with no other user, the %s way (native %s), as user %s: starting, serving, gaining addresses',
    async (_name, native, user) => {
      const { stdout, stderr } = await sandbox(SCRIPT, 60_000, { NATIVE: native, SERVICE: user });
      expect(stderr).toBe('');
      expect(stdout).toContain('before True attempts True beside []');
      expect(
        stdout
          .trim()
          .split('\n')
          .slice(1)
          .map((line) => line.trim()),
      ).toEqual(['127.0.0.1', '192.0.2.1', '2001:db8::1', '::1'].map((host) => `8 ${host} ${user}`));
    },
    60_000,
  );
});
