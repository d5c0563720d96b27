/**
 * The few system calls that Node does not offer, through the optional dependency koffi: many
 * datagrams in one call, the address a datagram was sent to, and who is at the other end of a
 * unix socket. Linux on 64-bit little-endian machines only; everywhere else, and where koffi is
 * not installed, {@link native} is undefined and the plain ways are taken. It knows numbers and
 * layouts of the kernel; it knows nothing of RPC.
 *
 * One message of recvmmsg and sendmmsg (struct mmsghdr), as laid out below:
 *
 *    0 name address | 8 name length | 16 iov address | 24 iov count | 32 control address
 *   40 control length | 48 flags | 56 bytes received or sent
 */

import { createRequire } from 'node:module';
import {
  AF_INET,
  AF_INET6,
  CONTROL_BYTES,
  IP_PKTINFO,
  IPPROTO_IP,
  IPPROTO_IPV6,
  isSameSource,
  NAME_BYTES,
  nameBytes,
  segmentsOf,
  sourceFrom,
} from './sockaddr.js';

/** Datagrams taken or sent by one system call at most. */
export const MAX_BATCH = 64;
/** Room for one datagram received: the largest there can be. */
const SLOT_BYTES = 65_536;
/** Room for the datagrams of one sending batch together. */
const SEND_BYTES = 2 * SLOT_BYTES;
/** Datagrams that travel as one have no more bytes together than one could have. */
const MAX_JOINED_BYTES = 61_440;
/** The most bytes of a datagram that is sent as a segment of a larger one: what passes every link. */
const MAX_SEGMENT_BYTES = 1_200;
const HEADER_BYTES = 64;
const WORDS = HEADER_BYTES / 4;

const SOL_SOCKET = 1;
const SO_REUSEADDR = 2;
const SO_RCVBUF = 8;
const SO_PEERCRED = 17;
const SO_RCVBUFFORCE = 33;
const SOCK_DGRAM = 2;
const SOCK_FLAGS = 0o4000 | 0o2000000; // non-blocking, closed on exec
const IPV6_ADD_MEMBERSHIP = 20;
const IPV6_V6ONLY = 26;
const IPV6_RECVPKTINFO = 49;
const MSG_DONTWAIT = 0x40;
export const EAGAIN = 11;
export const ECONNREFUSED = 111;

type Call = (...args: readonly (number | bigint | null | ArrayBufferView)[]) => number;

/** As much of koffi as is used here. */
interface Koffi {
  load(name: string | null): { func(prototype: string): Call };
  address(of: ArrayBufferView): bigint;
  errno(): number;
}

/** The system calls, as numbers in and out: -1 is failure, and {@link errno} says which. */
interface Calls {
  readonly socket: Call;
  readonly bind: Call;
  readonly connect: Call;
  readonly close: Call;
  readonly setsockopt: Call;
  readonly getsockopt: Call;
  readonly send: Call;
  readonly recvfrom: Call;
  readonly recvmmsg: Call;
  readonly sendmmsg: Call;
  readonly getsockname: Call;
  readonly epoll_create1: Call;
  readonly epoll_ctl: Call;
  readonly dup3: Call;
}

/** Means that are there only where koffi is; see {@link native}. */
export class Native {
  private readonly koffi: Koffi;
  readonly calls: Calls;
  private inbox: Inbox | undefined;

  constructor(koffi: Koffi) {
    this.koffi = koffi;
    const libc = koffi.load(null);
    this.calls = {
      socket: libc.func('int socket(int, int, int)'),
      bind: libc.func('int bind(int, void *, uint)'),
      connect: libc.func('int connect(int, void *, uint)'),
      close: libc.func('int close(int)'),
      setsockopt: libc.func('int setsockopt(int, int, int, void *, uint)'),
      getsockopt: libc.func('int getsockopt(int, int, int, void *, void *)'),
      send: libc.func('int send(int, void *, size_t, int)'),
      recvfrom: libc.func('int recvfrom(int, void *, size_t, int, void *, void *)'),
      recvmmsg: libc.func('int recvmmsg(int, void *, uint, int, void *)'),
      sendmmsg: libc.func('int sendmmsg(int, void *, uint, int)'),
      getsockname: libc.func('int getsockname(int, void *, void *)'),
      epoll_create1: libc.func('int epoll_create1(int)'),
      epoll_ctl: libc.func('int epoll_ctl(int, int, int, void *)'),
      dup3: libc.func('int dup3(int, int, int)'),
    };
  }

