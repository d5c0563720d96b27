/** The packed packages, as npm installs them in the project of a user: no development package is there. */

import { execFile } from 'node:child_process';
import { chmod, mkdir, mkdtemp, readFile, rename, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { promisify } from 'node:util';
import { root } from '../support/sandbox.js';

export const execute = promisify(execFile);

/** A project of a user. */
export interface Project {
  readonly folder: string;
  /** The file of a command of rpcbind-ts. */
  command(name: string): string;
  remove(): Promise<void>;
}

interface LockedPackage {
  readonly dev?: boolean;
  readonly devOptional?: boolean;
  readonly optional?: boolean;
}

/** The packages that an installation of rpcbind-ts brings, by the lock file. */
async function dependencies(withOptional: boolean): Promise<string[]> {
  const lock = JSON.parse(await readFile(path.join(root, 'package-lock.json'), 'utf8')) as {
    readonly packages: Readonly<Record<string, LockedPackage>>;
  };
  return Object.entries(lock.packages)
    .filter(
      ([file, { dev, devOptional }]) => /^node_modules\/[^/]+(\/[^/]+)?$/.test(file) && !dev && !devOptional,
    )
    .filter(([, { optional }]) => withOptional || optional !== true)
    .map(([file]) => file);
}

/** Packs the package in `from` and unpacks it in `to`, which is made. */
async function unpack(from: string, to: string, args: readonly string[] = []): Promise<void> {
  const folder = path.dirname(to);
  await mkdir(folder, { recursive: true });
  const { stdout } = await execute('npm', ['pack', '--silent', ...args, '--pack-destination', folder], {
    cwd: from,
  });
  const archive = path.join(folder, stdout.trim().split('\n').at(-1) ?? '');
  await execute('tar', ['xzf', archive, '-C', folder]);
  await rm(archive);
  await rename(path.join(folder, 'package'), to);
}

async function emptyProject(): Promise<string> {
  const folder = await mkdtemp(path.join(tmpdir(), 'project-'));
  // Started by root, the daemon serves as another user, who must be able to read it.
  await chmod(folder, 0o755);
  await writeFile(path.join(folder, 'package.json'), '{ "type": "module", "private": true }');
  await mkdir(path.join(folder, 'node_modules'));
  return folder;
}

/** A project with rpcbind-ts as built and packed, and what it depends on. */
export async function installPackage(withOptional: boolean): Promise<Project> {
  const folder = await emptyProject();
  const installed = path.join(folder, 'node_modules/rpcbind-ts');
  await unpack(root, installed, ['--ignore-scripts']);
  for (const file of await dependencies(withOptional)) {
    await mkdir(path.dirname(path.join(folder, file)), { recursive: true });
    await symlink(path.join(root, file), path.join(folder, file));
  }
  return {
    folder,
    command: (name) => path.join(installed, `dist/cli/${name}/main.js`),
    remove: () => rm(folder, { recursive: true, force: true }),
  };
}

/** A project with rpcbind-ts-xdr and nothing else. */
export async function installXdr(): Promise<string> {
  const folder = await emptyProject();
  await unpack(path.join(root, 'packages/xdr'), path.join(folder, 'node_modules/rpcbind-ts-xdr'));
  return folder;
}
