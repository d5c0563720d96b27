/**
 * One daemon a state folder: two would lose each other's changes. The lock is a unix socket on which its holder listens,
 * so it ends with the holder, however that ends; no clock and no number of a process is believed. It is private to the
 * folder's user: nobody else can hold it, nor keep it busy.
 */

import { randomBytes } from 'node:crypto';
import { chmodSync, linkSync, lstatSync, renameSync, rmSync } from 'node:fs';
import net from 'node:net';
import type { StateFiles } from './files.js';

export const LOCK_FILE = 'rpcbind.lock';
/** How long the holder may take to say who it is, in milliseconds. It holds the lock whether it says so or not. */
export const LOCK_ANSWER_MS = 1_000;
/** Most bytes of that answer that are read. */
const MAX_ANSWER_BYTES = 64;
/** How often a lock whose holder is gone is taken down and taken, before somebody else has it. */
const MAX_TRIES = 5;

/** Another process holds the lock; the message says which. */
export class StateHeldError extends Error {
  override readonly name = 'StateHeldError';
}

/** A lock that is held. */
export interface StateLock {
  /** Gives it back. May be called twice. */
  release(): void;
}

/**
 * Takes the lock of a folder. Rejects with StateHeldError, which names the holder, where another process has it, and with the
 * system's error where no socket can be made there. Systems without socket files (Windows) get a named pipe.
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
      await takeDown(lock, files.pathOf(`${own}.old`));
    }
  } catch (error) {
    rmSync(files.pathOf(own), { force: true });
    server.close();
    throw error;
  }
}

/**
 * Removes the lock of a holder that is gone. Two starting daemons may do this at once, so the one that took the name away
 * asks again, and puts it back where it was a new holder's.
 */
async function takeDown(lock: string, old: string): Promise<void> {
  try {
    renameSync(lock, old);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return;
    throw error;
  }
  if ((await holderOf(old)) !== undefined) link(old, lock);
  rmSync(old, { force: true });
}

/** False where the name is taken. */
function link(from: string, to: string): boolean {
  try {
    linkSync(from, to);
    return true;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'EEXIST') return false;
    throw error;
  }
}

/** Who listens at the lock; undefined where nobody does. */
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
  // Before the socket closes: after that the name may be the next holder's.
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