  /** The system's number for why the last call failed. */
  errno(): number {
    return this.koffi.errno();
  }

  address(of: ArrayBufferView): bigint {
    return this.koffi.address(of);
  }

  /** Where datagrams are received: one for the thread, since a batch is worked off before the next is taken. */
  get received(): Inbox {
    this.inbox ??= new Inbox(this);
    return this.inbox;
  }

  /** `result`, or an error with the system's `code` and `syscall` where it is -1. */
  check(syscall: string, result: number): number {
    if (result < 0) throw this.error(syscall);
    return result;
  }

  /**
   * A UDP descriptor, bound for itself alone: neither SO_REUSEADDR nor SO_REUSEPORT is set, so nobody, of
   * whatever user, can bind an address and port that it covers. `tellsAddress` makes each datagram carry
   * the address it was sent to. Throws an error with the system's `code` and `syscall` as Node's own do.
   */
  openUdp(options: {
    readonly name: Uint8Array;
    readonly tellsAddress: boolean;
    readonly receiveBufferBytes: number;
    /** Called with the descriptor before it is bound, so that no datagram comes in before. */
    readonly prepare?: (fd: number) => void;
  }): number {
    const { calls } = this;
    const family = familyOf(options.name);
    const fd = this.check('socket', calls.socket(family, SOCK_DGRAM | SOCK_FLAGS, 0));
    if (family === AF_INET6) this.set(fd, IPPROTO_IPV6, IPV6_V6ONLY, 1);
    // The second works for the privileged alone, and beyond the system's limit.
    this.set(fd, SOL_SOCKET, SO_RCVBUF, options.receiveBufferBytes);
    this.set(fd, SOL_SOCKET, SO_RCVBUFFORCE, options.receiveBufferBytes);
    if (options.tellsAddress) this.tellAddress(fd, family === AF_INET ? 4 : 6);
    options.prepare?.(fd);
    if (calls.bind(fd, options.name, nameBytes(family)) < 0) {
      const error = this.error('bind');
      calls.close(fd);
      throw error;
    }
    return fd;
  }

  /** A UDP descriptor that is not bound; see readiness.ts. */
  openPlace(): number {
    for (const family of [AF_INET, AF_INET6]) {
      const fd = this.calls.socket(family, SOCK_DGRAM | SOCK_FLAGS, 0);
      if (fd >= 0) return fd;
    }
    throw this.error('socket');
  }

  /** The address and port that a socket is bound to, as the kernel writes them. */
  nameOf(fd: number): Uint8Array {
    const name = new Uint8Array(NAME_BYTES);
    this.check('getsockname', this.calls.getsockname(fd, name, new Uint32Array([NAME_BYTES])));
    return name;
  }

  /** Makes each datagram carry the address it was sent to. */
  tellAddress(fd: number, family: 4 | 6): void {
    if (family === 4) this.set(fd, IPPROTO_IP, IP_PKTINFO, 1);
    else this.set(fd, IPPROTO_IPV6, IPV6_RECVPKTINFO, 1);
  }

  /** Lets the descriptor speak to `name` alone. */
  connectUdp(fd: number, name: Uint8Array): void {
    if (this.calls.connect(fd, name, nameBytes(familyOf(name))) < 0) throw this.error('connect');
  }

  /** The user at the other end of a connected unix socket, where the kernel tells (SO_PEERCRED). */
  peerUid(fd: number): number | undefined {
    const credentials = new Uint32Array(3);
    const size = new Uint32Array([12]);
    if (this.calls.getsockopt(fd, SOL_SOCKET, SO_PEERCRED, credentials, size) < 0 || size[0] !== 12)
      return undefined;
    // pid, uid, gid; -1 where there is no peer.
    return credentials[1] === 0xffff_ffff ? undefined : credentials[1];
  }

  /**
   * Takes back SO_REUSEADDR, which lets any user who sets it too bind an address and port that this one
   * covers: service managers set it on what they pass on, and Node on every descriptor it opens.
   */
  makeExclusive(fd: number): void {
    this.set(fd, SOL_SOCKET, SO_REUSEADDR, 0);
  }

