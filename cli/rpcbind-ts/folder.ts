/** The state folder, as root hands it to the user that the daemon becomes. */

import { closeSync, constants, fchownSync, fstatSync, lstatSync, mkdirSync, openSync } from 'node:fs';
import path from 'node:path';
import { JOURNAL_FILE, PORTMAP_FILE, RpcbindError, SNAPSHOT_FILE } from '../../rpcbind/index.js';
import { describe } from '../support/cli.js';
import type { User } from './users.js';

const { O_DIRECTORY, O_NOFOLLOW, O_NONBLOCK, O_RDONLY } = constants;
/** As Debian's own folder. */
const FOLDER_MODE = 0o755;
const OTHERS_WRITE = 0o022;
const STICKY = 0o1000;

/**
 * Opens the folder for `user`, making it where it is not there. A folder of root's is given to the user, with the files
 * of registrations in it, but only where nobody else than root could have put a thing there: in a folder that others can
 * write to, a file may be a link to one of root's. Nothing is given away by name, only what was opened. Returns the
 * descriptor. Throws RpcbindError `RPCBIND_STATE`.
 */
export function openFolderFor(user: User, folder: string): number {
  let fd: number | undefined;
  try {
    if (lstatSync(folder, { throwIfNoEntry: false }) === undefined) mkdirSync(folder, FOLDER_MODE);
    fd = openSync(folder, O_RDONLY | O_DIRECTORY | O_NOFOLLOW);
    const { uid, mode } = fstatSync(fd);
    if (uid === user.uid) return fd;
    if (uid !== 0 || (mode & OTHERS_WRITE) !== 0 || !isRootsPath(path.dirname(path.resolve(folder))))
      throw new Error(`it belongs to uid ${uid}; give it to ${user.name}, or name another user with --user`);
    for (const file of [JOURNAL_FILE, SNAPSHOT_FILE, PORTMAP_FILE])
      giveFile(`/proc/self/fd/${fd}/${file}`, user);
    fchownSync(fd, user.uid, user.gid);
    return fd;
  } catch (cause) {
    if (fd !== undefined) closeSync(fd);
    throw new RpcbindError(
      'RPCBIND_STATE',
      `registrations cannot be kept in ${folder}: ${describe(cause)}`,
      cause,
    );
  }
}

function giveFile(name: string, user: User): void {
  let fd: number;
  try {
    fd = openSync(name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK);
  } catch {
    // Not there, or a link: what the user then finds is told by the daemon.
    return;
  }
  try {
    const stat = fstatSync(fd);
    if (stat.isFile() && stat.uid === 0 && stat.nlink === 1) fchownSync(fd, user.uid, user.gid);
  } finally {
    closeSync(fd);
  }
}

/** Whether each folder of the path belongs to root, and others cannot put another in its place. */
function isRootsPath(folder: string): boolean {
  for (let at = folder; ; at = path.dirname(at)) {
    const { uid, mode } = lstatSync(at);
    if (uid !== 0 || ((mode & OTHERS_WRITE) !== 0 && (mode & STICKY) === 0)) return false;
    if (at === path.dirname(at)) return true;
  }
}
