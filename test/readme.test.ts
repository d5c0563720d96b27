/** README.md is true: every command in it is run, in order, and prints what it says there. */

import { execFile } from 'node:child_process';
import { cp, mkdir, mkdtemp, readFile, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type Running, startCommand } from './support/command.js';
import { freePort } from './support/ports.js';
import { root } from './support/sandbox.js';
import { until } from './support/until.js';

interface Step {
  readonly command: string;
  readonly output: string;
}

/** The commands of the `console` blocks of a text, each with the lines that stand under it. */
function stepsOf(text: string): Step[] {
  const blocks = [...text.matchAll(/^```console\n([\s\S]*?)^```/gm)].map((match) => match[1] ?? '');
  return blocks.flatMap((block) =>
    block
      .split(/^\$ /m)
      .slice(1)
      .map((part) => {
        const [command = '', ...output] = part.split('\n');
        return { command, output: output.join('\n') };
      }),
  );
}

/** Files that the text shows: a block of code under a line that names the file in bold code. */
function filesOf(text: string): [name: string, content: string][] {
  return [...text.matchAll(/^`([\w./-]+)`:\n\n```\w+\n([\s\S]*?)^```/gm)].map((match) => [
    match[1] ?? '',
    match[2] ?? '',
  ]);
}

/** What stays the same from run to run: ports, times and npm's remarks on its own settings do not. */
function comparable(text: string): string {
  return text
    .replaceAll(/^npm warn .*\n/gm, '')
    .replaceAll(/\b\d+\.\d+ ms\b/g, 'N ms')
    .replaceAll(/ +\d{4,5}\b/g, ' PORT')
    .trim();
}

const readme = await readFile(path.join(root, 'README.md'), 'utf8');
const steps = stepsOf(readme);
let folder = '';
let start: Running;
let env: NodeJS.ProcessEnv = {};
const background: string[] = [];

beforeAll(async () => {
  folder = await mkdtemp(path.join(tmpdir(), 'readme-'));
  // A clone as `npm start` leaves it: the built package, and the files that the text shows.
  for (const name of ['package.json', 'dist', 'interfaces', 'services', 'docs'])
    await cp(path.join(root, name), path.join(folder, name), { recursive: true });
  await symlink(path.join(root, 'node_modules'), path.join(folder, 'node_modules'));
  for (const [name, content] of filesOf(readme)) {
    await mkdir(path.dirname(path.join(folder, name)), { recursive: true });
    await writeFile(path.join(folder, name), content);
  }
  const port = String(await freePort());
  env = { RPCBIND_PORT: port };
  start = await startCommand('start', [], /Ctrl-C ends it/, env);
}, 60_000);

afterAll(async () => {
  await start.stop();
  for (const pid of background) {
    try {
      process.kill(Number(pid));
    } catch {
      // It has ended by itself.
    }
  }
  await rm(folder, { recursive: true, force: true });
});

function shell(command: string): Promise<string> {
  return new Promise((resolve) => {
    const text = command.endsWith('&') ? `${command.slice(0, -1)} > background.log 2>&1 & echo $!` : command;
    execFile(
      'bash',
      ['-c', `${text} 2>&1`],
      { cwd: folder, env: { ...process.env, ...env }, timeout: 60_000 },
      (_error, stdout) => resolve(stdout),
    );
  });
}

describe('README', () => {
  it('has the two commands first', () => {
    expect(readme).toMatch(/```sh\nnpm ci && npm start .*\nnpm ci && npm test /);
  });

  it('has things to do', () => {
    expect(steps.length).toBeGreaterThan(4);
  });

  it.each(steps.map((step, i) => [i + 1, step.command, step.output] as const))(
    'step %i: %s',
    async (_number, command, output) => {
      if (command.startsWith('export ')) return;
      const printed = await shell(command);
      if (command.endsWith('&')) {
        background.push(printed.trim());
        // A person sees it come up before typing on.
        await until(async () =>
          (await readFile(path.join(folder, 'background.log'), 'utf8')).includes('published'),
        );
        return;
      }
      expect(comparable(printed)).toBe(comparable(output));
    },
    60_000,
  );

  it('links to files that are there', async () => {
    const links = [...readme.matchAll(/\]\(([^)#:]+)\)/g)].map((match) => match[1] ?? '');
    for (const link of links) await readFile(path.join(root, link));
  });
});