  /** Joins the IPv6 multicast group in `name` on the interface of that number. False where the system does not let it. */
  joinGroup(fd: number, name: Uint8Array, link: number): boolean {
    // struct ipv6_mreq: the group, the interface.
    const request = new Uint8Array(20);
    request.set(name.subarray(8, 24));
    new DataView(request.buffer).setUint32(16, link, true);
    return this.calls.setsockopt(fd, IPPROTO_IPV6, IPV6_ADD_MEMBERSHIP, request, request.length) === 0;
  }

  private set(fd: number, level: number, option: number, value: number): void {
    this.calls.setsockopt(fd, level, option, new Int32Array([value]), 4);
  }

  private error(syscall: string): NodeJS.ErrnoException {
    const number = this.errno();
    const code = ERROR_NAMES[number] ?? `E${number}`;
    return Object.assign(new Error(`${syscall} ${code}`), { code, errno: -number, syscall });
  }
}

const ERROR_NAMES: Readonly<Record<number, string>> = {
  1: 'EPERM',
  13: 'EACCES',
  22: 'EINVAL',
  23: 'ENFILE',
  24: 'EMFILE',
  97: 'EAFNOSUPPORT',
  98: 'EADDRINUSE',
  99: 'EADDRNOTAVAIL',
  101: 'ENETUNREACH',
  [ECONNREFUSED]: 'ECONNREFUSED',
  113: 'EHOSTUNREACH',
};

/** Datagrams as recvmmsg left them: {@link MAX_BATCH} slots, overwritten by the next {@link receive}. */
export class Inbox {
  private readonly owner: Native;
  private readonly data = new Uint8Array(MAX_BATCH * SLOT_BYTES);
  private readonly names = new Uint8Array(MAX_BATCH * NAME_BYTES);
  private readonly controls = new Uint8Array(MAX_BATCH * CONTROL_BYTES);
  private readonly headers = new Uint32Array(MAX_BATCH * WORDS);
  private readonly vectors = new BigUint64Array(MAX_BATCH * 2);
  private readonly at: bigint;
  /** The view of each slot that was asked for last: datagrams of one length follow each other. */
  private readonly views: Uint8Array[] = [];
  /** The sender of the datagram in each slot, as the kernel writes it (struct sockaddr). */
  readonly name: readonly Uint8Array[];
  /** The control message of each slot, which names the address asked. */
  readonly control: readonly Uint8Array[];

  constructor(owner: Native) {
    this.owner = owner;
    this.name = slices(this.names, NAME_BYTES);
    this.control = slices(this.controls, CONTROL_BYTES);
    const [data, names, controls, vectors] = [this.data, this.names, this.controls, this.vectors].map((of) =>
      owner.address(of),
    ) as [bigint, bigint, bigint, bigint];
    this.at = owner.address(this.headers);
    const pointers = new BigUint64Array(this.headers.buffer);
    for (let i = 0; i < MAX_BATCH; i++) {
      this.vectors[i * 2] = data + BigInt(i * SLOT_BYTES);
      this.vectors[i * 2 + 1] = BigInt(SLOT_BYTES);
      pointers[i * 8] = names + BigInt(i * NAME_BYTES);
      pointers[i * 8 + 2] = vectors + BigInt(i * 16);
      pointers[i * 8 + 3] = 1n;
      pointers[i * 8 + 4] = controls + BigInt(i * CONTROL_BYTES);
      this.views.push(this.data.subarray(0, 0));
      this.rearm(i);
    }
  }

  /** Takes what is waiting on `fd`, at most {@link MAX_BATCH}: how many came, 0 where none or on failure. */
  receive(fd: number): number {
    const count = this.owner.calls.recvmmsg(fd, this.at, MAX_BATCH, MSG_DONTWAIT, null);
    if (count <= 0) return 0;
    for (let i = 0; i < count; i++) this.rearm(i);
    return count;
  }

  /** The datagram in slot `i`, as a view. */
  bytes(i: number): Uint8Array {
    const length = this.headers[i * WORDS + 14] as number;
    const last = this.views[i] as Uint8Array;
    if (last.length === length) return last;
    const start = i * SLOT_BYTES;
    const view = this.data.subarray(start, start + length);
    this.views[i] = view;
    return view;
  }

