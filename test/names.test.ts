/** docs/decisions/0020-names.md: names that were given up do not come back. */

import { describe, expect, it } from 'vitest';
import { identifiersOf, isHandWritten, repositoryFiles, textOf } from './support/source.js';

const DECISION = 'docs/decisions/0020-names.md';
const [first = ''] = textOf(DECISION).split(/^## /m);

interface Row {
  readonly old: string;
  readonly now: string;
}

/** The rows of the first table: `| old | new | why |`. */
const rows: readonly Row[] = [...first.matchAll(/^\| ([^|]+) \| ([^|]+) \| [^|]+ \|$/gm)]
  .map((match) => ({ old: match[1] ?? '', now: match[2] ?? '' }))
  .filter(({ old }) => old !== 'Old name');

const identifiers = new Map(
  repositoryFiles('*.ts')
    .filter(isHandWritten)
    .map((file) => [file, identifiersOf(file)]),
);

describe(DECISION, () => {
  it('has rows of one old identifier each', () => {
    expect(rows.length).toBeGreaterThan(20);
    expect(
      rows.filter(({ old }) => !/^[A-Za-z_$][\w$]*$/.test(old)),
      `${DECISION}: the left column of the first table holds one identifier a row`,
    ).toEqual([]);
  });

  it('names each old identifier once', () => {
    const old = rows.map((row) => row.old);
    expect(
      old.filter((name, i) => old.indexOf(name) !== i),
      `${DECISION}: delete the second row of each of these`,
    ).toEqual([]);
  });

  it('lists no name that is in use', () => {
    const used = [...identifiers].flatMap(([file, names]) =>
      rows.filter(({ old }) => names.has(old)).map(({ old, now }) => `${file}: ${old}, now ${now}`),
    );
    expect(
      used,
      `rename these, or take the row out of ${DECISION} if the word has a standard meaning there`,
    ).toEqual([]);
  });

  it('finds identifiers, and no words of comments and strings', () => {
    const own = identifiers.get('test/names.test.ts') ?? new Set();
    expect(own.has('repositoryFiles')).toBe(true);
    expect(own.has('matchAll')).toBe(true);
    expect(own.has('finds')).toBe(false);
  });
});
