/**
 * The one error of this folder. It knows what is wrong, where in the bytes and where in
 * the value; it does not know which call or which peer was concerned.
 */

/** Stable codes of {@link XdrError}; each has a row in docs/errors.md. */
export type XdrErrorCode =
  | 'XDR_TRUNCATED'
  | 'XDR_TRAILING'
  | 'XDR_RANGE'
  | 'XDR_PADDING'
  | 'XDR_BAD_ENUM'
  | 'XDR_BAD_UNION'
  | 'XDR_LIMIT'
  | 'XDR_DEPTH';

/** Where an {@link XdrError} happened, as far as it is known. */
export interface XdrErrorOptions {
  /** Byte offset from the start of the message. */
  readonly offset?: number;
  /** Path of the field, as in `entries[3].name`; empty for the value itself. */
  readonly path?: string;
  readonly cause?: unknown;
}

/** Bytes that are not the XDR (RFC 4506) of the type, or a value the type cannot hold. */
export class XdrError extends Error {
  override readonly name = 'XdrError';
  readonly code: XdrErrorCode;
  /** What is wrong, without the place. */
  readonly reason: string;
  /** Byte offset from the start of the message, where known. */
  readonly offset: number | undefined;
  /** Path of the field, as in `entries[3].name`; empty where unknown. */
  readonly path: string;

  constructor(code: XdrErrorCode, reason: string, options: XdrErrorOptions = {}) {
    const path = options.path ?? '';
    const place = options.offset === undefined ? '' : ` (byte ${options.offset})`;
    super(
      `${path === '' ? '' : `${path}: `}${reason}${place}`,
      options.cause === undefined ? undefined : { cause: options.cause },
    );
    this.code = code;
    this.reason = reason;
    this.offset = options.offset;
    this.path = path;
  }
}
