/**
 * A host with several addresses and one that gains another: UDP answers from the address asked, also on
 * sockets that a service manager opened.
 */

import { expect, it } from 'vitest';
import { describeWith, sandbox } from '../../support/sandbox.js';

/** Two hosts on one link: a server with three addresses here, a client in a network of its own. */
const HOSTS = `
ip netns add other 2>/dev/null || { mkdir -p /run/netns; ip netns add other; }
ip link add here type veth peer name there netns other
ip addr add 192.0.2.1/24 dev here
ip addr add 192.0.2.2/24 dev here
ip addr add 2001:db8::1/64 dev here nodad
ip addr add 2001:db8::2/64 dev here nodad
ip link set here up
ip -n other addr add 192.0.2.9/24 dev there
ip -n other addr add 2001:db8::9/64 dev there nodad
ip -n other link set there up
ip -n other link set lo up
# The kernel says a moment later that a link runs, and only then is it an interface to programs.
wait_for sh -c 'ip link show here | grep -q "state UP"'
wait_for sh -c 'ip -n other link show there | grep -q "state UP"'
cat > /run/program.mjs <<'END'
const { int, string } = await import(process.env.BIN + '/../xdr/index.js');
export const where = { program: 0x20000055, version: 1, number: 1, name: 'WHERE', args: int, result: string() };
END
cat > /run/server.mjs <<'END'
const { createServer } = await import(process.env.BIN + '/../runtime/index.js');
const { where } = await import('/run/program.mjs');
const handle = (_args, { localAddress }) => localAddress;
const server = createServer({ services: [{ ...where, procedures: [{ procedure: where, handle }] }] });
const native = process.env.NATIVE === '1';
const { port } = await server.listenUdp({ host: '0.0.0.0', port: 7000, native, rescanMs: 100 });
await server.listenUdp({ host: '::', port, native, rescanMs: 100, multicastGroup: 'ff02::202' });
console.log('listening');
END
cat > /run/client.mjs <<'END'
const { broadcast, connectUdp, createClient } = await import(process.env.BIN + '/../runtime/index.js');
const { where } = await import('/run/program.mjs');
for (const host of process.argv.slice(2)) {
  if (host === 'everybody') {
    for await (const { address, result } of broadcast({ procedure: where, args: 1, port: 7000, firstRoundMs: 50, timeoutMs: 2000 }))
      if (address !== '127.0.0.1') console.log('heard', address, result);
    continue;
  }
  const client = createClient(await connectUdp({ host, port: 7000 }), { retransmitMs: 200, timeoutMs: 5000 });
  console.log(host, await client.call(where, 1).catch((error) => error.code));
  await client.close();
}
END
`;
const SERVED = `${HOSTS}node /run/server.mjs > /run/log & SERVER=$!
wait_for grep -q listening /run/log
`;
/** Opens the wildcards as systemd does (SO_REUSEADDR too), becomes another user and the server. */
const MANAGED = `${HOSTS}
cat > /run/managed.mjs <<'END'
const { createServer } = await import(process.env.BIN + '/../runtime/index.js');
const { where } = await import('/run/program.mjs');
const handle = (_args, { localAddress }) => localAddress;
const server = createServer({ services: [{ ...where, procedures: [{ procedure: where, handle }] }] });
const native = process.env.NATIVE === '1';
await server.listenUdp({ host: '0.0.0.0', fd: 3, native });
await server.listenUdp({ host: '::', fd: 4, native });
console.log('listening', server.listeners.map(({ port }) => port).join(' '));
END
cat > /run/manager.py <<'END'
import os, socket
fds = []
for family, host in (socket.AF_INET, '0.0.0.0'), (socket.AF_INET6, '::'):
    s = socket.socket(family, socket.SOCK_DGRAM)
    s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if family == socket.AF_INET6: s.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
    s.bind((host, 7000))
    fds.append(os.dup2(s.fileno(), 100 + len(fds)))
for i, fd in enumerate(fds): os.dup2(fd, 3 + i, True)
os.execvp('setpriv', ['setpriv', '--reuid', '1000', '--clear-groups', 'node', '/run/managed.mjs'])
END
python3 /run/manager.py > /run/log & SERVER=$!
wait_for grep -q listening /run/log
cat /run/log
`;

