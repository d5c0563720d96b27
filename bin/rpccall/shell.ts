import type { Session } from './session.js';
export async function runShell(_host: string, _session: Session): Promise<void> {}
