/**
 * Guessed definitions of missing names, so that a file that uses them compiles. The user replaces them by the
 * definitions of the C headers. A guess depends only on the name and its use, so it is the same in every file and run.
 */

import type { Missing } from '../model/errors.js';

/** Guessed constants have values from 1 to this, a prime number. */
export const MAX_STUB_VALUE = 65_521;

const HEAD =
  '/*\n * Definitions of missing names. They are guesses: replace them by the definitions of the C headers,\n' +
  ' * or messages will not match those of other programs. rpcgen-ts only adds to this file.\n */\n';

/** Assigns values to missing constants. If two names have the same hash, the second gets the next free value. */
export class StubValues {
  private readonly values = new Map<string, number>();
  private readonly taken = new Set<number>();

  /** The value of a constant, always the same for the same name. */
  valueOf(name: string): number {
    const known = this.values.get(name);
    if (known !== undefined) return known;
    let value = 1 + (hash(name) % MAX_STUB_VALUE);
    while (this.taken.has(value)) value = 1 + (value % MAX_STUB_VALUE);
    // With more names than values, values are shared.
    if (this.taken.size < MAX_STUB_VALUE - 1) this.taken.add(value);
    this.values.set(name, value);
    return value;
  }
}

/** The text of a stub: the present text, with definitions of `missing` added. */
export function stubText(before: string, missing: readonly Missing[], values: StubValues): string {
  const sorted = [...missing].sort((a, b) => (a.name < b.name ? -1 : a.name > b.name ? 1 : 0));
  const lines = sorted.map(({ kind, name, isDiscriminant }) => {
    if (kind === 'constant') return `const ${name} = ${values.valueOf(name)};`;
    return isDiscriminant
      ? `typedef int ${name}; /* the discriminant of a union */`
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
