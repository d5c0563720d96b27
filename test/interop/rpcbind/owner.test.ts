/** Who may take back what: another user may not, by whatever way it comes. */

import { expect, it } from 'vitest';
import { describeWith, sandbox } from '../../support/sandbox.js';

/** A client of ours, as a script that a user without rights can run: WAY, then what to do. */
const CALLS = `
cat > /run/call.mjs <<'END'
const { connectRpcbind } = await import(process.env.BIN + '/../rpcbind/index.js');
const [way, what] = process.argv.slice(2);
const client = await connectRpcbind({ transport: way, timeoutMs: 4000, retransmitMs: 1000 });
const of = { program: 0x20000200, version: 1 };
const replace = { ...of, netid: 'udp', address: '0.0.0.0.9.9' };
const jobs = {
  set: () => client.setAddress({ ...of, netid: 'udp', address: '0.0.0.0.8.1' }),
  setTcp: () => client.setAddress({ ...of, netid: 'tcp', address: '0.0.0.0.8.1' }),
  replace: () => client.setAddress(replace),
  unset: () => client.unsetAddress({ ...of, netid: 'udp' }),
  unsetAll: () => client.unsetAddress(of),
  unsetOld: () => client.unset(of),
};
console.log(way, what, await jobs[what]().catch((error) => error.code));
await client.close();
END
chmod 644 /run/call.mjs; chmod 755 /run
as() { setpriv --reuid $1 --regid $1 --clear-groups node /run/call.mjs $2 $3; }
`;

const START = `exec 2>&1
${CALLS}
node $BIN/rpcbind-ts/main.js --no-state-dir >/run/log 2>&1 & DAEMON=$!
wait_for grep -q serving /run/log
`;

describeWith(['sandbox', 'setpriv'], 'a registration', () => {
  it.each(['local', 'tcp'])(
    'made over %s can be taken back by its owner and root alone',
    async (way) => {
      const { code, stdout } = await sandbox(`${START}
as 1000 ${way} set
node $BIN/rpcinfo-ts/main.js | grep 536871424 || true
for by in local udp tcp; do for what in replace unset unsetAll unsetOld; do as 1001 $by $what; done; done
echo "== still there"; as 1000 ${way} set
echo "== owner"; as 1000 ${way} unset; as 1000 ${way} set
echo "== root"; as 0 tcp unset
kill $DAEMON`);
      expect(code, stdout).toBe(0);
      const [strangers = '', still = '', owner = '', byRoot = ''] = stdout.split(/^== .*\n/m);
      expect(strangers).toMatch(new RegExp(`^${way} set true$`, 'm'));
      expect(strangers.match(/ (replace|unset|unsetAll|unsetOld) false$/gm)).toHaveLength(12);
      expect(still).toBe(`${way} set true\n`);
      expect(owner).toBe(`${way} unset true\n${way} set true\n`);
      expect(byRoot).toBe('tcp unset true\n');
    },
    60_000,
  );

  it('made over UDP from an unprivileged port is of unknown: no known user takes it back but root', async () => {
    const { code, stdout } = await sandbox(`${START}
as 1000 udp set
for by in local tcp; do for what in replace unset unsetAll unsetOld; do as 1000 $by $what; done; done
echo "== unknown"; as 1001 udp unset; as 1000 udp set
echo "== root"; as 0 local unset
kill $DAEMON`);
    expect(code, stdout).toBe(0);
    const [known = '', unknown = '', byRoot = ''] = stdout.split(/^== .*\n/m);
    expect(known.match(/ (replace|unset|unsetAll|unsetOld) false$/gm)).toHaveLength(8);
    expect(unknown).toBe('udp unset true\nudp set true\n');
    expect(byRoot).toBe('local unset true\n');
  }, 60_000);

  it('of which one part is another’s is not taken back in part', async () => {
    const { code, stdout } = await sandbox(`${START}
as 1000 tcp set; as 1001 tcp setTcp; as 0 tcp setTcp
as 1000 tcp unsetAll; as 1001 tcp unsetAll
as 1001 tcp set; as 1000 tcp setTcp
as 1000 tcp unset; as 0 tcp unsetAll
kill $DAEMON`);
    expect(code, stdout).toBe(0);
    expect(stdout.trim().split('\n')).toEqual([
      'tcp set true',
      // The program is the first user's: only root may register a part of it.
      'tcp setTcp false',
      'tcp setTcp true',
      'tcp unsetAll false',
      'tcp unsetAll false',
      // Both are there still: the same again is no change, whoever asks.
      'tcp set true',
      'tcp setTcp true',
      'tcp unset true',
      'tcp unsetAll true',
    ]);
  }, 60_000);

  it('made over the local socket is of unknown where peers cannot be told, and the daemon says so', async () => {
    const { code, stdout } = await sandbox(`exec 2>&1
${CALLS}
RPC_NATIVE=0 node $BIN/rpcbind-ts/main.js --user root --no-state-dir >/run/log 2>&1 & DAEMON=$!
wait_for grep -q serving /run/log
cat /run/log
as 1000 local set; as 1001 tcp unset; as 1001 local unset; as 1000 local set; as 0 tcp unset
kill $DAEMON`);
    expect(code, stdout).toBe(0);
    expect(stdout).toMatch(/warning: users of the local socket cannot be identified/);
    expect(stdout.trim().split('\n').slice(-5)).toEqual([
      'local set true',
      'tcp unset false',
      'local unset true',
      'local set true',
      'tcp unset true',
    ]);
  }, 60_000);
});
