/** What the runtime's bench serves and calls: load.x, compiled by our own compiler as by Debian's. */

import type { Service } from '../../runtime/index.js';
import { createLoadProgramV1, loadProgramV1, type small } from './load.gen.js';

export const { program: LOAD_PROGRAM, LOAD_NULL: loadNull, LOAD_SMALL: loadSmall } = loadProgramV1;
export const value: small = { id: 1, flags: 2, size: 3n, name: 'a name of some length' };

/** The service; with `idempotent` its calls over UDP take no room in the duplicate cache, as in the C server, which has none. */
export function loadService(idempotent: boolean): Service {
  const service = createLoadProgramV1({ small: (asked) => ({ ...asked, id: asked.id + 1 }) });
  const procedures = service.procedures.map(({ procedure, handle }) => ({
    procedure: { ...procedure, idempotent },
    handle,
  }));
  return { ...service, procedures };
}