  /** The kernel writes back what it used of these; the next datagram may need all of it. */
  private rearm(i: number): void {
    this.headers[i * WORDS + 2] = NAME_BYTES;
    this.headers[i * WORDS + 10] = CONTROL_BYTES;
  }
}

/** EIO, EINVAL, EMSGSIZE and EOPNOTSUPP: what a system says that does not cut datagrams up. */
const CANNOT_CUT: readonly number[] = [5, 22, 90, 95];

/** Gets a datagram that the socket had no room for, as it was added. */
type OnBlocked = (message: Uint8Array, name: Uint8Array, control: Uint8Array | undefined) => void;

/** Datagrams to be sent together. */
export class Outbox {
  private readonly owner: Native;
  private readonly fd: number;
  private readonly onBlocked: OnBlocked;
  private readonly onError: (errno: number) => void;
  private readonly data = new Uint8Array(SEND_BYTES);
  private readonly names = new Uint8Array(MAX_BATCH * NAME_BYTES);
  private readonly controls = new Uint8Array(MAX_BATCH * CONTROL_BYTES);
  private readonly headers = new Uint32Array(MAX_BATCH * WORDS);
  private readonly vectors = new BigUint64Array(MAX_BATCH * 2);
  private readonly sizes = new Uint32Array(this.vectors.buffer);
  private readonly dataAt: bigint;
  private readonly at: bigint;
  private readonly segment = new Uint32Array(MAX_BATCH);
  /** Bytes of the control message that names the address to send from, for each header. */
  private readonly sourceBytes = new Uint32Array(MAX_BATCH);
  private used = 0;
  private count = 0;
  private canJoin = false;
  private hasSegments = true;

  /**
   * `onBlocked` gets each datagram the socket had no room for; `onError` the reason of one that
   * could not be sent.
   */
  constructor(owner: Native, fd: number, onBlocked: OnBlocked, onError: (errno: number) => void) {
    this.owner = owner;
    this.fd = fd;
    this.onBlocked = onBlocked;
    this.onError = onError;
    this.dataAt = owner.address(this.data);
    this.at = owner.address(this.headers);
    const [names, controls, vectors] = [this.names, this.controls, this.vectors].map((of) =>
      owner.address(of),
    ) as [bigint, bigint, bigint];
    const pointers = new BigUint64Array(this.headers.buffer);
    for (let i = 0; i < MAX_BATCH; i++) {
      pointers[i * 8] = names + BigInt(i * NAME_BYTES);
      pointers[i * 8 + 2] = vectors + BigInt(i * 16);
      pointers[i * 8 + 3] = 1n;
      pointers[i * 8 + 4] = controls + BigInt(i * CONTROL_BYTES);
    }
  }

  /** Datagrams waiting for {@link flush}. */
  get length(): number {
    return this.count;
  }

  /**
   * Adds a datagram, copying all of it. `name` is the receiver, or undefined on a connected socket;
   * `control` the address to send from, as it came in, or undefined for the system's choice.
   * Datagrams of one size for one receiver from one address travel as one through the kernel, which cuts it up at the
   * end (UDP_SEGMENT), as long as the system takes that.
   */
  add(message: Uint8Array, name: Uint8Array | undefined, control: Uint8Array | undefined): void {
    const size = message.length;
    if (this.used + size > SEND_BYTES) this.flush();
    if (this.join(message, name, control)) return;
    if (this.count === MAX_BATCH) this.flush();
    const i = this.count;
    this.data.set(message, this.used);
    this.vectors[i * 2] = this.dataAt + BigInt(this.used);
    this.sizes[i * 4 + 2] = size;
    this.segment[i] = size;
    const header = i * WORDS;
    if (name !== undefined) this.names.set(name, i * NAME_BYTES);
    this.headers[header + 2] = name === undefined ? 0 : nameBytes(name[0] as number);
    const controlBytes = control === undefined ? 0 : sourceFrom(control, this.controls, i * CONTROL_BYTES);
    this.headers[header + 10] = controlBytes;
    this.sourceBytes[i] = controlBytes;
    this.used += size;
    this.count = i + 1;
    this.canJoin = size <= MAX_SEGMENT_BYTES && this.hasSegments;
  }

