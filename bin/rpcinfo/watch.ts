import type { Setting } from './setting.js';
export async function watchHosts(
  _h: readonly (string | undefined)[],
  _e: number,
  _s: Setting,
): Promise<boolean> {
  return true;
}
