/**
 * What may go to a terminal: text of others without anything that could steer it, and colour
 * where somebody looks.
 */

import type { WriteStream } from 'node:tty';

/** Text from elsewhere with its control characters written out (`\u001b`), so that none reaches the terminal. */
export function printable(text: string): string {
  return text.replaceAll(
    /[\p{Cc}\u2028\u2029\u202a-\u202e\u2066-\u2069]/gu,
    (one) => `\\u${(one.codePointAt(0) ?? 0).toString(16).padStart(4, '0')}`,
  );
}

/** The last moment that has a date in ECMAScript: 100 million days from 1970, in the year 275760. */
const MAX_DATE_MS = 8_640_000_000_000_000n;

/**
 * Milliseconds since 1970 as a date and time of ISO 8601, in UTC. What no date can say is given as the number it is,
 * `@9223372036854775807ms`: it comes from another host, and may be anything of 64 bits.
 */
export function dateText(ms: bigint): string {
  const isDate = ms <= MAX_DATE_MS && ms >= -MAX_DATE_MS;
  return isDate ? new Date(Number(ms)).toISOString() : `@${ms}ms`;
}

/** How to mark text; each returns it as it is where colour is off. */
export interface Paint {
  bold(text: string): string;
  dim(text: string): string;
  red(text: string): string;
  green(text: string): string;
  yellow(text: string): string;
}

/** Colour for a stream: only on a terminal, and never with NO_COLOR (no-color.org) or TERM=dumb. */
export function paintFor(stream: Pick<WriteStream, 'isTTY'>, env: NodeJS.ProcessEnv = process.env): Paint {
  const isOn = stream.isTTY === true && !env['NO_COLOR'] && env['TERM'] !== 'dumb';
  const mark =
    (code: number) =>
    (text: string): string =>
      isOn && text !== '' ? `\u001b[${code}m${text}\u001b[0m` : text;
  return { bold: mark(1), dim: mark(2), red: mark(31), green: mark(32), yellow: mark(33) };
}
