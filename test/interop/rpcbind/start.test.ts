/** How the daemon starts: what it does as root, whose files it believes, and that one daemon has a state folder. */

import { expect, it } from 'vitest';
import { describeWith, sandbox } from '../../support/sandbox.js';

/** `start ARGS...` runs the daemon in the background until it serves; `stop [SIGNAL]` ends it. */
const PRELUDE = `exec 2>&1
set +e
start() { node $BIN/rpcbind-ts/main.js "$@" >>/run/log 2>&1 & DAEMON=$!; wait_for rpcinfo -p 127.0.0.1; }
stop() { kill -\${1:-TERM} $DAEMON; wait $DAEMON; }
set_() { node $BIN/rpcinfo-ts/main.js set "$@"; }
ended() { timeout 20 "$@"; echo "ended $?"; }
RPCBIND="node $BIN/rpcbind-ts/main.js"
`;
const LIMIT_MS = 60_000;

async function run(script: string, env: NodeJS.ProcessEnv = {}): Promise<string> {
  const { stdout } = await sandbox(PRELUDE + script, LIMIT_MS, env);
  return stdout;
}

describeWith(['sandbox', 'root', 'setpriv', 'rpcinfo'], 'rpcbind-ts, started by root', () => {
  it.each([
    ['', '_rpc', '1'],
    ['', '_rpc', '0'],
    ['-s', 'daemon', '1'],
    ['--user nobody', 'nobody', '1'],
    ['--user 65534', 'nobody', '1'],
  ])(
    'serves with %o as %s in every thread, with no right but that of binding its port (RPC_NATIVE=%s)',
    async (args, user, native) => {
      const stdout = await run(
        `start ${args}
PID=$(pgrep -x -u ${user} node || pgrep -f -u ${user} rpcbind-ts)
echo uid $(id -u ${user}) threads $(ls /proc/$PID/task | wc -l)
cat /proc/$PID/task/*/status | grep -E '^(Uid|Gid|Groups|Cap|NoNewPrivs)' | tr '\\t' ' ' | sort | uniq -c
ls -l /proc/$PID/fd | grep -c rpcbind.journal
stop; echo "ended $?"`,
        { RPC_NATIVE: native },
      );
      const [, uid, threads] = /^uid (\d+) threads (\d+)$/m.exec(stdout) ?? [];
      expect(Number(threads), stdout).toBeGreaterThan(4);
      const lines = stdout.split('\n').map((line) => line.trim().replace(/ +/g, ' '));
      const all = (text: string): string => `${threads} ${text}`;
      expect(lines).toContain(all(`Uid: ${uid} ${uid} ${uid} ${uid}`));
      expect(lines).toContain(all('NoNewPrivs: 1'));
      for (const set of ['CapInh', 'CapPrm', 'CapEff', 'CapBnd', 'CapAmb'])
        expect(lines).toContain(all(`${set}: 0000000000000400`));
      expect(stdout).not.toMatch(/(Gid|Groups):.* 0( |$)/m);
      expect(stdout).toMatch(/^1\nended 0$/m);
    },
    LIMIT_MS,
  );

  it.each(['1', '0'])(
    'removes no file that is named as the local socket but is none (RPC_NATIVE=%s)',
    async (native) => {
      const stdout = await run(
        `echo precious > /run/notes; ln -s /run/notes /run/link
ended $RPCBIND --user root --local /run/notes
ended $RPCBIND --local /run/notes
ended $RPCBIND --local /run/link
cat /run/notes; readlink /run/link`,
        { RPC_NATIVE: native },
      );
      expect(stdout).toMatch(/^precious\n\/run\/notes$/m);
    },
    LIMIT_MS,
  );

  it('stays root where --user says so', async () => {
    expect(await run('start --user root; stat -c %U /proc/$DAEMON; stop')).toMatch(/^root$/m);
  }, 60_000);

  it('opens the local socket and the state folder before it gives up root, and keeps the process number', async () => {
    const stdout = await run(`start
stat -c '%U %a' /run/rpcbind.sock; stat -c '%U' /run/rpcbind /run/rpcbind/rpcbind.journal
rpcinfo -T local 127.0.0.1 100000 4; stat -c %U /proc/$DAEMON
stop; start; rpcinfo -T local 127.0.0.1 100000 4; stop KILL
start; rpcinfo -T local 127.0.0.1 100000 4; stop; cat /run/log`);
    expect(stdout).toMatch(/^root 666\n_rpc\n_rpc\nprogram 100000 version 4 ready and waiting\n_rpc$/m);
    expect(stdout.match(/version 4 ready and waiting/g)).toHaveLength(3);
    expect(stdout.match(/local \/run\/rpcbind\.sock/g)).toHaveLength(3);
  }, 60_000);

  it('takes over the files of an earlier version that served as root', async () => {
    const stdout = await run(`start --user root; set_ 0x20000600 1 udp 0.0.0.0.8.1; stop
stat -c '%U' /run/rpcbind /run/rpcbind/rpcbind.journal
start; rpcinfo -p | grep 536872448; stat -c '%U' /run/rpcbind /run/rpcbind/rpcbind.journal; stop`);
    expect(stdout).toMatch(/^root\nroot\n +536872448 +1 +udp +2049\n_rpc\n_rpc$/m);
  }, 60_000);

  it.each([
    ['a user that does not exist', '--user nosuch', /^rpcbind-ts: there is no user nosuch: /m],
    [
      'a folder of another user',
      '--state-dir /run/theirs',
      /cannot be kept in \/run\/theirs: it belongs to uid 65534/,
    ],
    [
      'a local socket that is in use',
      '--local /run/taken.sock',
      /the local socket \/run\/taken\.sock is in use/,
    ],
    ['a port that is in use', '', /port 111 is in use/],
  ])(
    'ends with 1 and one line, having answered nobody, at %s',
    async (what, args, line) => {
      const stdout = await run(`install -d -o nobody /run/theirs
python3 - <<'END' &
import socket, time
s = socket.socket(socket.AF_UNIX); s.bind('/run/taken.sock'); s.listen()
if ${what === 'a port that is in use' ? 'True' : 'False'}:
    t = socket.socket(); t.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1); t.bind(('0.0.0.0', 111)); t.listen()
u = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); u.settimeout(0.01); u.bind(('127.0.0.1', 0))
call = bytes.fromhex('00000007 00000000 00000002 000186a0 00000002 00000000' + '00' * 16)
answered = 0; open('/run/ready', 'w'); end = time.time() + 15
while time.time() < end:
    u.sendto(call, ('127.0.0.1', 111))
    try:
        u.recv(100); answered += 1
    except OSError: pass
    try: open('/run/done'); break
    except OSError: pass
print('answered', answered, flush=True)
END
ASKER=$!
wait_for test -e /run/ready
ended $RPCBIND ${args}
touch /run/done; wait $ASKER; echo left $(ps -C node --no-headers | wc -l)`);
      expect(stdout).toMatch(line);
      expect(stdout).toMatch(/^ended 1$/m);
      expect(stdout).toMatch(/^answered 0$/m);
      expect(stdout.match(/^rpcbind-ts: /gm)).toHaveLength(1);
      expect(stdout).toMatch(/^left 0$/m);
    },
    60_000,
  );

  it.each([
    ['-s', /cannot become user daemon: user daemon does not exist in this user namespace/, 1],
    ['', /warning: serving as root: user _rpc does not exist in this user namespace/, 124],
  ])(
    'where only one user exists, with %o',
    async (args, line, code) => {
      const stdout = await run(
        `timeout 3 unshare -Ur node $BIN/rpcbind-ts/main.js --host 127.0.0.1 --port 1111 ${args}; echo "ended $?"`,
      );
      expect(stdout).toMatch(line);
      // Ended by timeout, so it served.
      expect(stdout).toContain(`ended ${code}`);
    },
    60_000,
  );
});

