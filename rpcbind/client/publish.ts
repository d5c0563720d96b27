/**
 * Keeps a server registered in the rpcbind of this host: every service on every listener, as soon as an rpcbind answers,
 * again if that was restarted without its table, until the server ends.
 */

import { existsSync } from 'node:fs';
import { type RpcServer, TransportError } from '../../runtime/index.js';
import { integerOption, MAX_TIMEOUT_MS } from '../../runtime/protocol.js';
import { RpcbindError } from '../errors.js';
import type { NewRegistration } from '../registration.js';
import { PMAP_PORT } from '../rpcbind.gen.js';
import { formatUaddr, parseUaddr } from '../uaddr.js';
import {
  connectRpcbind,
  defaultRpcbindPort,
  isVersionRefused,
  LOCAL_SOCKET_PATH,
  type RpcbindClient,
  type RpcbindOptions,
} from './client.js';

/**
 * `published`: registered. `waiting`: no rpcbind answers; it is called again and again. `refused`: another owner has one
 * of the registrations. `withdrawn`: ended.
 */
export type PublicationState = 'published' | 'waiting' | 'refused' | 'withdrawn';

/** See {@link publish}. */
export interface PublishOptions {
  /** Of rpcbind. Default: RPCBIND_PORT, else 111. */
  readonly port?: number | undefined;
  /** Of the local socket of rpcbind, which is tried first if `port` is 111. Default {@link LOCAL_SOCKET_PATH}. */
  readonly path?: string | undefined;
  /** Told of every change of state. */
  readonly onState?: ((state: PublicationState) => void) | undefined;
  /** Milliseconds between checks whether the registrations are still there, 1 to 2^31-1. Default {@link DEFAULT_CHECK_MS}. */
  readonly checkMs?: number | undefined;
}

/** Default of `checkMs`: 10 s. */
export const DEFAULT_CHECK_MS = 10_000;
/** The first wait for an rpcbind that does not answer: 1 s. Each further one is twice as long. */
export const FIRST_RETRY_MS = 1_000;
/** The longest wait for an rpcbind that does not answer: 30 s. */
export const MAX_RETRY_MS = 30_000;
/** Timeout of one call to rpcbind: 5 s. */
const CALL_MS = 5_000;

/** The registrations of a server. */
export interface Publication {
  readonly state: PublicationState;
  /** Removes the registrations. Resolves also if no rpcbind answers any more. May be called twice. */
  withdraw(): Promise<void>;
}

/**
 * Registers every service of a server on every listener that it has now. Resolves after the first attempt, with a
 * publication that is `published` or `waiting`; rejects with RpcbindError `RPCBIND_REFUSED` if another owner has one of
 * the registrations, with `RPCBIND_PORT` for a bad RPCBIND_PORT, and throws RangeError for an option out of range. From
 * then on it checks and renews the registrations by itself until withdrawn. It does not keep the process alive.
 */
export async function publish(server: RpcServer, options: PublishOptions = {}): Promise<Publication> {
  const publisher = new Publisher(registrationsOf(server), options);
  await publisher.start();
  return publisher;
}

class Publisher implements Publication {
  state: PublicationState = 'waiting';
  private readonly registrations: readonly NewRegistration[];
  private readonly port: number;
  private readonly path: string;
  private readonly checkMs: number;
  private readonly onState: (state: PublicationState) => void;
  private timer: NodeJS.Timeout | undefined;
  private retryMs = FIRST_RETRY_MS;
  private checking: Promise<void> = Promise.resolve();

  constructor(registrations: readonly NewRegistration[], options: PublishOptions) {
    this.registrations = registrations;
    this.port = options.port ?? defaultRpcbindPort();
    this.path = options.path ?? LOCAL_SOCKET_PATH;
    this.checkMs = integerOption('checkMs', options.checkMs, DEFAULT_CHECK_MS, 1, MAX_TIMEOUT_MS);
    this.onState = options.onState ?? (() => undefined);
  }

  async start(): Promise<void> {
    const state = await this.register();
    if (state === 'refused')
      throw new RpcbindError(
        'RPCBIND_REFUSED',
        `rpcbind on port ${this.port} refuses the registration: another owner has one of ${this.names()}, or this user may not register it`,
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
    await this.checking;
    if (wasPublished) {
      await this.call(async (calls) => {
        for (const registration of this.registrations) await calls.unset(registration);
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
      this.checking = this.check();
    }, waitMs);
    this.timer.unref();
  }

  /** Registers again: that both checks and repairs, since a registration that is there already is not changed. */
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
      const isDone = await this.call(async (calls) => {
        for (const registration of this.registrations)
          if (!(await registerWith(calls, registration))) return false;
        return true;
      });
      return isDone ? 'published' : 'refused';
    } catch {
      return 'waiting';
    }
  }

  /** Makes calls to the first address of rpcbind that answers: local socket, TCP, UDP; by versions 4 and 3, then 2. */
  private async call(job: (calls: RegistrationCalls) => Promise<boolean>): Promise<boolean> {
    const addresses: RpcbindOptions[] = [
      ...(this.port === PMAP_PORT && existsSync(this.path)
        ? [{ transport: 'local', path: this.path } as const]
        : []),
      { transport: 'tcp', port: this.port },
      { transport: 'udp', port: this.port },
    ];
    let failure: unknown;
    for (const address of addresses) {
      const rpcbind = await connectRpcbind({ ...address, retransmitMs: CALL_MS / 5, timeoutMs: CALL_MS });
      try {
        return await job(newCalls(rpcbind)).catch((error: unknown) => {
          if (isVersionRefused(error)) return job(oldCalls(rpcbind));
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
    const names = this.registrations.map(({ program, version }) => `${program} version ${version}`);
    return [...new Set(names)].join(', ');
  }
}

/** SET and UNSET of one rpcbind, by the versions that it has. */
interface RegistrationCalls {
  set(registration: NewRegistration): Promise<boolean>;
  unset(registration: NewRegistration): Promise<boolean>;
}

/** False if rpcbind refuses. */
async function registerWith(calls: RegistrationCalls, registration: NewRegistration): Promise<boolean> {
  if (await calls.set(registration)) return true;
  // Another address of the same owner may be left over from a server that ended without UNSET.
  return (await calls.unset(registration)) && (await calls.set(registration));
}

function newCalls(rpcbind: RpcbindClient): RegistrationCalls {
  return {
    set: (registration) => rpcbind.setAddress(registration),
    unset: (registration) => rpcbind.unsetAddress(registration),
  };
}

/** By version 2, which has UDP and TCP over IPv4 alone; registrations of other netids are left out. */
function oldCalls(rpcbind: RpcbindClient): RegistrationCalls {
  return {
    set({ program, version, netid, address }) {
      const port = parseUaddr(netid, address)?.port ?? 0;
      if (netid !== 'udp' && netid !== 'tcp') return Promise.resolve(true);
      return rpcbind.set({ program, version, protocol: netid, port });
    },
    unset: (registration) => rpcbind.unset(registration),
  };
}

/**
 * The registrations of a server. There is one for each netid: if several listeners of a netid have the same port, it is the
 * wildcard address, from which rpcbind makes one for each caller; if they have different ports, it is the first address.
 */
function registrationsOf(server: RpcServer): NewRegistration[] {
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
  return server.services.flatMap(({ program, version }) =>
    [...addresses].map(([netid, address]) => ({ program, version, netid, address })),
  );
}
