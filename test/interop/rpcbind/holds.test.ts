/**
 * Whose a place in the table is while its service is started again, and which places are the system's.
 * The strangers are ordinary users of the host; they try as often as they like.
 */

import { expect, it } from 'vitest';
import { describeWith, sandbox } from '../../support/sandbox.js';

/** call.mjs WAY JOB...: jobs in turn over one connection; steal.mjs: all that a stranger can register, many times over. */
const TOOLS = `exec 2>&1
chmod 755 /run
cat > /run/call.mjs <<'END'
const { connectRpcbind } = await import(process.env.BIN + '/../rpcbind/index.js');
const [way, ...jobs] = process.argv.slice(2);
const client = await connectRpcbind({ transport: way, timeoutMs: 4000, retransmitMs: 1000 });
for (const job of jobs) {
  const [what, program, port = '2049', version = '1', netid = 'tcp'] = job.split(',');
  const address = (netid.endsWith('6') ? '::' : '0.0.0.0') + '.' + (port >> 8) + '.' + (port & 255);
  const of = { program: Number(program), version: Number(version) };
  const result = what === 'set' ? client.setAddress({ ...of, netid, address })
    : what === 'unset' ? client.unsetAddress({ ...of, netid })
    : client.getport({ ...of, protocol: netid });
  console.log(job, await result.catch((error) => error.code));
}
await client.close();
END
cat > /run/steal.mjs <<'END'
const { connectRpcbind } = await import(process.env.BIN + '/../rpcbind/index.js');
const [program, rounds] = process.argv.slice(2).map(Number);
let [tries, stolen] = [0, 0];
for (const transport of ['local', 'tcp', 'udp']) {
  const client = await connectRpcbind({ transport, timeoutMs: 4000, retransmitMs: 1000 });
  for (let round = 0; round < rounds; round++)
    for (const version of [1, 2, 9])
      for (const netid of ['tcp', 'udp', 'udp6']) {
        const address = (netid.endsWith('6') ? '::' : '0.0.0.0') + '.10.' + (tries % 256);
        if (await client.setAddress({ program, version, netid, address })) stolen += 1;
        tries += 1;
      }
  await client.close();
}
console.log('stolen', stolen, 'of', tries > 0 ? 'many' : 'none');
END
chmod 644 /run/*.mjs
as() { setpriv --reuid $1 --regid $1 --clear-groups node /run/call.mjs "\${@:2}"; }
steal() { setpriv --reuid 65534 --regid 65534 --clear-groups node /run/steal.mjs "$@"; }
serve() { node $BIN/rpcbind-ts/main.js --state-dir /run/rpcbind "$@" >/run/log 2>&1 & DAEMON=$!; wait_for grep -q serving /run/log; }
end() { kill $1 $DAEMON; wait $DAEMON || true; }
`;

const PROGRAM = 0x2000_0800;