describeWith(
  ['sandbox', 'root', 'setpriv', 'rpcinfo'],
  'a state folder that somebody else has written to',
  () => {
    const SECRET = `echo secret >/run/secret; chmod 600 /run/secret
install -d -o _rpc /run/rpcbind
as() { setpriv --reuid $(id -u _rpc) --clear-groups "$@"; }
`;
    const FILES = ['rpcbind.journal', 'rpcbind.xdr', 'portmap.xdr', 'rpcbind.journal.new', 'rpcbind.xdr.new'];

    it.each(['', '--user root'])(
      'gives no file of root away and overwrites none, whatever links are there (%s)',
      async (args) => {
        const stdout = await run(`${SECRET}
for file in ${FILES.join(' ')}; do as ln -s /run/secret /run/rpcbind/$file; done
start ${args}; set_ 0x20000600 1 udp 0.0.0.0.8.1; rpcinfo -p | grep 536872448; stop
stat -c '%U %a %h' /run/secret; cat /run/secret
rm -f /run/rpcbind/*
for file in ${FILES.join(' ')}; do ln /run/secret /run/rpcbind/$file; done
start ${args}; set_ 0x20000600 1 udp 0.0.0.0.8.1; stop
stat -c '%U %a' /run/secret; cat /run/secret; grep -c damaged /run/log`);
        expect(stdout).toMatch(/^ +536872448 +1 +udp +2049$/m);
        expect(stdout.match(/^secret$/gm)).toHaveLength(2);
        expect(stdout.match(/^root 600/gm)).toHaveLength(2);
      },
      LIMIT_MS,
    );

    it('reads no FIFO: it starts, and ends at SIGTERM', async () => {
      const stdout = await run(`${SECRET}
for file in ${FILES.slice(0, 3).join(' ')}; do as mkfifo /run/rpcbind/$file; done
start; stop; echo "ended $?"; cat /run/log`);
      expect(stdout).toMatch(/^ended 0$/m);
      expect(stdout).toMatch(/rpcbind\.journal is damaged \(it is not a regular file\): set aside as /);
    }, 60_000);

    it('is refused where others can write to it, or where it is a link', async () => {
      const stdout = await run(`install -d -m 777 /run/open; mkdir /run/real; ln -s /run/real /run/link
for folder in open link; do ended $RPCBIND --state-dir /run/$folder; ended $RPCBIND --user root --state-dir /run/$folder; done`);
      expect(stdout.match(/^rpcbind-ts: registrations cannot be kept in \/run\/open: /gm)).toHaveLength(2);
      expect(stdout.match(/^rpcbind-ts: registrations cannot be kept in \/run\/link: /gm)).toHaveLength(2);
      expect(stdout.match(/^ended 1$/gm)).toHaveLength(4);
    }, 60_000);
  },
);

