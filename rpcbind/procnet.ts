/**
 * The socket tables of Linux, /proc/net: which user is behind a connection from this host, and
 * which ports are listened on. Read in one piece when asked; nothing is kept. Where there is no
 * /proc/net, every answer is undefined.
 *
 * A line of /proc/net/udp or tcp, by columns:
 *   sl  local_address:port  remote_address:port  state  queues  timer  retransmits  uid  timeout  inode
 * with addresses in hexadecimal, each 32-bit word in the byte order of the host.
 */

import { readFileSync } from 'node:fs';
import { isIPv4 } from 'node:net';
import { endianness } from 'node:os';
import { canonicalIPv6, groupsOf } from './uaddr.js';

/** The state of a listening TCP socket in /proc/net/tcp. */
const LISTENING = '0A';
/** TIME_WAIT: no process is behind it any more, and its uid says nothing. */
const TIME_WAIT = '06';
/** `__SO_ACCEPTCON` of the flags in /proc/net/unix. */
const ACCEPTS = 0x10000;

/** One socket of /proc/net. */
interface Row {
  readonly localHost: string;
  readonly localPort: number;
  readonly remotePort: number;
  readonly state: string;
  readonly uid: number;
  /** 0 where no process holds the socket. */
  readonly inode: number;
}

/** Which ports and paths are listened on. */
export interface ListeningPorts {
  readonly udp: ReadonlySet<number>;
  readonly udp6: ReadonlySet<number>;
  readonly tcp: ReadonlySet<number>;
  readonly tcp6: ReadonlySet<number>;
  /** Paths of unix sockets; abstract ones begin with @. */
  readonly local: ReadonlySet<string>;
}

/**
 * The user behind a caller on this host, by its IP address and port; `ourPort` is the port it
 * called. Undefined where the tables do not say, or say two things: sockets of different users on
 * one port.
 */
export function uidOfCaller(
  protocol: 'udp' | 'tcp',
  address: string,
  port: number,
  ourPort: number,
): number | undefined {
  const mapped = address.startsWith('::ffff:') ? address.slice('::ffff:'.length) : address;
  const hosts = new Set(hexForms(mapped, protocol === 'udp'));
  const uids = new Set<number>();
  for (const table of isIPv4(mapped) ? [protocol, `${protocol}6`] : [`${protocol}6`]) {
    for (const row of rowsOf(table)) {
      if (row.localPort !== port || !hosts.has(row.localHost) || row.inode === 0) continue;
      // A connection is known by both its ends; a datagram's sender need not be connected.
      if (protocol === 'tcp' && (row.remotePort !== ourPort || row.state === TIME_WAIT)) continue;
      uids.add(row.uid);
    }
  }
  const [uid] = uids;
  return uids.size === 1 ? uid : undefined;
}

/** What this host listens on; undefined where there is no /proc/net. */
export function listeningPorts(): ListeningPorts | undefined {
  const [udp, tcp] = [portsOf('udp'), portsOf('tcp')];
  if (udp === undefined || tcp === undefined) return undefined;
  const none = new Set<number>();
  return { udp, tcp, udp6: portsOf('udp6') ?? none, tcp6: portsOf('tcp6') ?? none, local: pathsOf() };
}

function portsOf(table: string): Set<number> | undefined {
  const text = read(table);
  if (text === undefined) return undefined;
  const ports = new Set<number>();
  const isTcp = table.startsWith('tcp');
  for (const row of parse(text)) if (!isTcp || row.state === LISTENING) ports.add(row.localPort);
  return ports;
}

function pathsOf(): Set<string> {
  const paths = new Set<string>();
  for (const line of (read('unix') ?? '').split('\n')) {
    // Num RefCount Protocol Flags Type St Inode Path
    const [, , , flags, , , , path] = line.trim().split(/\s+/);
    if (path !== undefined && (Number.parseInt(flags ?? '', 16) & ACCEPTS) !== 0) paths.add(path);
  }
  return paths;
}

function rowsOf(table: string): Row[] {
  const text = read(table);
  return text === undefined ? [] : [...parse(text)];
}

function* parse(text: string): Generator<Row> {
  let at = text.indexOf('\n') + 1;
  while (at > 0 && at < text.length) {
    const next = text.indexOf('\n', at);
    const columns = text
      .slice(at, next === -1 ? undefined : next)
      .trim()
      .split(/\s+/);
    at = next + 1;
    const [, local = '', remote = '', state = '', , , , uid, , inode] = columns;
    const colon = local.lastIndexOf(':');
    if (colon === -1) continue;
    yield {
      localHost: local.slice(0, colon),
      localPort: Number.parseInt(local.slice(colon + 1), 16),
      remotePort: Number.parseInt(remote.slice(remote.lastIndexOf(':') + 1), 16),
      state,
      uid: Number(uid),
      inode: Number(inode),
    };
  }
}

/** An address as the tables spell it, in every form a socket that sends from it may have. */
function hexForms(address: string, orWildcard: boolean): string[] {
  if (!isIPv4(address)) return [hexOf(groupsOf(address)), ...(orWildcard ? ['0'.repeat(32)] : [])];
  const [a = 0, b = 0, c = 0, d = 0] = address.split('.').map(Number);
  const groups = [(a << 8) | b, (c << 8) | d];
  const forms = [hexOf(groups), hexOf([0, 0, 0, 0, 0, 0xffff, ...groups])];
  return orWildcard ? [...forms, '0'.repeat(8), '0'.repeat(32)] : forms;
}

/** 16-bit groups of an address as 32-bit words in the byte order of the host. */
function hexOf(groups: readonly number[]): string {
  const bytes = Buffer.alloc(groups.length * 2);
  groups.forEach((group, i) => {
    bytes.writeUInt16BE(group, i * 2);
  });
  if (endianness() === 'LE') bytes.swap32();
  return bytes.toString('hex').toUpperCase();
}

function read(table: string): string | undefined {
  try {
    return readFileSync(`/proc/net/${table}`, 'latin1');
  } catch {
    return undefined;
  }
}

/** A socket that is bound, as /proc/net lists it. */
export interface BoundSocket {
  readonly netid: 'udp' | 'tcp' | 'udp6' | 'tcp6' | 'local';
  /** IP address, or the path; an abstract path begins with a NUL. */
  readonly address: string;
  readonly port: number;
}

/** The socket of an inode of this process' network namespace, or undefined where none is listed. */
export function socketOfInode(inode: number): BoundSocket | undefined {
  for (const netid of ['udp', 'tcp', 'udp6', 'tcp6'] as const) {
    const row = rowsOf(netid).find((one) => one.inode === inode);
    if (row !== undefined) return { netid, address: addressOfHex(row.localHost), port: row.localPort };
  }
  for (const line of (read('unix') ?? '').split('\n')) {
    const [, , , , , , found, path] = line.trim().split(/\s+/);
    if (Number(found) === inode && path !== undefined)
      return { netid: 'local', address: path.replace(/^@/, '\0'), port: 0 };
  }
  return undefined;
}

function addressOfHex(text: string): string {
  const bytes = Buffer.from(text, 'hex');
  if (endianness() === 'LE') bytes.swap32();
  if (bytes.length === 4) return bytes.join('.');
  const groups = Array.from({ length: 8 }, (_, i) => bytes.readUInt16BE(i * 2).toString(16));
  return canonicalIPv6(groups.join(':'));
}
