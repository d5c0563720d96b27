/**
 * Record marking (RFC 5531 section 11): one RPC message on a byte stream. Bytes in, records
 * out; no sockets here.
 *
 *    31  30                       0
 *   +----+-------------------------+----------------+
 *   |last|     fragment length     | that many bytes|  repeated until last
 *   +----+-------------------------+----------------+
 *
 * Length zero is legal, so a peer can send fragments for ever without sending a byte of
 * message: empty ones count against maxFragments too.
 */

import { TransportError } from './errors.js';

/** Bounds on one record. */
export interface RecordOptions {
  /** Most bytes of one record, all fragments together. Default {@link DEFAULT_MAX_RECORD_BYTES}. */
  readonly maxRecordBytes?: number;
  /** Most fragments of one record. Default {@link DEFAULT_MAX_FRAGMENTS}. */
  readonly maxFragments?: number;
}

/** Default for the bytes of one record: 4 MiB. */
export const DEFAULT_MAX_RECORD_BYTES = 4 * 1024 * 1024;
/** Default for the fragments of one record. */
export const DEFAULT_MAX_FRAGMENTS = 1024;
/** Bytes of a fragment's mark. */
export const MARK_BYTES = 4;

const LAST = 0x8000_0000;
const FIRST_BUFFER_BYTES = 512;
/** A sending buffer that had to grow beyond this is not kept. */
const KEEP_BYTES = 65_536;
const NO_BYTES = Buffer.alloc(0);

/**
 * Finds the records in a stream of chunks. A record that lies whole in one chunk and one
 * fragment is handed on as a view of that chunk, without a copy; others are gathered in
 * memory that grows with what has arrived, never with what a mark announces.
 */
export class RecordParser {
  private readonly maxRecordBytes: number;
  private readonly maxFragments: number;
  private state: 'mark' | 'fragment' = 'mark';
  private mark = 0;
  private markBytes = 0;
  private isLast = false;
  /** Bytes of the current fragment that are still to come. */
  private left = 0;
  private fragments = 0;
  private gathered: Uint8Array<ArrayBuffer> | undefined;
  private gatheredBytes = 0;
  /** True after {@link pause}. */
  isPaused = false;

  constructor(options: RecordOptions = {}) {
    this.maxRecordBytes = options.maxRecordBytes ?? DEFAULT_MAX_RECORD_BYTES;
    this.maxFragments = options.maxFragments ?? DEFAULT_MAX_FRAGMENTS;
  }

  /** True between records: a stream that ends here ends cleanly. */
  get isIdle(): boolean {
    return this.state === 'mark' && this.markBytes === 0 && this.fragments === 0;
  }

  /** Bytes held for a record that is not complete. */
  get pendingBytes(): number {
    return this.gatheredBytes;
  }

  /** Memory held for a record that is not complete: up to twice {@link pendingBytes}, as it grows by doubling. */
  get heldBytes(): number {
    return this.gathered?.length ?? 0;
  }

  /**
   * Takes the next chunk and calls `onRecord` for each record it completes; the bytes are valid
   * only during that call. The bytes taken: fewer than the chunk's where `onRecord` called
   * {@link pause}, and the rest is to be pushed again after {@link resume}. Throws TransportError `RPC_FRAMING` over a limit: the stream has lost
   * its frame then and must be closed.
   */
  push(chunk: Uint8Array, onRecord: (record: Uint8Array) => void): number {
    const end = chunk.length;
    let at = 0;
    while (at < end && !this.isPaused) {
      if (this.state === 'mark') {
        if (this.markBytes === 0 && end - at >= MARK_BYTES) {
          this.mark =
            ((chunk[at]! << 24) | (chunk[at + 1]! << 16) | (chunk[at + 2]! << 8) | chunk[at + 3]!) >>> 0;
          at += MARK_BYTES;
        } else {
          this.mark = ((this.mark << 8) | chunk[at]!) >>> 0;
          this.markBytes += 1;
          at += 1;
          if (this.markBytes < MARK_BYTES) continue;
        }
        this.beginFragment();
        if (this.left > 0) continue;
      } else {
        const size = Math.min(this.left, end - at);
        const piece = chunk.subarray(at, at + size);
        at += size;
        this.left -= size;
        if (this.left === 0 && this.isLast && this.gathered === undefined) {
          this.endRecord();
          onRecord(piece);
          continue;
        }
        this.gather(piece);
        if (this.left > 0) continue;
      }
      this.endFragment(onRecord);
    }
    return at;
  }

