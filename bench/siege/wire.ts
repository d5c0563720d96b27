/** Calls of rpcbind as bytes, made by hand: an attacker keeps to no library's rules. */

/** The numbers of a call (RFC 5531 section 9); `args` are XDR. */
export interface RawCall {
  readonly program?: number;
  readonly version: number;
  readonly procedure: number;
  readonly args?: Buffer;
}

const RPCBIND = 100_000;
let xid = Math.floor(Math.random() * 0x1_0000_0000);

/** A call with AUTH_NONE, each with another xid. */
export function callBytes(of: RawCall): Buffer {
  xid = (xid + 1) >>> 0;
  return Buffer.concat([
    words(xid, 0, 2, of.program ?? RPCBIND, of.version, of.procedure, 0, 0, 0, 0),
    of.args ?? Buffer.alloc(0),
  ]);
}

/** The same as one whole record (RFC 5531 section 11). */
export function recordOf(message: Buffer): Buffer {
  return Buffer.concat([words(0x8000_0000 + message.length), message]);
}

/** Unsigned ints of 32 bits. */
export function words(...values: readonly number[]): Buffer {
  const bytes = Buffer.alloc(values.length * 4);
  values.forEach((value, i) => {
    bytes.writeUInt32BE(value >>> 0, i * 4);
  });
  return bytes;
}

/** A string with its length and padding (RFC 4506 section 4.11). */
export function text(value: string): Buffer {
  const bytes = Buffer.from(value, 'latin1');
  return Buffer.concat([words(bytes.length), bytes, Buffer.alloc((4 - (bytes.length % 4)) % 4)]);
}

/** The arguments of SET and UNSET in version 2 (RFC 1833 section 3.1); 17 is UDP. */
export function mapping(program: number, version: number, port: number): Buffer {
  return words(program, version, 17, port);
}

/** The arguments of SET and UNSET in versions 3 and 4 (RFC 1833 section 2.1). */
export function rpcbArgs(program: number, version: number, netid: string, address: string): Buffer {
  return Buffer.concat([words(program, version), text(netid), text(address), text('superuser')]);
}
