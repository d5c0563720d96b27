/** Bounds that are options: each is checked once, when a service is made. */

/**
 * A bound as a whole number from `min` to `max`, or its default.
 * Throws RangeError with the bound's name.
 */
export function limit(
  name: string,
  value: number | undefined,
  standard: number,
  min: number,
  max: number,
): number {
  const given = value ?? standard;
  if (!Number.isSafeInteger(given) || given < min || given > max)
    throw new RangeError(`${name} must be a whole number from ${min} to ${max}, not ${given}`);
  return given;
}

/** Bytes of a reply around its result: xid, status and an empty verifier (RFC 5531 section 9). */
export const REPLY_HEADER_BYTES = 24;

/**
 * Default for the bytes of one answer over UDP: 8192. A datagram could hold 65507, but its sender's
 * address may be forged, and the more an answer outgrows its question the better a weapon it makes.
 */
export const DEFAULT_MAX_UDP_BYTES = 8_192;
/** The largest result that a datagram of IPv4 can carry back. */
export const MAX_UDP_BYTES = 65_507 - REPLY_HEADER_BYTES;
