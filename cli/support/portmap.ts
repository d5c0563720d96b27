/** The table of registered programs as `rpcinfo -p` prints it. */

import type { ProgramNames } from './programs.js';

/** One row of a version 2 table. */
export interface PortmapRow {
  readonly program: number;
  readonly version: number;
  readonly protocol: 'udp' | 'tcp' | number;
  readonly port: number;
}

/** The rows under their header, one a line; for an empty table the sentence that rpcinfo says. */
export function formatPortmap(rows: readonly PortmapRow[], names: ProgramNames): string {
  if (rows.length === 0) return 'No remote programs registered.';
  const lines = rows.map(({ program, version, protocol, port }) => {
    const left = `${String(program).padStart(10)}${String(version).padStart(5)}${String(protocol).padStart(6)}`;
    const name = names.nameOf(program);
    return `${left}${String(port).padStart(7)}${name === undefined ? '' : `  ${name}`}`;
  });
  return ['   program vers proto   port  service', ...lines].join('\n');
}