describeWith(['sandbox', 'setpriv', 'root'], 'the place of a service that is started again', () => {
  it.each([0, 1000])(
    'is its owner’s (uid %i), whatever a stranger tries meanwhile',
    async (owner) => {
      const { code, stdout } = await sandbox(`${TOOLS}
serve
as ${owner} tcp set,${PROGRAM}
as ${owner} tcp unset,${PROGRAM} get,${PROGRAM}
steal ${PROGRAM} 50
as ${owner} local get,${PROGRAM} set,${PROGRAM},2050 get,${PROGRAM}
steal ${PROGRAM} 1
end -TERM`);
      expect(code, stdout).toBe(0);
      expect(stdout.trim().split('\n')).toEqual([
        `set,${PROGRAM} true`,
        `unset,${PROGRAM} true`,
        `get,${PROGRAM} 0`,
        'stolen 0 of many',
        `get,${PROGRAM} 0`,
        `set,${PROGRAM},2050 true`,
        `get,${PROGRAM} 2050`,
        'stolen 0 of many',
      ]);
    },
    60_000,
  );

  it('stays its owner’s where root took the registration back, and root may have it', async () => {
    const { code, stdout } = await sandbox(`${TOOLS}
serve
as 1000 tcp set,${PROGRAM}
as 0 tcp unset,${PROGRAM}
steal ${PROGRAM} 1
as 1000 tcp set,${PROGRAM} unset,${PROGRAM}
as 0 tcp set,${PROGRAM} unset,${PROGRAM}
as 1000 tcp set,${PROGRAM}
end -TERM`);
    expect(code, stdout).toBe(0);
    expect(stdout.trim().split('\n')).toEqual([
      `set,${PROGRAM} true`,
      `unset,${PROGRAM} true`,
      'stolen 0 of many',
      `set,${PROGRAM} true`,
      `unset,${PROGRAM} true`,
      `set,${PROGRAM} true`,
      `unset,${PROGRAM} true`,
      // Root had it last.
      `set,${PROGRAM} false`,
    ]);
  }, 60_000);

  it('is kept where the service died without a word', async () => {
    const { code, stdout } = await sandbox(`${TOOLS}
cat > /run/service.mjs <<'END'
import net from 'node:net';
net.createServer().listen(2049, () => console.log('listens'));
END
serve
node /run/service.mjs > /run/service & SERVICE=$!
wait_for grep -q listens /run/service
as 0 tcp set,${PROGRAM}
kill -9 $SERVICE; wait $SERVICE 2>/dev/null || true
as 0 tcp get,${PROGRAM} >/dev/null
wait_for grep -q 'its server is gone' /run/log
steal ${PROGRAM} 5
as 0 tcp set,${PROGRAM},2050
end -TERM`);
    expect(code, stdout).toBe(0);
    expect(stdout.trim().split('\n').slice(-2)).toEqual(['stolen 0 of many', `set,${PROGRAM},2050 true`]);
  }, 60_000);

  it.each(['-KILL', '-TERM'])(
    'is kept where the daemon ends meanwhile, too (%s)',
    async (signal) => {
      const { code, stdout } = await sandbox(`${TOOLS}
serve
as 0 tcp set,${PROGRAM} unset,${PROGRAM}
end ${signal}
serve
steal ${PROGRAM} 1
as 0 tcp set,${PROGRAM} set,${PROGRAM},2049,2 unset,${PROGRAM},2049,2
end ${signal}
serve
steal ${PROGRAM} 1
as 0 tcp get,${PROGRAM}
end -TERM`);
      expect(code, stdout).toBe(0);
      expect(stdout.match(/stolen 0 of many/g)).toHaveLength(2);
      expect(stdout.trim().split('\n').at(-1)).toBe(`get,${PROGRAM} 2049`);
    },
    60_000,
  );

  it('is free after the time that --hold says, and at once with --hold 0', async () => {
    const { code, stdout } = await sandbox(`${TOOLS}
serve --hold 1
as 1000 tcp set,${PROGRAM} unset,${PROGRAM}
got() { as 1001 tcp set,${PROGRAM} | grep -q true; }
wait_for got && echo free
end -TERM
serve --hold 0 --cold
as 1000 tcp set,${PROGRAM} unset,${PROGRAM}
as 1001 tcp set,${PROGRAM}
end -TERM
serve --hold 3600; end -TERM
node $BIN/rpcbind-ts/main.js --hold 3601 || echo "exit $?"
node $BIN/rpcbind-ts/main.js --hold=-1 || echo "exit $?"`);
    expect(code, stdout).toBe(0);
    expect(stdout).toContain('free\n');
    expect(stdout).toContain(`unset,${PROGRAM} true\nset,${PROGRAM} true\n`);
    expect(stdout.match(/exit 2/g)).toHaveLength(2);
  }, 60_000);
});