describeWith(['sandbox', 'root', 'rpcinfo', 'rpcbind'], 'the files of the state folder', () => {
  const LIST = `rpcinfo -p | awk '$1 ~ /^5/ { print "row", $1 - 536872448, $2, $4 }'`;

  it.each(['-1 hour', '+1 hour'])(
    'lose nothing where the clock is set by %s between a clean end and a kill',
    async (step) => {
      // The kernel's clock is everybody's: the files are dated instead, as a clock set so would have dated them.
      const stdout = await run(`start; set_ 0x20000600 1 udp 0.0.0.0.8.1; stop
touch -d 'now +2 hours' /run/rpcbind/rpcbind.xdr /run/rpcbind/portmap.xdr
start; set_ 0x20000600 2 udp 0.0.0.0.8.2; touch -d '${step}' /run/rpcbind/rpcbind.journal; stop KILL
start; ${LIST}; stop`);
      expect(stdout).toMatch(/^row 0 1 2049\nrow 0 2 2050$/m);
    },
    LIMIT_MS,
  );

  it("follow what Debian's rpcbind wrote meanwhile, whatever the clock says", async () => {
    const stdout = await run(`start; set_ 0x20000600 1 udp 0.0.0.0.8.1; stop
rpcbind -w -f & C=$!; wait_for rpcinfo -p 127.0.0.1; set_ 0x20000600 2 udp 0.0.0.0.8.2; kill $C; wait $C
touch -d 'now +2 hours' /run/rpcbind/rpcbind.journal
start; ${LIST}; stop`);
    expect(stdout).toMatch(/^row 0 1 2049\nrow 0 2 2050$/m);
  }, 60_000);

  it('of an older version are read, and those of a newer one set aside', async () => {
    const stdout = await run(`start; set_ 0x20000600 1 udp 0.0.0.0.8.1; stop
sed -i '1s/.*/rpcbind-ts journal 1/' /run/rpcbind/rpcbind.journal; rm /run/rpcbind/*.xdr
start; ${LIST}; head -n 1 /run/rpcbind/rpcbind.journal; stop
sed -i '1s/journal 2/journal 3/' /run/rpcbind/rpcbind.journal
start; ${LIST}; stop; ls /run/rpcbind; cat /run/log`);
    expect(stdout).toMatch(/^row 0 1 2049\nrpcbind-ts journal 2 -\nrow 0 1 2049$/m);
    expect(stdout).toMatch(/^rpcbind\.journal\.newer-\d+$/m);
    expect(stdout).toMatch(/rpcbind\.journal was written by a newer rpcbind-ts: set aside/);
  }, 60_000);

  it('belong to one daemon, which the second names; and to the next as soon as it is gone', async () => {
    const stdout = await run(`start --no-local; FIRST=$DAEMON
SECOND="$RPCBIND --no-local --port 1111 --host 127.0.0.1 -w"
ended $SECOND; ended $SECOND --user root; echo first $FIRST
kill -STOP $FIRST; ended $SECOND; kill -CONT $FIRST
stop KILL; ls /run/rpcbind | grep -c lock
timeout 3 $SECOND; echo "ended $?"; ls /run/rpcbind | grep -c lock
start --no-local; ls /run/rpcbind | grep -c lock; stop; ls /run/rpcbind | grep -c lock`);
    const pid = /^first (\d+)$/m.exec(stdout)?.[1];
    expect(
      stdout.match(
        new RegExp(`cannot be kept in /run/rpcbind: another rpcbind-ts \\(pid ${pid}\\) uses it`, 'g'),
      ),
      stdout,
    ).toHaveLength(2);
    expect(stdout.match(/^ended 1$/gm)).toHaveLength(3);
    // Where timeout ended it, it served.
    expect(stdout).toMatch(/^1\n(.*\n)*ended 124\n0\n1\n0$/m);
  }, 60_000);

  it('are one daemon’s even where eight start at once beside the lock of a dead one', async () => {
    const stdout = await run(`start --no-local; stop KILL
for i in 1 2 3 4 5 6 7 8; do timeout 8 $RPCBIND --no-local --port 111$i --host 127.0.0.1 -w >/run/log.$i 2>&1 & done
wait_for sh -c 'test $(cat /run/log.* | grep -c -E "serving|uses it") = 8'
cat /run/log.* | grep -c serving; cat /run/log.* | grep -c 'uses it'; wait`);
    expect(stdout).toMatch(/^1\n7$/m);
  }, 60_000);
});

