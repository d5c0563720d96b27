/** What the compiler does with the file system: which files it reads, and which it does not. */

import { execFileSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { compileFiles } from '../../rpcgen/index.js';

describe.skipIf(process.platform === 'win32')('files', () => {
  let dir = '';
  beforeEach(() => {
    dir = mkdtempSync(join(tmpdir(), 'rpcgen-files-'));
  });
  afterEach(() => rmSync(dir, { recursive: true, force: true }));
  const write = (name: string, text: string): string => {
    writeFileSync(join(dir, name), text);
    return join(dir, name);
  };

  it('that are no regular files are not included, and the error says what they are', () => {
    execFileSync('mkfifo', [join(dir, 'pipe')]);
    mkdirSync(join(dir, 'sub'));
    symlinkSync('/dev/zero', join(dir, 'zero'));
    symlinkSync('loop', join(dir, 'loop'));
    const including = (name: string): (() => unknown) => {
      const path = write('a.x', `#include "${name}"\n`);
      return () => compileFiles([path]);
    };
    expect(including('pipe')).toThrow(`cannot include 'pipe': ${dir}/pipe is not a regular file`);
    expect(including('zero')).toThrow(`cannot include 'zero': ${dir}/zero is not a regular file`);
    expect(including('sub')).toThrow(`cannot include 'sub': ${dir}/sub is a directory`);
    expect(including('loop')).toThrow("cannot include 'loop': ELOOP");
    expect(including('none')).toThrow("cannot find 'none' to include");
  });

  it('are included from a later directory where an earlier one has no regular file of that name', () => {
    mkdirSync(join(dir, 'inc.x'));
    mkdirSync(join(dir, 'later'));
    write('later/inc.x', 'const A = 1;');
    const path = write('a.x', '#include "inc.x"\nconst B = A;\n');
    expect(compileFiles([path], { includeDirs: [join(dir, 'later')] })).toHaveLength(1);
  });

  it('that are no regular files are neither compiled nor imported from', () => {
    execFileSync('mkfifo', [join(dir, 'pipe.x')]);
    const path = write('a.x', 'const A = 1;');
    expect(() => compileFiles([join(dir, 'pipe.x')])).toThrow('pipe.x is not a regular file');
    expect(() => compileFiles([path], { imports: [join(dir, 'pipe.x')] })).toThrow('not a regular file');
    expect(() => compileFiles([dir])).toThrow(`${dir} is a directory`);
    expect(() => compileFiles([join(dir, 'none.x')])).toThrow('ENOENT');
  });

  it('that include each other are named in the order of the circle', () => {
    const path = write('a.x', '#include "b.x"\n');
    write('b.x', '#include "a.x"\n');
    expect(() => compileFiles([path])).toThrow(
      `${dir}/b.x:1:1: error: ${dir}/a.x includes itself: ${dir}/a.x -> ${dir}/b.x -> ${dir}/a.x`,
    );
  });
});
