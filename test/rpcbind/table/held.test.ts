/** Registrations that are gone, and held for their owners. */

import { describe, expect, it } from 'vitest';
import { SUPERUSER, UNKNOWN } from '../../../rpcbind/registration.js';
import { MAX_HOLD_MS } from '../../../rpcbind/table/held.js';
import { Registry } from '../../../rpcbind/table/registry.js';
import { until } from '../../support/until.js';
import { outcome, row } from './rows.js';

describe('a registration that is gone', () => {
  const releasedBy = (owner: string, options = {}): Registry => {
    const registry = new Registry(options);
    outcome(registry, row({ owner }));
    registry.removeAndHold(registry.findExact(row().program, 1, 'udp')!);
    return registry;
  };

  it('is held for its owner, and is not found', () => {
    const registry = releasedBy('1000');
    expect(outcome(registry, row({ owner: '1001' }))).toBe('held');
    expect(outcome(registry, row({ owner: UNKNOWN }))).toBe('held');
    expect(registry.size).toBe(0);
    expect(registry.find(row().program, 1, 'udp')).toBeUndefined();
    expect([...registry.held()]).toMatchObject([{ program: row().program, owner: '1000' }]);
    expect(outcome(registry, row({ address: '0.0.0.0.4.2' }))).toBe('added');
    expect([...registry.held()]).toEqual([]);
  });

  it('can be registered by root, and is then held for root', () => {
    const registry = releasedBy('1000');
    expect(outcome(registry, row({ owner: SUPERUSER }))).toBe('added');
    registry.removeAndHold(registry.findExact(row().program, 1, 'udp')!);
    expect(outcome(registry, row({ owner: '1000' }))).toBe('held');
  });

  it('of an unidentified owner is held for nobody', () => {
    const registry = releasedBy(UNKNOWN);
    expect([...registry.held()]).toEqual([]);
    expect(outcome(registry, row({ owner: '1001' }))).toBe('added');
  });

  it('can be registered by others after the time', async () => {
    const registry = releasedBy('1000', { holdMs: 50 });
    expect(outcome(registry, row({ owner: '1001' }))).toBe('held');
    await until(() => outcome(registry, row({ owner: '1001' })) === 'added');
  });

  it('is not held with 0, and is held with the maximum', () => {
    const other = row({ owner: '1001' });
    expect(outcome(releasedBy('1000', { holdMs: 0 }), other)).toBe('added');
    expect(outcome(releasedBy('1000', { holdMs: MAX_HOLD_MS }), other)).toBe('held');
  });

  it('is not answered with another owner’s version', () => {
    const registry = new Registry();
    outcome(registry, row({ version: 9, owner: UNKNOWN }));
    outcome(registry, row({ owner: SUPERUSER }));
    registry.removeAndHold(registry.findExact(row().program, 1, 'udp')!);
    expect(registry.find(row().program, 1, 'udp')).toBeUndefined();
    expect(registry.find(row().program, 2, 'udp')?.version).toBe(9);
  });

  it('counts as a registration of its owner, and makes room for one', () => {
    const registry = releasedBy('1000', { maxRegistrationsPerOwner: 2 });
    for (const program of [2, 3]) expect(outcome(registry, row({ program }))).toBe('added');
    expect([...registry.held()]).toEqual([]);
    expect(outcome(registry, row({ program: 4 }))).toBe('full');
  });

  it('does not make room for another user, however full the table is', () => {
    const registry = releasedBy('1000', { maxRegistrations: 2 });
    expect(outcome(registry, row({ program: 2, owner: '1001' }))).toBe('added');
    expect(outcome(registry, row({ program: 3, owner: '1001' }))).toBe('full');
    expect([...registry.held()]).toHaveLength(1);
    expect(outcome(registry, row({ program: 3, owner: SUPERUSER }))).toBe('added');
    expect([...registry.held()]).toHaveLength(0);
  });

  it('is one of at most as many holds as its owner may have registrations', () => {
    const registry = new Registry({ maxRegistrationsPerOwner: 10 });
    for (let program = 0; program < 100; program++) {
      expect(outcome(registry, row({ program }))).toBe('added');
      registry.removeAndHold(registry.findExact(program, 1, 'udp')!);
    }
    expect([...registry.held()].map(({ program }) => program)).toEqual([
      90, 91, 92, 93, 94, 95, 96, 97, 98, 99,
    ]);
  });
});
