/**
 * The statistics of RPCBPROC_GETSTAT (RFC 1833 section 2.2.1): calls by procedure, and lists of what was looked up and
 * called through the daemon. The keys of these lists come from callers, so their length is limited: once a list is full,
 * what is not in it is counted by procedure alone.
 */

import {
  RPCBSTAT_HIGHPROC,
  type rpcb_stat_byvers,
  type rpcbs_addrlist,
  type rpcbs_rmtcalllist,
} from '../rpcbind.gen.js';

/** Maximum number of rows of a list of lookups, and of a list of forwarded calls, of each version. */
export const MAX_STATISTICS_ROWS = 256;
/** Counters stop at 2^31-1: they are signed on the wire. */
const MAX_COUNT = 0x7fff_ffff;

/** Bytes of the counters of a version and of the ends of its two lists. */
const VERSION_BYTES = RPCBSTAT_HIGHPROC * 4 + 16;
/** Bytes of a row of lookups, and of one of forwarded calls, without the netid. */
const LOOKUP_BYTES = 20;
const FORWARD_BYTES = 28;

/** A version of the protocol. */
export type RpcbindVersion = 2 | 3 | 4;

/** The calls of one version; counters stop at 2^31-1. */
export interface VersionCounts {
  /** By procedure number, 0 to 12. */
  readonly calls: readonly number[];
  readonly sets: number;
  readonly unsets: number;
}

/** How a call came that is forwarded. */
export interface ForwardOrigin {
  readonly by: RpcbindVersion;
  /** Of the transport that it came by. */
  readonly netid: string;
  /** Whether it came by INDIRECT. */
  readonly isIndirect: boolean;
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

/** The counters of one daemon. */
export class Statistics {
  private readonly versions = {
    2: new VersionCounters(),
    3: new VersionCounters(),
    4: new VersionCounters(),
  };
  /** The row counted last: most lookups repeat the one before. */
  private latest: { readonly of: RpcbindVersion; readonly row: rpcbs_addrlist } | undefined;
  private bytes = 3 * VERSION_BYTES;

  /** Calls and successful SETs and UNSETs, by version. */
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

  /** Counts a call of a procedure, 0 to 12. */
  countCall(version: RpcbindVersion, procedure: number): void {
    const { calls } = this.versions[version];
    calls[procedure] = up(calls[procedure] ?? 0);
  }

  /** Counts a successful SET. */
  countSet(version: RpcbindVersion): void {
    this.versions[version].sets = up(this.versions[version].sets);
  }

  /** Counts a successful UNSET. */
  countUnset(version: RpcbindVersion): void {
    this.versions[version].unsets = up(this.versions[version].unsets);
  }

  /** Counts a lookup of a program. */
  countLookup(of: RpcbindVersion, program: number, version: number, netid: string, isFound: boolean): void {
    const row = this.rowOf(of, program, version, netid);
    if (row === undefined) return;
    if (isFound) row.success = up(row.success);
    else row.failure = up(row.failure);
  }

  /** Counts a forwarded call. */
  countForward(
    { prog, vers, proc }: { readonly prog: number; readonly vers: number; readonly proc: number },
    { by, netid, isIndirect }: ForwardOrigin,
    isAnswered: boolean,
  ): void {
    const { forwards } = this.versions[by];
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

  /** As on the wire: versions 2, 3 and 4 in this order; in the lists the newest row first. */
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

/** Bytes of a string with its length (RFC 4506 section 4.11). */
function textBytes(text: string): number {
  return 4 + ((Buffer.byteLength(text) + 3) & ~3);
}