describeWith(['sandbox', 'setpriv', 'root'], 'a program of the system', () => {
  it.each(['local', 'tcp'])(
    'is registered by root, over %s, and by no other',
    async (way) => {
      const { code, stdout } = await sandbox(`${TOOLS}
serve
for program in 100003 100005 100024 100227; do as 65534 ${way} set,$program; done
as 65534 ${way} set,${PROGRAM},1023 set,${PROGRAM},1024
as 0 ${way} set,100005 set,100005,600,3
end -TERM
cat /run/log`);
      expect(code, stdout).toBe(0);
      expect(stdout.split('\n').slice(0, 8)).toEqual([
        'set,100003 false',
        'set,100005 false',
        'set,100024 false',
        'set,100227 false',
        `set,${PROGRAM},1023 false`,
        `set,${PROGRAM},1024 true`,
        'set,100005 true',
        'set,100005,600,3 true',
      ]);
      expect(stdout).toMatch(/refused SET 100005 .*: the program is reserved for other users than 65534/);
      expect(stdout).toMatch(/refused SET .* 0\.0\.0\.0\.3\.255 .*: ports below 1024 are reserved/);
    },
    60_000,
  );

  it('is registered by who started the daemon as well, and by no other user', async () => {
    const { code, stdout } = await sandbox(`${TOOLS}
setpriv --reuid 1000 --regid 1000 --clear-groups node $BIN/rpcbind-ts/main.js --port 1111 --no-local --no-state-dir >/run/log 2>&1 & DAEMON=$!
wait_for grep -q serving /run/log
export RPCBIND_PORT=1111
as 1000 tcp set,100005
as 1001 tcp set,100003
as 0 tcp set,100003
end -TERM`);
    expect(code, stdout).toBe(0);
    expect(stdout.trim().split('\n')).toEqual(['set,100005 true', 'set,100003 false', 'set,100003 true']);
  }, 60_000);

  it('is registered by root over TCP alone where peers of the local socket cannot be told, and the daemon says so', async () => {
    const { code, stdout } = await sandbox(`${TOOLS}
export RPC_NATIVE=0
serve --user root
as 0 local set,100005
as 0 tcp set,100005
as 65534 tcp set,100003
grep -c 'reserved programs can be registered only over TCP or from a reserved port' /run/log
end -TERM`);
    expect(code, stdout).toBe(0);
    expect(stdout.trim().split('\n')).toEqual([
      'set,100005 false',
      'set,100005 true',
      'set,100003 false',
      '1',
    ]);
  }, 60_000);

  it('is registered by whom the operator’s file names, which is read again on SIGHUP', async () => {
    const { code, stdout } = await sandbox(`${TOOLS}
cat > /run/programs <<'END'
# who may register what
100005: 1000, root
status: nobody # by their names
100020-100022: *
*: 1001
END
serve --programs /run/programs
as 1000 tcp set,100005,600 set,100003 set,100021 set,${PROGRAM}
as 1001 tcp set,${PROGRAM}
as 65534 tcp set,100024
echo '100003: 1000' > /run/programs
kill -HUP $DAEMON; wait_for grep -q 'access lists again' /run/log
as 1000 tcp set,100003 set,100020 set,100005,2049,9
echo '100005: nosuchuser' > /run/programs
kill -HUP $DAEMON; wait_for grep -q 'are not changed' /run/log
as 1000 tcp set,100003,2049,4
grep 'are not changed' /run/log
end -TERM`);
    expect(code, stdout).toBe(0);
    const lines = stdout.trim().split('\n');
    expect(lines.slice(0, -1)).toEqual([
      'set,100005,600 true',
      'set,100003 false',
      'set,100021 true',
      `set,${PROGRAM} false`,
      `set,${PROGRAM} true`,
      'set,100024 true',
      'set,100003 true',
      'set,100020 false',
      'set,100005,2049,9 false',
      'set,100003,2049,4 true',
    ]);
    expect(lines.at(-1)).toMatch(/programs line 1: there is no user nosuchuser/);
  }, 60_000);

  it('is named wrongly in one line, and then nothing is served', async () => {
    const { code, stdout } = await sandbox(`${TOOLS}
try() { node $BIN/rpcbind-ts/main.js --no-state-dir --programs $1 && echo served || echo "exit $?"; }
for line in 'nosuch: root' '100005 root' '100005: nobody,' '7-3: root' '4294967296: root' '100005: a: b' '100005: 4294967296'; do
  echo "$line" > /run/programs; try /run/programs
done
for i in $(seq 1020); do echo '7: root'; done > /run/programs
serve --programs /run/programs; end -TERM
echo '7: root' >> /run/programs; try /run/programs
try /run/nosuch`);
    expect(code, stdout).toBe(0);
    expect(stdout.match(/exit 1/g)).toHaveLength(9);
    expect(stdout).not.toContain('served\n');
    expect(stdout.match(/^rpcbind-ts: \/run\/programs line/gm)).toHaveLength(8);
    expect(stdout).toContain('line 1: there is no program nosuch');
    expect(stdout).toContain('line 1: a user is missing');
    expect(stdout).toContain('line 1021: more than 1020 lines');
    expect(stdout).toContain('the programs file cannot be read');
  }, 60_000);
});
