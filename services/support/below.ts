/**
 * Staying below a root: opens directories by paths that strangers sent. What counts is where the
 * opened directory really is, not how its path was spelt. It does not know what is done with it.
 */

import type { Dir } from 'node:fs';
import { constants, type FileHandle, open, opendir, readlink, realpath } from 'node:fs/promises';
import path from 'node:path';

/** A path that leads out of every root, or is none. */
export class OutsideError extends Error {
  override readonly name = 'OutsideError';
}

/** A directory that may be seen, with everything below it. */
export interface Root {
  /** As it was given. */
  readonly given: string;
  /** Without links. */
  readonly real: string;
}

/** Resolves the directories; rejects with the system's error where one is not there. */
export function resolveRoots(given: readonly string[]): Promise<Root[]> {
  return Promise.all(
    given.map(async (root) => ({ given: path.resolve(root), real: await realpath(path.resolve(root)) })),
  );
}

/** True where `real`, a path without links, is `root` or below it. */
export function isBelow(root: string, real: string): boolean {
  return real === root || real.startsWith(root.endsWith('/') ? root : `${root}/`);
}

/**
 * Opens a directory below one of the roots. Throws {@link OutsideError} for a path that is not
 * absolute, has a NUL or a `..` in it, or leads out, by a link too; otherwise the system's error. A
 * path outside is refused before it is looked at, so that nobody learns what is there.
 */
export async function openDirectoryBelow(roots: readonly Root[], asked: string): Promise<Dir> {
  if (!asked.startsWith('/') || asked.includes('\0') || asked.split('/').includes('..'))
    throw new OutsideError('not a path from the root');
  const plain = path.posix.normalize(asked);
  if (!roots.some(({ given, real }) => isBelow(given, plain) || isBelow(real, plain)))
    throw new OutsideError('not exported');
  // The directory is held open while its place is checked: a link that is changed meanwhile changes nothing.
  const flags = constants.O_RDONLY | constants.O_DIRECTORY | constants.O_NONBLOCK;
  const handle = await open(plain, flags).catch(async (error: unknown) => {
    // What is missing outside is as much a secret as what is there.
    throw (await leadsOut(roots, plain)) ? new OutsideError('a link leads out') : error;
  });
  try {
    const real = await placeOf(handle, plain);
    if (!roots.some((root) => isBelow(root.real, real))) throw new OutsideError('a link leads out');
    return await opendir(process.platform === 'linux' ? `/proc/self/fd/${handle.fd}` : real);
  } finally {
    await handle.close();
  }
}

/** Whether the part of a path that does exist ends outside every root. */
async function leadsOut(roots: readonly Root[], plain: string): Promise<boolean> {
  for (let at = plain; at !== '/'; at = path.posix.dirname(at)) {
    const real = await realpath(at).catch(() => undefined);
    if (real !== undefined) return !roots.some((root) => isBelow(root.real, real));
  }
  return true;
}

/** Where an open directory is. Linux tells of the descriptor; elsewhere the path has to be trusted twice. */
function placeOf(handle: FileHandle, asked: string): Promise<string> {
  return process.platform === 'linux' ? readlink(`/proc/self/fd/${handle.fd}`) : realpath(asked);
}
