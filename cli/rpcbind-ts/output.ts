/**
 * Writes lines to a descriptor without ever waiting for it.
 *
 * Threat: the reader of the log stalls, and callers make the daemon log more. It must go on answering. So what exceeds
 * {@link MAX_PENDING_BYTES} is dropped and counted, and the count is logged.
 */

import { constants, fstatSync, openSync, writeSync } from 'node:fs';
import tty from 'node:tty';

/** Maximum number of bytes that wait to be read: 256 KiB. */
export const MAX_PENDING_BYTES = 256 * 1024;
/** Milliseconds between attempts to write to a terminal that accepts nothing. */
const RETRY_MS = 100;

/** A log output. `lost` makes the line that says how many lines were dropped. */
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

  /** Writes a line, which ends with a newline. */
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
  /** Bytes that wait to be read. */
  waiting(): number;
}

function sinkOf(stream: NodeJS.WriteStream & { readonly fd: number }): Sink {
  const { fd } = stream;
  if (tty.isatty(fd)) return terminalSink(fd) ?? streamSink(stream);
  return isFile(fd) ? { put: (text) => writeAll(fd, text), waiting: () => 0 } : streamSink(stream);
}

/** Node writes to pipes and sockets without waiting, and buffers what they do not accept. */
function streamSink(stream: NodeJS.WriteStream): Sink {
  return { put: (text) => stream.write(text), waiting: () => stream.writableLength };
}

/** Node waits for a terminal, which Ctrl-S stops. So the terminal is opened again, without blocking. */
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

/** On a full disk the line is lost, and the daemon goes on. */
function writeAll(fd: number, text: string): void {
  try {
    const bytes = Buffer.from(text);
    for (let at = 0; at < bytes.length; ) at += writeSync(fd, bytes, at);
  } catch {
    // The disk is full, or the maximum size of the file is reached: there is no place to report that.
  }
}

function isFile(fd: number): boolean {
  try {
    return fstatSync(fd).isFile();
  } catch {
    return false;
  }
}
