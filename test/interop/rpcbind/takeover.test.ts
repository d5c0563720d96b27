/** Taking over from Debian's rpcbind, and handing over to it: the services are not restarted. */

import { expect, it } from 'vitest';
import { describeWith, sandbox } from '../../support/sandbox.js';

const PREPARE = `exec 2>&1
chown _rpc /run/rpcbind
end() { kill $1; while kill -0 $1 2>/dev/null; do sleep 0.05; done; }
register() {
  rpc.statd --no-notify -F >/dev/null 2>&1 &
  wait_for rpcinfo -T tcp6 ::1 100024 1
  rpcinfo -s | sort > /run/before
}
`;

describeWith(['sandbox', 'rpcbind', 'rpcinfo', 'rpc.statd'], 'registrations', () => {
  it('of Debian’s rpcbind are served by us after it ended', async () => {
    const { code, stdout } = await sandbox(`${PREPARE}
rpcbind -f -w & FIRST=$!
wait_for rpcinfo -p 127.0.0.1
register
end $FIRST
node $BIN/rpcbind-ts/main.js -w & SECOND=$!
wait_for rpcinfo -p 127.0.0.1
rpcinfo -s | sort | diff /run/before - && echo SAME
rpcinfo -T udp 127.0.0.1 100024 1
end $SECOND`);
    expect(code, stdout).toBe(0);
    expect(stdout).toContain('SAME');
    expect(stdout).toContain('program 100024 version 1 ready and waiting');
  }, 60_000);

  it('of ours are served by Debian’s rpcbind after we ended', async () => {
    const { code, stdout } = await sandbox(`${PREPARE}
node $BIN/rpcbind-ts/main.js -w & FIRST=$!
wait_for rpcinfo -p 127.0.0.1
register
end $FIRST
chown _rpc /run/rpcbind/*
rpcbind -f -w & SECOND=$!
wait_for rpcinfo -p 127.0.0.1
rpcinfo -s | sort | diff /run/before - && echo SAME
rpcinfo -T udp 127.0.0.1 100024 1
end $SECOND
node $BIN/rpcbind-ts/main.js -w & THIRD=$!
wait_for rpcinfo -p 127.0.0.1
rpcinfo -s | sort | diff /run/before - && echo SAME AGAIN
end $THIRD`);
    expect(code, stdout).toBe(0);
    expect(stdout).toContain('SAME\n');
    expect(stdout).toContain('SAME AGAIN');
    expect(stdout).toContain('program 100024 version 1 ready and waiting');
  }, 60_000);
});
