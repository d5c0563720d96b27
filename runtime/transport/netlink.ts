/**
 * Netlink (RFC 3549 section 2.2): one request to the Linux kernel and its whole answer, through the
 * system calls of native.ts. It knows the header of messages and how an answer ends; what the
 * messages mean is their readers' business. Whatever is not a complete answer is no answer.
 *
 *   nlmsghdr, in the byte order of the host:
 *    0 length 4 | 4 type 2 | 6 flags 2 | 8 sequence 4 | 12 port 4 | body, padded to 4 bytes
 */

import { type Native, native } from './native.js';

/** Netlink's protocol for the sockets of the host. */
export const NETLINK_SOCK_DIAG = 4;
/** Flags of a request: for one object, or for all that match. */
export const NLM_F_REQUEST = 0x1;
export const NLM_F_DUMP = 0x300;

/** Most datagrams that are read of one answer; a longer one is not complete, so it is none. */
export const MAX_ANSWER_DATAGRAMS = 64;
/** Room for one datagram of an answer; the kernel fills at most 32 KiB. */
const BUFFER_BYTES = 65_536;

const AF_NETLINK = 16;
const HEADER_BYTES = 16;
const SOCK_DGRAM = 2;
const SOCK_FLAGS = 0o4000 | 0o2000000; // non-blocking, closed on exec
const MSG_DONTWAIT = 0x40;
const MSG_TRUNC = 0x20;
const NLMSG_ERROR = 2;
const NLMSG_DONE = 3;
const NLM_F_MULTI = 0x2;
/** The table changed while it was read: rows may be missing. */
const NLM_F_DUMP_INTR = 0x10;

/** The system's number for "no such thing": no socket matches, or the kernel lacks the module. */
export const ENOENT = 2;
/** What {@link parseMessages} reports where the bytes are not a part of the answer. */
export const EPROTO = 71;
const EINTR = 4;

/** A complete answer: the body of each message. */
export interface NetlinkAnswer {
  readonly messages: readonly Uint8Array[];
  /** True where all messages came in one datagram: the kernel filled it in one pass over its table. */
  readonly isOnePass: boolean;
}

/** Why there is no answer: the system's number. */
export interface NetlinkFailure {
  readonly errno: number;
}

/** One datagram of an answer. */
export interface NetlinkPart {
  readonly messages: readonly Uint8Array[];
  /** True for the last datagram of the answer. */
  readonly isEnd: boolean;
  /** The system's number where the kernel reports a failure, the dump was interrupted, or the bytes are malformed. */
  readonly errno: number | undefined;
}

/**
 * Takes one datagram of an answer apart. The bodies are views of `bytes`. A wrong length or sequence
 * number, an interrupted dump and an error of the kernel's are all reported as `errno`.
 */
export function parseMessages(bytes: Uint8Array, sequence: number): NetlinkPart {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  const messages: Uint8Array[] = [];
  const failed = (errno: number): NetlinkPart => ({ messages, isEnd: true, errno });
  let at = 0;
  while (at < bytes.length) {
    if (bytes.length - at < HEADER_BYTES) return failed(EPROTO);
    const length = view.getUint32(at, true);
    if (length < HEADER_BYTES || length > bytes.length - at) return failed(EPROTO);
    if (view.getUint32(at + 8, true) !== sequence) return failed(EPROTO);
    const type = view.getUint16(at + 4, true);
    const flags = view.getUint16(at + 6, true);
    if ((flags & NLM_F_DUMP_INTR) !== 0) return failed(EINTR);
    if (type === NLMSG_ERROR || type === NLMSG_DONE) {
      // Both carry a number: 0, or the negative errno. A dump that failed halfway ends with DONE and that.
      if (length < HEADER_BYTES + 4) return failed(EPROTO);
      const status = view.getInt32(at + HEADER_BYTES, true);
      return status === 0 ? { messages, isEnd: true, errno: undefined } : failed(Math.abs(status));
    }
    messages.push(bytes.subarray(at + HEADER_BYTES, at + length));
    // A single object is a whole answer; the rows of a dump end with DONE.
    if ((flags & NLM_F_MULTI) === 0) return { messages, isEnd: true, errno: undefined };
    at += (length + 3) & ~3;
  }
  return { messages, isEnd: false, errno: undefined };
}

/** A way to ask the kernel, opened with the first request and again after each failure. */
export class Netlink {
  private readonly protocol: number;
  private readonly buffer = new Uint8Array(BUFFER_BYTES);
  private readonly sender = new Uint8Array(12);
  private readonly senderBytes = new Uint32Array(1);
  private fd = -1;
  private sequence = 0;

  constructor(protocol: number) {
    this.protocol = protocol;
  }

  /**
   * Sends one request and reads its answer, all of it, without waiting: the kernel answers within the
   * system call. Fails with ENOSYS (38) where there are no native calls (koffi).
   */
  request(type: number, flags: number, body: Uint8Array): NetlinkAnswer | NetlinkFailure {
    const fast = native();
    if (fast === undefined) return { errno: 38 };
    const answer = this.exchange(fast, type, flags, body);
    // What is left of a broken answer must not be taken for the next one's.
    if ('errno' in answer) this.close();
    return answer;
  }

  /** Gives up the descriptor; the next request opens another. */
  close(): void {
    if (this.fd >= 0) native()?.calls.close(this.fd);
    this.fd = -1;
  }

  private exchange(
    fast: Native,
    type: number,
    flags: number,
    body: Uint8Array,
  ): NetlinkAnswer | NetlinkFailure {
    const { calls } = fast;
    if (this.fd < 0) {
      this.fd = calls.socket(AF_NETLINK, SOCK_DGRAM | SOCK_FLAGS, this.protocol);
      if (this.fd < 0) return { errno: fast.errno() };
    }
    this.sequence = (this.sequence + 1) >>> 0;
    const request = new Uint8Array(HEADER_BYTES + body.length);
    const view = new DataView(request.buffer);
    view.setUint32(0, request.length, true);
    view.setUint16(4, type, true);
    view.setUint16(6, flags | NLM_F_REQUEST, true);
    view.setUint32(8, this.sequence, true);
    request.set(body, HEADER_BYTES);
    if (calls.send(this.fd, request, request.length, MSG_DONTWAIT) !== request.length)
      return { errno: fast.errno() };
    const messages: Uint8Array[] = [];
    let filled = 0;
    for (let i = 0; i < MAX_ANSWER_DATAGRAMS; i++) {
      const part = this.receive(fast);
      if ('errno' in part && part.errno !== undefined) return { errno: part.errno };
      if (part.messages.length > 0) filled += 1;
      for (const message of part.messages) messages.push(message.slice());
      if (part.isEnd) return { messages, isOnePass: filled <= 1 };
    }
    return { errno: EPROTO };
  }

  private receive(fast: Native): NetlinkPart {
    const failed = (errno: number): NetlinkPart => ({ messages: [], isEnd: true, errno });
    this.senderBytes[0] = this.sender.length;
    const { buffer, sender, senderBytes } = this;
    const size = fast.calls.recvfrom(
      this.fd,
      buffer,
      buffer.length,
      MSG_DONTWAIT | MSG_TRUNC,
      sender,
      senderBytes,
    );
    if (size < 0) return failed(fast.errno());
    // sockaddr_nl: family 2, padding 2, port 4. Port 0 is the kernel; any other is a process that made up an answer.
    const isKernel = sender[0] === AF_NETLINK && new DataView(sender.buffer).getUint32(4, true) === 0;
    if (!isKernel || size > buffer.length) return failed(EPROTO);
    return parseMessages(buffer.subarray(0, size), this.sequence);
  }
}
