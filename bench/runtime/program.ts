/** load.x by hand: what the runtime's bench calls. */

import type { Procedure, Service } from '../../runtime/index.js';
import { hyper, type Infer, int, nothing, string, struct, uint } from '../../xdr/index.js';

export const LOAD_PROGRAM = 0x2000_4c44;
const base = { program: LOAD_PROGRAM, version: 1 };

export const small = struct({ id: int, flags: uint, size: hyper, name: string(64) });
export const value: Infer<typeof small> = { id: 1, flags: 2, size: 3n, name: 'a name of some length' };
export const loadNull = { ...base, number: 0, name: 'LOAD_NULL', args: nothing, result: nothing };
export const loadSmall = { ...base, number: 1, name: 'LOAD_SMALL', args: small, result: small };

/** The service; with `isIdempotent` its calls over UDP take no room in the duplicate cache, as in the C server, which has none. */
export function loadService(isIdempotent: boolean): Service {
  const answer = (asked: Infer<typeof small>): Infer<typeof small> => ({ ...asked, id: asked.id + 1 });
  return {
    ...base,
    name: 'LOAD_PROGRAM',
    procedures: [
      {
        procedure: { ...loadSmall, idempotent: isIdempotent } as unknown as Procedure,
        handle: answer as never,
      },
    ],
  };
}
