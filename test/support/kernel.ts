/**
 * The kernel that guests boot: Debian's, as a package, unpacked into the cache of node_modules and not installed. Knows
 * nothing of guests.
 */

import { execFileSync } from 'node:child_process';
import { existsSync, mkdirSync, mkdtempSync, readdirSync, renameSync, rmSync } from 'node:fs';
import path from 'node:path';

/** The kernel with all drivers: the one for clouds has no 9p. Depends on the package of the newest version. */
const PACKAGE = 'linux-image-amd64';
/** What of a package of 400 MB is unpacked. */
const PARTS = [
  './boot/vmlinuz-*',
  ...['net', 'fs', 'crypto', 'lib', 'drivers/virtio', 'drivers/block', 'drivers/net'].map(
    (folder) => `./lib/modules/*/kernel/${folder}/*`,
  ),
  './lib/modules/*/modules.*',
];
/** Longest time for the download of 70 MB, and for unpacking, in milliseconds. */
const DOWNLOAD_MS = 120_000;
const UNPACK_MS = 60_000;

const cache = path.resolve(import.meta.dirname, '../../node_modules/.cache/guest-kernel');

/** A kernel on this machine. */
export interface Kernel {
  /** As `uname -r` says it. */
  readonly version: string;
  readonly image: string;
  /** The folder that has `lib/modules/VERSION`. */
  readonly root: string;
}

let found: Kernel | string | undefined;

/** The kernel, downloaded by apt where it is not here yet; a text where it cannot be had, saying why. */
export function kernel(): Kernel | string {
  found ??= kernelIn(cache) ?? download();
  return found;
}

function kernelIn(folder: string): Kernel | undefined {
  const modules = path.join(folder, 'lib/modules');
  const version = existsSync(modules) ? readdirSync(modules)[0] : undefined;
  if (version === undefined) return undefined;
  return { version, image: path.join(folder, `boot/vmlinuz-${version}`), root: folder };
}

function download(): Kernel | string {
  mkdirSync(path.dirname(cache), { recursive: true });
  const folder = mkdtempSync(`${cache}-`);
  const run = (command: string, args: readonly string[], timeout: number): string =>
    execFileSync(command, args, {
      cwd: folder,
      timeout,
      encoding: 'utf8',
      stdio: ['ignore', 'pipe', 'pipe'],
      env: { ...process.env, LC_ALL: 'C', PATH: `${process.env['PATH']}:/usr/sbin:/sbin` },
    });
  try {
    const name = /^ *Depends: (linux-image-\S+)/m.exec(
      run('apt-cache', ['depends', PACKAGE], UNPACK_MS),
    )?.[1];
    if (name === undefined) return `the package ${PACKAGE}`;
    run('apt-get', ['download', '-qq', name], DOWNLOAD_MS);
    const unpack =
      'deb=$(echo "$1"_*.deb); shift; dpkg-deb --fsys-tarfile "$deb" | tar -x --wildcards "$@" && rm "$deb"';
    run('bash', ['-o', 'pipefail', '-c', unpack, 'unpack', name, ...PARTS], UNPACK_MS);
    const version = name.replace('linux-image-', '');
    run('depmod', ['-b', folder, version], UNPACK_MS);
    try {
      renameSync(folder, cache);
    } catch {
      // Another test was first.
    }
    return kernelIn(cache) ?? `a kernel in the package ${name}`;
  } catch (error) {
    return `the package ${PACKAGE} (${reason(error)})`;
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

function reason(error: unknown): string {
  const { stderr, message } = error as { readonly stderr?: string; readonly message: string };
  return (stderr?.trim() || message).split('\n').at(-1) ?? message;
}
