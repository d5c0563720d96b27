/**
 * Counters and latencies, a procedure: cheap enough to be always on, read at any time. It counts
 * what it is told and exports plain objects; how they reach a monitoring system is not its business.
 */

import type { Procedure } from '../protocol/procedure.js';
import type { Outcome } from './events.js';

/** Buckets an octave: a latency is known to within a quarter of its power of two. */
const STEPS = 4;
const BUCKETS = 32 * STEPS;
/** One bucket's unit: a sixteenth of a microsecond. */
const UNITS_PER_MS = 16_000;

/** One bucket of a histogram. */
export interface LatencyBucket {
  /** Durations are shorter than this, and not in a bucket before; in milliseconds. */
  readonly belowMs: number;
  readonly count: number;
}

/** Latencies, in milliseconds. Quantiles are upper bounds, at most a quarter too high. */
export interface LatencyStats {
  readonly count: number;
  readonly sumMs: number;
  readonly meanMs: number;
  readonly p50Ms: number;
  readonly p90Ms: number;
  readonly p99Ms: number;
  readonly maxMs: number;
  /** Shortest first, each at most a quarter wider than where it begins; empty ones are left out. */
  readonly buckets: readonly LatencyBucket[];
}

/** What is known of one procedure's calls. */
export interface ProcedureStats {
  readonly program: number;
  readonly version: number;
  readonly procedure: number;
  readonly name: string;
  readonly calls: number;
  readonly success: number;
  readonly refused: number;
  readonly failed: number;
  readonly silent: number;
  readonly latency: LatencyStats;
}

/** A histogram of durations with a fixed size of 1 KiB. */
export class Histogram {
  private readonly counts = new Float64Array(BUCKETS);
  private count = 0;
  private sumMs = 0;
  private maxMs = 0;

  add(durationMs: number): void {
    const units = (durationMs * UNITS_PER_MS) >>> 0;
    const octave = 31 - Math.clz32(units | 1);
    const step = octave >= 2 ? (units >>> (octave - 2)) & 3 : 0;
    this.counts[octave * STEPS + step]! += 1;
    this.count += 1;
    this.sumMs += durationMs;
    if (durationMs > this.maxMs) this.maxMs = durationMs;
  }

  /** The duration that `share` (0 to 1) of all durations do not exceed, to within a quarter. */
  quantile(share: number): number {
    const wanted = Math.max(1, Math.ceil(share * this.count));
    let seen = 0;
    for (let i = 0; i < BUCKETS; i++) {
      seen += this.counts[i] as number;
      if (this.count > 0 && seen >= wanted) {
        return Math.min(endOf(i), this.maxMs);
      }
    }
    return 0;
  }

  /** The buckets that hold something, shortest first. */
  buckets(): LatencyBucket[] {
    const found: LatencyBucket[] = [];
    for (const [i, count] of this.counts.entries()) if (count > 0) found.push({ belowMs: endOf(i), count });
    return found;
  }

  stats(): LatencyStats {
    return {
      count: this.count,
      sumMs: this.sumMs,
      meanMs: this.count === 0 ? 0 : this.sumMs / this.count,
      p50Ms: this.quantile(0.5),
      p90Ms: this.quantile(0.9),
      p99Ms: this.quantile(0.99),
      maxMs: this.maxMs,
      buckets: this.buckets(),
    };
  }
}

/** Where a bucket ends, in milliseconds. */
function endOf(bucket: number): number {
  const octave = Math.floor(bucket / STEPS);
  const end = octave >= 2 ? 2 ** octave + ((bucket % STEPS) + 1) * 2 ** (octave - 2) : 2 ** (octave + 1);
  return end / UNITS_PER_MS;
}

/** The counters of one procedure. */
export class Counters {
  calls = 0;
  success = 0;
  refused = 0;
  failed = 0;
  silent = 0;
  readonly latency = new Histogram();

  end(outcome: Outcome, durationMs: number): void {
    this[outcome] += 1;
    this.latency.add(durationMs);
  }
}

/** The counters as plain numbers. */
export function procedureStats(of: Procedure, counters: Counters): ProcedureStats {
  const { calls, success, refused, failed, silent, latency } = counters;
  const { program, version, number, name } = of;
  const counts = { calls, success, refused, failed, silent };
  return { program, version, procedure: number, name, ...counts, latency: latency.stats() };
}
