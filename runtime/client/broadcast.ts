/**
 * One call to everybody on the links of this host: IPv4 by each interface's broadcast address, IPv6
 * by the group that rpcbind listens on. Replies are given as they come; a server that answers twice
 * is heard once. Rounds repeat the same call, each after twice the wait of the one before.
 */

import { networkInterfaces } from 'node:os';
import { type Codec, XdrReader, XdrWriter } from '../../xdr/index.js';
import { type Credentials, noCredentials } from '../protocol/auth.js';
import { readReply, readReplyXid, writeCall } from '../protocol/message.js';
import type { Procedure } from '../protocol/procedure.js';
import { randomXid } from '../protocol/xid.js';
import { MAX_DATAGRAM_BYTES, openSocket, type UdpSocket } from '../transport/datagram.js';

/** The IPv6 group of rpcbind (RFC 1833 section 2.2.1 as deployed): link-local. */
export const RPCB_MULTICAST_ADDRESS = 'ff02::202';
/** Default for the whole of a broadcast: rounds after 0 and 4 s, the end at 12 s. */
export const DEFAULT_BROADCAST_MS = 12_000;
/** Default for the first round's wait: 4 s. */
export const DEFAULT_FIRST_ROUND_MS = 4_000;
/** Default for the servers heard. */
export const DEFAULT_MAX_BROADCAST_REPLIES = 65_536;

/** See {@link broadcast}. */
export interface Broadcast<A, R> {
  readonly procedure: Procedure<A, R>;
  readonly args: A;
  /** Where servers listen: 111 for rpcbind. */
  readonly port: number;
  /** Milliseconds until the iterator ends. Default {@link DEFAULT_BROADCAST_MS}. */
  readonly timeoutMs?: number;
  /** Milliseconds to the second round; each later one comes after twice as long. Default {@link DEFAULT_FIRST_ROUND_MS}. */
  readonly firstRoundMs?: number;
  /** Where to instead of every interface: IP addresses, broadcast or not. */
  readonly addresses?: readonly string[];
  readonly credentials?: Credentials;
  /** Ends it early, without an error. */
  readonly signal?: AbortSignal;
  /** Most servers heard; then it ends. Default {@link DEFAULT_MAX_BROADCAST_REPLIES}. */
  readonly maxReplies?: number;
}

/** One server's answer. */
export interface BroadcastReply<R> {
  readonly address: string;
  readonly port: number;
  readonly result: R;
}

/**
 * Calls everybody and gives each server's result as it comes. Refusals and what does not decode are
 * passed over: whoever is not meant may say so. Throws XdrError where `args` do not fit.
 */
export async function* broadcast<A, R>(
  options: Broadcast<A, R>,
): AsyncGenerator<BroadcastReply<R>, void, undefined> {
  const { procedure, port, signal } = options;
  const timeoutMs = options.timeoutMs ?? DEFAULT_BROADCAST_MS;
  const maxReplies = options.maxReplies ?? DEFAULT_MAX_BROADCAST_REPLIES;
  const xid = randomXid();
  const writer = new XdrWriter({ maxBytes: MAX_DATAGRAM_BYTES });
  writeCall(writer, xid, procedure as Procedure<never, unknown>, options.credentials ?? noCredentials);
  procedure.args.encode(writer, options.args);
  const message = Buffer.from(writer.peek());

  const heard = new Set<string>();
  const queue: BroadcastReply<R>[] = [];
  let wake = (): void => undefined;
  let isOver = false;
  const end = (): void => {
    isOver = true;
    wake();
  };
  const onMessage = (bytes: Uint8Array, from: { address: string; port: number }): void => {
    const { address } = from;
    const source = `${address} ${from.port}`;
    if (heard.size >= maxReplies || heard.has(source)) return;
    const result = resultOf(procedure.result, bytes, xid);
    if (result === undefined) return;
    heard.add(source);
    queue.push({ address, port: from.port, result: result.value });
    if (heard.size >= maxReplies) end();
    wake();
  };

  const targets = options.addresses?.map((address) => ({ address, local: undefined })) ?? everywhere();
  const sockets: UdpSocket[] = [];
  const timers: NodeJS.Timeout[] = [];
  signal?.addEventListener('abort', end);
  try {
    for (const { address, local } of targets) {
      const socket = await openFor(address, local).catch(() => undefined);
      // An interface that is just going: the others are asked.
      if (socket === undefined) continue;
      sockets.push(socket);
      socket.socket.on('message', onMessage);
      socket.socket.on('error', () => undefined);
      const send = (): void => socket.socket.send(message, port, address, () => undefined);
      send();
      let atMs = options.firstRoundMs ?? DEFAULT_FIRST_ROUND_MS;
      for (let waitMs = atMs; atMs < timeoutMs && waitMs > 0; waitMs *= 2, atMs += waitMs)
        timers.push(setTimeout(send, atMs));
    }
    timers.push(setTimeout(end, timeoutMs));
    if (signal?.aborted) end();
    for (;;) {
      const next = queue.shift();
      if (next !== undefined) yield next;
      else if (isOver) return;
      else
        await new Promise<void>((resolve) => {
          wake = resolve;
        });
    }
  } finally {
    signal?.removeEventListener('abort', end);
    for (const timer of timers) clearTimeout(timer);
    await Promise.all(sockets.map((socket) => socket.close()));
  }
}

function resultOf<R>(type: Codec<R>, bytes: Uint8Array, xid: number): { readonly value: R } | undefined {
  const reader = new XdrReader(bytes);
  try {
    if (readReplyXid(reader) !== xid || readReply(reader) !== undefined) return undefined;
    const value = type.decode(reader);
    reader.finish();
    return { value };
  } catch {
    return undefined;
  }
}

async function openFor(address: string, local: string | undefined): Promise<UdpSocket> {
  const family = address.includes(':') ? 6 : 4;
  const socket = openSocket(family);
  try {
    await socket.bind({ port: 0, ...(local === undefined ? {} : { address: local }) });
    if (family === 4) socket.setBroadcast(true);
    const zone = address.split('%')[1];
    if (zone !== undefined && address.startsWith('ff')) socket.setMulticastInterface(`::%${zone}`);
  } catch (error) {
    await socket.close();
    throw error;
  }
  return socket;
}

/** Each interface's broadcast address with our own address there, and the group on each that has IPv6. */
function everywhere(): { readonly address: string; readonly local: string | undefined }[] {
  const targets = new Map<string, string | undefined>();
  for (const [name, addresses] of Object.entries(networkInterfaces()))
    for (const { family, address, netmask, internal } of addresses ?? []) {
      if (family === 'IPv6') {
        if (!internal) targets.set(`${RPCB_MULTICAST_ADDRESS}%${name}`, undefined);
      } else targets.set(internal ? address : broadcastOf(address, netmask), address);
    }
  return [...targets].map(([address, local]) => ({ address, local }));
}

function broadcastOf(address: string, netmask: string): string {
  const mask = netmask.split('.').map(Number);
  return address
    .split('.')
    .map((part, i) => Number(part) | (~(mask[i] as number) & 0xff))
    .join('.');
}
