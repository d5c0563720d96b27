/** RPC-with-TLS against OpenSSL: a C client of ours, and the judges beside the project where they are (JUDGES_DIR). */

import { readFileSync } from 'node:fs';
import path from 'node:path';
import { expect, it } from 'vitest';
import { describeWith, root, sandbox } from '../../support/sandbox.js';

const source = readFileSync(path.join(root, 'test/interop/fixtures/tlsclient.c'), 'utf8');
const judges = process.env['JUDGES_DIR'];

const SETUP = `exec 2>&1
cd $(mktemp -d -p /run)
cat > tlsclient.c <<'C'
${source}C
cc -O1 -o tlsclient tlsclient.c -lssl -lcrypto
cat > echo.mjs <<'JS'
const { string } = await import(process.env.BIN + '/../xdr/index.js');
const procedure = { program: 0x20000099, version: 1, number: 1, name: 'ECHO', args: string(), result: string() };
const handle = (text) => text;
export default { program: 0x20000099, version: 1, name: 'ECHO', procedures: [{ procedure, handle }] };
JS
node $BIN/rpccerts/main.js certs --user alice@example.org >/dev/null
serve() { node $BIN/rpcserve/main.js --no-publish --host 127.0.0.1 --tcp-port 7000 --tls-cert certs/server.pem --tls-key certs/server.key "$@" ./echo.mjs >log 2>&1 & SERVER=$!; wait_for grep -q serving log; }
stop() { kill $SERVER; wait $SERVER; }
`;

describeWith(['sandbox', 'cc'], 'RPC-with-TLS and OpenSSL', () => {
  it('serves a client of OpenSSL, and refuses what a policy forbids', async () => {
    const { stdout } = await sandbox(`${SETUP}set +e
serve
./tlsclient 7000 certs/ca.pem 1000; echo "none $?"
stop; serve --tls-ca certs/ca.pem --tls-policy mtls
./tlsclient 7000 certs/ca.pem 1000 certs/client.pem certs/client.key; echo "mtls $?"
./tlsclient 7000 certs/ca.pem 1 >/dev/null 2>&1; echo "without $?"
stop; echo "ended $?"`);
    expect(stdout).toBe(
      'TLSv1.3 ALPN sunrpc\n1000 calls answered\nnone 0\nTLSv1.3 ALPN sunrpc\n1000 calls answered\nmtls 0\nwithout 1\nended 0\n',
    );
  }, 60_000);

  it.runIf(judges !== undefined)(
    'holds before the judge: libtirpc inside TLS of OpenSSL, 10 times 1000 calls',
    async () => {
      const { stdout } = await sandbox(
        `${SETUP}set +e
cc -w -O1 -o judge "$JUDGES/tls/tlsjudge.c" -I/usr/include/tirpc -ltirpc -lssl -lcrypto -lpthread || exit 1
serve; for _ in $(seq 5); do ./judge 7000 certs/ca.pem | tail -1; done; stop
serve --tls-ca certs/ca.pem --tls-policy mtls
for _ in $(seq 5); do ./judge 7000 certs/ca.pem certs/client.pem certs/client.key | tail -1; done; stop`,
        120_000,
        { JUDGES: judges },
      );
      expect(stdout).toBe('1000 calls with AUTH_SYS inside TLS, all answered\n'.repeat(10));
    },
    120_000,
  );

  it('is called by rpccall, which says how, and sends nothing in the clear where TLS is required', async () => {
    const { stdout } = await sandbox(`${SETUP}set +e
cat > echo.x <<'X'
program ECHOPROG { version ECHOVERS { string ECHO(string) = 1; } = 1; } = 0x20000099;
X
call() { node $BIN/rpccall/main.js localhost ./echo.x ECHO '"hello"' --addr 7000 --compact "$@" 2>&1; echo "exit $?"; }
serve --tls-policy tls
call --tls-ca certs/ca.pem
call --tls-ca certs/ca.pem --verbose | grep ^TLS
call | sed 's/^rpccall: .*TOOWEAK.*/too weak/'
call --tls-policy require | sed 's/^rpccall: .*is not trusted.*/not trusted/'
call --tls-ca certs/ca.pem --transport udp | head -1
stop; node $BIN/rpcserve/main.js --no-publish --host 127.0.0.1 --tcp-port 7000 ./echo.mjs >log 2>&1 & SERVER=$!
wait_for grep -q serving log
call --tls-ca certs/ca.pem | sed 's/^rpccall: .*does not offer TLS.*/not offered/'
call --tls-policy prefer
stop`);
    expect(stdout.split('\n')).toEqual([
      '"hello"',
      'exit 0',
      expect.stringMatching(/^TLSv1\.3 TLS_\w+, server server \(verified\)$/),
      'too weak',
      'exit 1',
      'not trusted',
      'exit 1',
      expect.stringContaining('TLS is for TCP'),
      'not offered',
      'exit 1',
      '"hello"',
      'exit 0',
      '',
    ]);
  }, 60_000);
});