describeWith(['sandbox', 'ip'], 'a host with several addresses', () => {
  it.each([
    ['plain', '0'],
    ['native', '1'],
  ])('answers from each, the %s way, and from one that it gains later', async (_name, native) => {
    const script = `${SERVED}
ip netns exec other node /run/client.mjs 192.0.2.1 192.0.2.2 2001:db8::1
ip addr add 192.0.2.3/24 dev here
ip netns exec other node /run/client.mjs 192.0.2.3
`;
    const { stdout, stderr } = await sandbox(script, 60_000, { NATIVE: native });
    expect(stderr).toBe('');
    expect(stdout.trim().split('\n')).toEqual([
      '192.0.2.1 192.0.2.1',
      '192.0.2.2 192.0.2.2',
      '2001:db8::1 2001:db8::1',
      '192.0.2.3 192.0.2.3',
    ]);
  });

  it.each([
    ['plain', '0'],
    ['native', '1'],
  ])('is heard by a broadcast from another host, the %s way', async (_name, native) => {
    const script = `${SERVED}ip netns exec other node /run/client.mjs everybody\n`;
    const { stdout, stderr } = await sandbox(script, 60_000, { NATIVE: native });
    expect(stderr).toBe('');
    expect(stdout).toMatch(/^heard 192\.0\.2\.\d \S+$/m);
  });
});

describeWith(['sandbox', 'ip', 'python3'], 'a host that is asked by all at once', () => {
  it.each([
    ['plain', '0'],
    ['native', '1'],
  ])('answers to its broadcast addresses and its multicast group, the %s way', async (_name, native) => {
    const script = `${SERVED}
cat > /run/everybody.py <<'END'
import socket, struct
NULL = struct.pack('>10I', 7, 0, 2, 0x20000055, 1, 0, 0, 0, 0, 0)
SO_BINDTODEVICE = 25
for family, host in (socket.AF_INET, '192.0.2.255'), (socket.AF_INET, '255.255.255.255'), (socket.AF_INET6, 'ff02::202'):
    s = socket.socket(family, socket.SOCK_DGRAM)
    s.settimeout(0.2)
    if family == socket.AF_INET: s.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
    s.setsockopt(socket.SOL_SOCKET, SO_BINDTODEVICE, b'there')
    for attempt in range(25):
        s.sendto(NULL, (host, 7000) if family == socket.AF_INET else (host, 7000, 0, socket.if_nametoindex('there')))
        try: reply, sender = s.recvfrom(100)
        except TimeoutError: continue
        print(host, len(reply), sender[0].startswith(('fe80:', '2001:db8::', '192.0.2.1', '192.0.2.2')))
        break
END
ip netns exec other python3 /run/everybody.py`;
    const { stdout, stderr } = await sandbox(script, 60_000, { NATIVE: native });
    expect(stderr).toBe('');
    expect(stdout.trim().split('\n')).toEqual([
      '192.0.2.255 24 True',
      '255.255.255.255 24 True',
      'ff02::202 24 True',
    ]);
  });
});

describeWith(
  ['sandbox', 'ip', 'python3', 'setpriv'],
  'a host with several addresses, on inherited sockets',
  () => {
    it('answers every call from the address asked, and lets nobody bind beside', async () => {
      const script = `${MANAGED}
for i in $(seq 5); do ip netns exec other node /run/client.mjs 192.0.2.1 192.0.2.2 2001:db8::1 2001:db8::2; done | sort | uniq -c
ip addr add 192.0.2.3/24 dev here
ip netns exec other node /run/client.mjs 192.0.2.3
cat > /run/beside.py <<'END'
import os, socket
os.setuid(65534)
for address in '127.0.0.1', '192.0.2.1', '::1':
    s = socket.socket(socket.AF_INET6 if ':' in address else socket.AF_INET, socket.SOCK_DGRAM)
    s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try: s.bind((address, 7000)); print('beside', address)
    except OSError as error: print(address, error.errno)
END
python3 /run/beside.py
`;
      const { stdout, stderr } = await sandbox(script, 120_000, { NATIVE: '1' });
      expect(stderr).toBe('');
      expect(
        stdout
          .trim()
          .split('\n')
          .map((line) => line.trim()),
      ).toEqual([
        'listening 7000 7000',
        '5 192.0.2.1 192.0.2.1',
        '5 192.0.2.2 192.0.2.2',
        '5 2001:db8::1 2001:db8::1',
        '5 2001:db8::2 2001:db8::2',
        '192.0.2.3 192.0.2.3',
        // EADDRINUSE
        '127.0.0.1 98',
        '192.0.2.1 98',
        '::1 98',
      ]);
    }, 120_000);
  },
);
