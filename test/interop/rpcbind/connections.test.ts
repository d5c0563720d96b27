/** Strangers who open connections by the thousand, or send calls that never end: who is served all the same. */

import { expect, it } from 'vitest';
import { describeWith, sandbox } from '../../support/sandbox.js';

/** This host is 192.0.2.1; the strangers' network namespace has six addresses, each of them a source. */
const HOSTS = `ulimit -n 20000
mkdir -p /run/netns
ip netns add other
ip link add here type veth peer name there netns other
ip addr add 192.0.2.1/24 dev here
ip addr add 2001:db8::1/64 dev here nodad
ip link set here up
for i in 9 10 11 12 13 14; do ip -n other addr add 192.0.2.$i/24 dev there; done
ip -n other addr add 2001:db8::9/64 dev there nodad
ip -n other link set there up
ip -n other link set lo up
cat > /run/wire.py <<'END'
import os, select, socket, struct, time
NULL = struct.pack('>11I', 0x80000028, 7, 0, 2, 100000, 4, 0, 0, 0, 0, 0)
def opened(source, target='192.0.2.1', port=111):
    family = socket.AF_INET6 if ':' in target else socket.AF_INET
    s = socket.socket(family, socket.SOCK_STREAM)
    s.settimeout(5)
    s.bind((source, 0))
    s.connect((target, port))
    return s
def called(s):
    try:
        s.sendall(NULL)
        return 'answered' if len(s.recv(100)) == 28 else 'closed'
    except OSError as error: return 'closed' if isinstance(error, ConnectionError) else 'silent'
def asked(source, target='192.0.2.1'):
    try: s = opened(source, target)
    except OSError: return 'refused'
    try: return called(s)
    finally: s.close()
def is_open(s):
    s.setblocking(False)
    try: return len(s.recv(1)) > 0
    except BlockingIOError: return True
    except OSError: return False
def memory(pid):
    return int(next(l for l in open(f'/proc/{pid}/status') if l.startswith('VmRSS')).split()[1]) // 1024
END
`;

const DAEMON = (options: string, before = ''): string => `
${before} node $BIN/rpcbind-ts/main.js --no-state-dir ${options} >/run/log 2>&1 & DAEMON=$!
wait_for grep -q serving /run/log
`;

/** Sends the beginnings of 120 calls of 4 MiB from one address; prints by how many MiB the server grew. */
const UNFINISHED = `
cat > /run/unfinished.py <<'END'
import fcntl, sys
from wire import *
port, pid = map(int, sys.argv[1:])
SIOCOUTQ = 0x5411
def unread(s):
    try: return is_open(s) and struct.unpack('i', fcntl.ioctl(s, SIOCOUTQ, bytes(4)))[0] > 0
    except OSError: return False
before = memory(pid)
held = []
for i in range(120):
    s = opened('192.0.2.9', port=port)
    try: s.sendall(struct.pack('>I', 0x80400000) + bytes(4 * 1024 * 1024 - 1000))
    except OSError: pass
    held.append(s)
# Until all that was sent is read, or its connection closed.
while any(map(unread, held)): pass
print('grown', memory(pid) - before, 'open', sum(map(is_open, held)))
END
unfinished() { ip netns exec other python3 /run/unfinished.py "$@"; }
`;

function grownBy(stdout: string): { readonly grown: number; readonly open: number } {
  const [, grown, open] = /^grown (-?\d+) open (\d+)$/m.exec(stdout) ?? [];
  return { grown: Number(grown), open: Number(open) };
}

describeWith(['sandbox', 'ip', 'python3', 'rpcinfo'], 'calls that never end', () => {
  it.each([
    ['from outside the list', '--allow 198.51.100.0/24'],
    ['from anybody', ''],
  ])(
    '%s take no memory of rpcbind, which closes the connections',
    async (_who, options) => {
      const { stdout, stderr } = await sandbox(`${HOSTS}${DAEMON(options)}${UNFINISHED}
unfinished 111 $DAEMON
rpcinfo -T tcp 127.0.0.1 100000 4`);
      expect(stderr).toBe('');
      const { grown, open } = grownBy(stdout);
      expect(open).toBe(0);
      expect(grown).toBeLessThan(48);
      expect(stdout).toContain('program 100000 version 4 ready and waiting');
    },
    60_000,
  );

  it('take no more memory of a server that takes large calls than their budget', async () => {
    const { stdout, stderr } = await sandbox(`${HOSTS}${UNFINISHED}
cat > /run/server.mjs <<'END'
const { createServer } = await import(process.env.BIN + '/../runtime/index.js');
const server = createServer();
await server.listenTcp({ host: '0.0.0.0', port: 7000 });
console.log('serving');
END
node /run/server.mjs > /run/log & SERVER=$!
wait_for grep -q serving /run/log
unfinished 7000 $SERVER
`);
    expect(stderr).toBe('');
    const { grown, open } = grownBy(stdout);
    // 64 MiB, and what was given up and is not collected yet.
    expect(grown).toBeLessThan(64 + 128);
    expect(open).toBeGreaterThanOrEqual(12);
    expect(open).toBeLessThanOrEqual(17);
  }, 60_000);

  it('rpcbind takes calls of 9000 bytes, and closes the connection on one byte more', async () => {
    const { stdout, stderr } = await sandbox(`${HOSTS}${DAEMON('')}
cat > /run/long.py <<'END'
from wire import *
for size in 9000, 9001:
    # NULL has no arguments: what follows is refused as garbage, which is an answer.
    s = opened('127.0.0.1', '127.0.0.1')
    s.sendall(struct.pack('>I', 0x80000000 + size) + NULL[4:] + bytes(size - 40))
    try: print(size, len(s.recv(100)))
    except ConnectionError: print(size, 0)
END
python3 /run/long.py`);
    expect(stderr).toBe('');
    expect(stdout.trim().split('\n')).toEqual(['9000 28', '9001 0']);
  }, 60_000);
});

