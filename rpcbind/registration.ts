/** What a registration is, everywhere: (program, version, netid) -> address, and whose it is (RFC 1833 section 2.1). */

/** One registration. */
export interface Registration {
  readonly program: number;
  readonly version: number;
  readonly netid: string;
  /** Universal address (RFC 5665). */
  readonly address: string;
  /** `superuser`, a uid in decimal, or `unknown`. */
  readonly owner: string;
}
