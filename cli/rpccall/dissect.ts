/**
 * A message field by field: where each lies, which bytes it has and what they mean. Reads what is
 * there even where the rest is broken, and says where it breaks. Used for `--verbose` and
 * `decode --rpc`; it is not how messages are read elsewhere.
 */

import { accept_stat, auth_flavor, auth_stat } from '../../runtime/protocol.js';
import { type Codec, type Field, type Shape, toJson, XdrError, XdrReader } from '../../xdr/index.js';
import { printable } from '../support/terminal.js';

/** Most lines of one message. */
export const MAX_LINES = 10_000;
/** Most bytes of a field that are shown. */
const MAX_SHOWN_BYTES = 16;

/** What is known of the procedure of a message: its name and its codecs. */
export interface Known {
  readonly name: string;
  readonly args: Codec<unknown>;
  readonly result: Codec<unknown>;
}

/** What a message turned out to be. */
export interface Dissection {
  readonly lines: readonly string[];
  readonly xid?: number;
  /** The procedure that a call names. */
  readonly call?: { readonly program: number; readonly version: number; readonly procedure: number };
}

/** Thrown inside to end a message that has too many fields. */
class TooLong extends Error {}

/**
 * Takes one RPC message apart (RFC 5531 section 9). `known` is asked for the procedure of a call,
 * or of the call that a reply answers.
 */
export function dissectMessage(
  bytes: Uint8Array,
  known: (call: Dissection['call'], xid: number) => Known | undefined,
): Dissection {
  const out = new Dissector(bytes);
  let xid: number | undefined;
  let call: Dissection['call'];
  out.guard(() => {
    xid = out.uint('xid', (value) => `0x${value.toString(16).padStart(8, '0')}`);
    const type = out.uint('msg_type', names({ 0: 'CALL', 1: 'REPLY' }));
    if (type === 0) {
      call = readCall(out, (of) => known(of, xid ?? 0));
    } else if (type === 1) {
      readReply(out, known(undefined, xid));
    }
    out.rest();
  });
  return { lines: out.lines, ...(xid === undefined ? {} : { xid }), ...(call === undefined ? {} : { call }) };
}

/** Takes one value apart. */
export function dissectValue(type: Codec<unknown>, bytes: Uint8Array, name = 'value'): string[] {
  const out = new Dissector(bytes);
  out.guard(() => {
    out.value(type, name);
    out.rest();
  });
  return out.lines;
}

function readCall(
  out: Dissector,
  known: (call: NonNullable<Dissection['call']>) => Known | undefined,
): NonNullable<Dissection['call']> {
  out.uint('rpc_version');
  const program = out.uint('program', (value) => `${value} (0x${value.toString(16)})`);
  const version = out.uint('version');
  const procedure = out.uint('procedure', (value) => {
    const name = value === 0 ? 'NULL' : known({ program, version, procedure: value })?.name;
    return name === undefined ? String(value) : `${value} ${name}`;
  });
  out.auth('cred');
  out.auth('verf');
  const found = known({ program, version, procedure });
  if (found !== undefined) out.value(found.args, 'args');
  return { program, version, procedure };
}

function readReply(out: Dissector, known: Known | undefined): void {
  if (out.uint('reply_stat', names({ 0: 'MSG_ACCEPTED', 1: 'MSG_DENIED' })) === 0) {
    out.auth('verf');
    const stat = out.uint('accept_stat', names(inverted(accept_stat)));
    if (stat === accept_stat.PROG_MISMATCH) {
      out.uint('low');
      out.uint('high');
    } else if (stat === accept_stat.SUCCESS && known !== undefined) out.value(known.result, 'result');
    return;
  }
  if (out.uint('reject_stat', names({ 0: 'RPC_MISMATCH', 1: 'AUTH_ERROR' })) === 0) {
    out.uint('low');
    out.uint('high');
  } else out.uint('auth_stat', names(inverted(auth_stat)));
}

function inverted(of: Readonly<Record<string, number>>): Record<number, string> {
  return Object.fromEntries(Object.entries(of).map(([name, value]) => [value, name]));
}

function names(of: Readonly<Record<number, string>>): (value: number) => string {
  return (value) => `${value} ${of[value] ?? '(unknown)'}`;
}

class Dissector {
  readonly lines: string[] = [];
  private readonly bytes: Uint8Array;
  private readonly reader: XdrReader;

  constructor(bytes: Uint8Array) {
    this.bytes = bytes;
    this.reader = new XdrReader(bytes);
  }

  /** Runs `read` and turns its end by broken bytes into a last line. */
  guard(read: () => void): void {
    try {
      read();
    } catch (error) {
      if (error instanceof TooLong) this.lines.push(`... and more: only ${MAX_LINES} fields are shown`);
      else if (error instanceof XdrError)
        this.lines.push(`broken at byte ${this.reader.offset}: ${error.reason}`);
      else throw error;
    }
  }

  /** What is left at the end. */
  rest(): void {
    const { offset, remaining } = this.reader;
    if (remaining > 0) this.line(offset, offset + remaining, `(${remaining} more bytes)`, '');
  }

  uint(name: string, text: (value: number) => string = String): number {
    const at = this.reader.offset;
    const value = this.reader.uint32();
    this.line(at, at + 4, name, text(value));
    return value;
  }

