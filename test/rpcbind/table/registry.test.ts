/** The table and its rules. */

import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { type Registration, SUPERUSER, UNKNOWN } from '../../../rpcbind/registration.js';
import { DEFAULT_MAX_REGISTRATIONS, Registry } from '../../../rpcbind/table/registry.js';
import { outcome, row } from './rows.js';

describe('registering', () => {
  it('adds once, and says yes to the same again', () => {
    const registry = new Registry();
    expect(outcome(registry, row())).toBe('added');
    expect(outcome(registry, row())).toBe('same');
    expect(registry.size).toBe(1);
  });

  it('refuses another address for the same program, version and netid', () => {
    const registry = new Registry();
    outcome(registry, row());
    expect(outcome(registry, row({ address: '0.0.0.0.4.2' }))).toBe('taken');
    expect(outcome(registry, row({ netid: 'tcp', address: '0.0.0.0.4.2' }))).toBe('added');
    expect(outcome(registry, row({ version: 2, address: '0.0.0.0.4.2' }))).toBe('added');
  });

  it('refuses a netid or an address that is none', () => {
    const registry = new Registry();
    expect(outcome(registry, row({ netid: 'nonsense' }))).toBe('invalid');
    expect(outcome(registry, row({ address: '1.2.3' }))).toBe('invalid');
    expect(registry.size).toBe(0);
  });

  it('has room for as many as the limit says and not one more', () => {
    const registry = new Registry({ maxRegistrations: 2 });
    expect(outcome(registry, row({ version: 1, owner: SUPERUSER }))).toBe('added');
    expect(outcome(registry, row({ version: 2, owner: SUPERUSER }))).toBe('added');
    expect(outcome(registry, row({ version: 3, owner: SUPERUSER }))).toBe('full');
  });

  it('counts the registrations of each owner, but not of the superuser', () => {
    const registry = new Registry({ maxRegistrationsPerOwner: 1 });
    expect(outcome(registry, row({ version: 1 }))).toBe('added');
    expect(outcome(registry, row({ version: 2 }))).toBe('full');
    expect(outcome(registry, row({ program: 2, owner: '1001' }))).toBe('added');
    expect(outcome(registry, row({ version: 3, owner: SUPERUSER }))).toBe('added');
    expect(outcome(registry, row({ version: 4, owner: SUPERUSER }))).toBe('added');
    registry.remove(registry.findExact(row().program, 1, 'udp')!);
    expect(outcome(registry, row({ program: 3 }))).toBe('added');
  });
});

describe('finding', () => {
  it('falls back to the version registered last', () => {
    const registry = new Registry();
    outcome(registry, row({ version: 3, address: '0.0.0.0.4.3' }));
    outcome(registry, row({ version: 2, address: '0.0.0.0.4.2' }));
    expect(registry.find(row().program, 3, 'udp')?.version).toBe(3);
    expect(registry.find(row().program, 9, 'udp')?.version).toBe(2);
    registry.remove(registry.findExact(row().program, 2, 'udp')!);
    expect(registry.find(row().program, 9, 'udp')?.version).toBe(3);
    registry.remove(registry.findExact(row().program, 3, 'udp')!);
    expect(registry.find(row().program, 9, 'udp')).toBeUndefined();
    expect(registry.findExact(row().program, 9, 'udp')).toBeUndefined();
  });
});

/** The same rules on a plain list, in the order of registration. */
class ListOfRows {
  readonly rows: Registration[] = [];

  all(program: number, netid: string): Registration[] {
    return this.rows.filter((one) => one.program === program && one.netid === netid);
  }

  exact(program: number, version: number, netid: string): Registration | undefined {
    return this.all(program, netid).find((one) => one.version === version);
  }

  set(of: Registration): string {
    const found = this.exact(of.program, of.version, of.netid);
    if (found !== undefined) return found.address === of.address ? 'same' : 'taken';
    this.rows.push(of);
    return 'added';
  }
}

describe('the table', () => {
  const [program, version] = [fc.constantFrom(7, 8), fc.constantFrom(1, 2, 3)];
  const netid = fc.constantFrom('udp', 'tcp', 'udp6');
  const step = fc.record({
    isSet: fc.boolean(),
    program,
    version,
    netid,
    port: fc.constantFrom(1, 2),
  });

  it('answers as a list of its rows would, whatever is registered and taken back', () => {
    fc.assert(
      fc.property(fc.array(step, { maxLength: 60 }), (steps) => {
        const [registry, list] = [new Registry(), new ListOfRows()];
        for (const { isSet, port, ...of } of steps) {
          const address = `${of.netid === 'udp6' ? '::' : '0.0.0.0'}.0.${port}`;
          const entry = registry.findExact(of.program, of.version, of.netid);
          const listed = list.exact(of.program, of.version, of.netid);
          expect(entry?.address).toBe(listed?.address);
          const last = list.all(of.program, of.netid).at(-1);
          expect(registry.find(of.program, of.version, of.netid)?.version).toBe((listed ?? last)?.version);
          if (isSet)
            expect(outcome(registry, row({ ...of, address }))).toBe(list.set(row({ ...of, address })));
          else if (entry !== undefined && listed !== undefined) {
            registry.remove(entry);
            list.rows.splice(list.rows.indexOf(listed), 1);
          }
          const selected = list.rows.filter(
            (one) => one.program === of.program && one.version === of.version,
          );
          expect(registry.select(of.program, of.version).map((one) => one.netid)).toEqual(
            selected.map((one) => one.netid),
          );
        }
        expect([...registry.entries()].map((one) => one.address)).toEqual(
          list.rows.map((one) => one.address),
        );
        expect(registry.size).toBe(list.rows.length);
      }),
    );
  });
});