  /** Makes {@link push} stop after the record it is at. */
  pause(): void {
    this.isPaused = true;
  }

  resume(): void {
    this.isPaused = false;
  }

  private beginFragment(): void {
    this.isLast = this.mark >= LAST;
    this.left = this.mark % LAST;
    this.mark = 0;
    this.markBytes = 0;
    this.fragments += 1;
    this.state = 'fragment';
    if (this.fragments > this.maxFragments)
      throw new TransportError(
        'RPC_FRAMING',
        `a record of more than ${this.maxFragments} fragments`,
        'unknown',
      );
    if (this.gatheredBytes + this.left > this.maxRecordBytes)
      throw new TransportError(
        'RPC_FRAMING',
        `a record of more than ${this.maxRecordBytes} bytes`,
        'unknown',
      );
  }

  private endFragment(onRecord: (record: Uint8Array) => void): void {
    this.state = 'mark';
    if (!this.isLast) return;
    const record = (this.gathered ?? new Uint8Array(0)).subarray(0, this.gatheredBytes);
    this.endRecord();
    onRecord(record);
  }

  /** Gives up what is held of a record: the stream is over. */
  clear(): void {
    this.endRecord();
  }

  private endRecord(): void {
    this.state = 'mark';
    this.fragments = 0;
    this.gathered = undefined;
    this.gatheredBytes = 0;
  }

  private gather(piece: Uint8Array): void {
    const needed = this.gatheredBytes + piece.length;
    if (this.gathered === undefined || this.gathered.length < needed) {
      const doubled = Math.max(FIRST_BUFFER_BYTES, needed, (this.gathered?.length ?? 0) * 2);
      const larger = new Uint8Array(Math.min(doubled, Math.max(needed, this.maxRecordBytes)));
      if (this.gathered !== undefined) larger.set(this.gathered.subarray(0, this.gatheredBytes));
      this.gathered = larger;
    }
    this.gathered.set(piece, this.gatheredBytes);
    this.gatheredBytes = needed;
  }
}

/**
 * Frames outgoing records and keeps them together, so that many leave in one write. Each record
 * is one fragment; one over 2^31-1 bytes cannot be (the writer's own limit is lower).
 */
export class RecordFramer {
  private bytes = NO_BYTES;
  private at = 0;

  /** Bytes waiting to be taken. */
  get pendingBytes(): number {
    return this.at;
  }

  /** Adds one record, copying it. */
  add(record: Uint8Array): void {
    const size = record.length;
    const start = this.at;
    const needed = start + MARK_BYTES + size;
    if (needed > this.bytes.length) {
      const larger = Buffer.allocUnsafeSlow(Math.max(FIRST_BUFFER_BYTES, needed, this.bytes.length * 2));
      larger.set(this.bytes.subarray(0, start));
      this.bytes = larger;
    }
    const bytes = this.bytes;
    bytes[start] = 0x80 | (size >>> 24);
    bytes[start + 1] = size >>> 16;
    bytes[start + 2] = size >>> 8;
    bytes[start + 3] = size;
    bytes.set(record, start + MARK_BYTES);
    this.at = needed;
  }

  /** Everything added so far; the framer forgets it and the caller owns it. */
  take(): Buffer<ArrayBuffer> {
    const taken = this.bytes.subarray(0, this.at);
    this.bytes = NO_BYTES;
    this.at = 0;
    return taken;
  }

  /**
   * Gives everything added so far to `write`, which says whether it is done with the bytes: then
   * their memory is used again.
   */
  flushTo(write: (bytes: Buffer) => boolean): void {
    const taken = this.bytes.subarray(0, this.at);
    this.at = 0;
    const kept = this.bytes;
    this.bytes = NO_BYTES;
    if (write(taken) && this.at === 0 && kept.length <= KEEP_BYTES) this.bytes = kept;
  }
}
