/**
 * Keeping a server registered: every service on every listener, as soon as an rpcbind answers,
 * again after it was restarted and lost its table, and no more once the server leaves.
 */

import { existsSync } from 'node:fs';
import { type RpcServer, TransportError } from '../../runtime/index.js';
import { RpcbindError } from '../errors.js';
import { formatUaddr, parseUaddr } from '../uaddr.js';
import {
  connectRpcbind,
  defaultRpcbindPort,
  hasNoSuchVersion,
  LOCAL_SOCKET_PATH,
  type RpcbindClient,
  type RpcbindOptions,
} from './client.js';

/**
 * `published`: registered. `waiting`: no rpcbind answers, it is asked again and again. `refused`:
 * another owner holds one of the registrations. `withdrawn`: over.
 */
export type PublicationState = 'published' | 'waiting' | 'refused' | 'withdrawn';

/** See {@link publish}. */
export interface PublishOptions {
  /** Of the rpcbind to register with. Default: RPCBIND_PORT, else 111. */
  readonly port?: number | undefined;
  /** Of the rpcbind's local socket, tried first where `port` is 111. Default {@link LOCAL_SOCKET_PATH}. */
  readonly path?: string | undefined;
  /** Told of every change of state. */
  readonly onState?: ((state: PublicationState) => void) | undefined;
  /** Milliseconds between looks whether the registrations are still there. Default {@link DEFAULT_CHECK_MS}. */
  readonly checkMs?: number | undefined;
}

/** Default for the time between looks whether registrations are still there: 10 s. */
export const DEFAULT_CHECK_MS = 10_000;
/** The first wait for an rpcbind that does not answer: 1 s; each next one is twice as long. */
export const FIRST_RETRY_MS = 1_000;
/** The longest wait for an rpcbind that does not answer: 30 s. */
export const MAX_RETRY_MS = 30_000;
/** How long one call to rpcbind on this host may take: 5 s. */
const CALL_MS = 5_000;

/** A server's registrations. */
export interface Publication {
  readonly state: PublicationState;
  /** Takes the registrations back. Resolves also where no rpcbind answers any more. May be called twice. */
  withdraw(): Promise<void>;
}

interface Row {
  readonly program: number;
  readonly version: number;
  readonly netid: string;
  readonly address: string;
}

/**
 * Registers every service of a server on every listener it has now. Resolves after the first try,
 * with the state it led to; rejects with RpcbindError `RPCBIND_REFUSED` where another owner holds
 * a registration, and `RPCBIND_PORT` for a bad RPCBIND_PORT. From then on it looks after the
 * registrations by itself, without keeping the process alive, until withdrawn.
 */
export async function publish(server: RpcServer, options: PublishOptions = {}): Promise<Publication> {
  const publisher = new Publisher(rowsOf(server), options);
  await publisher.start();
  return publisher;
}

class Publisher implements Publication {
  state: PublicationState = 'waiting';
  private readonly rows: readonly Row[];
  private readonly port: number;
  private readonly path: string;
  private readonly checkMs: number;
  private readonly onState: (state: PublicationState) => void;
  private timer: NodeJS.Timeout | undefined;
  private retryMs = FIRST_RETRY_MS;
  private underWay: Promise<void> = Promise.resolve();

  constructor(rows: readonly Row[], options: PublishOptions) {
    this.rows = rows;
    this.port = options.port ?? defaultRpcbindPort();
    this.path = options.path ?? LOCAL_SOCKET_PATH;
    this.checkMs = options.checkMs ?? DEFAULT_CHECK_MS;
    this.onState = options.onState ?? (() => undefined);
  }

  async start(): Promise<void> {
    const state = await this.register();
    if (state === 'refused')
      throw new RpcbindError(
        'RPCBIND_REFUSED',
        `rpcbind on port ${this.port} refuses the registration: another owner holds one of ${this.names()}, or it is not for this user to register`,
      );
    this.state = state;
    this.onState(state);
    this.schedule();
  }

  async withdraw(): Promise<void> {
    if (this.state === 'withdrawn') return;
    const wasPublished = this.state === 'published';
    this.state = 'withdrawn';
    clearTimeout(this.timer);
    await this.underWay;
    if (wasPublished) {
      await this.ask(async (registrar) => {
        for (const row of this.rows) await registrar.unset(row);
        return true;
      }).catch(() => undefined);
    }
    this.onState('withdrawn');
  }

