/**
 * What RPCBPROC_GETSTAT answers with (RFC 1833 section 2.2.1): calls by procedure, and lists of
 * what was looked up and called through us. The lists are keyed by what callers send, so they are
 * bounded: once full, what is not in them yet is counted by procedure alone.
 */

import {
  RPCBSTAT_HIGHPROC,
  type rpcb_stat_byvers,
  type rpcbs_addrlist,
  type rpcbs_rmtcalllist,
} from '../rpcbind.gen.js';

/** Most rows of a list of lookups, and of a list of forwarded calls, for each version. */
export const MAX_STATISTICS_ROWS = 256;
/** Counters stop here: the wire has 31 bits for them. */
const MAX_COUNT = 0x7fff_ffff;

/** Bytes of one version's counters and of the ends of its two lists. */
const VERSION_BYTES = RPCBSTAT_HIGHPROC * 4 + 16;
/** Bytes of a row of lookups, and of one of forwarded calls, without the netid. */
const LOOKUP_BYTES = 20;
const FORWARD_BYTES = 28;

/** Statistics of the versions 2, 3 and 4. */
export type RpcbindVersion = 2 | 3 | 4;

/** What one version was asked for; counters stop at 2^31-1. */
export interface VersionCounts {
  /** By procedure, 0 to 12. */
  readonly calls: readonly number[];
  readonly sets: number;
  readonly unsets: number;
}

class VersionCounters {
  readonly calls = new Array<number>(RPCBSTAT_HIGHPROC).fill(0);
  sets = 0;
  unsets = 0;
  /** By program, then by version and netid. */
  readonly lookups = new Map<number, Map<string, rpcbs_addrlist>>();
  readonly rows: rpcbs_addrlist[] = [];
  readonly forwards = new Map<string, rpcbs_rmtcalllist>();
}

/** Counts for one daemon. */
export class Statistics {
  private readonly versions = {
    2: new VersionCounters(),
    3: new VersionCounters(),
    4: new VersionCounters(),
  };
  /** The row counted last: most lookups are of what was just looked up. */
  private latest: { readonly of: RpcbindVersion; readonly row: rpcbs_addrlist } | undefined;
  private bytes = 3 * VERSION_BYTES;

  /** Calls, and registrations made and taken back, by version. */
  counts(): Readonly<Record<RpcbindVersion, VersionCounts>> {
    const of = (version: RpcbindVersion): VersionCounts => {
      const { calls, sets, unsets } = this.versions[version];
      return { calls: [...calls], sets, unsets };
    };
    return { 2: of(2), 3: of(3), 4: of(4) };
  }

  /** Bytes of {@link snapshot} on the wire. Kept up to date, not computed. */
  get snapshotBytes(): number {
    return this.bytes;
  }

  /** A call of a procedure, 0 to 12. */
  called(version: RpcbindVersion, procedure: number): void {
    const { calls } = this.versions[version];
    calls[procedure] = up(calls[procedure] ?? 0);
  }

  /** A registration that was made. */
  wasSet(version: RpcbindVersion): void {
    this.versions[version].sets = up(this.versions[version].sets);
  }

  /** A registration that was taken back. */
  wasUnset(version: RpcbindVersion): void {
    this.versions[version].unsets = up(this.versions[version].unsets);
  }

  /** A lookup of a program, and whether it was found. */
  lookedUp(of: RpcbindVersion, program: number, version: number, netid: string, isFound: boolean): void {
    const row = this.rowOf(of, program, version, netid);
    if (row === undefined) return;
    if (isFound) row.success = up(row.success);
    else row.failure = up(row.failure);
  }

  /** A call passed on, and whether it was answered. */
  forwarded(
    of: RpcbindVersion,
    call: { readonly prog: number; readonly vers: number; readonly proc: number },
    netid: string,
    isIndirect: boolean,
    isAnswered: boolean,
  ): void {
    const { forwards } = this.versions[of];
    const { prog, vers, proc } = call;
    const key = `${prog} ${vers} ${proc} ${netid} ${isIndirect}`;
    let row = forwards.get(key);
    if (row === undefined) {
      if (forwards.size >= MAX_STATISTICS_ROWS) return;
      row = { prog, vers, proc, success: 0, failure: 0, indirect: isIndirect ? 1 : 0, netid };
      forwards.set(key, row);
      this.bytes += FORWARD_BYTES + textBytes(netid);
    }
    if (isAnswered) row.success = up(row.success);
    else row.failure = up(row.failure);
  }

  /** All of it, as the wire has it: versions 2, 3 and 4 in this order; in the lists the newest row first. */
  snapshot(): rpcb_stat_byvers {
    return ([2, 3, 4] as const).map((version) => {
      const of = this.versions[version];
      return {
        info: [...of.calls],
        setinfo: of.sets,
        unsetinfo: of.unsets,
        addrinfo: of.rows.toReversed(),
        rmtinfo: [...of.forwards.values()].toReversed(),
      };
    });
  }

  private rowOf(
    of: RpcbindVersion,
    program: number,
    version: number,
    netid: string,
  ): rpcbs_addrlist | undefined {
    const { latest } = this;
    if (
      latest !== undefined &&
      latest.of === of &&
      latest.row.prog === program &&
      latest.row.vers === version &&
      latest.row.netid === netid
    )
      return latest.row;
    const counters = this.versions[of];
    const key = `${version} ${netid}`;
    const rows = counters.lookups.get(program) ?? new Map<string, rpcbs_addrlist>();
    let row = rows.get(key);
    if (row === undefined) {
      if (counters.rows.length >= MAX_STATISTICS_ROWS) return undefined;
      row = { prog: program, vers: version, success: 0, failure: 0, netid };
      counters.rows.push(row);
      this.bytes += LOOKUP_BYTES + textBytes(netid);
      rows.set(key, row);
      counters.lookups.set(program, rows);
    }
    this.latest = { of, row };
    return row;
  }
}

function up(count: number): number {
  return count < MAX_COUNT ? count + 1 : count;
}

/** Bytes of a text with its length (RFC 4506 section 4.11). */
function textBytes(text: string): number {
  return 4 + ((Buffer.byteLength(text) + 3) & ~3);
}