  /** A credential or a verifier (RFC 5531 section 8.2). */
  auth(name: string): void {
    const flavor = this.uint(`${name}.flavor`, names(inverted(auth_flavor)));
    const at = this.reader.offset;
    const length = this.uint(`${name}.length`);
    const body = this.reader.fixedOpaque(length);
    if (flavor !== auth_flavor.AUTH_SYS) {
      if (length > 0) this.line(at + 4, this.reader.offset, `${name}.body`, '');
      return;
    }
    const inner = new Dissector(body);
    inner.guard(() => {
      inner.uint('stamp');
      inner.text('machinename');
      inner.uint('uid');
      inner.uint('gid');
      const count = inner.uint('gids');
      for (let i = 0; i < count; i++) inner.uint(`gids[${i}]`);
    });
    for (const line of inner.lines) this.push(shifted(line, at + 4, name));
  }

  private text(name: string): void {
    const at = this.reader.offset;
    const value = this.reader.string();
    this.line(at, this.reader.offset, name, JSON.stringify(value));
  }

  value(type: Codec<unknown>, path: string): void {
    const { shape } = type;
    if (shape === undefined) {
      this.leaf(type, path);
      return;
    }
    switch (shape.kind) {
      case 'struct':
      case 'tuple':
        this.fields(shape.fields, path);
        return;
      case 'lazy':
        this.value(shape.target(), path);
        return;
      case 'array': {
        const count = this.uint(`${path}.length`);
        if (count > shape.max) throw new XdrError('XDR_LIMIT', `${count} elements, ${shape.max} are allowed`);
        for (let i = 0; i < count; i++) this.value(shape.element, `${path}[${i}]`);
        return;
      }
      case 'fixedArray':
        for (let i = 0; i < shape.size; i++) this.value(shape.element, `${path}[${i}]`);
        return;
      case 'list':
        this.list(shape, path);
        return;
      case 'optional':
        if (this.uint(`${path}?`, names({ 0: 'absent', 1: 'present' })) === 1)
          this.value(shape.element, path);
        return;
      case 'union':
        this.union(shape, path);
        return;
      case 'void':
        return;
      default:
        this.leaf(type, path);
    }
  }

  private list(shape: Shape & { readonly kind: 'list' }, path: string): void {
    let i = 0;
    if (shape.minLength === 1) this.value(shape.element, `${path}[${i++}]`);
    while (this.uint(`${path}[${i}]?`, names({ 0: 'end of list', 1: 'follows' })) === 1)
      this.value(shape.element, `${path}[${i++}]`);
  }

  private fields(fields: readonly Field[], path: string): void {
    for (const field of fields) this.value(field.type, `${path}.${field.name}`);
  }

  private union(shape: Shape & { readonly kind: 'union' }, path: string): void {
    const which = this.leaf(shape.discriminant.type, `${path}.${shape.discriminant.name}`);
    const arm = shape.arms.find(({ cases }) => (cases as readonly unknown[]).includes(which));
    const field = arm === undefined ? shape.defaultArm : arm.field;
    if (field === undefined) throw new XdrError('XDR_BAD_UNION', `no arm for ${String(which)}`);
    if (field !== null) this.value(field.type, `${path}.${field.name}`);
  }

  /** A type without parts: one line. */
  private leaf(type: Codec<unknown>, path: string): unknown {
    const at = this.reader.offset;
    const value = type.decode(this.reader);
    const json = type.shape === undefined ? value : toJson(type, value, { opaque: 'hex' });
    const isBytes = /opaque|quadruple/i.test(type.shape?.kind ?? '');
    const number = type.shape?.kind === 'enum' ? `${String(value)} ` : '';
    this.line(
      at,
      this.reader.offset,
      path,
      number + (isBytes ? clip(String(json)) : clip(JSON.stringify(json) ?? '')),
    );
    return value;
  }

  private line(from: number, to: number, name: string, text: string): void {
    const shown = this.bytes.subarray(from, Math.min(to, from + MAX_SHOWN_BYTES));
    const hex = `${groups(shown)}${to - from > MAX_SHOWN_BYTES ? '...' : ''}`;
    const place = `${String(from).padStart(6)} ${String(to - from).padStart(5)}`;
    this.push(`${place}  ${hex.padEnd(39)}  ${printable(name)}${text === '' ? '' : ` = ${printable(text)}`}`);
  }

  private push(line: string): void {
    if (this.lines.length >= MAX_LINES) throw new TooLong();
    this.lines.push(line);
  }
}

/** The line of a message inside a message, with its place in the outer one. */
function shifted(line: string, by: number, name: string): string {
  const [, at, rest = ''] = /^ *(\d+)( .*)$/.exec(line) ?? [];
  if (at === undefined) return line;
  return `${String(Number(at) + by).padStart(6)}${rest.slice(0, 49)}${name}.${rest.slice(49)}`;
}

/** Most characters of one value. */
const MAX_TEXT = 200;

function clip(text: string): string {
  return text.length > MAX_TEXT ? `${text.slice(0, MAX_TEXT)}...` : text;
}

/** Bytes in groups of four: `0000 0001` as they lie in a dump. */
function groups(bytes: Uint8Array): string {
  return Buffer.from(bytes)
    .toString('hex')
    .replace(/(.{8})(?=.)/g, '$1 ');
}

/** A dump of bytes, 16 a line, with their offsets. */
export function hexDump(bytes: Uint8Array, mark: string): string[] {
  const lines: string[] = [];
  for (let at = 0; at < bytes.length; at += 16) {
    const part = bytes.subarray(at, at + 16);
    const text = Array.from(part, (byte) =>
      byte >= 32 && byte < 127 ? String.fromCharCode(byte) : '.',
    ).join('');
    lines.push(`${mark} ${at.toString(16).padStart(6, '0')}  ${groups(part).padEnd(35)}  ${text}`);
  }
  return lines;
}
