/**
 * A security mechanism for tests: it signs the header and encrypts bodies with a key that both ends have. Messages are
 * numbered, and a server takes each number once.
 */

import { createCipheriv, createDecipheriv, createHmac, timingSafeEqual } from 'node:crypto';
import { AuthError } from '../../runtime/index.js';
import {
  type AuthField,
  auth_stat,
  type ClientSecurity,
  type SecuredCall,
  type SecurityDecision,
  type ServerSecurity,
  sealCall,
} from '../../runtime/protocol.js';

const FLAVOR = 300_000;
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

function word(value: number): Buffer {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32BE(value);
  return bytes;
}

/** The server's side. `isSlow` answers later, as a mechanism that asks a key distribution center would. */
export class ToyServerSecurity implements ServerSecurity {
  readonly flavor = FLAVOR;
  /** Calls accepted, refused and met with silence. */
  readonly counts = { accepted: 0, refused: 0, replays: 0 };
  private readonly key: Buffer;
  private readonly isSlow: boolean;
  private readonly seen = new Set<number>();

  constructor(key: Buffer, isSlow = false) {
    this.key = key;
    this.isSlow = isSlow;
  }

  accept(call: SecuredCall): SecurityDecision | Promise<SecurityDecision> {
    if (!this.isSlow) return this.judge(call);
    const copy = {
      ...call,
      credential: call.credential.slice(),
      verifier: { ...call.verifier, body: call.verifier.body.slice() },
      signedBytes: call.signedBytes.slice(),
      args: call.args.slice(),
    };
    return new Promise((resolve) => setImmediate(resolve)).then(() => this.judge(copy));
  }

  private judge(call: SecuredCall): SecurityDecision {
    const { key } = this;
    if (call.credential.length !== 4) throw this.refusal(auth_stat.AUTH_BADCRED);
    if (!isSame(call.verifier, sign(key, call.signedBytes))) throw this.refusal(auth_stat.AUTH_BADVERF);
    const sequence = Buffer.from(call.credential).readUInt32BE();
    if (this.seen.has(sequence)) {
      this.counts.replays += 1;
      return { kind: 'silence' };
    }
    let args: Uint8Array;
    try {
      args = decrypt(key, sequence, false, call.args);
    } catch {
      throw this.refusal(auth_stat.AUTH_BADVERF);
    }
    this.seen.add(sequence);
    this.counts.accepted += 1;
    return {
      kind: 'accept',
      credentials: { flavor: 'other', number: FLAVOR, body: new Uint8Array(0), principal: 'toy' },
      args,
      protection: {
        verifier: sign(key, word(sequence)),
        overheadBytes: 64,
        wrapResult: (result) => encrypt(key, sequence, true, result),
      },
    };
  }

  private refusal(why: 1 | 3): AuthError {
    this.counts.refused += 1;
    return new AuthError(why);
  }
}

/** The client's side. */
export function toyClientSecurity(key: Buffer, first = 1): ClientSecurity {
  let sequence = first;
  return {
    prepare: () => undefined,
    renew: () => false,
    protect(args) {
      const sent: number[] = [];
      let answered = 0;
      return {
        seal(target) {
          const mine = sequence++;
          sent.push(mine);
          return sealCall(
            target,
            { flavor: FLAVOR, body: word(mine) },
            (signed) => sign(key, signed),
            encrypt(key, mine, false, args),
          );
        },
        verify(verifier) {
          const found = sent.find((one) => isSame(verifier, sign(key, word(one))));
          if (found === undefined) throw new Error('the verifier is of none of the transmissions');
          answered = found;
        },
        unwrap: (result) => decrypt(key, answered, true, result),
      };
    },
  };
}
