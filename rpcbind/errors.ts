/** Errors of rpcbind as client and as daemon. Errors of calls are the runtime's. */

/** Codes of {@link RpcbindError}; each has a row in docs/errors.md. */
export type RpcbindErrorCode =
  | 'RPCBIND_NOT_REGISTERED'
  | 'RPCBIND_UNREACHABLE'
  | 'RPCBIND_REFUSED'
  | 'RPCBIND_PORT'
  | 'RPCBIND_STATE';

/**
 * An error of rpcbind.
 *
 * - `RPCBIND_NOT_REGISTERED`: the program is not registered on that host.
 * - `RPCBIND_UNREACHABLE`: no rpcbind answers there; `cause` is the error of the call.
 * - `RPCBIND_REFUSED`: a registration was refused, since another owner has it.
 * - `RPCBIND_PORT`: RPCBIND_PORT of the environment is not a port.
 * - `RPCBIND_STATE`: the folder of registrations cannot be used.
 */
export class RpcbindError extends Error {
  override readonly name = 'RpcbindError';
  readonly code: RpcbindErrorCode;

  constructor(code: RpcbindErrorCode, message: string, cause?: unknown) {
    super(message, cause === undefined ? undefined : { cause });
    this.code = code;
  }
}
