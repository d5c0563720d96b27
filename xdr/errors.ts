/**
 * The error class of this folder. It holds what is wrong, at which byte and at which field; it does not hold the call
 * or the peer.
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

/** Where an {@link XdrError} happened, if known. */
export interface XdrErrorOptions {
  /** Byte offset from the start of the message. */
  readonly offset?: number | undefined;
  /** Path of the field, as in `entries[3].name`; empty for the value itself. */
  readonly path?: string | undefined;
  readonly cause?: unknown;
}

/** Bytes that are not valid XDR (RFC 4506) of the type, or a value that the type cannot hold. */
export class XdrError extends Error {
  override readonly name = 'XdrError';
  readonly code: XdrErrorCode;
  /** What is wrong, without offset and path. */
  readonly reason: string;
  /** Byte offset from the start of the message, if known. */
  readonly offset: number | undefined;
  /** Path of the field, as in `entries[3].name`; empty where unknown. */
  readonly path: string;

  constructor(code: XdrErrorCode, reason: string, options: XdrErrorOptions = {}) {
    const path = options.path ?? '';
    const position = options.offset === undefined ? '' : ` (byte ${options.offset})`;
    super(
      `${path === '' ? '' : `${path}: `}${reason}${position}`,
      options.cause === undefined ? undefined : { cause: options.cause },
    );
    this.code = code;
    this.reason = reason;
    this.offset = options.offset;
    this.path = path;
  }
}
