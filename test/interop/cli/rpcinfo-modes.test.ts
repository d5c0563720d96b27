/** Every mode of rpcinfo-ts beside Debian's rpcinfo: against Debian's rpcbind and against ours. */

import { expect, it, vi } from 'vitest';
import { compare, type Pair } from '../../support/rivals.js';
import { describeWith } from '../../support/sandbox.js';

// Dozens of processes a test, on whatever machine.
vi.setConfig({ testTimeout: 120_000 });

/** A program with versions 2, 3 and 5, and one that is registered and dead. */
const SERVICES = `
cat > /run/gaps.mjs <<'END'
const { createServer } = await import(process.env.BIN + '/../runtime/index.js');
const service = (version) => ({ program: 0x20000777, version, name: 'GAPS', procedures: [] });
const server = createServer({ services: [2, 3, 5].map(service) });
const udp = await server.listenUdp({ host: '0.0.0.0', port: 0 });
const tcp = await server.listenTcp({ host: '0.0.0.0', port: 0 });
const uaddr = (port) => '0.0.0.0.' + (port >> 8) + '.' + (port & 255);
console.log('U=' + uaddr(udp.port) + ' T=' + uaddr(tcp.port) + ' P=' + tcp.port);
END
node /run/gaps.mjs > /run/gaps & GAPS=$!
wait_for grep -q U= /run/gaps
. /run/gaps
for v in 2 3 5; do
  node $BIN/rpcinfo-ts/main.js set 0x20000777 $v udp $U
  node $BIN/rpcinfo-ts/main.js set 0x20000777 $v tcp $T
done
node $BIN/rpcinfo-ts/main.js set 100024 1 tcp6 ::.156.101
node $BIN/rpcinfo-ts/main.js set 100024 1 tcp 0.0.0.0.172.167
node $BIN/rpcinfo-ts/main.js set 4294967295 2147483647 tcp 0.0.0.0.255.255
`;

const TABLES = [
  '-p',
  '-p 127.0.0.1',
  '-p localhost',
  '',
  '127.0.0.1',
  '-s',
  '-s 127.0.0.1',
  '-s ::1',
  '-l 127.0.0.1 100000 2',
  '-l ::1 100000 3',
  '-l localhost 536872823 3',
  '-l 127.0.0.1 536872823 9',
  '-l 127.0.0.1 4294967295 2147483647',
];

const PINGS = [
  '-u 127.0.0.1 100000',
  '-t 127.0.0.1 100000',
  '-u localhost portmapper 3',
  '-t localhost sunrpc 2',
  '-u ::1 100000 3',
  '-u 127.0.0.1 536872823',
  '-t 127.0.0.1 536872823',
  '-u 127.0.0.1 536872823 5',
  '-t 127.0.0.1 536872823 4',
  '-u 127.0.0.1 536872823 4',
  '-u ::1 536872823',
  '-t 127.0.0.1 12345',
  '-t 127.0.0.1 12345 1',
  '-t 127.0.0.1 status',
  '-T tcp 127.0.0.1 100000',
  '-T udp 127.0.0.1 536872823 2',
  '-T tcp6 ::1 100000 4',
  '-T local 127.0.0.1 100000 3',
  '-T tcp 127.0.0.1 12345',
  '-T tcp 127.0.0.1 status 1',
  '-a 127.0.0.1.0.111 -T tcp 100000',
  '-a 127.0.0.1.0.111 -T udp 100000 9',
  '-a ::1.0.111 -T udp6 100000 3',
  '-a /run/rpcbind.sock -T local 100000 3',
  '-a 127.0.0.1.0.112 -T tcp 100000',
  '-a 127.0.0.1.0.112 -T udp 100000 3',
];

/** Each deletes what it asks for, so the table before and after is compared too. */
const DELETIONS = ['-d 100024 9', '-d -T tcp 100024 1', '-s', '-d 536872823 2', '-d 536872823 2', '-p', '-s'];

const MISTAKES = [
  '-u 127.0.0.1 nosuch',
  '-u 127.0.0.1 100000 x',
  '-T nope 127.0.0.1 100000',
  '-u 127.0.0.1',
  '-l h 1',
  '-x',
  '-b 1',
];

const both = (modes: readonly string[]): string => modes.map((mode) => `both ${mode}`).join('\n');

/** Ours says its own name, and adds what to do. */
function expectSame({ args, theirs, ours }: Pair): void {
  expect({ args, code: ours.code, stdout: ours.stdout }).toEqual({
    args,
    code: theirs.code,
    stdout: theirs.stdout,
  });
  expect({ args, stderr: ours.stderr }).toEqual({
    args,
    stderr: theirs.stderr.replaceAll(/^rpcinfo: /gm, 'rpcinfo-ts: '),
  });
}

const DEBIANS = 'rpcbind -w -r\nwait_for rpcinfo -p 127.0.0.1\nwait_for rpcinfo -s\n';
const DAEMONS = {
  "Debian's rpcbind": DEBIANS,
  'our rpcbind':
    'node $BIN/rpcbind-ts/main.js -r --no-state-dir >/run/log &\nwait_for rpcinfo -p 127.0.0.1\nwait_for rpcinfo -s\n',
};

