/** `--repeat`: one call again and again, some at a time, and how long it took. */

import { describe } from '../support/cli.js';

/** Most calls of one run. */
export const MAX_REPEAT = 1_000_000_000;
/** Most calls at a time. */
export const MAX_CONCURRENCY = 65_536;
/** Most different errors that are counted apart. */
const MAX_ERRORS = 20;

/** What a run came to. Times in milliseconds. */
export interface RepeatSummary {
  readonly calls: number;
  readonly errors: number;
  readonly seconds: number;
  readonly perSecond: number;
  readonly latency: {
    readonly min: number;
    readonly p50: number;
    readonly p90: number;
    readonly p99: number;
    readonly max: number;
  } | null;
  readonly messages: Readonly<Record<string, number>>;
}

/**
 * Latencies in buckets of 1/64 of an octave from a microsecond on, so that any number of them
 * takes the same few kilobytes and percentiles are right to 1.1 %.
 */
class Histogram {
  private readonly counts = new Uint32Array(64 * 40);
  private total = 0;
  min = Number.POSITIVE_INFINITY;
  max = 0;

  add(ms: number): void {
    const bucket = Math.max(
      0,
      Math.min(this.counts.length - 1, Math.floor(Math.log2(Math.max(ms, 0.001) * 1000) * 64)),
    );
    this.counts[bucket] = (this.counts[bucket] ?? 0) + 1;
    this.total += 1;
    this.min = Math.min(this.min, ms);
    this.max = Math.max(this.max, ms);
  }

  get isEmpty(): boolean {
    return this.total === 0;
  }

  percentile(part: number): number {
    let left = Math.ceil(this.total * part);
    for (const [bucket, count] of this.counts.entries()) {
      left -= count;
      if (left <= 0) return Math.min(this.max, Math.max(this.min, 2 ** ((bucket + 0.5) / 64) / 1000));
    }
    return this.max;
  }
}

/** Makes `count` calls, `concurrency` at a time, until done or aborted. An error is counted, not thrown. */
export async function repeat(
  call: () => Promise<unknown>,
  count: number,
  concurrency: number,
  signal?: AbortSignal,
): Promise<RepeatSummary> {
  const histogram = new Histogram();
  const messages = new Map<string, number>();
  let started = 0;
  let errors = 0;
  let calls = 0;
  const startedAt = performance.now();
  const worker = async (): Promise<void> => {
    while (started < count && !signal?.aborted) {
      started += 1;
      const at = performance.now();
      try {
        await call();
        histogram.add(performance.now() - at);
      } catch (error) {
        errors += 1;
        const text = describe(error);
        const known = messages.has(text) || messages.size < MAX_ERRORS;
        const key = known ? text : 'others';
        messages.set(key, (messages.get(key) ?? 0) + 1);
      }
      calls += 1;
    }
  };
  await Promise.all(Array.from({ length: Math.min(concurrency, count) }, worker));
  const seconds = (performance.now() - startedAt) / 1000;
  const latency = histogram.isEmpty
    ? null
    : {
        min: round(histogram.min),
        p50: round(histogram.percentile(0.5)),
        p90: round(histogram.percentile(0.9)),
        p99: round(histogram.percentile(0.99)),
        max: round(histogram.max),
      };
  return {
    calls,
    errors,
    seconds: round(seconds),
    perSecond: Math.round(calls / Math.max(seconds, 1e-6)),
    latency,
    messages: Object.fromEntries(messages),
  };
}

/** The summary as two or more lines. */
export function formatSummary({
  calls,
  errors,
  seconds,
  perSecond,
  latency,
  messages,
}: RepeatSummary): string {
  const lines = [`${calls} calls in ${seconds} s: ${perSecond} a second, ${errors} failed`];
  if (latency !== null) {
    const { min, p50, p90, p99, max } = latency;
    lines.push(
      `latency in ms: min ${min}, half within ${p50}, 90 % within ${p90}, 99 % within ${p99}, max ${max}`,
    );
  }
  for (const [text, count] of Object.entries(messages)) lines.push(`${count} times: ${text}`);
  return lines.join('\n');
}

function round(value: number): number {
  return Math.round(value * 1000) / 1000;
}
