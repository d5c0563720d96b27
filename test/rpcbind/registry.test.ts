import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { Registration } from '../../rpcbind/registration.js';
import { MAX_HOLD_MS } from '../../rpcbind/table/holds.js';
import { DEFAULT_MAX_REGISTRATIONS, Registry, SUPERUSER, UNKNOWN } from '../../rpcbind/table/registry.js';
import { until } from '../support/until.js';

const row = (of: Partial<Registration> = {}): Registration => ({
  program: 0x2000_0001,
  version: 1,
  netid: 'udp',
  address: '0.0.0.0.4.1',
  owner: '1000',
  ...of,
});

describe('registering', () => {
  it('adds once, and says yes to the same again', () => {
    const registry = new Registry();
    expect(registry.set(row())).toBe('added');
    expect(registry.set(row())).toBe('same');
    expect(registry.size).toBe(1);
  });

  it('refuses another address for the same program, version and netid', () => {
    const registry = new Registry();
    registry.set(row());
    expect(registry.set(row({ address: '0.0.0.0.4.2' }))).toBe('taken');
    expect(registry.set(row({ netid: 'tcp', address: '0.0.0.0.4.2' }))).toBe('added');
    expect(registry.set(row({ version: 2, address: '0.0.0.0.4.2' }))).toBe('added');
  });

  it('refuses a netid or an address that is none', () => {
    const registry = new Registry();
    expect(registry.set(row({ netid: 'nonsense' }))).toBe('invalid');
    expect(registry.set(row({ address: '1.2.3' }))).toBe('invalid');
    expect(registry.size).toBe(0);
  });

  it('has room for as many as the limit says and not one more', () => {
    const registry = new Registry({ maxRegistrations: 2 });
    expect(registry.set(row({ version: 1, owner: SUPERUSER }))).toBe('added');
    expect(registry.set(row({ version: 2, owner: SUPERUSER }))).toBe('added');
    expect(registry.set(row({ version: 3, owner: SUPERUSER }))).toBe('full');
  });

  it('counts the registrations of each owner, but not of the superuser', () => {
    const registry = new Registry({ maxRegistrationsPerOwner: 1 });
    expect(registry.set(row({ version: 1 }))).toBe('added');
    expect(registry.set(row({ version: 2 }))).toBe('full');
    expect(registry.set(row({ program: 2, owner: '1001' }))).toBe('added');
    expect(registry.set(row({ version: 3, owner: SUPERUSER }))).toBe('added');
    expect(registry.set(row({ version: 4, owner: SUPERUSER }))).toBe('added');
    registry.remove(registry.findExact(row().program, 1, 'udp')!);
    expect(registry.set(row({ program: 3 }))).toBe('added');
  });
});

