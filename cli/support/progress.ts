/** A bar that shows how far a transfer is: on a terminal only, redrawn a few times a second. */

/** Redrawn no more often than this. */
const REDRAW_MS = 100;
const BAR_COLUMNS = 24;

/** A bar on standard error; `done` is to be called at the end. */
export function progressBar(name: string): { update(done: number, total: number): void; done(): void } {
  const isShown = process.stderr.isTTY === true;
  const startedAt = performance.now();
  let first: number | undefined;
  let drawnAt = Number.NEGATIVE_INFINITY;
  return {
    update(done, total) {
      const now = performance.now();
      // What was there before does not count for the rate.
      first ??= done;
      if (!isShown || (now - drawnAt < REDRAW_MS && done < total)) return;
      drawnAt = now;
      process.stderr.write(`\r\u001b[K${progressLine(name, done, total, done - first, now - startedAt)}`);
    },
    done() {
      if (isShown) process.stderr.write('\r\u001b[K');
    },
  };
}

/** `name [=====>    ]  45%  12.3 MiB of 27.1 MiB  4.1 MiB/s  ETA 0:04` */
export function progressLine(name: string, done: number, total: number, moved: number, ms: number): string {
  const share = total === 0 ? 1 : done / total;
  const full = Math.round(share * BAR_COLUMNS);
  const bar = `${'='.repeat(full)}${full < BAR_COLUMNS ? '>' : ''}`.padEnd(BAR_COLUMNS).slice(0, BAR_COLUMNS);
  const rate = ms > 0 ? (moved * 1000) / ms : 0;
  const percent = `${Math.floor(share * 100)}%`.padStart(4);
  const eta = rate > 0 ? `ETA ${clock((total - done) / rate)}` : 'ETA -:--';
  return `${name} [${bar}] ${percent}  ${size(done)} of ${size(total)}  ${size(rate)}/s  ${eta}`;
}

function size(bytes: number): string {
  const units = ['B', 'KiB', 'MiB', 'GiB', 'TiB'];
  let value = bytes;
  let unit = 0;
  while (value >= 1024 && unit < units.length - 1) {
    value /= 1024;
    unit += 1;
  }
  return `${unit === 0 ? Math.round(value) : value.toFixed(1)} ${units[unit]}`;
}

function clock(seconds: number): string {
  const whole = Math.ceil(seconds);
  const hours = Math.floor(whole / 3600);
  const minutes = Math.floor((whole % 3600) / 60);
  const rest = String(whole % 60).padStart(2, '0');
  return hours > 0 ? `${hours}:${String(minutes).padStart(2, '0')}:${rest}` : `${minutes}:${rest}`;
}
