/** Bytes as people give them to a command: hex, base64, a file, standard input; and as they get them. */

import { readFileSync, statSync } from 'node:fs';
import { CliError, describe, UsageError } from '../support/cli.js';

/** Most bytes that are read from a file or standard input: 64 MiB. */
export const MAX_INPUT_BYTES = 64 * 1024 * 1024;

/** How bytes are written. `auto` is hex where it can be hex; text may be base64, a file is raw. */
export type BytesForm = 'auto' | 'hex' | 'base64' | 'raw';

/** The bytes of an argument: text, `@FILE`, or `-` for standard input. Throws CliError. */
export async function readBytes(argument: string, form: BytesForm): Promise<Uint8Array> {
  if (argument === '-') return fromContent(await readStdin(), form);
  if (argument.startsWith('@')) return fromContent(readFile(argument.slice(1)), form);
  return fromText(argument, form === 'raw' ? 'auto' : form);
}

function readFile(path: string): Buffer {
  try {
    if (statSync(path).size > MAX_INPUT_BYTES)
      throw new CliError(`${path} has over ${MAX_INPUT_BYTES} bytes: cut it into pieces`);
    return readFileSync(path);
  } catch (cause) {
    if (cause instanceof CliError) throw cause;
    throw new CliError(`${path} cannot be read: ${describe(cause).replace(/,.*$/, '')}`, { cause });
  }
}

/** All of standard input, up to {@link MAX_INPUT_BYTES}. */
export async function readStdin(): Promise<Buffer> {
  const chunks: Buffer[] = [];
  let size = 0;
  for await (const chunk of process.stdin as AsyncIterable<Buffer>) {
    size += chunk.length;
    if (size > MAX_INPUT_BYTES)
      throw new CliError(`standard input has over ${MAX_INPUT_BYTES} bytes: send it in pieces`);
    chunks.push(chunk);
  }
  return Buffer.concat(chunks);
}

function fromContent(content: Buffer, form: BytesForm): Uint8Array {
  if (form === 'raw') return content;
  const text = content.toString('latin1');
  if (form === 'auto') return isHex(text) ? fromHex(text) : content;
  return fromText(text, form);
}

function fromText(text: string, form: 'auto' | 'hex' | 'base64'): Uint8Array {
  if (form !== 'base64' && isHex(text)) return fromHex(text);
  if (form === 'hex') throw new UsageError('these are not pairs of hex digits');
  const plain = text.replaceAll(/\s/g, '');
  if (!/^[A-Za-z0-9+/]*={0,2}$/.test(plain) || plain.length % 4 !== 0)
    throw new UsageError(`these bytes are neither hex nor base64 (a file is given as @FILE)`);
  return Buffer.from(plain, 'base64');
}

/** Digits in pairs; spaces, colons and 0x between them do not matter. */
function isHex(text: string): boolean {
  return /^(?:[0-9a-f]{2})*$/i.test(stripped(text)) && /\S/.test(text);
}

function fromHex(text: string): Uint8Array {
  return Buffer.from(stripped(text), 'hex');
}

function stripped(text: string): string {
  return text.replaceAll(/0x|[\s:,]/gi, '');
}
