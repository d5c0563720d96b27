/**
 * A security mechanism for tests: it signs the header and encrypts bodies with a key that both ends have. Messages are
 * numbered, and a server takes each number of a context once. Context 0 is always there; others are created and destroyed
 * by calls of procedure 0. A credential is: what it is for, the context's handle, the message's number.
 */

import { createCipheriv, createDecipheriv, createHmac, timingSafeEqual } from 'node:crypto';
import { AuthError } from '../../runtime/index.js';
import {
  type AuthField,
  auth_stat,
  type ClientSecurity,
  type SecuredCall,
  type SecurityDecision,
  SecurityError,
  type SecurityExchange,
  type ServerSecurity,
  sealCall,
} from '../../runtime/protocol.js';

const FLAVOR = 300_000;
const DATA = 0;
const INIT = 1;
const DESTROY = 3;
const TAG_BYTES = 16;

/** Directions have nonces of their own. */
function nonce(sequence: number, isReply: boolean): Buffer {
  const bytes = Buffer.alloc(12);
  bytes.writeUInt32BE(sequence);
  bytes[11] = isReply ? 1 : 0;
  return bytes;
}

function encrypt(key: Buffer, sequence: number, isReply: boolean, plain: Uint8Array): Uint8Array {
  const cipher = createCipheriv('aes-256-gcm', key, nonce(sequence, isReply));
  const body = Buffer.concat([cipher.update(plain), cipher.final()]);
  return Buffer.concat([body, cipher.getAuthTag()]);
}

function decrypt(key: Buffer, sequence: number, isReply: boolean, sealed: Uint8Array): Uint8Array {
  if (sealed.length < TAG_BYTES) throw new Error('too short');
  const decipher = createDecipheriv('aes-256-gcm', key, nonce(sequence, isReply));
  decipher.setAuthTag(sealed.subarray(sealed.length - TAG_BYTES));
  return Buffer.concat([decipher.update(sealed.subarray(0, sealed.length - TAG_BYTES)), decipher.final()]);
}

function sign(key: Buffer, bytes: Uint8Array): AuthField {
  return { flavor: FLAVOR, body: createHmac('sha256', key).update(bytes).digest() };
}

const isSame = (a: AuthField, b: AuthField): boolean =>
  a.flavor === b.flavor && a.body.length === b.body.length && timingSafeEqual(a.body, b.body);

function words(...values: number[]): Buffer {
  const bytes = Buffer.alloc(4 * values.length);
  values.forEach((value, i) => {
    bytes.writeUInt32BE(value, 4 * i);
  });
  return bytes;
}

/** How a {@link ToyServerSecurity} behaves. */
export interface ToyServerOptions {
  /** Decides later, as a mechanism that asks a key distribution center. */
  readonly isSlow?: boolean;
  /** What wrapping a result fails with. */
  readonly wrapError?: Error;
  /** What every decision fails with. */
  readonly error?: Error;
}

/** The server's side. */
export class ToyServerSecurity implements ServerSecurity {
  readonly flavor = FLAVOR;
  /** What calls came to. */
  readonly counts = { accepted: 0, refused: 0, garbage: 0, replays: 0, created: 0, destroyed: 0 };
  private readonly key: Buffer;
  private readonly options: ToyServerOptions;
  private readonly contexts = new Map<number, Set<number>>([[0, new Set()]]);

  constructor(key: Buffer, options: ToyServerOptions = {}) {
    this.key = key;
    this.options = options;
  }

  /** Loses all contexts but 0, as a server that is started again. */
  forget(): void {
    for (const handle of this.contexts.keys()) if (handle !== 0) this.contexts.delete(handle);
  }

  accept(call: SecuredCall): SecurityDecision | Promise<SecurityDecision> {
    if (this.options.isSlow !== true) return this.decide(call);
    const copy = {
      ...call,
      credential: call.credential.slice(),
      verifier: { ...call.verifier, body: call.verifier.body.slice() },
      signedBytes: call.signedBytes.slice(),
      args: call.args.slice(),
    };
    return new Promise((resolve) => setImmediate(resolve)).then(() => this.decide(copy));
  }

