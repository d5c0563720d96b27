/**
 * Calls of a client under a security mechanism (protocol/security.ts): the exchange before the first call, a protected
 * message for each transmission, and replies that count only when the mechanism has checked them.
 */

import { encode, withPath, type XdrReader } from '../../xdr/index.js';
import { ReplyError, SecurityError, TimeoutError, TransportError } from '../protocol/errors.js';
import { readReplyXid } from '../protocol/message.js';
import { type CallOptions, nullProcedure, type Procedure } from '../protocol/procedure.js';
import { rawCodec } from '../protocol/raw.js';
import { accept_stat } from '../protocol/rpcmsg.gen.js';
import {
  type AuthField,
  type ClientSecurity,
  NO_VERIFIER,
  type ProtectedCall,
  readAcceptedReply,
  SECURITY_CLOSE_MS,
  type SecurityExchange,
  sealCall,
  sealReply,
} from '../protocol/security.js';

/** A protected call as the client makes it. */
export interface SecuredCall extends ProtectedCall {
  /** True for the message by which a mechanism ends, which a client that is closed still sends. */
  readonly isLast?: boolean;
}

/** What secured calls need of their client. */
export interface SecuredClient {
  readonly target: string;
  readonly maxMessageBytes: number;
  readonly maxPendingCalls: number;
  /** Makes a call whose messages `secured` makes and opens; under the xid given, or a new one. */
  call<A, R>(
    procedure: Procedure<A, R>,
    args: A,
    options: CallOptions,
    xid: number | undefined,
    secured: SecuredCall,
  ): Promise<R>;
  /** Sends a message once. */
  transmit(message: Uint8Array): void;
  newXid(): number;
  /** The whole time of a call. */
  timeoutOf(procedure: Procedure, options: CallOptions): number;
}

/** The calls of one client under its mechanism. */
export class SecuredCalls {
  private readonly security: ClientSecurity;
  private readonly client: SecuredClient;
  /** Calls that wait for the mechanism. */
  private waiting = 0;
  /** NULL of the program version that was called last, which carries the messages of the mechanism. */
  private carrier: Procedure<Uint8Array, Uint8Array> | undefined;
  private isClosed = false;

  constructor(security: ClientSecurity, client: SecuredClient) {
    this.security = security;
    this.client = client;
  }

  /**
   * Makes a call. One that the server refuses since it does not know our context (any more) is made once more under a new
   * one; all of it takes no longer than the call's `timeoutMs`.
   */
  async call<A, R>(
    procedure: Procedure<A, R>,
    args: A,
    options: CallOptions,
    xid: number | undefined,
  ): Promise<R> {
    const encoded = this.encodeArgs(procedure, args);
    const timeoutMs = this.client.timeoutOf(procedure as Procedure, options);
    const startedAt = performance.now();
    let timed = options;
    for (let attempt = 1; ; attempt++) {
      const preparing = this.prepare(procedure as Procedure);
      if (preparing !== undefined || attempt > 1) {
        const wait = preparing ?? Promise.resolve();
        const leftMs = (): number => timeoutMs - (performance.now() - startedAt);
        await this.wait(wait, procedure as Procedure, timeoutMs, leftMs(), options.signal);
        timed = { ...options, timeoutMs: Math.max(1, leftMs()) };
      }
      try {
        const givenXid = attempt === 1 ? xid : undefined;
        return await this.client.call(procedure, args, timed, givenXid, this.security.protect(encoded));
      } catch (error) {
        const refusal = error instanceof ReplyError && 'denied' in error.refusal ? error.refusal : undefined;
        if (attempt === 2 || refusal?.denied !== 'AUTH_ERROR' || !this.security.renew(refusal.why))
          throw error;
      }
    }
  }

  /** Sends a call once and waits for nothing, as soon as the mechanism is ready. Lost where it does not become ready. */
  send<A>(procedure: Procedure<A, unknown>, args: A): void {
    const encoded = this.encodeArgs(procedure, args);
    const preparing = this.prepare(procedure as Procedure);
    const transmit = (): void => {
      if (this.isClosed) return;
      const message = sealFor(this.security.protect(encoded), this.client.newXid(), procedure as Procedure);
      this.client.transmit(message);
    };
    if (preparing === undefined) transmit();
    else if (this.waiting >= this.client.maxPendingCalls) throw this.tooMany();
    else {
      this.waiting += 1;
      preparing
        .then(transmit)
        .catch(() => undefined)
        .finally(() => {
          this.waiting -= 1;
        });
    }
  }

