import { describe, expect, it } from 'vitest';
import { runCommand, startCommand } from '../support/command.js';
import { freePort } from '../support/ports.js';

describe('npm start', () => {
  it('shows the table and one call, says what to try, serves others, and ends with 0 on Ctrl-C', async () => {
    const port = String(await freePort());
    const env = { RPCBIND_PORT: port };
    const start = await startCommand('start', [], /Ctrl-C ends it/, env);
    const text = start.output();
    expect(text).toContain(`rpcbind-ts serves on 127.0.0.1 port ${port}.`);
    expect(text).toMatch(/program vers proto {3}port {2}service\n {4}100000 {4}[2-4] {3}(udp|tcp)/);
    expect(text).toMatch(/ 536870913 {4}1 {3}udp +\d+\n 536870913 {4}1 {3}tcp +\d+\n/);
    expect(text).toMatch(/127\.0\.0\.1: Hello from rpcbind-ts\n/);
    expect(text).toMatch(/PRINTMESSAGE\("Hello from rpcbind-ts"\) at 127\.0\.0\.1 port \d+ returned 1\./);
    expect(text).toContain(`RPCBIND_PORT=${port} npx rprintmsg 127.0.0.1 Hello 10`);
    expect((await runCommand('rprintmsg', ['127.0.0.1', 'from outside', '2'], env)).code).toBe(0);
    expect(start.output()).toContain('127.0.0.1: from outside\n127.0.0.1: from outside\n');
    expect(await start.stop('SIGINT')).toBe(0);
  });

  it('says in one line that its port is taken, and ends with 1', async () => {
    const port = String(await freePort());
    const env = { RPCBIND_PORT: port };
    const first = await startCommand('start', [], /Ctrl-C ends it/, env);
    try {
      const second = await runCommand('start', [], env);
      expect(second.stderr).toMatch(
        new RegExp(
          `^npm start: something serves on 127\\.0\\.0\\.1 port ${port} already .*RPCBIND_PORT.*\n$`,
        ),
      );
      expect(second.code).toBe(1);
    } finally {
      await first.stop();
    }
  });
});
