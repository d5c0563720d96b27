import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { type AddressRegistration, Registry, SUPERUSER, UNKNOWN } from '../../rpcbind/registry.js';

const row = (of: Partial<AddressRegistration> = {}): AddressRegistration => ({
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
    expect(registry.set(row({ version: 2, owner: '1001' }))).toBe('added');
    expect(registry.set(row({ version: 3, owner: SUPERUSER }))).toBe('added');
    expect(registry.set(row({ version: 4, owner: SUPERUSER }))).toBe('added');
    registry.remove(registry.findExact(row().program, 1, 'udp')!);
    expect(registry.set(row({ version: 5 }))).toBe('added');
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
  readonly rows: AddressRegistration[] = [];

  all(program: number, netid: string): AddressRegistration[] {
    return this.rows.filter((one) => one.program === program && one.netid === netid);
  }

  exact(program: number, version: number, netid: string): AddressRegistration | undefined {
    return this.all(program, netid).find((one) => one.version === version);
  }

  set(of: AddressRegistration): string {
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
    registry.set(row({ version: 2, owner: UNKNOWN }));
    const unknown = registry.findExact(row().program, 2, 'udp')!;
    expect(registry.mayRemove(unknown, UNKNOWN)).toBe(true);
    expect(registry.mayRemove(unknown, '1000')).toBe(false);
    expect(registry.mayRemove(unknown, SUPERUSER)).toBe(true);
  });

  it('of the daemon’s own registrations is nobody’s', () => {
    registry.set(row({ version: 3, owner: SUPERUSER }), { isPermanent: true });
    expect(registry.mayRemove(registry.findExact(row().program, 3, 'udp')!, SUPERUSER)).toBe(false);
  });
});