describe('ownership', () => {
  const registry = new Registry();
  outcome(registry, row());
  const entry = registry.findExact(row().program, 1, 'udp')!;

  it('is of the owner and the superuser', () => {
    expect(registry.mayRemove(entry, '1000')).toBe(true);
    expect(registry.mayRemove(entry, SUPERUSER)).toBe(true);
    expect(registry.mayRemove(entry, '1001')).toBe(false);
    expect(registry.mayRemove(entry, UNKNOWN)).toBe(false);
  });

  it('is of all who could not be identified where the owner is unknown, and of no known user', () => {
    outcome(registry, row({ program: 2, owner: UNKNOWN }));
    const unknown = registry.findExact(2, 1, 'udp')!;
    expect(registry.mayRemove(unknown, UNKNOWN)).toBe(true);
    expect(registry.mayRemove(unknown, '1000')).toBe(false);
    expect(registry.mayRemove(unknown, SUPERUSER)).toBe(true);
  });

  it('of the daemon’s own registrations is nobody’s', () => {
    outcome(registry, row({ version: 3, owner: SUPERUSER }), { isPermanent: true });
    expect(registry.mayRemove(registry.findExact(row().program, 3, 'udp')!, SUPERUSER)).toBe(false);
  });
});

describe('a program number', () => {
  it('that a known owner has takes other versions and netids from that owner and root alone', () => {
    const registry = new Registry();
    outcome(registry, row({ owner: SUPERUSER }));
    for (const owner of ['1000', UNKNOWN]) {
      expect(outcome(registry, row({ version: 9, owner }))).toBe('owned');
      expect(outcome(registry, row({ netid: 'tcp', owner }))).toBe('owned');
    }
    expect(outcome(registry, row({ netid: 'tcp', owner: SUPERUSER }))).toBe('added');
    // Also while all of them are gone for a moment.
    for (const netid of ['udp', 'tcp']) registry.removeAndHold(registry.findExact(row().program, 1, netid)!);
    expect(outcome(registry, row({ netid: 'udp6', address: '::.4.1' }))).toBe('owned');
  });

  it('is root’s where root has an older version of it, behind one of unknown', () => {
    const registry = new Registry();
    outcome(registry, row({ version: 1, owner: UNKNOWN }));
    outcome(registry, row({ version: 2, owner: SUPERUSER }));
    outcome(registry, row({ version: 3, owner: UNKNOWN }), { isStored: true });
    expect(outcome(registry, row({ version: 4, owner: '1000' }))).toBe('owned');
    registry.remove(registry.findExact(row().program, 2, 'udp')!);
    expect(outcome(registry, row({ version: 4, owner: '1000' }))).toBe('added');
  });

  it('of which root and a user have versions takes further ones from root alone', () => {
    const registry = new Registry();
    outcome(registry, row({ version: 1 }));
    outcome(registry, row({ version: 2, owner: SUPERUSER }));
    expect(outcome(registry, row({ version: 3 }))).toBe('owned');
    expect(outcome(registry, row({ version: 3, owner: SUPERUSER }))).toBe('added');
    for (const version of [2, 3]) registry.remove(registry.findExact(row().program, version, 'udp')!);
    expect(outcome(registry, row({ version: 4 }))).toBe('added');
  });

  it('of unknown owners takes anybody’s, and what files say is not asked', () => {
    const registry = new Registry();
    outcome(registry, row({ owner: UNKNOWN }));
    expect(outcome(registry, row({ version: 2, owner: '1000' }))).toBe('added');
    expect(outcome(registry, row({ version: 3, owner: '1001' }), { isStored: true })).toBe('added');
  });
});

describe('the sizes of tables', () => {
  it('are kept as registrations come and go', () => {
    const registry = new Registry({ maxRegistrations: DEFAULT_MAX_REGISTRATIONS });
    outcome(registry, row());
    outcome(registry, row({ netid: 'local', address: '/run/ä.sock', owner: SUPERUSER }));
    // 24 each, and the texts padded: udp 4, 0.0.0.0.4.1 12, 1000 4; local 8, 12 bytes 12, superuser 12.
    expect(registry.rowBytes).toBe(24 + 4 + 12 + 4 + 24 + 8 + 12 + 12);
    expect(registry.mappingCount).toBe(1);
    for (const entry of [...registry.entries()]) registry.remove(entry);
    expect([registry.rowBytes, registry.mappingCount]).toEqual([0, 0]);
  });
});

describe('the part of the table that is the superuser’s alone', () => {
  it('is a sixteenth, which no number of other owners fills', () => {
    const registry = new Registry({ maxRegistrations: 32 });
    for (let i = 0; i < 30; i++)
      expect(outcome(registry, row({ program: i, owner: i % 3 === 0 ? UNKNOWN : String(1000 + i) }))).toBe(
        'added',
      );
    expect(outcome(registry, row({ program: 30, owner: '2000' }))).toBe('full');
    expect(outcome(registry, row({ program: 30, owner: UNKNOWN }))).toBe('full');
    for (const program of [30, 31])
      expect(outcome(registry, row({ program, owner: SUPERUSER }))).toBe('added');
    expect(outcome(registry, row({ program: 32, owner: SUPERUSER }))).toBe('full');
  });
});