  private schedule(): void {
    if (this.state === 'withdrawn') return;
    const waitMs = this.state === 'published' ? this.checkMs : this.retryMs;
    this.retryMs = this.state === 'published' ? FIRST_RETRY_MS : Math.min(this.retryMs * 2, MAX_RETRY_MS);
    this.timer = setTimeout(() => {
      this.underWay = this.check();
    }, waitMs);
    this.timer.unref();
  }

  /** Registering what is registered already changes nothing, so this is the look and the cure in one. */
  private async check(): Promise<void> {
    const state = await this.register();
    if (this.state === 'withdrawn') return;
    if (state !== this.state) {
      this.state = state;
      this.onState(state);
    }
    this.schedule();
  }

  private async register(): Promise<'published' | 'waiting' | 'refused'> {
    try {
      const isDone = await this.ask(async (registrar) => {
        for (const row of this.rows) if (!(await this.registerRow(registrar, row))) return false;
        return true;
      });
      return isDone ? 'published' : 'refused';
    } catch {
      return 'waiting';
    }
  }

  private async registerRow(registrar: Registrar, row: Row): Promise<boolean> {
    if (await registrar.set(row)) return true;
    // What is there under our own name is left over from a server that did not take it back.
    return (await registrar.unset(row)) && (await registrar.set(row));
  }

  /** Does something by the first rpcbind address that answers: local socket, TCP, UDP; version 4, 3, then 2. */
  private async ask(job: (registrar: Registrar) => Promise<boolean>): Promise<boolean> {
    const addresses: RpcbindOptions[] = [
      ...(this.port === 111 && existsSync(this.path)
        ? [{ transport: 'local', path: this.path } as const]
        : []),
      { transport: 'tcp', port: this.port },
      { transport: 'udp', port: this.port },
    ];
    let failure: unknown;
    for (const address of addresses) {
      const rpcbind = await connectRpcbind({ ...address, retransmitMs: CALL_MS / 5, timeoutMs: CALL_MS });
      try {
        return await job(newRegistrar(rpcbind)).catch((error: unknown) => {
          if (hasNoSuchVersion(error)) return job(oldRegistrar(rpcbind));
          throw error;
        });
      } catch (error) {
        failure = error;
        if (!(error instanceof TransportError)) throw error;
      } finally {
        await rpcbind.close();
      }
    }
    throw failure;
  }

  private names(): string {
    return [...new Set(this.rows.map(({ program, version }) => `${program} version ${version}`))].join(', ');
  }
}

interface Registrar {
  set(row: Row): Promise<boolean>;
  unset(row: Row): Promise<boolean>;
}

function newRegistrar(rpcbind: RpcbindClient): Registrar {
  return { set: (row) => rpcbind.setAddress(row), unset: (row) => rpcbind.unsetAddress(row) };
}

/** By version 2, which knows ports of UDP and TCP over IPv4; the rest cannot be said to it. */
function oldRegistrar(rpcbind: RpcbindClient): Registrar {
  return {
    set({ program, version, netid, address }) {
      const port = parseUaddr(netid, address)?.port ?? 0;
      if (netid !== 'udp' && netid !== 'tcp') return Promise.resolve(true);
      return rpcbind.set({ program, version, protocol: netid, port });
    },
    unset: (row) => rpcbind.unset(row),
  };
}

/**
 * What is to be registered. A netid has room for one address: a server with several listeners of a
 * kind on one port is registered with the wildcard address, which rpcbind fits to each caller; with
 * several ports, by its first.
 */
function rowsOf(server: RpcServer): Row[] {
  const addresses = new Map<string, string>();
  for (const { netid, address, port } of server.listeners) {
    const first = addresses.get(netid);
    if (netid === 'local') {
      if (first === undefined) addresses.set(netid, address.replace('\0', '@'));
      continue;
    }
    if (first === undefined) addresses.set(netid, formatUaddr(address, port));
    else if (parseUaddr(netid, first)?.port === port)
      addresses.set(netid, formatUaddr(netid.endsWith('6') ? '::' : '0.0.0.0', port));
  }
  const rows: Row[] = [];
  for (const { program, version } of server.services)
    for (const [netid, address] of addresses) rows.push({ program, version, netid, address });
  return rows;
}
