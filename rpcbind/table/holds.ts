/**
 * Places in the table that are kept for the owner whose registration is gone. A service that is started
 * again leaves its place empty for some seconds. Without a hold, any user of this host could register the
 * program's number in that time, the service's own SET would fail, and its clients would go to the stranger.
 *
 * What is held and for how long is known here; who may end a hold is the registry's.
 */

/** Default for the time a place is kept for its owner: 60 s. */
export const DEFAULT_HOLD_MS = 60_000;
/** Longest time a place may be kept: 1 hour. */
export const MAX_HOLD_MS = 3_600_000;

/** Where a registration is: one for each version and netid of a program. */
export interface Place {
  readonly program: number;
  readonly version: number;
  readonly netid: string;
}

/** A place, and who may register there. */
export interface HeldRegistration extends Place {
  /** `superuser`, or a uid in decimal; never `unknown`. */
  readonly owner: string;
}

interface Hold extends HeldRegistration {
  /** Time of `performance.now()`. */
  readonly until: number;
}

/** The holds of one table. All last equally long, so the oldest ends first. */
export class Holds {
  private readonly holdMs: number;
  private readonly all = new Set<Hold>();
  private readonly byProgram = new Map<number, Map<string, Hold>>();
  private readonly byOwner = new Map<string, Set<Hold>>();

  /** Throws RangeError where `holdMs` is not within 0, for no holds, and {@link MAX_HOLD_MS}. */
  constructor(holdMs = DEFAULT_HOLD_MS) {
    if (!(holdMs >= 0 && holdMs <= MAX_HOLD_MS))
      throw new RangeError(`holdMs is ${holdMs}, which is not within 0 and ${MAX_HOLD_MS}`);
    this.holdMs = holdMs;
  }

  get size(): number {
    this.expire();
    return this.all.size;
  }

  /** Every hold, oldest first. */
  *places(): IterableIterator<HeldRegistration> {
    this.expire();
    yield* this.all;
  }

  /** How many places are held for an owner. */
  countOf(owner: string): number {
    this.expire();
    return this.byOwner.get(owner)?.size ?? 0;
  }

  /** The hold of a place, if there is one. */
  find(place: Place): HeldRegistration | undefined {
    if (this.all.size === 0) return undefined;
    this.expire();
    return this.byProgram.get(place.program)?.get(keyOf(place));
  }

  /** Every hold of a program. */
  ofProgram(program: number): Iterable<HeldRegistration> {
    this.expire();
    return this.byProgram.get(program)?.values() ?? [];
  }

  /** Keeps a place from now on. One that is held already is held anew. */
  add({ program, version, netid, owner }: HeldRegistration): void {
    if (this.holdMs === 0) return;
    this.remove({ program, version, netid });
    const hold = { program, version, netid, owner, until: performance.now() + this.holdMs };
    this.all.add(hold);
    const holds = this.byProgram.get(program) ?? new Map<string, Hold>();
    this.byProgram.set(program, holds.set(keyOf(hold), hold));
    const owned = this.byOwner.get(owner) ?? new Set<Hold>();
    this.byOwner.set(owner, owned.add(hold));
  }

  /** Ends the hold of a place, if there is one. */
  remove(place: Place): void {
    const hold = this.byProgram.get(place.program)?.get(keyOf(place));
    if (hold !== undefined) this.end(hold);
  }

  /** Ends the oldest hold of an owner, or of all; false where there is none. */
  removeOldest(owner?: string): boolean {
    const [oldest] = owner === undefined ? this.all : (this.byOwner.get(owner) ?? []);
    if (oldest !== undefined) this.end(oldest);
    return oldest !== undefined;
  }

  private expire(): void {
    if (this.all.size === 0) return;
    const now = performance.now();
    for (const hold of this.all) {
      if (hold.until > now) return;
      this.end(hold);
    }
  }

  private end(hold: Hold): void {
    this.all.delete(hold);
    const holds = this.byProgram.get(hold.program);
    holds?.delete(keyOf(hold));
    if (holds?.size === 0) this.byProgram.delete(hold.program);
    const owned = this.byOwner.get(hold.owner);
    owned?.delete(hold);
    if (owned?.size === 0) this.byOwner.delete(hold.owner);
  }
}

function keyOf({ version, netid }: Place): string {
  return `${version} ${netid}`;
}
