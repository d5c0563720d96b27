/** What rpcbind itself says no to. How calls fail is the runtime's affair. */

/** Codes of {@link RpcbindError}; each has a row in docs/errors.md. */
export type RpcbindErrorCode =
  | 'RPCBIND_NOT_REGISTERED'
  | 'RPCBIND_UNREACHABLE'
  | 'RPCBIND_REFUSED'
  | 'RPCBIND_PORT'
  | 'RPCBIND_STATE';

/** A question that rpcbind answered, and not as hoped. */
export class RpcbindError extends Error {
  override readonly name = 'RpcbindError';
  /**
   * RPCBIND_NOT_REGISTERED: the program is not in that host's table. RPCBIND_UNREACHABLE: no rpcbind
   * answers there; the cause says how that showed. RPCBIND_REFUSED: a registration was not accepted: another owner holds it. RPCBIND_PORT: the environment's RPCBIND_PORT is no
   * port. RPCBIND_STATE: the files of registrations cannot be written.
   */
  readonly code: RpcbindErrorCode;

  constructor(code: RpcbindErrorCode, message: string, cause?: unknown) {
    super(message, cause === undefined ? undefined : { cause });
    this.code = code;
  }
}
