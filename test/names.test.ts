/** docs/decisions/0020-names.md: names that are gone stay gone. */

import { execFileSync } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import path from 'node:path';
import { expect, it } from 'vitest';

const root = path.resolve(import.meta.dirname, '..');
const table =
  readFileSync(path.join(root, 'docs/decisions/0020-names.md'), 'utf8').split('## Everyday words')[0] ?? '';
const old = [...table.matchAll(/^\| ([\w$]+(?:, [\w$]+)*) \| (?!New name)/gm)].flatMap((match) =>
  (match[1] ?? '').split(', '),
);

/** Identifiers of a file: comments and literals are left out, expressions within templates are not. */
function identifiersOf(text: string): Set<string> {
  const code = text
    .replaceAll(/\/\*[\s\S]*?\*\/|(?<![:'"`\w])\/\/.*$/gm, ' ')
    .replaceAll(/'(?:[^'\\\n]|\\.)*'|"(?:[^"\\\n]|\\.)*"/g, ' ')
    .replaceAll(/`(?:[^`\\]|\\.)*`/g, (template) =>
      [...template.matchAll(/\$\{([^}]*)\}/g)].map((match) => match[1]).join(' '),
    );
  return new Set(code.match(/[A-Za-z_$][\w$]*/g));
}

it('no hand-written TypeScript has an identifier of the left column', () => {
  expect(old.length).toBeGreaterThan(40);
  const files = execFileSync('git', ['ls-files', '--cached', '--others', '--exclude-standard', '*.ts'], {
    cwd: root,
    encoding: 'utf8',
  })
    .split('\n')
    .filter((file) => file !== '' && !file.endsWith('.gen.ts') && existsSync(path.join(root, file)));
  expect(files.length).toBeGreaterThan(200);
  const found = files.flatMap((file) => {
    const names = identifiersOf(readFileSync(path.join(root, file), 'utf8'));
    return old.filter((name) => names.has(name)).map((name) => `${file}: ${name}`);
  });
  expect(found, 'docs/decisions/0020-names.md has the new names').toEqual([]);
});