  /** Ends the mechanism; `isIdle` where no call was under way. Never rejects. */
  async close(isIdle: boolean): Promise<void> {
    this.isClosed = true;
    const { carrier, security } = this;
    if (!isIdle || carrier === undefined || security.close === undefined) return;
    let timer: NodeJS.Timeout | undefined;
    const late = new Promise<void>((resolve) => {
      timer = setTimeout(resolve, SECURITY_CLOSE_MS);
    });
    const closing = security.close(this.exchangeBy(carrier, true)).catch(() => undefined);
    await Promise.race([closing, late]);
    clearTimeout(timer);
  }

  private prepare(procedure: Procedure): Promise<void> | undefined {
    if (this.isClosed)
      throw new TransportError('RPC_CLOSED', `${this.client.target}: the client is closed`, 'no');
    const { program, version } = procedure;
    if (this.carrier?.program !== program || this.carrier.version !== version)
      this.carrier = nullProcedure(program, version, rawCodec);
    return this.security.prepare(this.exchange);
  }

  private encodeArgs<A>(procedure: Procedure<A, unknown>, args: A): Uint8Array {
    try {
      return encode(procedure.args, args, { maxBytes: this.client.maxMessageBytes });
    } catch (error) {
      throw withPath(error, procedure.args, args);
    }
  }

  /** Waits for the mechanism, which others wait for too, no longer than this call may take. */
  private wait(
    preparing: Promise<void>,
    procedure: Procedure,
    timeoutMs: number,
    leftMs: number,
    signal: AbortSignal | undefined,
  ): Promise<void> {
    if (this.waiting >= this.client.maxPendingCalls) throw this.tooMany();
    this.waiting += 1;
    return new Promise<void>((resolve, reject) => {
      const onAbort = (): void => reject(signal?.reason);
      const timer = setTimeout(
        () => {
          const text = `${procedure.name} at ${this.client.target}: the security mechanism was not ready`;
          reject(new TimeoutError(`${text} within ${Math.round(timeoutMs) / 1000} s`));
        },
        Math.max(1, leftMs),
      );
      if (signal?.aborted) onAbort();
      signal?.addEventListener('abort', onAbort, { once: true });
      const settled = (): void => {
        clearTimeout(timer);
        signal?.removeEventListener('abort', onAbort);
      };
      preparing.then(
        () => {
          settled();
          resolve();
        },
        (error: unknown) => {
          settled();
          reject(error);
        },
      );
    }).finally(() => {
      this.waiting -= 1;
    });
  }

  private tooMany(): RangeError {
    const { target, maxPendingCalls } = this.client;
    return new RangeError(
      `${target}: ${maxPendingCalls} calls wait for the security mechanism (maxPendingCalls)`,
    );
  }

  /** Sends messages of the mechanism itself, with the times of the client. */
  private readonly exchange: SecurityExchange = (credential, args, sign) => {
    const { carrier } = this;
    if (carrier === undefined) throw new Error('an exchange comes with a call');
    return this.exchangeBy(carrier, false)(credential, args, sign);
  };

  private exchangeBy(carrier: Procedure<Uint8Array, Uint8Array>, isLast: boolean): SecurityExchange {
    const options = isLast ? { timeoutMs: SECURITY_CLOSE_MS } : {};
    return async (credential: AuthField, args: Uint8Array, sign = () => NO_VERIFIER) => {
      let verifier = NO_VERIFIER;
      const result = await this.client.call(carrier, args, options, undefined, {
        isLast,
        seal: (target) => sealCall(target, credential, sign, args),
        verify: (given) => {
          verifier = { flavor: given.flavor, body: given.body.slice() };
        },
        unwrap: (bytes) => bytes,
      });
      return { verifier, result };
    };
  }
}

/** The message of one transmission. */
export function sealFor(secured: ProtectedCall, xid: number, procedure: Procedure): Uint8Array {
  const { program, version, number } = procedure;
  return secured.seal({ xid, program, version, procedure: number });
}

/**
 * Checks a protected reply, and has the reader stand behind the xid of the same reply in the clear. Throws SecurityError
 * where it is not the server's. A refusal of the caller has no verifier (RFC 5531 section 9): it is read as it is.
 */
export function openReply(secured: ProtectedCall, xid: number, bytes: Uint8Array, reader: XdrReader): void {
  const accepted = readAcceptedReply(bytes);
  if (accepted === undefined) return;
  try {
    secured.verify(accepted.verifier);
    if (accepted.status !== accept_stat.SUCCESS) return;
    reader.reset(sealReply(xid, NO_VERIFIER, secured.unwrap(accepted.result)));
  } catch (error) {
    throw new SecurityError('RPC_UNVERIFIED', 'the reply is not from the server, or was altered', error);
  }
  readReplyXid(reader);
}
