/** Keywords, names of C's integer types, and names of C headers that real files use without defining them. */

import type { Primitive } from './ast.js';

/** RFC 4506 section 6.2 and RFC 5531 section 12.3; and the integer keywords of C that rpcgen accepts. */
const KEYWORDS = new Set(
  (
    'bool case char const default double enum float hyper int long opaque program quadruple short ' +
    'string struct switch typedef union unsigned version void'
  ).split(' '),
);

const PRIMITIVES: Readonly<Record<string, Primitive>> = {
  bool: 'bool',
  // All of C's integer types are encoded in 4 bytes: XDR has no smaller ones, and libtirpc encodes a long as an int.
  char: 'int',
  short: 'int',
  int: 'int',
  long: 'int',
  hyper: 'hyper',
  float: 'float',
  double: 'double',
  quadruple: 'quadruple',
  string: 'string',
  opaque: 'opaque',
  void: 'void',
};

/** The words that may follow `unsigned`. */
export const UNSIGNED: Readonly<Record<string, Primitive | undefined>> = Object.assign(Object.create(null), {
  char: 'uint',
  short: 'uint',
  int: 'uint',
  long: 'uint',
  hyper: 'uhyper',
});

/** Whether a word is a keyword. `namespace` is not, since RFC 4506 does not reserve it. */
export function isKeyword(word: string): boolean {
  return KEYWORDS.has(word);
}

/** The type that a keyword names, or undefined. */
export function primitiveOf(word: string): Primitive | undefined {
  return Object.hasOwn(PRIMITIVES, word) ? PRIMITIVES[word] : undefined;
}

const C_TYPES = new Map<string, Primitive>(
  Object.entries({
    int: 'int8_t int16_t int32_t int32 enum_t rpc_int32 pid_t',
    uint:
      'u_char u_short u_int u_long uint8_t uint16_t uint32_t u_int8_t u_int16_t u_int32_t ushort uint ulong uint_t uint32 ' +
      'uid_t gid_t mode_t rpcprog_t rpcvers_t rpcproc_t rpcport_t rpcprot_t rpc_uint32',
    hyper: 'int64_t int64 quad_t longlong_t off_t off64_t',
    uhyper: 'uint64_t uint64 u_int64_t u_quad_t u_longlong_t u_hyper',
    bool: 'bool_t boolean_t',
  } satisfies Partial<Record<Primitive, string>>).flatMap(([primitive, names]) =>
    names.split(' ').map((name): [string, Primitive] => [name, primitive as Primitive]),
  ),
);

/** The type that a name has in C, for names that the file does not define. */
export function builtinType(name: string): Primitive | undefined {
  return C_TYPES.get(name);
}

/** Constants of C's RPC headers, for names that the file does not define. */
export const BUILTIN_CONSTANTS: ReadonlyMap<string, bigint> = new Map([
  ['TRUE', 1n],
  ['FALSE', 0n],
  ['true', 1n],
  ['false', 0n],
  ['AUTH_NONE', 0n],
  ['AUTH_NULL', 0n],
  ['AUTH_SYS', 1n],
  ['AUTH_UNIX', 1n],
  ['AUTH_SHORT', 2n],
  ['AUTH_DH', 3n],
  ['AUTH_DES', 3n],
  ['AUTH_KERB', 4n],
  ['AUTH_RSA', 5n],
  ['RPCSEC_GSS', 6n],
  ['MAX_AUTH_BYTES', 400n],
  ['MAXNETNAMELEN', 255n],
  ['MAX_NETOBJ_SZ', 1024n],
  ['MAX_MACHINE_NAME', 255n],
  ['NGRPS', 16n],
  ['HEXKEYBYTES', 48n],
  ['KEYSIZE', 192n],
  ['KEYCHECKSUMSIZE', 16n],
  ['UNIX_PATH_MAX', 108n],
]);

/** Compound types of C's RPC headers, in the RPC language; they are emitted where they are used. */
export const BUILTIN_DEFINITIONS: ReadonlyMap<string, string> = new Map([
  ['netobj', 'typedef opaque netobj<1024>; /* libtirpc xdr_netobj */'],
  ['des_block', 'typedef opaque des_block[8]; /* libtirpc xdr_des_block */'],
  ['netnamestr', 'typedef string netnamestr<255>; /* rpcsvc/key_prot.x */'],
  ['wrapstring', 'typedef string wrapstring<>; /* xdr_wrapstring of C */'],
  [
    'netbuf',
    'struct netbuf { unsigned int maxlen; /* Capacity of buf in bytes, as in C. */ opaque buf<>; };',
  ],
  [
    'authsys_parms',
    'struct authsys_parms { unsigned int stamp; string machinename<255>; unsigned int uid; ' +
      'unsigned int gid; unsigned int gids<16>; };',
  ],
  ['opaque_auth', 'struct opaque_auth { int flavor; opaque body<400>; };'],
]);
