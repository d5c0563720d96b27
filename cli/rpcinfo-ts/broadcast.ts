/**
 * `-b`: asking all hosts of the networks at hand for a program, through the CALLIT of their
 * rpcbinds (RFC 1833 sections 2.2.1 and 3.2), which answer only where the program is there and answers.
 */

import { randomInt } from 'node:crypto';
import { createSocket, type Socket } from 'node:dgram';
import { lookupService } from 'node:dns/promises';
import { isIPv4 } from 'node:net';
import { networkInterfaces } from 'node:os';
import { formatUaddr, PMAP_PORT, parseUaddr, RPCBPROG } from '../../rpcbind/index.js';
import { noCredentials, type Procedure } from '../../runtime/index.js';
import { readReply, readReplyXid, writeCall } from '../../runtime/protocol.js';
import { type Codec, voidCodec, XdrError, XdrReader, XdrWriter } from '../../xdr/index.js';
import { CliError, UsageError } from '../support/cli.js';
import { printable } from '../support/terminal.js';
import type { Request, Service } from './request.js';
import type { Setting } from './setting.js';

/** When the question goes out for the second time, and when the last answer is waited for. */
export const BROADCAST_TIMES = { retransmitMs: 4_000, timeoutMs: 12_000 } as const;
/** Most services that are told of; a network with more gets no further lines. */
export const MAX_ANSWERS = 10_000;
/** Where rpcbinds listen for questions to all over IPv6 (RFC 1833 section 2.2.1; IANA's "rpcbind"). */
const ALL_RPCBINDS = 'ff02::202';
const CALLIT = 5;

/** Whom to ask, and from which kind of socket. */
interface Destination {
  readonly address: string;
  readonly family: 4 | 6;
}

/** A service that answered. */
interface Answerer {
  readonly uaddr: string;
  readonly host: string;
  readonly name: Promise<string | undefined>;
}

/** Asks, and tells each answer as it comes. Rejects with CliError where there is nobody to ask. */
export async function askNetwork(
  { program, version, netid }: Extract<Request, { kind: 'broadcast' }>,
  setting: Setting,
): Promise<boolean> {
  if (netid !== undefined && netid !== 'udp' && netid !== 'udp6')
    throw new UsageError(`netid ${netid} cannot ask a whole network: udp and udp6 can`);
  const found = destinationsOf().filter(
    ({ family }) => netid === undefined || (netid === 'udp') === (family === 4),
  );
  if (found.length === 0)
    throw new CliError(
      `no network interface here can broadcast${netid === undefined ? '' : ` over ${netid}`}: bring one up`,
    );
  let told: Promise<void> = Promise.resolve();
  const seen = new Set<string>();
  const times = {
    retransmitMs: setting.hasTimeout ? setting.contact.retransmitMs : BROADCAST_TIMES.retransmitMs,
    timeoutMs: setting.hasTotal ? setting.contact.timeoutMs : BROADCAST_TIMES.timeoutMs,
  };
  await collect(found, { program, version }, setting.contact.port ?? PMAP_PORT, times, (answer) => {
    // A host answers every version of the question and every repetition: it is told of once.
    if (seen.has(answer.uaddr) || seen.size >= MAX_ANSWERS) return;
    seen.add(answer.uaddr);
    told = told.then(async () => tell(answer, await answer.name, { program, version }, setting));
  });
  await told;
  return false;
}

function tell(answer: Answerer, name: string | undefined, service: Service, { isJson }: Setting): void {
  const line = isJson
    ? JSON.stringify({ host: answer.host, name: name ?? null, address: answer.uaddr, ...service })
    : `${answer.uaddr}\t${printable(name ?? 'unknown')}`;
  process.stdout.write(`${line}\n`);
}

/** The broadcast addresses of IPv4, and the rpcbinds' group on every IPv6 link. */
function destinationsOf(): Destination[] {
  const destinations: Destination[] = [];
  for (const [name, addresses] of Object.entries(networkInterfaces())) {
    for (const { address, netmask, family, internal } of addresses ?? []) {
      if (internal) continue;
      const to = family === 'IPv4' ? broadcastOf(address, netmask) : `${ALL_RPCBINDS}%${name}`;
      if (!destinations.some((destination) => destination.address === to))
        destinations.push({ address: to, family: family === 'IPv4' ? 4 : 6 });
    }
  }
  return destinations;
}

