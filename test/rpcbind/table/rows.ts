/** Registrations for tests of the table. */

import type { Registration } from '../../../rpcbind/registration.js';
import type { Refusal, Registry, SetExceptions } from '../../../rpcbind/table/registry.js';

/** A registration of user 1000, but for what `of` says. */
export function row(of: Partial<Registration> = {}): Registration {
  return { program: 0x2000_0001, version: 1, netid: 'udp', address: '0.0.0.0.4.1', owner: '1000', ...of };
}

/** Registers, and returns `added` or why not. */
export function outcome(registry: Registry, of: Registration, exceptions?: SetExceptions): Refusal | 'added' {
  const result = registry.set(of, exceptions);
  return typeof result === 'string' ? result : 'added';
}