describe('finding', () => {
  it('falls back to the version registered last', () => {
    const registry = new Registry();
    registry.set(row({ version: 3, address: '0.0.0.0.4.3' }));
    registry.set(row({ version: 2, address: '0.0.0.0.4.2' }));
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
          if (isSet) expect(registry.set(row({ ...of, address }))).toBe(list.set(row({ ...of, address })));
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
  registry.set(row());
  const entry = registry.findExact(row().program, 1, 'udp')!;

  it('is of the owner and the superuser', () => {
    expect(registry.mayRemove(entry, '1000')).toBe(true);
    expect(registry.mayRemove(entry, SUPERUSER)).toBe(true);
    expect(registry.mayRemove(entry, '1001')).toBe(false);
    expect(registry.mayRemove(entry, UNKNOWN)).toBe(false);
  });

  it('is of all who could not be identified where the owner is unknown, and of no known user', () => {
    registry.set(row({ program: 2, owner: UNKNOWN }));
    const unknown = registry.findExact(2, 1, 'udp')!;
    expect(registry.mayRemove(unknown, UNKNOWN)).toBe(true);
    expect(registry.mayRemove(unknown, '1000')).toBe(false);
    expect(registry.mayRemove(unknown, SUPERUSER)).toBe(true);
  });

  it('of the daemon’s own registrations is nobody’s', () => {
    registry.set(row({ version: 3, owner: SUPERUSER }), { isPermanent: true });
    expect(registry.mayRemove(registry.findExact(row().program, 3, 'udp')!, SUPERUSER)).toBe(false);
  });
});

describe('the place of a registration that is gone', () => {
  const releasedBy = (owner: string, options = {}): Registry => {
    const registry = new Registry(options);
    registry.set(row({ owner }));
    registry.release(registry.findExact(row().program, 1, 'udp')!);
    return registry;
  };

  it('is kept for its owner, and is not found', () => {
    const registry = releasedBy('1000');
    expect(registry.set(row({ owner: '1001' }))).toBe('held');
    expect(registry.set(row({ owner: UNKNOWN }))).toBe('held');
    expect(registry.size).toBe(0);
    expect(registry.find(row().program, 1, 'udp')).toBeUndefined();
    expect([...registry.heldPlaces()]).toMatchObject([{ program: row().program, owner: '1000' }]);
    expect(registry.set(row({ address: '0.0.0.0.4.2' }))).toBe('added');
    expect([...registry.heldPlaces()]).toEqual([]);
  });

  it('is root’s for the taking, and then root’s', () => {
    const registry = releasedBy('1000');
    expect(registry.set(row({ owner: SUPERUSER }))).toBe('added');
    registry.release(registry.findExact(row().program, 1, 'udp')!);
    expect(registry.set(row({ owner: '1000' }))).toBe('held');
  });

  it('is kept for nobody where nobody was known', () => {
    const registry = releasedBy(UNKNOWN);
    expect([...registry.heldPlaces()]).toEqual([]);
    expect(registry.set(row({ owner: '1001' }))).toBe('added');
  });

  it('is free again after the time', async () => {
    const registry = releasedBy('1000', { holdMs: 50 });
    expect(registry.set(row({ owner: '1001' }))).toBe('held');
    await until(() => registry.set(row({ owner: '1001' })) === 'added');
  });

  it('is kept for no time with 0, and for at most an hour', () => {
    expect(releasedBy('1000', { holdMs: 0 }).set(row({ owner: '1001' }))).toBe('added');
    expect(releasedBy('1000', { holdMs: MAX_HOLD_MS }).set(row({ owner: '1001' }))).toBe('held');
    for (const holdMs of [MAX_HOLD_MS + 1, -1, Number.NaN])
      expect(() => new Registry({ holdMs })).toThrow(RangeError);
  });

  it('is not answered with what another has beside it', () => {
    const registry = new Registry();
    registry.set(row({ version: 9, owner: UNKNOWN }));
    registry.set(row({ owner: SUPERUSER }));
    registry.release(registry.findExact(row().program, 1, 'udp')!);
    expect(registry.find(row().program, 1, 'udp')).toBeUndefined();
    expect(registry.find(row().program, 2, 'udp')?.version).toBe(9);
  });

  it('counts as a registration of its owner, and makes room for one', () => {
    const registry = releasedBy('1000', { maxRegistrationsPerOwner: 2 });
    for (const program of [2, 3]) expect(registry.set(row({ program }))).toBe('added');
    expect([...registry.heldPlaces()]).toEqual([]);
    expect(registry.set(row({ program: 4 }))).toBe('full');
  });

  it('is not given up for another user, however full the table', () => {
    const registry = releasedBy('1000', { maxRegistrations: 2 });
    expect(registry.set(row({ program: 2, owner: '1001' }))).toBe('added');
    expect(registry.set(row({ program: 3, owner: '1001' }))).toBe('full');
    expect([...registry.heldPlaces()]).toHaveLength(1);
    expect(registry.set(row({ program: 3, owner: SUPERUSER }))).toBe('added');
    expect([...registry.heldPlaces()]).toHaveLength(0);
  });

  it('makes the held places of one owner no more than its registrations may be', () => {
    const registry = new Registry({ maxRegistrationsPerOwner: 10 });
    for (let program = 0; program < 100; program++) {
      expect(registry.set(row({ program }))).toBe('added');
      registry.release(registry.findExact(program, 1, 'udp')!);
    }
    expect([...registry.heldPlaces()].map(({ program }) => program)).toEqual([
      90, 91, 92, 93, 94, 95, 96, 97, 98, 99,
    ]);
  });
});

describe('a program number', () => {
  it('that a known owner has takes other versions and netids from that owner and root alone', () => {
    const registry = new Registry();
    registry.set(row({ owner: SUPERUSER }));
    for (const owner of ['1000', UNKNOWN]) {
      expect(registry.set(row({ version: 9, owner }))).toBe('owned');
      expect(registry.set(row({ netid: 'tcp', owner }))).toBe('owned');
    }
    expect(registry.set(row({ netid: 'tcp', owner: SUPERUSER }))).toBe('added');
    // Also while all of them are gone for a moment.
    for (const netid of ['udp', 'tcp']) registry.release(registry.findExact(row().program, 1, netid)!);
    expect(registry.set(row({ netid: 'udp6', address: '::.4.1' }))).toBe('owned');
  });

  it('is root’s where root has an older version of it, behind one of unknown', () => {
    const registry = new Registry();
    registry.set(row({ version: 1, owner: UNKNOWN }));
    registry.set(row({ version: 2, owner: SUPERUSER }));
    registry.set(row({ version: 3, owner: UNKNOWN }), { isRestored: true });
    expect(registry.set(row({ version: 4, owner: '1000' }))).toBe('owned');
    registry.remove(registry.findExact(row().program, 2, 'udp')!);
    expect(registry.set(row({ version: 4, owner: '1000' }))).toBe('added');
  });

  it('of which root and a user have versions takes further ones from root alone', () => {
    const registry = new Registry();
    registry.set(row({ version: 1 }));
    registry.set(row({ version: 2, owner: SUPERUSER }));
    expect(registry.set(row({ version: 3 }))).toBe('owned');
    expect(registry.set(row({ version: 3, owner: SUPERUSER }))).toBe('added');
    for (const version of [2, 3]) registry.remove(registry.findExact(row().program, version, 'udp')!);
    expect(registry.set(row({ version: 4 }))).toBe('added');
  });

  it('of unknown owners takes anybody’s, and what files say is not asked', () => {
    const registry = new Registry();
    registry.set(row({ owner: UNKNOWN }));
    expect(registry.set(row({ version: 2, owner: '1000' }))).toBe('added');
    expect(registry.set(row({ version: 3, owner: '1001' }), { isRestored: true })).toBe('added');
  });
});

describe('the sizes of tables', () => {
  it('are kept as registrations come and go', () => {
    const registry = new Registry({ maxRegistrations: DEFAULT_MAX_REGISTRATIONS });
    registry.set(row());
    registry.set(row({ netid: 'local', address: '/run/ä.sock', owner: SUPERUSER }));
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
      expect(registry.set(row({ program: i, owner: i % 3 === 0 ? UNKNOWN : String(1000 + i) }))).toBe(
        'added',
      );
    expect(registry.set(row({ program: 30, owner: '2000' }))).toBe('full');
    expect(registry.set(row({ program: 30, owner: UNKNOWN }))).toBe('full');
    for (const program of [30, 31]) expect(registry.set(row({ program, owner: SUPERUSER }))).toBe('added');
    expect(registry.set(row({ program: 32, owner: SUPERUSER }))).toBe('full');
  });
});
