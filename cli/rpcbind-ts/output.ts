/**
 * Lines to a descriptor that is never waited for. Whoever reads the log may stall, and strangers can make the daemon
 * log: it must go on answering. What does not fit into {@link MAX_PENDING_BYTES} is dropped, counted, and told.
 */

import { constants, fstatSync, openSync, writeSync } from 'node:fs';
import tty from 'node:tty';

/** Bytes of log that may wait for their reader: 256 KiB. */
export const MAX_PENDING_BYTES = 256 * 1024;
/** How often a terminal that took nothing is tried again, in milliseconds. */
const RETRY_MS = 100;

/** See the head of this file. `lost` makes the line that tells how many were dropped. */
export class LineOutput {
  private readonly put: (text: string) => void;
  private readonly waiting: () => number;
  private readonly lost: (count: number) => string;
  private dropped = 0;

  constructor(stream: NodeJS.WriteStream & { readonly fd: number }, lost: (count: number) => string) {
    this.lost = lost;
    const { put, waiting } = sinkOf(stream);
    this.put = put;
    this.waiting = waiting;
  }

  /** Writes a line, which has its newline. */
  write(line: string): void {
    const room = MAX_PENDING_BYTES - this.waiting();
    if (this.dropped > 0 && room > MAX_PENDING_BYTES / 2) {
      this.put(this.lost(this.dropped));
      this.dropped = 0;
    }
    if (this.dropped > 0 || Buffer.byteLength(line) > room) this.dropped += 1;
    else this.put(line);
  }
}

interface Sink {
  put(text: string): void;
  /** Bytes that wait. */
  waiting(): number;
}

function sinkOf(stream: NodeJS.WriteStream & { readonly fd: number }): Sink {
  const { fd } = stream;
  if (tty.isatty(fd)) return terminalSink(fd) ?? streamSink(stream);
  return isFile(fd) ? { put: (text) => writeAll(fd, text), waiting: () => 0 } : streamSink(stream);
}

/** Node writes to pipes and sockets without waiting, and keeps what they do not take. */
function streamSink(stream: NodeJS.WriteStream): Sink {
  return { put: (text) => stream.write(text), waiting: () => stream.writableLength };
}

/** Node waits for terminals, which stop at Ctrl-S: the same terminal, opened anew, need not be waited for. */
function terminalSink(original: number): Sink | undefined {
  let fd: number;
  try {
    const { O_NOCTTY, O_NONBLOCK, O_WRONLY } = constants;
    fd = openSync(`/proc/self/fd/${original}`, O_WRONLY | O_NONBLOCK | O_NOCTTY);
  } catch {
    return undefined;
  }
  let pending = Buffer.alloc(0);
  let timer: NodeJS.Timeout | undefined;
  const drain = (): void => {
    timer = undefined;
    try {
      while (pending.length > 0) pending = pending.subarray(writeSync(fd, pending));
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'EAGAIN') {
        pending = Buffer.alloc(0);
        return;
      }
      timer = setTimeout(drain, RETRY_MS);
      timer.unref();
    }
  };
  return {
    put(text) {
      pending = Buffer.concat([pending, Buffer.from(text)]);
      if (timer === undefined) drain();
    },
    waiting: () => pending.length,
  };
}

/** A line that a full disk does not take is lost, and the daemon goes on. */
function writeAll(fd: number, text: string): void {
  try {
    const bytes = Buffer.from(text);
    for (let at = 0; at < bytes.length; ) at += writeSync(fd, bytes, at);
  } catch {
    // The disk is full, or the file's limit is reached: nothing can be told where telling fails.
  }
}

function isFile(fd: number): boolean {
  try {
    return fstatSync(fd).isFile();
  } catch {
    return false;
  }
}