  /** Makes the datagram a segment of the one before, where they go together. */
  private join(message: Uint8Array, name: Uint8Array | undefined, control: Uint8Array | undefined): boolean {
    if (!this.canJoin || this.count === 0) return false;
    const i = this.count - 1;
    const segment = this.segment[i] as number;
    const size = message.length;
    const total = this.sizes[i * 4 + 2] as number;
    if (size > segment || size === 0 || total >= segment * MAX_BATCH || total + size > MAX_JOINED_BYTES)
      return false;
    if (name !== undefined) {
      const at = i * NAME_BYTES;
      for (let k = nameBytes(name[0] as number) - 1; k >= 0; k--)
        if (this.names[at + k] !== name[k]) return false;
    }
    const sourceBytes = this.sourceBytes[i] as number;
    const controlAt = i * CONTROL_BYTES;
    if (control === undefined) {
      if (sourceBytes > 0) return false;
    } else if (!isSameSource(control, this.controls, controlAt, sourceBytes)) return false;
    if (total === segment)
      this.headers[i * WORDS + 10] =
        sourceBytes + segmentsOf(segment, this.controls, controlAt + sourceBytes);
    this.data.set(message, this.used);
    this.sizes[i * 4 + 2] = total + size;
    this.used += size;
    // One that is shorter can only be the last.
    this.canJoin = size === segment;
    return true;
  }

  /** Sends what was added. */
  flush(): void {
    const { count } = this;
    let sent = 0;
    while (sent < count) {
      const from = this.at + BigInt(sent * HEADER_BYTES);
      const done = this.owner.calls.sendmmsg(this.fd, from, count - sent, MSG_DONTWAIT);
      if (done > 0) {
        sent += done;
        continue;
      }
      const errno = this.owner.errno();
      if (errno === EAGAIN) break;
      const isCutUp = (this.sizes[sent * 4 + 2] as number) > (this.segment[sent] as number);
      if (isCutUp && CANNOT_CUT.includes(errno)) {
        // This system, or the device on the way, does not cut datagrams up: nor will it the next.
        this.hasSegments = false;
        this.hold(sent);
      } else this.onError(errno);
      sent += 1;
    }
    this.count = 0;
    this.used = 0;
    for (let i = sent; i < count; i++) this.hold(i);
  }

  /** Gives the datagrams of one header to {@link onBlocked}, one by one. */
  private hold(i: number): void {
    const start = Number((this.vectors[i * 2] as bigint) - this.dataAt);
    const end = start + (this.sizes[i * 4 + 2] as number);
    const name = this.names.slice(i * NAME_BYTES, (i + 1) * NAME_BYTES);
    const size = this.segment[i] as number;
    const sourceBytes = this.sourceBytes[i] as number;
    const controlAt = i * CONTROL_BYTES;
    const control = sourceBytes === 0 ? undefined : this.controls.slice(controlAt, controlAt + sourceBytes);
    for (let at = start; at < end; at += size)
      this.onBlocked(this.data.slice(at, Math.min(end, at + size)), name, control);
  }
}

function slices(of: Uint8Array, size: number): Uint8Array[] {
  return Array.from({ length: MAX_BATCH }, (_, i) => of.subarray(i * size, (i + 1) * size));
}

function familyOf(name: Uint8Array): number {
  return name[0] as number;
}

let loaded: Native | null | undefined;

/** Turns the fast ways off for a whole process: `RPC_NATIVE=0`. */
export const NATIVE_ENVIRONMENT = 'RPC_NATIVE';

/** The system calls, or undefined where there is no way to make them or the environment forbids it. */
export function native(): Native | undefined {
  if (process.env[NATIVE_ENVIRONMENT] === '0') return undefined;
  if (loaded === undefined) loaded = load();
  return loaded ?? undefined;
}

function load(): Native | null {
  if (process.platform !== 'linux' || !['x64', 'arm64'].includes(process.arch)) return null;
  try {
    return new Native(createRequire(import.meta.url)('koffi') as Koffi);
  } catch {
    // Optional: without it everything works, some of it more slowly.
    return null;
  }
}

/** Whether this process can make the system calls at all: koffi is here, and the environment allows it. */
export function hasNative(): boolean {
  return native() !== undefined;
}
