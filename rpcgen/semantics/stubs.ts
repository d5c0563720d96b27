/**
 * Definitions for names that stand in no file, so that what uses them compiles: guesses, to be replaced by what the C
 * headers say. They depend on the name and its use alone, so they are the same from file to file and from run to run.
 */

import type { Missing } from '../model/errors.js';

/** Values that constants are given: from 1 to this, a prime. */
export const MAX_STUB_VALUE = 65_521;

const HEAD =
  '/*\n * Names that no file defines. What stands here is guessed: put in what the C headers say,\n' +
  ' * or the bytes will not be those of other programs. rpcgen-ts adds to this file and changes nothing in it.\n */\n';

/** The values that are given to constants. Those that fall on one value get the next that is free. */
export class StubValues {
  private readonly values = new Map<string, number>();
  private readonly taken = new Set<number>();

  /** The value of a constant, the same whenever it is asked for. */
  of(name: string): number {
    const known = this.values.get(name);
    if (known !== undefined) return known;
    let value = 1 + (hash(name) % MAX_STUB_VALUE);
    while (this.taken.has(value)) value = 1 + (value % MAX_STUB_VALUE);
    // Beyond as many names as there are values, which no file has, two share one.
    if (this.taken.size < MAX_STUB_VALUE - 1) this.taken.add(value);
    this.values.set(name, value);
    return value;
  }
}

/** The text of a stub: what is there already, and behind it what is missing still. */
export function stubText(before: string, missing: readonly Missing[], values: StubValues): string {
  const sorted = [...missing].sort((a, b) => (a.name < b.name ? -1 : a.name > b.name ? 1 : 0));
  const lines = sorted.map(({ kind, name, isDiscriminant }) => {
    if (kind === 'constant') return `const ${name} = ${values.of(name)};`;
    return isDiscriminant
      ? `typedef int ${name}; /* A union is switched by it. */`
      : `typedef opaque ${name}<>;`;
  });
  const start = before === '' || before.endsWith('\n') ? before : `${before}\n`;
  return `${start === '' ? HEAD : start}${lines.map((line) => `${line}\n`).join('')}`;
}

/** FNV-1a, 32 bits. */
function hash(text: string): number {
  let value = 0x811c9dc5;
  for (let i = 0; i < text.length; i++) value = Math.imul(value ^ text.charCodeAt(i), 0x01000193);
  return value >>> 0;
}
