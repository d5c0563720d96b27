/** printmsg between TypeScript and C, both ways: Debian's rpcgen and libtirpc on the other side. */

import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { describeWith, root, sandbox } from '../../support/sandbox.js';

const CLIENT = `
#include <rpc/rpc.h>
#include <stdio.h>
#include <stdlib.h>
#include "msg.h"
int main(int argc, char **argv) {
  CLIENT *client = clnt_create(argv[1], MESSAGEPROG, MESSAGEVERS, argv[2]);
  int *result;
  if (client == NULL) { clnt_pcreateerror(argv[1]); return 1; }
  result = printmessage_1(&argv[3], client);
  if (result == NULL) { clnt_perror(client, argv[1]); return 1; }
  printf("%s: %d\\n", argv[2], *result);
  clnt_destroy(client);
  return 0;
}
`;

const SERVER = `
#include <rpc/rpc.h>
#include <stdio.h>
#include "msg.h"
int *printmessage_1_svc(char **message, struct svc_req *request) {
  static int result = 1;
  printf("C console: %s\\n", *message);
  fflush(stdout);
  return &result;
}
`;

let folder = '';

const BUILD = `
cp "$MSG_X" "$FOLDER/msg.x"; cd "$FOLDER"
rpcgen msg.x
cflags=$(pkg-config --cflags libtirpc); libs=$(pkg-config --libs libtirpc)
cc -w $cflags -o client client.c msg_clnt.c $libs
cc -w $cflags -o server server.c msg_svc.c $libs
`;

const run = (script: string) =>
  sandbox(`${BUILD}${script}`, 60_000, { FOLDER: folder, MSG_X: path.join(root, 'services/printmsg/msg.x') });

describeWith(['sandbox', 'rpcbind', 'rpcgen', 'gcc', 'pkg-config', 'rpcinfo'], 'printmsg and C', () => {
  beforeAll(async () => {
    folder = await mkdtemp(path.join(tmpdir(), 'printmsg-'));
    await writeFile(path.join(folder, 'client.c'), CLIENT);
    await writeFile(path.join(folder, 'server.c'), SERVER);
  });
  afterAll(() => rm(folder, { recursive: true, force: true }));

  it('a C client calls our printmsg through our rpcbind, over UDP and TCP', async () => {
    const { code, stdout, stderr } = await run(`
      node $BIN/rpcbind-ts/main.js > daemon.log 2>&1 &
      wait_for rpcinfo -p 127.0.0.1
      node $BIN/rpcserve/main.js --host 127.0.0.1 printmsg > serve.log 2>&1 &
      wait_for grep -q published serve.log
      ./client 127.0.0.1 udp 'Hello from C'
      ./client 127.0.0.1 tcp 'Hello again'
      grep Hello serve.log
    `);
    expect({ code, stdout, stderr }).toEqual({
      code: 0,
      stdout: 'udp: 1\ntcp: 1\n127.0.0.1: Hello from C\n127.0.0.1: Hello again\n',
      stderr: '',
    });
  });

  it('our rprintmsg calls a C server that is registered in Debian’s rpcbind, over UDP and TCP', async () => {
    const { code, stdout, stderr } = await run(`
      rpcbind -w 2>/dev/null
      wait_for rpcinfo -p 127.0.0.1
      ./server > console.log 2>&1 &
      wait_for rpcinfo -u 127.0.0.1 536870913 1
      node $BIN/rprintmsg/main.js 127.0.0.1 'Hello C' 3
      node $BIN/rprintmsg/main.js --transport tcp 127.0.0.1 'Hello C over TCP'
      cat console.log
    `);
    expect({ code, stdout, stderr }).toEqual({
      code: 0,
      stdout: [
        'Message delivered to 127.0.0.1 3 times',
        'Message delivered to 127.0.0.1',
        ...Array<string>(3).fill('C console: Hello C'),
        'C console: Hello C over TCP',
        '',
      ].join('\n'),
      stderr: '',
    });
  });

  it('Debian’s rpcinfo sees our daemon and our service', async () => {
    const { code, stdout } = await run(`
      node $BIN/rpcbind-ts/main.js > daemon.log 2>&1 &
      wait_for rpcinfo -p 127.0.0.1
      node $BIN/rpcserve/main.js --host 127.0.0.1 printmsg > serve.log 2>&1 &
      wait_for grep -q published serve.log
      rpcinfo -p 127.0.0.1
      rpcinfo -u 127.0.0.1 536870913 1
      rpcinfo -t 127.0.0.1 536870913 1
    `);
    expect(code).toBe(0);
    expect(stdout).toMatch(/ 100000 +2 +udp +111 +portmapper\n/);
    expect(stdout).toMatch(/ 100000 +2 +tcp +111 +portmapper\n/);
    expect(stdout).toMatch(/ 536870913 +1 +udp +\d+\n 536870913 +1 +tcp +\d+\n/);
    expect(stdout.match(/program 536870913 version 1 ready and waiting\n/g)).toHaveLength(2);
  });
});
