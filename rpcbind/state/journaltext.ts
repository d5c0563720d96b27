/**
 * The text of the journal: one line for each change.
 *
 *   rpcbind-ts journal 2 <64 hex digits: SHA-256 of rpcbind.xdr, or "-">
 *   <16 hex digits of SHA-256> {"set":[{"program":...}]}
 *   <16 hex digits of SHA-256> {"unset":[[program,version,"netid","owner"]]}
 *
 * An "unset" holds the key for the owner; one without an owner, for nobody. Version 1 had no digest in its first line.
 *
 * A last line without its newline was never acknowledged, and is left out. If any other line is not as it was written, the
 * whole file is damaged.
 */

import { createHash } from 'node:crypto';
import { type HeldRegistration, UNKNOWN } from '../registration.js';
import { type StoredRegistration, storeKey, THIS_HOST } from './store.js';

/** The version that is written. */
export const JOURNAL_VERSION = 2;
/** In the place of a digest, if there is no `rpcbind.xdr`. */
export const NO_SNAPSHOT = '-';

const HEADER = /^rpcbind-ts journal (\d+)(?: ([0-9a-f]{64}|-))?\n/;
const SUM_DIGITS = 16;

/** A registration in a line: without the host, which is this one. */
type LineForm = Omit<StoredRegistration, 'host'>;

type Change =
  | { readonly set: readonly LineForm[] }
  | {
      readonly unset: readonly (readonly [program: number, version: number, netid: string, owner?: string])[];
    };

/** The contents of a journal. */
export interface Journal {
  readonly version: number;
  /** The digest of the snapshot that it continues; undefined in version 1. */
  readonly snapshot: string | undefined;
  readonly registrations: readonly StoredRegistration[];
  readonly held: readonly HeldRegistration[];
  /** Bytes of whole lines. */
  readonly bytes: number;
  /** Whether it ends within a line, which is left out. */
  readonly isCut: boolean;
}

/** Thrown for a journal of a version above {@link JOURNAL_VERSION}. */
export class NewerVersionError extends Error {
  override readonly name = 'NewerVersionError';
}

/** The first line of a journal that continues the snapshot with this digest. */
export function headerLine(snapshot: string): string {
  return `rpcbind-ts journal ${JOURNAL_VERSION} ${snapshot}\n`;
}

/** The line of a registration that was added. */
export function setLine({ program, version, netid, address, owner, wasAlive }: StoredRegistration): string {
  return lineOf({ set: [{ program, version, netid, address, owner, wasAlive }] });
}

/** The line of registrations that were removed together, or of holds. What `unknown` registered is held for nobody. */
export function unsetLine(registrations: readonly HeldRegistration[]): string {
  return lineOf({
    unset: registrations.map(({ program, version, netid, owner }) =>
      owner === UNKNOWN ? [program, version, netid] : [program, version, netid, owner],
    ),
  });
}

/** Reads a journal. Throws Error if it is damaged, {@link NewerVersionError} if it is of a newer version. */
export function parseJournal(bytes: Buffer): Journal {
  const text = bytes.toString('utf8');
  const [header, number, snapshot] = HEADER.exec(text) ?? [];
  if (header === undefined) throw new Error('it does not begin as a journal does');
  const version = Number(number);
  if (version > JOURNAL_VERSION) throw new NewerVersionError();
  if ((snapshot === undefined) !== (version === 1)) throw new Error('line 1 is not as it was written');
  const end = text.lastIndexOf('\n') + 1;
  const found = new Map<string, StoredRegistration>();
  const held = new Map<string, HeldRegistration>();
  const lines = text.slice(header.length, end).split('\n').slice(0, -1);
  lines.forEach((line, i) => {
    const change = changeOf(line);
    if (change === undefined) throw new Error(`line ${i + 2} is not as it was written`);
    if ('set' in change)
      for (const registration of change.set) {
        const stored = { ...registration, host: THIS_HOST };
        const key = storeKey(stored);
        found.set(key, stored);
        held.delete(key);
      }
    else
      for (const [program, version, netid, owner] of change.unset) {
        const key = storeKey({ program, version, netid, host: THIS_HOST });
        found.delete(key);
        if (owner !== undefined) held.set(key, { program, version, netid, owner });
      }
  });
  return {
    version,
    snapshot,
    registrations: [...found.values()],
    held: [...held.values()],
    bytes: Buffer.byteLength(text.slice(0, end)),
    isCut: end !== text.length,
  };
}

/** SHA-256 as 64 hex digits. */
export function digestOf(bytes: Uint8Array | string): string {
  return createHash('sha256').update(bytes).digest('hex');
}

function lineOf(change: Change): string {
  const text = JSON.stringify(change);
  return `${sumOf(text)} ${text}\n`;
}

function changeOf(line: string): Change | undefined {
  const text = line.slice(SUM_DIGITS + 1);
  return line.slice(0, SUM_DIGITS) === sumOf(text) ? (JSON.parse(text) as Change) : undefined;
}

function sumOf(text: string): string {
  return digestOf(text).slice(0, SUM_DIGITS);
}
