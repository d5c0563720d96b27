/**
 * The lock of a state folder: two daemons would lose each other's changes. It is a unix socket on which its holder listens,
 * so it ends with the holder, however that ends; clocks and process ids are not used. Only the folder's user can connect
 * to it, so no other user can hold the lock, nor keep it busy.
 */

import { randomBytes } from 'node:crypto';
import { chmodSync, linkSync, lstatSync, renameSync, rmSync } from 'node:fs';
import net from 'node:net';
import type { StateFiles } from './files.js';

export const LOCK_FILE = 'rpcbind.lock';
/** Time in milliseconds in which the holder should say its process id. It holds the lock in any case. */
export const LOCK_ANSWER_MS = 1_000;
/** Maximum bytes of that answer that are read. */
const MAX_ANSWER_BYTES = 64;
/** How often a lock whose holder is gone is removed and taken, before another daemon is assumed to have it. */
const MAX_TRIES = 5;

/** Another process holds the lock; the message names it. */
export class StateHeldError extends Error {
  override readonly name = 'StateHeldError';
}

/** A lock that is held. */
export interface StateLock {
  /** Gives it up. May be called twice. */
  release(): void;
}

/**
 * Takes the lock of a folder. Rejects with StateHeldError if another process has it, and with the system's error if no
 * socket can be made in the folder. On Windows, which has no socket files, the lock is a named pipe.
 */
export async function takeLock(files: StateFiles): Promise<StateLock> {
  if (process.platform === 'win32') return takePipe(files);
  const lock = files.pathOf(LOCK_FILE);
  const own = `${LOCK_FILE}.${randomBytes(8).toString('hex')}`;
  const server = await listen(files.pathOf(own));
  try {
    chmodSync(files.pathOf(own), 0o600);
    const inode = lstatSync(files.pathOf(own)).ino;
    for (let i = 0; ; i++) {
      if (link(files.pathOf(own), lock)) {
        rmSync(files.pathOf(own));
        return { release: () => release(server, lock, inode) };
      }
      const holder = await holderOf(lock);
      if (holder !== undefined || i === MAX_TRIES)
        throw new StateHeldError(`${holder ?? 'another rpcbind-ts'} uses it`);
      await removeAbandoned(lock, files.pathOf(`${own}.old`));
    }
  } catch (error) {
    rmSync(files.pathOf(own), { force: true });
    server.close();
    throw error;
  }
}

/**
 * Removes the lock of a holder that is gone. Two daemons that start may do so at the same time: so it is renamed, checked
 * once more, and restored if it is that of a new holder.
 */
async function removeAbandoned(lock: string, old: string): Promise<void> {
  try {
    renameSync(lock, old);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return;
    throw error;
  }
  if ((await holderOf(old)) !== undefined) link(old, lock);
  rmSync(old, { force: true });
}

/** False if the name exists. */
function link(from: string, to: string): boolean {
  try {
    linkSync(from, to);
    return true;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'EEXIST') return false;
    throw error;
  }
}

/** The process that listens at the lock; undefined if there is none. */
function holderOf(path: string): Promise<string | undefined> {
  return new Promise((resolve) => {
    let text = '';
    const socket = net.connect(path);
    const done = (holder: string | undefined): void => {
      socket.destroy();
      resolve(holder);
    };
    const name = (): string =>
      /^pid \d+$/.test(text) ? `another rpcbind-ts (${text})` : 'another rpcbind-ts';
    socket.setTimeout(LOCK_ANSWER_MS, () => done(name()));
    socket.on('data', (bytes) => {
      text += bytes.toString('latin1');
      if (text.length >= MAX_ANSWER_BYTES) done('another rpcbind-ts');
    });
    socket.on('end', () => done(name()));
    socket.on('error', ({ code }: NodeJS.ErrnoException) => {
      const isGone = code === 'ECONNREFUSED' || code === 'ENOENT' || code === 'ENOTSOCK';
      done(isGone ? undefined : name());
    });
  });
}

function listen(path: string): Promise<net.Server> {
  const server = net.createServer((socket) => {
    socket.on('error', () => undefined);
    socket.end(`pid ${process.pid}`);
  });
  server.unref();
  return new Promise((resolve, reject) => {
    server.once('error', reject);
    server.listen(path, () => {
      server.off('error', reject);
      server.on('error', () => undefined);
      resolve(server);
    });
  });
}

function release(server: net.Server, lock: string, inode: number): void {
  if (!server.listening) return;
  // Before the socket is closed: afterwards the name may be that of the next holder.
  if (lstatSync(lock, { throwIfNoEntry: false })?.ino === inode) rmSync(lock, { force: true });
  server.close();
}

async function takePipe(files: StateFiles): Promise<StateLock> {
  const name = `\\\\.\\pipe\\rpcbind-ts-${Buffer.from(files.folder).toString('hex').slice(-200)}`;
  try {
    const server = await listen(name);
    return { release: () => server.close() };
  } catch (cause) {
    throw new StateHeldError('another rpcbind-ts uses it', { cause });
  }
}
