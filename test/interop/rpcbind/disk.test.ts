/** The daemon on a disk that fills up, and one whose journal cannot be written anew. */

import { cp, mkdir, mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterEach, expect, it } from 'vitest';
import { connectRpcbind, createRpcbind } from '../../../rpcbind/index.js';
import { JOURNAL_FILE, LOCK_FILE } from '../../../rpcbind/internal.js';
import { describeWith, sandbox } from '../../support/sandbox.js';

const PROGRAM = 0x2000_0500;

/** Registers until the daemon will not, and tells of what there is; `again` once there is room. */
const CALLER = `
cat > /run/caller.mjs <<'END'
import { connectRpcbind } from '/run/project/dist/rpcbind/index.js';
const client = await connectRpcbind({ host: '127.0.0.1', transport: 'tcp', timeoutMs: 5000 });
const [what, count] = process.argv.slice(2);
const of = (n) => ({ program: ${PROGRAM} + n, version: 1, protocol: 'udp' });
const set = (n) => client.set({ ...of(n), port: 1024 + n });
if (what === 'fill') {
  let done = 0;
  try { while (done < 5000 && await set(done)) done += 1; } catch (error) { console.error(error.message); }
  console.log(done);
} else if (what === 'again') console.log('again', await set(Number(count)));
else {
  let wrong = 0;
  for (let n = 0; n < count; n++) if (await client.getport(of(n)) !== 1024 + n) wrong += 1;
  console.log(what, 'wrong', wrong, 'beyond', await client.getport(of(Number(count))));
}
await client.close();
END
`;

const START = `node $BIN/rpcbind-ts/main.js --host 127.0.0.1 --no-local --state-dir /run/state`;

describeWith(['sandbox', 'root'], 'rpcbind-ts on a full disk', () => {
  const disk = `exec 2>&1
${CALLER}
mkdir /run/state; mount -t tmpfs -o size=256k,mode=755 tmpfs /run/state
dd if=/dev/zero of=/run/state/filler bs=64k count=2 status=none
`;

  it('refuses what it cannot keep, keeps what it has acknowledged, and goes on when there is room', async () => {
    const { code, stdout } = await sandbox(`${disk}
${START} >/run/log 2>&1 & DAEMON=$!
wait_for node /run/caller.mjs null 0
DONE=$(node /run/caller.mjs fill 2>/run/why)
cat /run/why; echo "done $DONE"
node /run/caller.mjs full $DONE
rm /run/state/filler
node /run/caller.mjs again $DONE
kill -9 $DAEMON; wait $DAEMON || true
${START} >>/run/log 2>&1 & DAEMON=$!
wait_for node /run/caller.mjs null 0
node /run/caller.mjs later $((DONE + 1))
node /run/caller.mjs again $((DONE + 1))
kill -9 $DAEMON; wait $DAEMON || true
${START} >>/run/log 2>&1 & DAEMON=$!
wait_for node /run/caller.mjs null 0
node /run/caller.mjs last $((DONE + 2))
kill $DAEMON; wait $DAEMON; ENDED=$?
grep -c 'stays long for now: ENOSPC' /run/log
grep -c 'cannot be kept in /run/state: ENOSPC' /run/log
echo "ended $ENDED"
tail -n 1 /run/log; ls /run/state`);
    expect(code, stdout).toBe(0);
    expect(Number(/^done (\d+)$/m.exec(stdout)?.[1])).toBeGreaterThan(100);
    expect(stdout).toMatch(/the server failed while running the procedure/);
    expect(stdout).toMatch(/^full wrong 0 beyond 0$/m);
    expect(stdout).toMatch(/^again true$.*^again true$/ms);
    expect(stdout).toMatch(/^later wrong 0 beyond 0$/m);
    expect(stdout).toMatch(/^last wrong 0 beyond 0$/m);
    // A journal of half the disk: no room for a new one beside it at both starts and at the end, nor once for a line.
    expect(stdout).toMatch(/^3\n1\nended 0\n.*stays long.*\nportmap.xdr\nrpcbind.journal\nrpcbind.xdr$/m);
  }, 90_000);

  it('aborts on such a fault where -d and -a say so, for whoever wants the core', async () => {
    const { code, stdout } = await sandbox(`${disk}
ulimit -c 0
${START} -d -a >/run/log 2>&1 & DAEMON=$!
wait_for node /run/caller.mjs null 0
node /run/caller.mjs fill >/dev/null || true
wait $DAEMON || echo "ended $?"`);
    expect(code, stdout).toBe(0);
    expect(stdout).toMatch(/^ended 134$/m);
  }, 90_000);
});

describeWith([], 'a journal that cannot be written anew', () => {
  const folders: string[] = [];
  afterEach(async () => {
    for (const folder of folders.splice(0)) await rm(folder, { recursive: true });
  });

  it('stays long: what is registered and taken back goes on, and nothing is lost', async () => {
    const folder = await mkdtemp(path.join(tmpdir(), 'rpcbind-ts-'));
    const copy = `${folder}-copy`;
    folders.push(folder, copy);
    const warnings: string[] = [];
    const options = { port: 0, liveness: 'off', stateFolder: folder } as const;
    await using rpcbind = await createRpcbind({ ...options, onWarning: (text) => warnings.push(text) });
    await mkdir(path.join(folder, `${JOURNAL_FILE}.new`));
    const client = await connectRpcbind({ port: rpcbind.port, transport: 'tcp', timeoutMs: 5_000 });
    const set = (version: number): Promise<boolean> =>
      client.set({ program: PROGRAM, version, protocol: 'udp', port: 4242 });
    expect(await set(1)).toBe(true);
    for (let i = 0; i < 2_100; i++) {
      expect(await set(2)).toBe(true);
      expect(await client.unset({ program: PROGRAM, version: 2 })).toBe(true);
    }
    expect(warnings).toEqual([expect.stringMatching(/rpcbind\.journal stays long for now: EISDIR/)]);
    expect(await set(3)).toBe(true);
    await client.close();
    // As after SIGKILL.
    await rm(path.join(folder, `${JOURNAL_FILE}.new`), { recursive: true });
    await cp(folder, copy, { recursive: true, filter: (file) => !file.endsWith(LOCK_FILE) });
    await using next = await createRpcbind({ ...options, stateFolder: copy });
    const versions = next.registrations().filter(({ program }) => program === PROGRAM);
    expect(versions.map(({ version }) => version)).toEqual([1, 3]);
  }, 30_000);
});
