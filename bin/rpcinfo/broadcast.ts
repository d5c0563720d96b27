import type { Request } from './request.js';
import type { Setting } from './setting.js';
export async function askNetwork(_r: Extract<Request, { kind: 'broadcast' }>, _s: Setting): Promise<boolean> {
  return true;
}