for (const [daemon, start] of Object.entries(DAEMONS)) {
  describeWith(
    ['sandbox', 'rpcbind', 'rpcinfo'],
    `rpcinfo-ts beside Debian's rpcinfo, asking ${daemon}`,
    () => {
      it('prints the same tables', async () => {
        const { pairs, outcome } = await compare(`${start}${SERVICES}${both(TABLES)}`);
        expect(pairs.length, outcome.stderr).toBe(TABLES.length);
        for (const pair of pairs) expectSame(pair);
        expect(pairs[0]?.ours.stdout).toMatch(/\n 536872823 {4}5 {3}tcp +\d+\n/);
      });

      it('says the same of services that answer, that do not, and that are not there', async () => {
        const { pairs, outcome } = await compare(`${start}${SERVICES}${both(PINGS)}`);
        expect(pairs.length, outcome.stderr).toBe(PINGS.length);
        for (const pair of pairs) expectSame(pair);
      });

      it('prints the same statistics, but for the count that its own question adds', async () => {
        const { pairs, outcome } = await compare(
          `${start}${SERVICES}${both(PINGS.slice(0, 8))}\n${both(['-m', '-m 127.0.0.1'])}`,
        );
        expect(pairs.length, outcome.stderr).toBe(10);
        for (const { theirs, ours } of pairs.slice(-2)) {
          const last = /^VERADDR.*\n(.*)$/m;
          const counts = (text: string): number[] =>
            (last.exec(text)?.[1] ?? '').trim().split(/ +/).map(Number);
          expect(ours.stdout.replace(last, '')).toBe(theirs.stdout.replace(last, ''));
          const [before, after] = [counts(theirs.stdout), counts(ours.stdout)];
          expect(after).toEqual([...before.slice(0, 3), (before[3] ?? 0) + 1]);
        }
      });

      it('deletes the same registrations', async () => {
        const ours = DELETIONS.map((mode) => `node $BIN/rpcinfo-ts/main.js ${mode}; echo "[$?]"`).join('\n');
        const theirs = DELETIONS.map((mode) => `rpcinfo ${mode}; echo "[$?]"`).join('\n');
        const run = async (commands: string): Promise<string> =>
          (await compare(`${start}${SERVICES}set +e\necho @@\n${commands}`)).outcome.stdout
            .replace(/^[\s\S]*@@\n/, '')
            .replaceAll(/ (udp|tcp) +\d{4,5}/g, ' $1  PORT');
        const printed = await run(ours);
        expect(printed).toContain(' 536872823  5,3 ');
        expect(printed).toBe(await run(theirs));
      });

      it('refuses what rpcinfo refuses, in one line, and exits 2 where rpcinfo exits 1', async () => {
        const { pairs, outcome } = await compare(`${start}${both(MISTAKES)}`);
        expect(pairs.length, outcome.stderr).toBe(MISTAKES.length);
        for (const { args, theirs, ours } of pairs) {
          expect({ args, code: theirs.code }).toEqual({ args, code: 1 });
          expect({ args, code: ours.code, stdout: ours.stdout }).toEqual({ args, code: 2, stdout: '' });
          const [reason = ''] = /^rpcinfo: (.*)$/m.exec(theirs.stderr)?.slice(1) ?? [];
          if (!/^(Usage|invalid option)/.test(reason) && reason !== '') expect(ours.stderr).toContain(reason);
        }
      });
    },
  );
}

describeWith(['sandbox', 'rpcinfo'], 'rpcinfo-ts where no rpcbind answers', () => {
  it('fails as rpcinfo does, with one line that says where and what to do', async () => {
    const modes = [
      '-p',
      '',
      '-s',
      '-m 127.0.0.1',
      '-l 127.0.0.1 100000 2',
      '-u 127.0.0.1 100000',
      '-t 127.0.0.1 100000',
      '-d 100000 3',
    ];
    const { pairs } = await compare(both(modes));
    expect(pairs.length).toBe(modes.length);
    for (const { theirs, ours } of pairs) {
      expect(ours).toEqual({
        code: theirs.code,
        stdout: theirs.stdout,
        stderr:
          'rpcinfo-ts: no rpcbind answers at 127.0.0.1 port 111: Connection refused (start one there, or name its port with --port)\n',
      });
    }
  });
});

describeWith(['sandbox', 'rpcbind', 'rpcinfo'], 'rpcinfo-ts asking about a server that died', () => {
  it('says what rpcinfo says', async () => {
    const modes = [
      '-u 127.0.0.1 536872823',
      '-t 127.0.0.1 536872823',
      '-u 127.0.0.1 536872823 3',
      '-t 127.0.0.1 536872823 3',
      '-T tcp 127.0.0.1 536872823 3',
    ];
    const { pairs, outcome } = await compare(`${DEBIANS}${SERVICES}kill -9 $GAPS\n${both(modes)}`);
    expect(pairs.length, outcome.stderr).toBe(modes.length);
    for (const pair of pairs) expectSame(pair);
  });

  it('lets only its owner delete a registration', async () => {
    const { outcome } = await compare(
      `${DEBIANS}${SERVICES}set +e; chmod 755 /run
setpriv --reuid 65534 --clear-groups node $BIN/rpcinfo-ts/main.js -d 536872823 2; echo "[$?]"`,
    );
    expect(outcome.stdout).toContain('[1]');
    expect(outcome.stderr).toContain(
      'rpcinfo-ts: Could not delete registration for prog 536872823 version 2: it belongs to another user',
    );
  });
});
