/** Polls for a state instead of sleeping: resolves when `condition` holds, rejects after `limitMs`. */
export async function until(
  condition: () => boolean | Promise<boolean>,
  limitMs = 10_000,
  what = 'the state waited for',
): Promise<void> {
  const end = performance.now() + limitMs;
  while (!(await condition())) {
    if (performance.now() > end) throw new Error(`${what} did not come within ${limitMs} ms`);
    await new Promise((again) => setTimeout(again, 10));
  }
}
