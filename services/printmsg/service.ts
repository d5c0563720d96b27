/**
 * printmsg: prints a line that another host sent. The smallest whole service: one procedure, no
 * state. It knows how a stranger's text is made fit for a terminal, and where it is written.
 */

import type { CallContext, Service } from '../../runtime/index.js';
import { createMessageprogV1, MAX_MESSAGE } from './msg.gen.js';

/** See {@link createPrintmsg}. */
export interface PrintmsgOptions {
  /** Writes one line, without its newline; false or a throw says that it could not be. Default: standard output. */
  readonly print?: (line: string) => boolean | undefined;
}

/**
 * The service MESSAGEPROG version 1. PRINTMESSAGE returns 1 where the line was written, 0 where it
 * was not: the console is gone, or the message has more than {@link MAX_MESSAGE} bytes.
 */
export function createPrintmsg(options: PrintmsgOptions = {}): Service {
  const print = options.print ?? printToConsole;
  return createMessageprogV1({
    printmessage(message: string, context: CallContext): number {
      if (Buffer.byteLength(message) > MAX_MESSAGE) return 0;
      const from = context.peer.address === '' ? '' : `${context.peer.address}: `;
      try {
        return print(`${from}${printable(message)}`) === false ? 0 : 1;
      } catch {
        return 0;
      }
    },
  });
}

/**
 * Text that can do nothing to a terminal but stand there: control characters, those of C1 and the
 * ones that turn the direction of writing are shown as escapes, a newline too.
 */
export function printable(text: string): string {
  return text.replaceAll(
    /[\p{Cc}\u2028\u2029\u202a-\u202e\u2066-\u2069]/gu,
    (unit) => `\\u${(unit.codePointAt(0) ?? 0).toString(16).padStart(4, '0')}`,
  );
}

function printToConsole(line: string): boolean {
  process.stdout.write(`${line}\n`);
  return !process.stdout.destroyed;
}
