/**
 * Transaction ids (RFC 5531 section 9). On UDP the xid is all that a forged reply has to guess, beside the port, to
 * be taken for the server's: so they are random numbers that tell nothing of those before and after.
 */

import { randomFillSync } from 'node:crypto';

/** Drawn at once: one drawing costs as much as a thousand numbers. */
const pool = new Uint32Array(1_024);
let at = pool.length;

/** A random number of 32 bits, from the system's generator. */
export function randomXid(): number {
  if (at === pool.length) {
    randomFillSync(pool);
    at = 0;
  }
  const xid = pool[at] as number;
  // What was given out is not left in memory.
  pool[at++] = 0;
  return xid;
}