function broadcastOf(address: string, netmask: string): string {
  const mask = netmask.split('.').map(Number);
  return address
    .split('.')
    .map((part, i) => Number(part) | (~(mask[i] ?? 255) & 255))
    .join('.');
}

/** Sends the question twice to all, and gives every answer until the time is up. */
async function collect(
  destinations: readonly Destination[],
  service: Service,
  port: number,
  times: { readonly retransmitMs: number; readonly timeoutMs: number },
  onAnswer: (answer: Answerer) => void,
): Promise<void> {
  // Every sending has xids of its own: rpcbind in C takes a repeated one for a call it already forwards.
  const base = randomInt(0x3fff_ffff) * 2;
  let next = base;
  const sockets = new Map<4 | 6, Socket>();
  try {
    for (const family of new Set(destinations.map((destination) => destination.family))) {
      const socket = await open(family);
      sockets.set(family, socket);
      socket.on('error', () => undefined);
      socket.on('message', (bytes, from) => {
        const uaddr = readAnswer(bytes, base, next, from.address);
        if (uaddr !== undefined) onAnswer({ uaddr, host: from.address, name: nameOf(from.address) });
      });
    }
    const send = (): void => {
      const xid = next;
      next += 2;
      for (const { address, family } of destinations)
        for (const version of family === 4 ? [2, 3] : [3])
          sockets.get(family)?.send(question(xid, version, service), port, address, () => undefined);
    };
    send();
    const again = setInterval(send, times.retransmitMs);
    await new Promise((done) => setTimeout(done, times.timeoutMs));
    clearInterval(again);
  } finally {
    for (const socket of sockets.values()) socket.close();
  }
}

async function open(family: 4 | 6): Promise<Socket> {
  const socket = createSocket({ type: family === 4 ? 'udp4' : 'udp6' });
  await new Promise<void>((done, fail) => {
    socket.once('error', fail);
    socket.bind(0, () => {
      socket.off('error', fail);
      if (family === 4) socket.setBroadcast(true);
      done();
    });
  });
  return socket;
}

function callit(version: number): Procedure<never, unknown> {
  return {
    program: RPCBPROG,
    version,
    number: CALLIT,
    name: 'CALLIT',
    args: voidCodec as Codec<never>,
    result: voidCodec,
  };
}

/** CALLIT of NULL: version 2 has the even xid, version 3 the next. */
function question(xid: number, version: number, service: Service): Uint8Array {
  const writer = new XdrWriter();
  writeCall(writer, version === 2 ? xid : xid + 1, callit(version), noCredentials);
  writer.uint32(service.program);
  writer.uint32(service.version);
  writer.uint32(0);
  writer.uint32(0);
  return writer.take();
}

/** The universal address in an answer to one of our questions, or undefined. */
function readAnswer(bytes: Uint8Array, first: number, end: number, from: string): string | undefined {
  const reader = new XdrReader(bytes);
  try {
    const which = readReplyXid(reader);
    if (which === undefined || which < first || which >= end || readReply(reader) !== undefined)
      return undefined;
    if (which % 2 === 0) return formatUaddr(from, reader.uint32() & 0xffff);
    const uaddr = reader.string(MAX_UADDR);
    const isIt = parseUaddr('udp', uaddr) ?? parseUaddr('udp6', uaddr);
    return isIt === undefined ? undefined : uaddr;
  } catch (error) {
    // What answers and is no rpcbind is of no concern here.
    if (error instanceof XdrError) return undefined;
    throw error;
  }
}

const MAX_UADDR = 64;
/** How long a host's name is looked for. */
const NAME_MS = 2_000;

async function nameOf(address: string): Promise<string | undefined> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<undefined>((done) => {
    timer = setTimeout(() => done(undefined), NAME_MS);
  });
  try {
    const found = await Promise.race([lookupService(address, 0), late]);
    const name = found?.hostname;
    return name === undefined || isIPv4(name) || name.includes(':') ? undefined : name;
  } catch {
    return undefined;
  } finally {
    clearTimeout(timer);
  }
}
