/** What only a sandbox may see: a fork bomb, a full disk, a caller from afar. */

import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { describeWith, sandbox } from '../../support/sandbox.js';

let folder = '';
beforeAll(async () => {
  folder = await mkdtemp(path.join(tmpdir(), 'sandboxed-'));
});
afterAll(() => rm(folder, { recursive: true, force: true }));

/** A script for node that has what it needs of the built project in scope. */
const node = (text: string): string => `cd "$ROOT"; node --input-type=module -e '
const { connectTcp, createClient, createServer, sysCredentials } = await import("./dist/runtime/index.js");
const services = await import("./dist/services/index.js");
const client = (host, port) => createClient(connectTcp({ host, port }));
const call = (name, args) => ({ function: name, args: args.map((arg) => Buffer.from(arg)), input: Buffer.alloc(0),
  encoding: "utf-8", time_ms: 0, token: Buffer.alloc(16) });
${text}
'`;

const run = (script: string, limitMs = 60_000) =>
  sandbox(script, limitMs, { FOLDER: folder, ROOT: '/run/project' });

describeWith(['sandbox', 'setpriv', 'prlimit'], 'exec in a sandbox', () => {
  it.each([
    ['a fork bomb', 'b() { b | b & }; b; sleep 60', 64],
    ['a fork bomb that may have as many processes as there can be', 'b() { b | b & }; b; sleep 60', 100_000],
    ['a fork bomb that ignores SIGTERM', "trap '' TERM; b() { b | b & }; b; sleep 60", 100_000],
    [
      'a fork bomb that leaves its session',
      'export F=/tmp/f; echo "setsid sh $F & setsid sh $F & sleep 60" > $F; sh $F; sleep 60',
      64,
    ],
  ])('ends %s within the limit and leaves nothing', async (_what, line, maxProcesses) => {
    const quoted = JSON.stringify(line).replaceAll("'", `'\\''`);
    const { stdout, stderr } = await run(`mount -t tmpfs tmpfs /tmp; chmod 1777 /tmp
export -n FOLDER; setpriv --reuid=65534 --regid=65534 --clear-groups prlimit --nproc=400:400 bash -c '${node(`
const exec = services.createExec({ freeShell: true, maxTimeMs: 3000, maxProcesses: ${maxProcesses}, log: () => undefined });
const server = createServer({ services: exec.services });
const { port } = await server.listenTcp({ host: "127.0.0.1" });
const rpc = client("127.0.0.1", port);
const from = Date.now();
const { outcome } = await new services.ExecProgV1Client(rpc).call(call("shell", [LINE]));
console.log("end", outcome.end, "soon", Date.now() - from < 5000);
await rpc.close(); await exec.close(); await server.close();
`)
      .replace('LINE', quoted)
      .replaceAll("'", `'\\''`)}'
ps -e -o user:20,args | grep -c -E "^(nobody|65534)" || true`);
    expect({ stdout, stderr: stderr.slice(0, 500) }).toEqual({
      stdout: expect.stringMatching(/^end [24] soon true\n0\n$/) as unknown,
      stderr: '',
    });
  });

  it('obeys nobody from another address, whoever he says he is', async () => {
    const { stdout, stderr } = await run(`ip addr add 10.99.0.1/32 dev lo
${node(`
const logged = [];
const exec = services.createExec({ commands: { id: "/usr/bin/id" }, log: (entry) => logged.push(entry) });
const server = createServer({ services: exec.services });
const { port } = await server.listenTcp({ host: "0.0.0.0" });
for (const host of ["10.99.0.1", "127.0.0.1"]) {
  const rpc = client(host, port);
  for (const credentials of [undefined, sysCredentials({ uid: 0, gid: 0, machineName: "localhost" })])
    try {
      const options = credentials === undefined ? {} : { credentials };
      const result = await new services.ExecProgV1Client(rpc).call(call("run", ["id"]), options);
      console.log(host, "status", result.status);
    } catch (error) {
      console.log(host, error.code);
    }
  await rpc.close();
}
console.log(logged.map(({ event, who }) => event + " " + who).join(", "));
await server.close();
`)}`);
    expect({ stdout, stderr }).toEqual({
      stdout: [
        '10.99.0.1 RPC_AUTH',
        '10.99.0.1 RPC_AUTH',
        '127.0.0.1 status 0',
        '127.0.0.1 status 0',
        'refused ?, refused uid 0 of localhost?, begin ?, end ?, begin uid 0 of localhost?, end uid 0 of localhost?',
        '',
      ].join('\n'),
      stderr: '',
    });
  });
});

describeWith(['sandbox', 'mount'], 'files on a full disk', () => {
  it('says so before the first piece and in the middle, and leaves nothing behind', async () => {
    const { stdout, stderr } = await run(`
mkdir -p "$FOLDER/small" "$FOLDER/local"; mount -t tmpfs -o size=32m tmpfs "$FOLDER/small"
head -c 40000000 /dev/urandom > "$FOLDER/local/over"; head -c 20000000 /dev/urandom > "$FOLDER/local/fits"
${node(`
const fs = await import("node:fs");
const folder = process.env.FOLDER;
const files = await services.createFiles({ folder: folder + "/small" });
const server = createServer({ services: files.services });
const { port } = await server.listenTcp({ host: "127.0.0.1" });
const rpc = client("127.0.0.1", port);
const say = (error) => console.log(error.message);
await services.uploadFile(rpc, folder + "/local/over", "over").catch(say);
console.log(fs.readdirSync(folder + "/small"));
let isFilled = false;
await services.uploadFile(rpc, folder + "/local/fits", "fits", { onProgress: (done) => {
  if (done > 4_000_000 && !isFilled) { isFilled = true; try { fs.writeFileSync(folder + "/small/filler", Buffer.alloc(40_000_000)); } catch {} }
} }).catch(say);
console.log(fs.readdirSync(folder + "/small"));
fs.unlinkSync(folder + "/small/filler");
await services.uploadFile(rpc, folder + "/local/fits", "fits");
console.log(fs.readdirSync(folder + "/small"));
fs.writeFileSync(folder + "/small/filler", Buffer.alloc(10_000_000));
await services.downloadFile(rpc, "fits", folder + "/small/copy").catch(say);
console.log(fs.readdirSync(folder + "/small"));
await rpc.close(); await files.close(); await server.close();
`)}`);
    expect({ stdout, stderr }).toEqual({
      stdout: [
        'over: the server has no room for it',
        '[]',
        'fits: the server has no room for it',
        "[ 'filler' ]",
        "[ 'fits' ]",
        'no room for fits on this side',
        "[ 'filler', 'fits' ]",
        '',
      ].join('\n'),
      stderr: '',
    });
  });
});