describeWith(['sandbox', 'ip', 'python3', 'rpcinfo'], 'idle connections by the thousand', () => {
  it.each([
    ['4200 of one host', "['192.0.2.9'] * 4200", 256],
    ['1000 of each of five hosts', "['192.0.2.%d' % (9 + i % 5) for i in range(5000)]", 896],
  ])(
    '%s keep nobody else out, and close no connection in use',
    async (_what, sources, most) => {
      const { stdout, stderr } = await sandbox(`${HOSTS}${DAEMON('')}
cat > /run/flood.py <<'END'
from wire import *
honest = opened('192.0.2.14')
print('honest', called(honest))
flood = []
for source in ${sources}:
    try: flood.append(opened(source))
    except OSError: pass
print('honest', called(honest))
print('another host', asked('192.0.2.14'))
print('over IPv6', asked('2001:db8::9', '2001:db8::1'))
print('a flooder', asked('192.0.2.9'))
print('flood', len(flood), 'open', sum(map(is_open, flood)))
open('/run/flooding', 'w')
while not os.path.exists('/run/stop'): pass
END
ip netns exec other python3 /run/flood.py > /run/flood & FLOOD=$!
for _ in $(seq 600); do test -e /run/flooding && break; sleep 0.05; done
rpcinfo -T tcp 127.0.0.1 100000 4
rpcinfo -T tcp 192.0.2.1 100000 4
touch /run/stop; wait $FLOOD; cat /run/flood`);
      expect(stderr).toBe('');
      expect(stdout.match(/ready and waiting/g)).toHaveLength(2);
      expect(stdout).toMatch(/^honest answered\nhonest answered\nanother host answered$/m);
      expect(stdout).toMatch(/^over IPv6 answered\na flooder answered$/m);
      const [, flood, open] = /^flood (\d+) open (\d+)$/m.exec(stdout) ?? [];
      expect(Number(flood)).toBeGreaterThan(4_000);
      expect(Number(open)).toBeLessThanOrEqual(most);
      expect(Number(open)).toBeGreaterThan(most - 10);
    },
    90_000,
  );

  it('of one user to the local socket keep no other user out', async () => {
    const { stdout, stderr } = await sandbox(`ulimit -n 20000
${DAEMON('')}
chmod 777 /run
cat > /run/flood.py <<'END'
import os, signal, socket
os.setuid(65534)
flood = []
for i in range(4200):
    s = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    s.connect('/run/rpcbind.sock')
    flood.append(s)
open('/run/flooding', 'w')
signal.pause()
END
python3 /run/flood.py & FLOOD=$!
for _ in $(seq 600); do test -e /run/flooding && break; sleep 0.05; done
ls /run/flooding
rpcinfo -T local 127.0.0.1 100000 4`);
    expect(stderr).toBe('');
    expect(stdout).toMatch(/^\/run\/flooding$/m);
    expect(stdout).toContain('ready and waiting');
  }, 60_000);

  it('more of them than there are descriptors keep nobody out and cost no processor time', async () => {
    const { stdout, stderr } = await sandbox(`${HOSTS}${DAEMON('', 'prlimit --nofile=200:200')}
cat > /run/flood.py <<'END'
import sys
from wire import *
def used(): return sum(map(int, open(f'/proc/{sys.argv[1]}/stat').read().split(') ')[1].split()[11:13])) / os.sysconf('SC_CLK_TCK')
flood = []
for i in range(1000):
    try: flood.append(opened('192.0.2.9'))
    except OSError: pass
print('descriptors', len(os.listdir(f'/proc/{sys.argv[1]}/fd')) < 150)
print('another host', asked('192.0.2.10'))
before = used()
select.select([], [], [], 1)
print('at rest', used() - before < 0.2)
END
ip netns exec other python3 /run/flood.py $DAEMON
rpcinfo -T tcp 127.0.0.1 100000 4`);
    expect(stderr).toBe('');
    expect(stdout).toMatch(/^descriptors True\nanother host answered\nat rest True$/m);
    expect(stdout).toContain('ready and waiting');
  }, 60_000);

  it('of one user from thousands of loopback addresses close none of another user', async () => {
    const { stdout, stderr } = await sandbox(`ulimit -n 20000
${HOSTS}${DAEMON('')}
cat > /run/flood.py <<'END'
from wire import *
honest = [opened('127.0.0.1', '127.0.0.1') for _ in range(10)]
print('honest', {called(s) for s in honest})
os.setgroups([]); os.setgid(65534); os.setuid(65534)
flood = []
for i in range(4500):
    try: flood.append(opened('127.1.%d.%d' % (i // 250, 1 + i % 250), '127.0.0.1'))
    except OSError: pass
print('flood', len(flood), 'open', sum(map(is_open, flood)))
print('honest', {called(s) for s in honest})
END
python3 /run/flood.py`);
    expect(stderr).toBe('');
    expect(stdout).toMatch(/^honest \{'answered'\}\nflood \d+ open \d+\nhonest \{'answered'\}$/m);
  }, 60_000);
});
