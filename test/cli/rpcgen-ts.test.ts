/** The command line of rpcgen-ts: files, options, exit codes, one-line errors. Needs the build. */

import { spawnSync } from 'node:child_process';
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';

const command = fileURLToPath(new URL('../../dist/cli/rpcgen-ts/main.js', import.meta.url));
const MSG =
  'program MESSAGEPROG { version MESSAGEVERS { int PRINTMESSAGE(string) = 1; } = 1; } = 0x20000001;\n';

describe.skipIf(!existsSync(command))('rpcgen-ts', () => {
  let dir = '';
  beforeEach(() => {
    dir = mkdtempSync(join(tmpdir(), 'rpcgen-ts-'));
    writeFileSync(join(dir, 'msg.x'), MSG);
  });
  afterEach(() => rmSync(dir, { recursive: true, force: true }));

  const run = (...args: string[]): { status: number | null; stdout: string; stderr: string } => {
    const { status, stdout, stderr } = spawnSync(process.execPath, [command, ...args], {
      cwd: dir,
      encoding: 'utf8',
    });
    return { status, stdout, stderr };
  };
  const read = (name: string): string => readFileSync(join(dir, name), 'utf8');
  const write = (name: string, text: string): void => writeFileSync(join(dir, name), text);

  it('writes msg.gen.ts beside msg.x', () => {
    expect(run('msg.x')).toEqual({ status: 0, stdout: '', stderr: '' });
    expect(read('msg.gen.ts')).toContain('export class MessageprogV1Client');
  });

  it('writes where -o says, and to standard output with --stdout', () => {
    expect(run('msg.x', '-o', 'other.ts').status).toBe(0);
    expect(run('msg.x', '--stdout').stdout).toBe(read('other.ts'));
    expect(existsSync(join(dir, 'msg.gen.ts'))).toBe(false);
  });

  it('--check fails where the output would change, and writes nothing', () => {
    expect(run('--check', 'msg.x').status).toBe(1);
    expect(existsSync(join(dir, 'msg.gen.ts'))).toBe(false);
    run('msg.x');
    expect(run('--check', 'msg.x')).toEqual({ status: 0, stdout: '', stderr: '' });
    write('msg.x', MSG.replace('= 1;', '= 2;'));
    expect(run('--check', 'msg.x').stderr).toBe(
      'rpcgen-ts: msg.gen.ts is not what its .x says now: run rpcgen-ts again\n',
    );
  });

  it('does not overwrite what it did not make, unless forced', () => {
    write('msg.gen.ts', 'mine');
    expect(run('msg.x')).toMatchObject({ status: 1 });
    expect(read('msg.gen.ts')).toBe('mine');
    expect(run('msg.x', '--force').status).toBe(0);
  });

  it('--strings, --enums and --lenient say how codecs treat what is not strict', () => {
    write('e.x', 'enum e { A = 1 }; struct s { string n<9>; e one; };');
    expect(run('--strings', 'bytes', '--enums', 'open', '--lenient', 'e.x').status).toBe(0);
    expect(read('e.gen.ts')).toContain('w.opaque(v.n, 9);');
    expect(read('e.gen.ts')).toContain('[keyof typeof e] | OtherNumber;');
    expect(read('e.gen.ts')).toContain('lenient(/* @__PURE__ */ codec(');
    expect(run('e.x').status).toBe(0);
    expect(read('e.gen.ts')).toContain("w.string(v.n, 9, 'utf8');");
    expect(run('--strings', 'utf16', 'e.x').stderr).toContain(
      'Allowed choices are utf8, strict, latin1, bytes',
    );
  });

  it('--portable refuses what C’s rpcgen would not take, with line and column, and writes nothing', () => {
    write(
      'e.x',
      'struct s {\n  string *note;\n};\nprogram P { version V { s *F(int, int) = 1; } = 1; } = 1;\n',
    );
    expect(run('e.x').status).toBe(0);
    rmSync(join(dir, 'e.gen.ts'));
    const { status, stderr } = run('--portable', 'e.x');
    expect(status).toBe(1);
    expect(stderr).toContain("e.x:2:10: error: C's rpcgen does not accept a pointer to string");
    expect(stderr).toContain("e.x:4:27: error: C's rpcgen does not accept a pointer as a result");
    expect(stderr).toMatch(/rpcgen-ts: 2 errors\n$/);
    expect(existsSync(join(dir, 'e.gen.ts'))).toBe(false);
    write('e.x', 'program P { version V { int F(int, int) = 1; } = 1; } = 1;\n');
    expect(run('--portable', 'e.x').stderr).toContain('several arguments, except with rpcgen -N');
    expect(run('--portable', '-N', 'e.x')).toEqual({ status: 0, stdout: '', stderr: '' });
  });

  it('--samples writes a first server and client once', () => {
    expect(run('--samples', 'msg.x').status).toBe(0);
    expect(read('msg.server.ts')).toContain('createMessageprogV1({');
    expect(read('msg.client.ts')).toContain('new MessageprogV1Client(caller)');
    expect(JSON.parse(read('msg.answers.json'))).toEqual({ 'MESSAGEPROG.1.PRINTMESSAGE': 0 });
    write('msg.server.ts', 'mine');
    expect(run('--samples', 'msg.x').stderr).toContain('msg.server.ts is there already and stays as it is');
    expect(read('msg.server.ts')).toBe('mine');
  });

  it('--define, --include and --import give what the file does not have', () => {
    write('base.x', 'struct base { int a; };');
    write('a.x', '#include "inc.x"\nstruct a { base b; inc c; opaque d<MAX>; far e; };');
    rmSync(join(dir, 'msg.x'));
    const sub = mkdtempSync(join(dir, 'inc-'));
    writeFileSync(join(sub, 'inc.x'), 'struct inc { int i; };');
    const done = run('a.x', '-D', 'MAX=7', '-I', sub, '--import', 'base.x', '--import', 'far=./far.js');
    expect(done).toEqual({ status: 0, stdout: '', stderr: '' });
    expect(read('a.gen.ts')).toContain("from './base.gen.js';");
    expect(read('a.gen.ts')).toContain("from './far.js';");
    expect(read('a.gen.ts')).toContain('w.opaque(v.d, 7);');
  });

  it('compiles several files that use each other', () => {
    write('a.x', 'struct a { b *x; };');
    write('b.x', 'struct b { int y; };');
    expect(run('a.x', 'b.x').status).toBe(0);
    expect(read('a.gen.ts')).toContain("from './b.gen.js';");
  });

  it('--stub-missing guesses what no file defines, says so, and keeps what the stub says', () => {
    write('far.x', 'struct f { far x; opaque y[SIZE]; };');
    expect(run('far.x').status).toBe(1);
    expect(run('--stub-missing', 'far.x')).toEqual({
      status: 0,
      stdout: '',
      stderr: 'rpcgen-ts: far.x: warning: defined in no file and guessed in far.missing.x: SIZE far\n',
    });
    expect(read('far.missing.x')).toContain('typedef opaque far<>;');
    expect(read('far.missing.gen.ts')).toContain('export const farCodec');
    expect(read('far.gen.ts')).toContain("from './far.missing.gen.js';");
    write('far.missing.x', 'typedef int far; const SIZE = 4;');
    expect(run('--stub-missing', '--check', 'far.x').status).toBe(1);
    expect(run('--stub-missing', 'far.x')).toEqual({ status: 0, stdout: '', stderr: '' });
    expect(read('far.missing.x')).toBe('typedef int far; const SIZE = 4;');
    expect(run('--stub-missing', '--check', 'far.x')).toEqual({ status: 0, stdout: '', stderr: '' });
    expect(run('far.x', 'far.missing.x').status).toBe(0);
  });

  it('shows warnings, and compiles', () => {
    const program = (name: string): string =>
      `program ${name} { version ${name}V { void ${name}N(void) = 0; } = 1; } = 9;`;
    write('two.x', `${program('A')}\n${program('B')}\n`);
    const { status, stderr } = run('two.x');
    expect(status).toBe(0);
    expect(stderr).toContain(
      'two.x:2:56: warning: two programs have the number 9: services are found by program and version number',
    );
  });

  it('writes nothing where one of several files is wrong', () => {
    write('bad.x', 'struct a { foo x; };');
    const { status, stderr } = run('msg.x', 'bad.x');
    expect(status).toBe(1);
    expect(stderr).toContain('bad.x:1:12: error: type foo is not defined');
    expect(stderr).toMatch(/rpcgen-ts: 1 error\n$/);
    expect(readdirSync(dir).toSorted()).toEqual(['bad.x', 'msg.x']);
  });

  it('says in one line that a file is not there, and exits with 1', () => {
    expect(run('none.x')).toEqual({
      status: 1,
      stdout: '',
      stderr: 'rpcgen-ts: cannot open none.x: no such file or directory (ENOENT)\n',
    });
  });

  it('exits with 2 for a wrong command line', () => {
    expect(run().status).toBe(2);
    expect(run('--zork', 'msg.x').status).toBe(2);
    expect(run('msg.x', 'msg.x', '-o', 'x.ts').status).toBe(2);
    expect(run('-D', '1=2', 'msg.x').status).toBe(2);
    expect(run('diff', 'msg.x').status).toBe(2);
    expect(run('--help').status).toBe(0);
  });

  const WRONG: readonly (readonly [args: readonly string[], said: string])[] = [
    [[], 'no input: name one or more .x files'],
    [[''], 'an input has no name: name a .x file'],
    [['print', ''], 'an input has no name: name a .x file'],
    [['-o', '', 'msg.x'], '-o needs the name of a file'],
    [['-o', 'a.ts', 'msg.x', 'other.x'], '-o names one file, for one input'],
    [['-o', 'a.ts', '--stdout', 'msg.x'], '--stdout and --out exclude each other'],
    [['-o', './msg.x', '--force', 'msg.x'], 'would be written over: it is an input'],
    [['-N', 'msg.x'], '-N belongs to --portable'],
    [['--samples', '--check', 'msg.x'], '--samples and --check exclude each other'],
    [['--samples', '--stdout', 'msg.x'], '--samples and --stdout exclude each other'],
    [['--samples', '--types', 'msg.x'], '--samples and --types exclude each other'],
    [['--samples', '--client', 'msg.x'], '--samples and --client exclude each other'],
    [['--samples', '--server', 'msg.x'], '--samples and --server exclude each other'],
    [['--stub-missing', '--stdout', 'msg.x'], '--stdout and --stub-missing exclude each other'],
    [['--stdout', '--check', 'msg.x'], '--stdout and --check exclude each other'],
    [['--import', '', 'msg.x'], '--import needs a .x file or a module'],
    [['-I', '', 'msg.x'], '-I needs a directory'],
    [['msg.x', './msg.x'], './msg.x is named twice'],
    [['msg', 'msg.x'], 'two inputs would be written to msg.gen.ts'],
    [['print', '--samples', 'msg.x'], '--samples is nothing that print knows'],
    [['diff', '--stdout', 'msg.x', 'msg.x'], '--stdout is nothing that diff knows'],
  ];
  for (const [args, said] of WRONG)
    it(`exits with 2 and one line for ${JSON.stringify(args.join(' '))}`, () => {
      const { status, stdout, stderr } = run(...args);
      expect(stderr).toMatch(/^rpcgen-ts: [^\n]*\n$/);
      expect(stderr).toContain(said);
      expect({ status, stdout }).toEqual({ status: 2, stdout: '' });
      expect(readdirSync(dir)).toEqual(['msg.x']);
    });

  it('says in one line that a file is no regular file, and reads and writes nothing', () => {
    mkdirSync(join(dir, 'sub'));
    spawnSync('mkfifo', [join(dir, 'pipe.x')]);
    for (const [args, said] of [
      [['.'], '. is a directory'],
      [['print', 'sub'], 'sub is a directory'],
      [['/dev/null'], '/dev/null is not a regular file'],
      [['pipe.x'], 'pipe.x is not a regular file'],
      [['--import', 'pipe.x', 'msg.x'], 'pipe.x is not a regular file'],
      [['-o', 'sub', 'msg.x'], 'cannot open sub: illegal operation on a directory (EISDIR)'],
    ] as const)
      expect(run(...args)).toEqual({ status: 1, stdout: '', stderr: `rpcgen-ts: ${said}\n` });
    expect(readdirSync(dir).toSorted()).toEqual(['msg.x', 'pipe.x', 'sub']);
    expect(existsSync('/dev/null.gen.ts')).toBe(false);
    if (existsSync('/dev/full'))
      expect(run('-o', '/dev/full', 'msg.x').stderr).toBe(
        'rpcgen-ts: cannot write /dev/full: no space left on device (ENOSPC)\n',
      );
  });

  it('hints at the subcommands where a word is no file', () => {
    expect(run('pprint', 'msg.x')).toEqual({
      status: 1,
      stdout: '',
      stderr:
        'rpcgen-ts: cannot open pprint: no such file or directory (ENOENT); the subcommands are print, diff, fmt and lint\n',
    });
  });

  it('--help shows no defaults that say nothing', () => {
    for (const args of [['--help'], ['print', '--help'], ['diff', '--help']]) {
      const { status, stdout } = run(...args);
      expect(status).toBe(0);
      expect(stdout).not.toMatch(/default:\s+(\[\]|\{\})/);
    }
    expect(run('--help').stdout).toMatch(/default:\s+"rpcbind-ts\/xdr"/);
  });

  it.skipIf(process.platform === 'win32')(
    'ends quietly where nobody reads, and with one line where the disk is full',
    () => {
      const members = Array.from({ length: 20_000 }, (_, i) => `M${i}`);
      write('big.x', `enum big { ${members.join(', ')} };`);
      const shell = (line: string): { status: number | null; stderr: string } => {
        const { status, stderr } = spawnSync(
          'bash',
          ['-c', `set -o pipefail; ${line}`, process.execPath, command],
          {
            cwd: dir,
            encoding: 'utf8',
          },
        );
        return { status, stderr };
      };
      for (const args of ['--stdout big.x', 'print big.x']) {
        expect(shell(`"$0" "$1" ${args} | true`)).toEqual({ status: 0, stderr: '' });
        if (!existsSync('/dev/full')) continue;
        const { status, stderr } = shell(`"$0" "$1" ${args} > /dev/full`);
        expect(status).toBe(1);
        expect(stderr).toMatch(/^rpcgen-ts: cannot write the output: ENOSPC[^\n]*\n$/);
      }
    },
  );

  it('diff exits with 1 where something breaks the wire', () => {
    write('new.x', MSG.replace('= 1;', '= 2;'));
    expect(run('diff', 'msg.x', 'msg.x')).toMatchObject({ status: 0, stdout: 'nothing breaks the wire\n' });
    expect(run('diff', 'msg.x', 'new.x')).toMatchObject({ status: 1 });
    expect(run('diff', 'msg.x', 'new.x').stdout).toContain('procedure PRINTMESSAGE: was number 1, is 2');
  });

  it('diff tells extensions apart, fails on them where that is asked, and speaks JSON', () => {
    write('more.x', MSG.replace('= 1; } = 1;', '= 1; void NEW(void) = 2; } = 1;'));
    const said = 'EXTENDS  program MESSAGEPROG version 1 procedure NEW: is new\n';
    expect(run('diff', 'msg.x', 'more.x')).toEqual({
      status: 0,
      stdout: `${said}nothing breaks the wire; 1 change extends it\n`,
      stderr: '',
    });
    expect(run('diff', '--fail-on', 'extends', 'msg.x', 'more.x').status).toBe(1);
    expect(run('diff', '--fail-on', 'extends', 'msg.x', 'msg.x').status).toBe(0);
    expect(run('diff', '--fail-on', 'ok', 'msg.x', 'msg.x').status).toBe(2);
    const { status, stdout } = run('diff', '--json', 'more.x', 'msg.x');
    expect(status).toBe(1);
    const where = 'program MESSAGEPROG version 1 procedure NEW';
    expect(JSON.parse(stdout)).toEqual({
      level: 'breaks',
      changes: [{ level: 'breaks', where, what: 'is removed' }],
    });
  });

  it('fmt lays files out, keeps comments, and --check tells of those that are not', () => {
    write('e.x', 'struct s{int a;/* about a */};');
    expect(run('fmt', '--check', 'e.x', 'msg.x')).toEqual({
      status: 1,
      stdout: '',
      stderr:
        'rpcgen-ts: e.x is laid out otherwise: run rpcgen-ts fmt e.x\nrpcgen-ts: msg.x is laid out otherwise: run rpcgen-ts fmt msg.x\n',
    });
    expect(read('e.x')).toBe('struct s{int a;/* about a */};');
    expect(run('fmt', 'e.x', 'msg.x')).toEqual({ status: 0, stdout: '', stderr: '' });
    expect(read('e.x')).toBe('struct s {\n  int a;  /* about a */\n};\n');
    expect(run('fmt', '--check', 'e.x', 'msg.x')).toEqual({ status: 0, stdout: '', stderr: '' });
    expect(run('fmt', 'none.x').stderr).toBe(
      'rpcgen-ts: cannot open none.x: no such file or directory (ENOENT)\n',
    );
    expect(run('fmt', '--stdout', 'e.x').status).toBe(2);
  });

  it('fmt writes a file that is not UTF-8 back in Latin-1, each byte of its comments as it was', () => {
    const text = '/* Z\xfcrich, \xe0 \x80 */\nstruct s{int a;};';
    writeFileSync(join(dir, 'e.x'), text, 'latin1');
    expect(run('fmt', 'e.x')).toEqual({ status: 0, stdout: '', stderr: '' });
    expect(readFileSync(join(dir, 'e.x'), 'latin1')).toBe(
      '/* Z\xfcrich, \xe0 \x80 */\nstruct s {\n  int a;\n};\n',
    );
  });

  it('diff, print and lint guess with --stub-missing, tell it, and write nothing', () => {
    write('a.x', 'struct s { foo x; }; program P { version V { s READ(void) = 1; } = 1; } = 9;');
    write('b.x', 'struct s { foo x; int y; }; program P { version V { s READ(void) = 1; } = 1; } = 9;');
    const before = readdirSync(dir);
    const warning = (name: string): string =>
      `rpcgen-ts: ${name}: warning: defined in no file and guessed: foo\n`;
    const diff = run('diff', '--stub-missing', 'a.x', 'b.x');
    expect([diff.status, diff.stderr]).toEqual([1, warning('a.x') + warning('b.x')]);
    expect(diff.stdout).toContain('BREAKS ');
    expect(run('diff', '--stub-missing', 'a.x', 'a.x').status).toBe(0);
    expect(run('print', '--stub-missing', 'a.x')).toMatchObject({ status: 0, stderr: warning('a.x') });
    expect(run('lint', '--stub-missing', 'a.x').stderr).toBe(warning('a.x'));
    expect(readdirSync(dir)).toEqual(before);
    for (const name of ['diff', 'print', 'lint'])
      expect(run(name, 'a.x', ...(name === 'diff' ? ['b.x'] : [])).status).toBe(1);
    expect(run('fmt', '--stub-missing', 'a.x').status).toBe(2);
  });

  it('lint tells what will hurt, with exit code 1, but for what is allowed', () => {
    const { status, stdout } = run('lint', 'msg.x');
    expect(status).toBe(1);
    expect(stdout).toContain('msg.x:1:62: warning: this has no maximum number of bytes');
    expect(stdout.trim().split('\n')).toHaveLength(3);
    const allowed = ['unbounded', 'no-comment', 'no-null-procedure'].flatMap((code) => ['--allow', code]);
    expect(run('lint', ...allowed, 'msg.x')).toEqual({ status: 0, stdout: '', stderr: '' });
    expect(run('lint', '--allow', 'zork', 'msg.x').status).toBe(2);
    write('bad.x', 'struct a { foo x; };');
    expect(run('lint', 'bad.x').status).toBe(1);
  });

  it('print shows the canonical form', () => {
    expect(run('print', 'msg.x').stdout).toBe(
      'program MESSAGEPROG {\n  version MESSAGEVERS {\n    int PRINTMESSAGE(string<>) = 1;\n  } = 1;\n} = 536870913;\n',
    );
  });
});
