/** GETPORT, GETADDR and DUMP as far as the table answers them: reads are counted, and ask for liveness checks. */

import type { TableEntry } from '../table/registry.js';
import type { RpcbindVersion } from './stats.js';

/** What lookups need of the table; see {@link Registry}. */
export interface ReadableTable {
  readonly rowBytes: number;
  readonly mappingCount: number;
  entries(): IterableIterator<TableEntry>;
  select(program: number, version: number): TableEntry[];
  find(program: number, version: number, netid: string): TableEntry | undefined;
  findExact(program: number, version: number, netid: string): TableEntry | undefined;
}

/** Counts lookups; see {@link Statistics}. */
export interface LookupCounter {
  countLookup(by: RpcbindVersion, program: number, version: number, netid: string, isFound: boolean): void;
}

/** Reads one table. */
export class Lookups {
  private readonly registrations: ReadableTable;
  private readonly counters: LookupCounter;
  private readonly liveness: { request(entry: TableEntry): void };

  constructor(table: ReadableTable, counters: LookupCounter, liveness: { request(entry: TableEntry): void }) {
    this.registrations = table;
    this.counters = counters;
    this.liveness = liveness;
  }

  /** Bytes of all rows of DUMP in versions 3 and 4, and the number of rows of DUMP in version 2. */
  get rowBytes(): number {
    return this.registrations.rowBytes;
  }

  get mappingCount(): number {
    return this.registrations.mappingCount;
  }

  /** The registration of a program on a netid: of this version, or of another one unless `isExact`. */
  find(
    program: number,
    version: number,
    netid: string,
    by: RpcbindVersion,
    isExact = false,
  ): TableEntry | undefined {
    const entry = isExact
      ? this.registrations.findExact(program, version, netid)
      : this.registrations.find(program, version, netid);
    if (entry !== undefined) this.liveness.request(entry);
    this.counters.countLookup(by, program, version, netid, entry !== undefined);
    return entry;
  }

  /** The registrations of a version of a program on all netids, oldest first. */
  select(program: number, version: number): TableEntry[] {
    return this.registrations.select(program, version);
  }

  /** The whole table, oldest first. */
  table(): TableEntry[] {
    return [...this.registrations.entries()];
  }
}
