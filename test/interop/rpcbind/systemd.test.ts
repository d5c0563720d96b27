/** What a service manager does for the daemon, and what the daemon gives up by itself. */

import { expect, it } from 'vitest';
import { describeWith, sandbox } from '../../support/sandbox.js';

/** Plays systemd: opens the sockets, listens for READY=1, becomes the daemon. */
const MANAGER = `
cat > /run/manager.py <<'END'
import os, socket, sys, threading
if os.fork() == 0:
    told = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    told.bind('/run/notify.new'); os.chmod('/run/notify.new', 0o666); os.rename('/run/notify.new', '/run/notify')
    open('/run/ready', 'wb').write(told.recv(100))
    sys.exit()
while not os.path.exists('/run/notify'): pass
def opened(family, kind, address):
    s = socket.socket(family, kind)
    if family == socket.AF_INET6: s.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
    s.bind(address)
    if kind == socket.SOCK_STREAM: s.listen(64)
    return s
sockets = [opened(socket.AF_UNIX, socket.SOCK_STREAM, '/run/rpcbind.sock')]
for family, host in (socket.AF_INET, '0.0.0.0'), (socket.AF_INET6, '::'):
    for kind in socket.SOCK_STREAM, socket.SOCK_DGRAM: sockets.append(opened(family, kind, (host, 111)))
spare = [os.dup(s.fileno()) for s in sockets]
high = [os.dup2(fd, 100 + i, True) for i, fd in enumerate(spare)]
for i, fd in enumerate(high): os.dup2(fd, 3 + i, True)
os.environ.update(LISTEN_PID=str(os.getpid()), LISTEN_FDS=str(len(high)), NOTIFY_SOCKET='/run/notify')
os.chmod('/run/rpcbind.sock', 0o666)
os.execvp('setpriv', ['setpriv', '--reuid', '1000', '--clear-groups', 'node', os.environ['BIN'] + '/rpcbind-ts/main.js', '--no-state-dir'])
END
`;

describeWith(['sandbox', 'rpcinfo', 'python3', 'setpriv'], 'rpcbind-ts under a service manager', () => {
  it.each(['1', '0'])(
    'serves the sockets it is handed, without any right of its own, and says when it is ready (RPC_NATIVE=%s)',
    async (native) => {
      const { code, stdout } = await sandbox(
        `exec 2>&1
${MANAGER}
chmod 777 /run
python3 /run/manager.py >/run/log & DAEMON=$!
wait_for rpcinfo -p 127.0.0.1
cat /run/log
for netid in udp tcp; do rpcinfo -T $netid 127.0.0.1 100000 4; rpcinfo -T $netid'6' ::1 100000 4; done
rpcinfo -T local 127.0.0.1 100000 4
rpcinfo -s
if [ "$RPC_NATIVE" = 1 ]; then wait_for test -s /run/ready; cat /run/ready; echo; fi
kill $DAEMON; wait $DAEMON; echo "ended $?"`,
        60_000,
        { RPC_NATIVE: native },
      );
      expect(code, stdout).toBe(0);
      expect(stdout).toContain(
        'serving on local /run/rpcbind.sock, tcp 0.0.0.0:111, udp 0.0.0.0:111, tcp6 :::111, udp6 :::111',
      );
      expect(stdout.match(/program 100000 version 4 ready and waiting/g)).toHaveLength(5);
      expect(stdout).toMatch(/100000 +2,3,4 +local,udp,tcp,udp6,tcp6 +portmapper +superuser/);
      if (native === '1') expect(stdout).toContain('READY=1');
      expect(stdout.includes('replies over UDP may be sent from another address')).toBe(native === '0');
      expect(stdout).toContain('ended 0');
    },
    60_000,
  );
});

describeWith(['sandbox', 'rpcinfo', 'root', 'cc'], 'rpcbind-ts', () => {
  it('becomes another user once its ports are bound, and still keeps what is registered', async () => {
    const { code, stdout } = await sandbox(`exec 2>&1
node $BIN/rpcbind-ts/main.js --user nobody >/run/log 2>&1 & DAEMON=$!
wait_for rpcinfo -p 127.0.0.1
grep -E '^(Uid|Gid|Groups)' /proc/$DAEMON/status | tr -s '\\t ' ' '
node $BIN/rpcinfo-ts/main.js set 0x20000400 1 udp 0.0.0.0.8.1
kill -9 $DAEMON; wait $DAEMON || true
node $BIN/rpcbind-ts/main.js --user nobody >/run/log 2>&1 & DAEMON=$!
wait_for rpcinfo -p 127.0.0.1
rpcinfo -p | grep 536871936
kill $DAEMON; wait $DAEMON; ls /run/rpcbind
node $BIN/rpcbind-ts/main.js -s --cold >/run/log 2>&1 & DAEMON=$!
wait_for rpcinfo -p 127.0.0.1
echo as $(stat -c %U /proc/$DAEMON)
kill $DAEMON; wait $DAEMON`);
    expect(code, stdout).toBe(0);
    expect(stdout).toMatch(/^as daemon$/m);
    expect(stdout).toMatch(/^Uid: 65534 65534 65534 65534$/m);
    expect(stdout).toMatch(/^Gid: 65534 65534 65534 65534$/m);
    expect(stdout).toMatch(/536871936 +1 +udp +2049/);
    expect(stdout).toContain('rpcbind.xdr');
  }, 60_000);

  it('serves IPv4 where IPv6 is switched off', async () => {
    const { code, stdout } = await sandbox(`exec 2>&1
sysctl -qw net.ipv6.conf.all.disable_ipv6=1
node $BIN/rpcbind-ts/main.js --no-state-dir >/run/log 2>&1 & DAEMON=$!
wait_for rpcinfo -p 127.0.0.1
cat /run/log
kill $DAEMON; wait $DAEMON`);
    expect(code, stdout).toBe(0);
    expect(stdout).toMatch(/serving on udp 0\.0\.0\.0:111, tcp 0\.0\.0\.0:111/);
  }, 60_000);

  it.each(['0', '1'])(
    'serves IPv4 alone, and says so, where the kernel has no IPv6 (RPC_NATIVE=%s)',
    async (native) => {
      const { code, stdout } = await sandbox(`exec 2>&1
cc -shared -fPIC -o /run/noipv6.so /run/project/test/interop/fixtures/noipv6.c -ldl
RPC_NATIVE=${native} LD_PRELOAD=/run/noipv6.so node $BIN/rpcbind-ts/main.js --no-state-dir >/run/log 2>&1 & DAEMON=$!
wait_for rpcinfo -p 127.0.0.1
rpcinfo -T udp 127.0.0.1 rpcbind
cat /run/log
kill $DAEMON; wait $DAEMON`);
      expect(code, stdout).toBe(0);
      expect(stdout).toContain('warning: this host has no IPv6 (EAFNOSUPPORT): serving IPv4 alone');
      expect(stdout).toMatch(/serving on udp 0\.0\.0\.0:111, tcp 0\.0\.0\.0:111, local/);
    },
    60_000,
  );
});
