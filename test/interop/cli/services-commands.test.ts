/** Every service by its own command, through our rpcbind and through Debian's, over TCP and UDP. */

import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { describeWith, sandbox } from '../../support/sandbox.js';

const SERVICES = `
mkdir -p pub files
touch pub/b pub/a
head -c 2000000 /dev/urandom > big
head -c 50000 /dev/urandom > small
node $BIN/rpcserve/main.js --host 127.0.0.1 --set root=$PWD/pub --set kv-folder=$PWD/kv --set files-folder=$PWD/files \\
  --set exec-allow=echo,cat,false remotedir kv files exec methods > serve.log 2> exec.log &
serving=$!
wait_for grep -q published serve.log
c() { name=$1; shift; node $BIN/$name/main.js "$@" || echo "$name ended with $?"; }
`;

const COMMANDS = `
for way in tcp udp; do
  echo "--- $way"
  c rls --transport $way 127.0.0.1 $PWD/pub
  c rls --transport $way 127.0.0.1 /etc
  c rkv --transport $way 127.0.0.1 put key one
  c rkv --transport $way 127.0.0.1 put key two
  c rkv --transport $way --show 127.0.0.1 update key three
  c rkv --transport $way 127.0.0.1 get key
  c rkv --transport $way 127.0.0.1 list
  c rkv --transport $way 127.0.0.1 delete key
  c rkv --transport $way 127.0.0.1 delete key
  c rput --transport $way 127.0.0.1 small --as small-$way
  c rget --transport $way 127.0.0.1 small-$way -o small-$way
  cmp small small-$way && echo same
  c rmethods --transport $way 127.0.0.1 call add 2 3
  c rmethods --transport $way 127.0.0.1 multicall '["multiply", 2, 3]' '["divide", 1, 0]' '["countPrimes", 1000]'
done
echo "--- tcp only"
c rput 127.0.0.1 big
c rget 127.0.0.1 big -o big2
cmp big big2 && echo same
c rput 127.0.0.1 --remove big
c rget 127.0.0.1 big -o big3
c rexec-ts 127.0.0.1 -- echo 'hello; there'
c rexec-ts 127.0.0.1 -- false
c rexec-ts 127.0.0.1 -- id
c rexec-ts --transport udp 127.0.0.1 -- echo no
printf 'passed on' | c rexec-ts --stdin 127.0.0.1 -- cat
echo
node $BIN/rkv/main.js --count 2 127.0.0.1 watch > watch.out 2> watch.err &
watching=$!
wait_for grep -q watching watch.err
c rkv 127.0.0.1 put w 1
c rkv 127.0.0.1 delete w
wait $watching
cut -d' ' -f2- watch.out
node $BIN/rget/main.js --follow --count 1 127.0.0.1 > follow.out 2> follow.err &
following=$!
wait_for grep -q following follow.err
c rput 127.0.0.1 --notice 'to all'
wait $following
cut -d' ' -f2- follow.out
kill -TERM $serving
wait $serving
rpcinfo -p 127.0.0.1 2>/dev/null | grep -c 5368 || true
grep -c '"event":"refused"' exec.log
`;

const EACH = (way: string): string => `--- ${way}
a
b
rls: /etc on 127.0.0.1: not exported, or no permission
rls ended with 1
rkv: key: the key is there already (update changes it)
rkv ended with 1
key\tthree
three
key\tthree
rkv: key: no such key (put makes it)
rkv ended with 1
small-${way} is on 127.0.0.1, its checksum is right
small-${way} of 127.0.0.1 is in small-${way}, its checksum is right
same
5
6
fault 1001: division by zero
168
`;
const EXPECTED = `${EACH('tcp')}${EACH('udp')}--- tcp only
big is on 127.0.0.1, its checksum is right
big of 127.0.0.1 is in big2, its checksum is right
same
rget: big: no such file
rget ended with 1
hello; there
rexec-ts ended with 1
rexec-ts: 127.0.0.1: the command is not on the server's list (echo, cat, false)
rexec-ts ended with 1
rexec-ts: EXEC_CALL at REFUSED
rexec-ts ended with 1
passed on
put w
delete w
to all
0
1
`;

let folder = '';
beforeAll(async () => {
  folder = await mkdtemp(path.join(tmpdir(), 'commands-'));
});
afterAll(() => rm(folder, { recursive: true, force: true }));

async function outputWith(name: string, daemon: string): Promise<string> {
  const own = path.join(folder, name);
  const script = `mkdir -p "$FOLDER"; cd "$FOLDER"; exec 2>&1\n${daemon}\n${SERVICES}${COMMANDS}`;
  const { stdout } = await sandbox(script, 110_000, { FOLDER: own });
  return stdout.replace(/EXEC_CALL at .*/, 'EXEC_CALL at REFUSED');
}

describeWith(['sandbox', 'rpcinfo'], 'every service by its own command', () => {
  it('through our rpcbind', async () => {
    const daemon = 'node $BIN/rpcbind-ts/main.js > daemon.log 2>&1 &\nwait_for rpcinfo -p 127.0.0.1';
    expect(await outputWith('ours', daemon)).toBe(EXPECTED);
  }, 120_000);

  describeWith(['rpcbind'], 'and where Debian’s is installed', () => {
    it('through that', async () => {
      expect(await outputWith('debian', 'rpcbind -w 2>/dev/null\nwait_for rpcinfo -p 127.0.0.1')).toBe(
        EXPECTED,
      );
    }, 120_000);
  });
});

describeWith(['sandbox', 'rpcinfo'], 'rpcserve', () => {
  it('does not serve exec on a door of everybody', async () => {
    const { stdout } = await sandbox(
      `for host in 0.0.0.0 ::; do node $BIN/rpcserve/main.js --no-publish --host $host exec 2>&1; echo "ended with $?"; done`.replaceAll(
        '2>&1;',
        '2>&1 && true;',
      ),
    );
    expect(stdout).toBe(
      ['0.0.0.0', '::']
        .map(
          (host) =>
            `rpcserve: exec does not listen on ${host} without an authenticated flavor: use --host 127.0.0.1\nended with 1\n`,
        )
        .join(''),
    );
  });

  it('says what a service lacks, and refuses settings that are none', async () => {
    const lines = [
      'remotedir',
      'files',
      '--set kv-folder=/dev/null/kv kv',
      '--set exec-allow=no-such-command exec',
      '--set rot=/x remotedir',
    ];
    const { stdout } = await sandbox(
      lines
        .map((line) => `node $BIN/rpcserve/main.js --no-publish ${line} 2>&1 && true; echo "ended with $?"`)
        .join('\n'),
    );
    expect(stdout.split('\n').filter((line) => line.startsWith('ended'))).toEqual([
      'ended with 2',
      'ended with 2',
      'ended with 1',
      'ended with 2',
      'ended with 2',
    ]);
    expect(stdout).toContain('rpcserve: remotedir needs directories to export: --set root=...');
    expect(stdout).toContain('no setting is called rot');
  });
});
