/**
 * Registrations that are gone and held for their last owner. A service that is restarted is not registered for some
 * seconds. Without a hold any user of this host could register the program's number in that time: the SET of the service
 * itself would fail, and its clients would be sent to the other user's server.
 *
 * Which registrations are held, and how long, is known here. Who may end a hold is decided in registry.ts.
 */

import type { HeldRegistration, RegistrationKey } from '../registration.js';

/** Default of `holdMs`: 60 s. */
export const DEFAULT_HOLD_MS = 60_000;
/** Maximum of `holdMs`: 1 hour. */
export const MAX_HOLD_MS = 3_600_000;

/** Why a hold ended: its time was over, the key was registered, or a limit was reached. */
export type ReleaseReason = 'expired' | 'registered' | 'limit';

/** Told of each hold that begins and ends. */
export interface HoldListener {
  held(registration: HeldRegistration): void;
  released(registration: HeldRegistration, reason: ReleaseReason): void;
}

interface Hold extends HeldRegistration {
  /** Time of `performance.now()`. */
  readonly endsAt: number;
}

/** The holds of one table. All last equally long, so the oldest one ends first. */
export class HeldRegistrations {
  private readonly holdMs: number;
  private readonly listener: HoldListener | undefined;
  private readonly all = new Set<Hold>();
  private readonly byProgram = new Map<number, Map<string, Hold>>();
  private readonly byOwner = new Map<string, Set<Hold>>();

  /** `holdMs` is from 0, for no holds, to {@link MAX_HOLD_MS}. */
  constructor(holdMs: number, listener?: HoldListener) {
    this.holdMs = holdMs;
    this.listener = listener;
  }

  get size(): number {
    this.expire();
    return this.all.size;
  }

  /** Every hold, oldest first. */
  *entries(): IterableIterator<HeldRegistration> {
    this.expire();
    yield* this.all;
  }

  /** The number of holds of an owner. */
  countOf(owner: string): number {
    this.expire();
    return this.byOwner.get(owner)?.size ?? 0;
  }

  /** The hold of a key, or undefined. */
  find(key: RegistrationKey): HeldRegistration | undefined {
    if (this.all.size === 0) return undefined;
    this.expire();
    return this.byProgram.get(key.program)?.get(textOf(key));
  }

  /** Every hold of a program. */
  ofProgram(program: number): Iterable<HeldRegistration> {
    this.expire();
    return this.byProgram.get(program)?.values() ?? [];
  }

  /** Holds a registration from now on. A key that is held already is held anew, for the whole time. */
  add({ program, version, netid, owner }: HeldRegistration): void {
    if (this.holdMs === 0) return;
    const known = this.byProgram.get(program)?.get(textOf({ program, version, netid }));
    if (known !== undefined) this.delete(known);
    const hold: Hold = { program, version, netid, owner, endsAt: performance.now() + this.holdMs };
    this.all.add(hold);
    const holds = this.byProgram.get(program) ?? new Map<string, Hold>();
    this.byProgram.set(program, holds.set(textOf(hold), hold));
    const owned = this.byOwner.get(owner) ?? new Set<Hold>();
    this.byOwner.set(owner, owned.add(hold));
    this.listener?.held(hold);
  }

  /** Ends the hold of a key that was registered; nothing where there is none. */
  release(key: RegistrationKey): void {
    const hold = this.byProgram.get(key.program)?.get(textOf(key));
    if (hold !== undefined) this.end(hold, 'registered');
  }

  /** Ends the oldest hold of an owner, or of all, to make room; false where there is none. */
  releaseOldest(owner?: string): boolean {
    const [oldest] = owner === undefined ? this.all : (this.byOwner.get(owner) ?? []);
    if (oldest !== undefined) this.end(oldest, 'limit');
    return oldest !== undefined;
  }

  /** Ends the holds whose time is over. All other methods do so first. */
  expire(): void {
    if (this.all.size === 0) return;
    const now = performance.now();
    for (const hold of this.all) {
      if (hold.endsAt > now) return;
      this.end(hold, 'expired');
    }
  }

  private end(hold: Hold, reason: ReleaseReason): void {
    this.delete(hold);
    this.listener?.released(hold, reason);
  }

  private delete(hold: Hold): void {
    this.all.delete(hold);
    const holds = this.byProgram.get(hold.program);
    holds?.delete(textOf(hold));
    if (holds?.size === 0) this.byProgram.delete(hold.program);
    const owned = this.byOwner.get(hold.owner);
    owned?.delete(hold);
    if (owned?.size === 0) this.byOwner.delete(hold.owner);
  }
}

function textOf({ version, netid }: RegistrationKey): string {
  return `${version} ${netid}`;
}