describeWith(['sandbox', 'rpcinfo', 'python3'], 'a log that nobody reads', () => {
  it.each(['json', 'text'])(
    'does not stop the daemon; lines that had to go are counted (%s)',
    async (format) => {
      const stdout = await run(`mkfifo /run/pipe
sleep 100 </run/pipe & READER=$!
node $BIN/rpcbind-ts/main.js --no-state-dir --log-format ${format} >/dev/null 2>/run/pipe & DAEMON=$!
wait_for rpcinfo -p 127.0.0.1
cat >/run/noise.mjs <<'END'
import { connectRpcbind } from '/run/project/dist/rpcbind/index.js';
const client = await connectRpcbind({ host: '127.0.0.1', transport: 'tcp', timeoutMs: 5000 });
for (let i = 0; i < 4000; i++) {
  await client.set({ program: 0x20000600, version: 1, protocol: 'udp', port: 4000 });
  await client.unset({ program: 0x20000600, version: 1 });
}
await client.close();
console.log('noise made');
END
node /run/noise.mjs
rpcinfo -T udp 127.0.0.1 100000 2
cat /run/pipe >/run/read & wait_for grep -q registered /run/read || wait_for grep -q '"set"' /run/read
node /run/noise.mjs
wait_for grep -q 'lines of this log were lost, since they were not read' /run/read; echo "told $?"
kill $READER; mkfifo /run/stuck; exec 9<>/run/stuck
kill $DAEMON; wait $DAEMON; echo "ended $?"`);
      expect(stdout.match(/^noise made$/gm), stdout).toHaveLength(2);
      expect(stdout).toContain('program 100000 version 2 ready and waiting');
      expect(stdout).toMatch(/^told 0\nended 0$/m);
    },
    LIMIT_MS,
  );

  it('does not keep it from ending', async () => {
    const stdout = await run(`mkfifo /run/pipe; sleep 100 </run/pipe &
node $BIN/rpcbind-ts/main.js --no-state-dir >/dev/null 2>/run/pipe & DAEMON=$!
wait_for rpcinfo -p 127.0.0.1
node -e "
import('/run/project/dist/rpcbind/index.js').then(async ({ connectRpcbind }) => {
  const client = await connectRpcbind({ host: '127.0.0.1', transport: 'tcp', timeoutMs: 5000 });
  for (let i = 0; i < 3000; i++) {
    await client.set({ program: 0x20000600, version: 1, protocol: 'udp', port: 4000 });
    await client.unset({ program: 0x20000600, version: 1 });
  }
  await client.close();
});"
kill $DAEMON; wait $DAEMON; echo "ended $?"`);
    expect(stdout).toMatch(/^ended 0$/m);
  }, 60_000);
});