  private decide(call: SecuredCall): SecurityDecision {
    const { key, options } = this;
    if (options.error !== undefined) throw options.error;
    if (call.credential.length !== 12) throw this.refusal(auth_stat.AUTH_BADCRED);
    const credential = Buffer.from(call.credential);
    const [kind, handle, sequence] = [0, 4, 8].map((at) => credential.readUInt32BE(at)) as [
      number,
      number,
      number,
    ];
    if (kind === INIT) {
      const created = ++this.counts.created;
      this.contexts.set(created, new Set());
      return { kind: 'reply', verifier: sign(key, call.args), result: words(created) };
    }
    const seen = this.contexts.get(handle);
    if (seen === undefined) throw this.refusal(auth_stat.RPCSEC_GSS_CREDPROBLEM);
    if (!isSame(call.verifier, sign(key, call.signedBytes))) throw this.refusal(auth_stat.AUTH_BADVERF);
    const verifier = sign(key, words(sequence));
    if (seen.has(sequence)) {
      this.counts.replays += 1;
      return { kind: 'silence' };
    }
    seen.add(sequence);
    if (kind === DESTROY) {
      this.contexts.delete(handle);
      this.counts.destroyed += 1;
      return { kind: 'reply', verifier, result: new Uint8Array(0) };
    }
    let args: Uint8Array;
    try {
      args = decrypt(key, sequence, false, call.args);
    } catch {
      this.counts.garbage += 1;
      return { kind: 'garbage', verifier };
    }
    this.counts.accepted += 1;
    return {
      kind: 'accept',
      credentials: { flavor: 'other', number: FLAVOR, body: new Uint8Array(0), principal: 'toy' },
      caller: `context ${handle}`,
      args,
      protection: {
        verifier,
        overheadBytes: 64,
        wrapResult: (result) => {
          if (options.wrapError !== undefined) throw options.wrapError;
          return encrypt(key, sequence, true, result);
        },
      },
    };
  }

  private refusal(why: 1 | 3 | 13): AuthError {
    this.counts.refused += 1;
    return new AuthError(why);
  }
}

/** How a {@link toyClientSecurity} behaves. */
export interface ToyClientOptions {
  /** The first number of a message. Default 1. */
  readonly first?: number;
  /** Creates a context before the first call. Default: uses context 0. */
  readonly createsContext?: boolean;
}

/** The client's side. */
export function toyClientSecurity(
  key: Buffer,
  { first = 1, createsContext = false }: ToyClientOptions = {},
): ClientSecurity {
  let sequence = first;
  let handle = createsContext ? undefined : 0;
  let creating: Promise<void> | undefined;
  const create = async (exchange: SecurityExchange): Promise<void> => {
    const nonceOfCall = words(sequence++);
    const { verifier, result } = await exchange({ flavor: FLAVOR, body: words(INIT, 0, 0) }, nonceOfCall);
    if (!isSame(verifier, sign(key, nonceOfCall)))
      throw new SecurityError('RPC_SECURITY', 'the server does not have the key');
    handle = Buffer.from(result).readUInt32BE();
  };
  return {
    prepare(exchange) {
      if (handle !== undefined) return undefined;
      creating ??= create(exchange).finally(() => {
        creating = undefined;
      });
      return creating;
    },
    renew(why) {
      if (why !== auth_stat.RPCSEC_GSS_CREDPROBLEM || !createsContext) return false;
      handle = undefined;
      return true;
    },
    async close(exchange) {
      if (handle === undefined || handle === 0) return;
      const body = words(DESTROY, handle, sequence++);
      await exchange({ flavor: FLAVOR, body }, new Uint8Array(0), (signed) => sign(key, signed));
    },
    protect(args) {
      const sent: number[] = [];
      let answered = 0;
      return {
        seal(target) {
          const mine = sequence++;
          sent.push(mine);
          return sealCall(
            target,
            { flavor: FLAVOR, body: words(DATA, handle ?? 0, mine) },
            (signed) => sign(key, signed),
            encrypt(key, mine, false, args),
          );
        },
        verify(verifier) {
          const found = sent.find((one) => isSame(verifier, sign(key, words(one))));
          if (found === undefined) throw new Error('the verifier is of none of the transmissions');
          answered = found;
        },
        unwrap: (result) => decrypt(key, answered, true, result),
      };
    },
  };
}
