/** The state folder, given by root to the user whom the daemon becomes. */

import { closeSync, constants, fchownSync, fstatSync, lstatSync, mkdirSync, openSync } from 'node:fs';
import path from 'node:path';
import { RpcbindError } from '../../rpcbind/index.js';
import { JOURNAL_FILE, PORTMAP_FILE, SNAPSHOT_FILE } from '../../rpcbind/internal.js';
import { describe } from '../support/cli.js';
import type { User } from './users.js';

const { O_DIRECTORY, O_NOFOLLOW, O_NONBLOCK, O_RDONLY } = constants;
/** As in Debian. */
const FOLDER_MODE = 0o755;
const OTHERS_WRITE = 0o022;
const STICKY = 0o1000;

/**
 * Opens the folder for `user`, and makes it if it does not exist. A folder of root is given to the user, with the files of
 * registrations in it. Threat: another user puts a link to a file of root there, which would be given away. So this is done
 * only if nobody but root could have made files there, and by descriptor, never by name. Returns the descriptor. Throws
 * RpcbindError `RPCBIND_STATE`.
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
    // It does not exist, or is a link: the daemon will report what it finds there.
    return;
  }
  try {
    const stat = fstatSync(fd);
    if (stat.isFile() && stat.uid === 0 && stat.nlink === 1) fchownSync(fd, user.uid, user.gid);
  } finally {
    closeSync(fd);
  }
}

/** Whether each folder of the path belongs to root, and no other user can replace it. */
function isRootsPath(folder: string): boolean {
  for (let at = folder; ; at = path.dirname(at)) {
    const { uid, mode } = lstatSync(at);
    if (uid !== 0 || ((mode & OTHERS_WRITE) !== 0 && (mode & STICKY) === 0)) return false;
    if (at === path.dirname(at)) return true;
  }
}
