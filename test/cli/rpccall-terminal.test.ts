/** The shell, the watched table and completion on a real terminal. */

import { mkdir, readFile, symlink, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { afterEach, expect, it } from 'vitest';
import { connectRpcbind, createRpcbind, formatUaddr } from '../../rpcbind/index.js';
import { createServer } from '../../runtime/index.js';
import { startCommand } from '../support/command.js';
import { bin, describeWith } from '../support/sandbox.js';
import { Terminal } from '../support/terminal.js';

const cleanUps: (() => Promise<unknown>)[] = [];
afterEach(async () => {
  for (const cleanUp of cleanUps.splice(0).reverse()) await cleanUp();
});

async function daemon(): Promise<number> {
  const rpcbind = await createRpcbind({ host: ['127.0.0.1'], port: 0 });
  cleanUps.push(() => rpcbind.close());
  return rpcbind.port;
}

async function open(command: string, env: NodeJS.ProcessEnv = {}): Promise<Terminal> {
  const terminal = await Terminal.open(command, env);
  cleanUps.push(() => terminal.close());
  return terminal;
}

const node = (name: string): string => `${process.execPath} ${path.join(bin, `${name}/main.js`)}`;

describeWith(['tmux'], 'on a terminal', () => {
  it('rpccall shell completes procedures and members, calls, and remembers', async () => {
    const port = await daemon();
    const server = await startCommand('rpcserve', ['--host', '127.0.0.1', '--mock', 'nfs'], /published in/, {
      RPCBIND_PORT: String(port),
    });
    cleanUps.push(() => server.stop());
    const terminal = await open(
      `XDG_STATE_HOME= ${node('rpccall')} shell --port ${port} 127.0.0.1 nfs; exec cat`,
    );
    await terminal.shows('127.0.0.1 nfs>');
    // readline takes a Tab that comes together with other keys for pasted text.
    const complete = async (typed: string, shown: string, expected: string | RegExp): Promise<void> => {
      await terminal.type(typed);
      await terminal.shows(shown);
      await terminal.press('Tab');
      await terminal.shows(expected);
    };
    await complete('FSS', 'nfs> FSS', 'nfs> FSSTAT');
    await complete(' {"fs', 'FSSTAT {"fs', 'nfs> FSSTAT {"fsroot":');
    await complete('{"d', '{"d', '{"fsroot": {"data":');
    await terminal.type('"AAAA"}}');
    await terminal.press('Enter');
    await terminal.shows(/"tbytes": "0",[\s\S]*nfs>\s*$/);
    await complete('REA', 'nfs> REA', 'nfs> READ');
    await complete('', 'nfs> READ', /READLINK +READ/);
    await terminal.press('C-c');
    await terminal.type('GETATTR {"object":1}');
    await terminal.press('Enter');
    await terminal.shows('member object of the JSON does not fit: not an object');
    await terminal.press('Up', 'Up');
    await terminal.shows(/nfs> FSSTAT \{"fsroot": \{"data": "AAAA"\}\}\s*$/);
    await terminal.press('C-c', 'C-d');
    expect(await readFile(path.join(terminal.home, '.local/state/rpccall/history'), 'utf8')).toBe(
      'FSSTAT {"fsroot": {"data": "AAAA"}}\nGETATTR {"object":1}\n',
    );
  });

  it('rpcinfo-ts --watch marks what is new, down and gone, in colour, and gives the screen back', async () => {
    const port = await daemon();
    const server = createServer({
      services: [{ program: 0x2000_3000, version: 1, name: 'W', procedures: [] }],
    });
    cleanUps.push(() => server.close());
    const listener = await server.listenTcp({ host: '127.0.0.1', port: 0 });
    // A shell that is not bash would end with what it waits for at Ctrl-C.
    const command = `trap : INT; echo before; ${node('rpcinfo-ts')} --watch 0.5 --port ${port} 127.0.0.1; echo after; exec cat`;
    const terminal = await open(command, { NO_COLOR: '' });
    const first = await terminal.shows(/100000 +2 +tcp +127\.0\.0\.1\.\S+ +portmapper +[\d.]+ ms/);
    expect(first).not.toContain('before');
    expect(first).toMatch(/every 0\.5 s/);
    const client = await connectRpcbind({ port });
    cleanUps.push(() => client.close());
    const entry = { program: 0x2000_3000, version: 1, netid: 'tcp' };
    await client.setAddress({ ...entry, address: formatUaddr('127.0.0.1', listener.port) });
    await terminal.shows(/^\+ 536883200 1 /m);
    await server.close();
    await terminal.shows(/536883200 1 .* down/);
    const line = (await terminal.screen(true)).split('\n').find((each) => each.includes('536883200'));
    expect(line).toContain('\u001b[31m');
    await client.unsetAddress(entry);
    await terminal.shows(/^- 536883200 1 .* gone/m);
    await terminal.press('C-c');
    expect(await terminal.shows('after')).toContain('before');
  });

  it('rpcinfo-ts --watch uses no colour with NO_COLOR', async () => {
    const terminal = await open(
      `NO_COLOR=1 ${node('rpcinfo-ts')} --watch --port ${await daemon()} 127.0.0.1`,
    );
    await terminal.shows(/portmapper +[\d.]+ ms/);
    expect(await terminal.screen(true)).not.toContain('\u001b[');
  });
});

/** A folder on PATH with the commands by their names, as an installed package has them. */
async function commandsIn(folder: string): Promise<string> {
  const to = path.join(folder, 'bin');
  await mkdir(to);
  for (const name of ['rpccall', 'rpcinfo-ts']) {
    await writeFile(path.join(to, name), `#!/bin/sh\nexec ${node(name)} "$@"\n`, { mode: 0o755 });
  }
  await symlink(process.execPath, path.join(to, 'node'));
  return to;
}

const SHELLS = {
  bash: {
    start: 'bash --norc --noprofile -i',
    load: 'eval "$(rpccall --completion bash)"; eval "$(rpcinfo-ts --completion bash)"',
  },
  zsh: {
    start: 'zsh -f -i',
    load: 'autoload -U compinit; compinit -u; eval "$(rpccall --completion zsh)"; eval "$(rpcinfo-ts --completion zsh)"',
  },
  fish: {
    start: 'fish --no-config -i',
    load: 'rpccall --completion fish | source; rpcinfo-ts --completion fish | source',
  },
};

for (const [shell, { start, load }] of Object.entries(SHELLS)) {
  describeWith(['tmux', shell], `completion in ${shell}`, () => {
    it('completes interfaces, procedures and options', async () => {
      const terminal = await open(`exec ${start}`);
      const folder = await commandsIn(terminal.home);
      await terminal.type(
        shell === 'fish'
          ? `set -x PATH ${folder} $PATH; ${load}; echo rea''dy`
          : `PATH=${folder}:$PATH; ${load}; echo rea''dy`,
      );
      await terminal.press('Enter');
      await terminal.shows(/^ready/m);
      const completes = async (typed: string, expected: RegExp): Promise<void> => {
        await terminal.press('C-u');
        await terminal.type(typed);
        await terminal.press('Tab');
        await terminal.shows(expected);
      };
      await completes('rpccall localhost mou', /rpccall localhost mount/);
      await completes('rpccall localhost mount EXP', /rpccall localhost mount EXPORT/);
      await completes('rpccall descr', /rpccall describe/);
      await completes('rpccall --conc', /rpccall --concurrency/);
      await completes('rpccall --transport ud', /rpccall --transport udp/);
      await completes('rpcinfo-ts --che', /rpcinfo-ts --check/);
    });
  });
}
