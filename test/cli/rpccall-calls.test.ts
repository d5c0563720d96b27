import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { createRpcbind, type Rpcbind } from '../../rpcbind/index.js';
import { type Ended, type Running, runCommand, startCommand } from '../support/command.js';

const CALC = `/* Sums. */
enum op { PLUS = 1, MINUS = 2 };
struct pair { int a; int b; };        /* two of them */
union big switch (op which) {
  case PLUS: hyper sum;
  default: void;
};
struct blob { opaque data<8>; pair *next; };
program CALCPROG {
  /* The only one. */
  version CALCVERS {
    int CALC_ADD(pair) = 1;           /* a and b together */
    big CALC_BIG(op) = 2;
    blob CALC_ECHO(blob) = 3;
    int CALC_TWO(int, string) = 4;
  } = 1;
} = 0x20000099;
`;
const ANSWERS = `export default {
  ADD: ({ a, b }) => a + b,
  BIG: (which) => which === 'PLUS' ? { which, sum: '9007199254740993' } : { which },
  ECHO: (blob) => blob,
  TWO: ([n]) => n,
};`;

let folder: string;
let file: string;
let rpcbind: Rpcbind;
let server: Running;

beforeAll(async () => {
  folder = await mkdtemp(path.join(tmpdir(), 'rpccall-'));
  file = path.join(folder, 'calc.x');
  await writeFile(file, CALC);
  await writeFile(path.join(folder, 'answers.mjs'), ANSWERS);
  rpcbind = await createRpcbind({ host: ['127.0.0.1'], port: 0 });
  server = await startCommand(
    'rpcserve',
    ['--host', '127.0.0.1', '--mock', file, '--answers', path.join(folder, 'answers.mjs')],
    /published in rpcbind/,
    { RPCBIND_PORT: String(rpcbind.port) },
  );
});

afterAll(async () => {
  await server?.stop();
  await rpcbind?.close();
  await rm(folder, { recursive: true, force: true });
});

function rpccall(...args: readonly string[]): Promise<Ended> {
  return runCommand('rpccall', args, { RPCBIND_PORT: String(rpcbind.port) });
}

const call = (...args: readonly string[]): Promise<Ended> => rpccall('127.0.0.1', file, ...args);

describe('rpccall HOST FILE PROC JSON', () => {
  it('calls a program that nobody compiled, over TCP and UDP', async () => {
    for (const transport of ['tcp', 'udp'])
      expect(await call('--transport', transport, 'CALC_ADD', '{"a": 2, "b": 40}')).toEqual({
        code: 0,
        stdout: '42\n',
        stderr: '',
      });
  });

  it('takes a procedure by its name, number, version and program, in any case', async () => {
    for (const name of [
      'CALC_ADD',
      'calc_add',
      'add',
      '1',
      '1.CALC_ADD',
      'CALCVERS.add',
      'CALCPROG.1.CALC_ADD',
      '0x20000099.1.1',
    ])
      expect((await call(name, '{"a":1,"b":1}')).stdout, name).toBe('2\n');
  });

  it('shows 64-bit numbers, enums, unions, opaque and optional in the one JSON form', async () => {
    const json = async (...args: string[]): Promise<unknown> =>
      JSON.parse((await call(...args)).stdout) as unknown;
    expect(await json('BIG', '"PLUS"')).toEqual({ which: 'PLUS', sum: '9007199254740993' });
    expect(await json('BIG', '2')).toEqual({ which: 'MINUS' });
    expect(await json('ECHO', '{"data":"AQID","next":null}')).toEqual({ data: 'AQID', next: null });
    expect(await json('ECHO', '{"data":"010203","next":{"a":1,"b":2}}', '--opaque', 'hex')).toEqual({
      data: '010203',
      next: { a: 1, b: 2 },
    });
    expect(await json('TWO', '[7,"x"]')).toBe(7);
  });

  it('says which member of wrong JSON does not fit, and what was expected', async () => {
    const failures: [string, string, RegExp][] = [
      ['ADD', '{"a":1,"b":"x"}', /^rpccall: member b of the JSON does not fit: not a number\n$/],
      ['ADD', '{"a":1}', /^rpccall: member b of the JSON does not fit: is missing\n$/],
      [
        'ADD',
        '{"a":1,"b":2147483648}',
        /^rpccall: member b of the JSON does not fit: 2147483648 is not .*2147483647\n$/,
      ],
      [
        'ADD',
        '{"a":1,"c":2,"b":3}',
        /^rpccall: member c of the JSON does not fit: unknown member; known are a, b\n$/,
      ],
      [
        'ECHO',
        '{"data":"AQID","next":{"a":1,"b":true}}',
        /^rpccall: member next\.b of the JSON does not fit: not a number\n$/,
      ],
      [
        'ECHO',
        '{"data":"AAECAwQFBgcI","next":null}',
        /^rpccall: member data of the JSON does not fit: .*8.*\n$/,
      ],
      ['BIG', '"TIMES"', /^rpccall: the JSON does not fit: "TIMES" is not a member of enum op\n$/],
      ['ADD', '{"a":', /^rpccall: this is no JSON: .*\n$/],
    ];
    for (const [name, json, said] of failures) {
      const ended = await call(name, json);
      expect(ended, json).toEqual({ code: 2, stdout: '', stderr: expect.stringMatching(said) as string });
    }
    expect((await call('ADD')).stderr).toBe(
      `rpccall: CALC_ADD takes arguments as JSON, as in '{"a":0,"b":0}'\n`,
    );
  });

  it('says in one line what else is wrong', async () => {
    const failures: [string[], number, RegExp][] = [
      [['127.0.0.1', file, 'SUB'], 2, /has no procedure SUB: it has .*CALC_ADD/],
      [['127.0.0.1', path.join(folder, 'none.x'), 'ADD'], 1, /none\.x cannot be read: ENOENT/],
      [
        ['127.0.0.1', 'nonsense', 'ADD'],
        2,
        /no well-known interface is called nonsense \(there are: mount, nfs/,
      ],
      [['127.0.0.1', 'mount', 'EXPORT'], 1, /program 100005 version 3 is not registered on 127\.0\.0\.1/],
      [['127.0.0.1', file, 'ADD', '{}', '--auth', 'kerberos'], 2, /--auth kerberos: it is none, sys/],
      [['127.0.0.1', file, 'ADD', '{"a":1,"b":1}', '--addr', 'x'], 2, /--addr x is no address/],
      [['127.0.0.1', file], 2, /that is: rpccall HOST INTERFACE PROC/],
    ];
    for (const [args, code, said] of failures) {
      const ended = await rpccall(...args);
      expect(ended, args.join(' ')).toEqual({
        code,
        stdout: '',
        stderr: expect.stringMatching(said) as string,
      });
      expect(ended.stderr.split('\n').length, ended.stderr).toBe(2);
    }
  });

  it('prints a skeleton of the arguments', async () => {
    const skeleton = { a: 0, b: 0 };
    expect(JSON.parse((await rpccall('--template', 'ADD', file)).stdout)).toEqual(skeleton);
    expect(JSON.parse((await rpccall('template', file, 'ADD')).stdout)).toEqual(skeleton);
  });

  it('calls straight to an address, without rpcbind', async () => {
    const [, port = ''] = /tcp 127\.0\.0\.1:(\d+)/.exec(server.output()) ?? [];
    for (const addr of [port, `127.0.0.1:${port}`, `127.0.0.1.${Number(port) >> 8}.${Number(port) & 255}`]) {
      const ended = await runCommand(
        'rpccall',
        [
          'h.invalid',
          file,
          'ADD',
          '{"a":1,"b":2}',
          '--addr',
          addr.includes('.') ? addr : `127.0.0.1:${addr}`,
        ],
        { RPCBIND_PORT: '1' },
      );
      expect(ended.stdout, addr).toBe('3\n');
    }
  });

  it('shows the messages field by field and as bytes, on standard error', async () => {
    const ended = await call('ADD', '{"a":2,"b":3}', '--verbose', '--hex', '--auth', 'sys:7:8,9');
    expect(ended.stdout).toBe('5\n');
    expect(ended.stderr).toMatch(/^> +20 +4 {2}00000001 +procedure = 1 CALC_ADD$/m);
    expect(ended.stderr).toMatch(/^> +\d+ +4 {2}00000007 +cred\.uid = 7$/m);
    expect(ended.stderr).toMatch(/^> +\d+ +4 {2}00000009 +cred\.gids\[0\] = 9$/m);
    expect(ended.stderr).toMatch(/^> +\d+ +4 {2}00000003 +args\.b = 3$/m);
    expect(ended.stderr).toMatch(/^< +24 +4 {2}00000005 +result = 5$/m);
    expect(ended.stderr).toMatch(/^< 000010 {2}00000000 00000000 00000005 +\.{12}$/m);
  });

  it('sums up many calls, and fails where one did', async () => {
    const ended = await call('ADD', '{"a":1,"b":1}', '--repeat', '500', '--concurrency', '50', '--compact');
    const summary = JSON.parse(ended.stdout) as {
      calls: number;
      errors: number;
      latency: Record<string, number>;
    };
    expect(summary).toMatchObject({ calls: 500, errors: 0 });
    const { min = 0, p50 = 0, p90 = 0, p99 = 0, max = 0 } = summary.latency;
    expect([min, p50, p90, p99, max]).toEqual([min, p50, p90, p99, max].toSorted((a, b) => a - b));
    expect((await call('ADD', '{"a":1,"b":1}', '--repeat', '1000000001')).code).toBe(2);
    expect((await call('ADD', '{"a":1,"b":1}', '--repeat', '1', '--concurrency', '65537')).code).toBe(2);
    expect((await call('ADD', '{"a":1,"b":1}', '--repeat', '2', '--concurrency', '65536')).code).toBe(0);
  });
});

describe('rpccall list and describe', () => {
  it('show programs, procedures and types with the comments of the file', async () => {
    expect((await rpccall('list', file)).stdout).toMatch(
      /^CALCPROG = \d+\n {2}\/\* The only one\. \*\/\n {2}CALCVERS = 1\n {4}\/\* a and b together \*\/\n {4}int CALC_ADD\(pair\) = 1;\n/,
    );
    const described = (await rpccall('describe', file, 'CALC_ECHO')).stdout;
    expect(described).toContain('blob CALC_ECHO(blob) = 3;');
    expect(described).toMatch(/struct pair \{\n {2}int a;\n {2}int b;\n\};/);
    expect(described).toContain('opaque data<8>;');
    expect((await rpccall('describe', file, 'PLUS')).stdout).toContain(
      'enum op {\n  PLUS = 1,\n  MINUS = 2,\n};',
    );
    expect((await rpccall('describe', file, 'big')).stdout).toContain(
      '  case PLUS:\n    hyper sum;\n  default:\n    void;',
    );
    expect((await rpccall('describe', file, 'nope')).code).toBe(2);
  });
});

describe('rpccall encode and decode', () => {
  it('keep a name that is not UTF-8 there and back', async () => {
    const names = path.join(folder, 'names.x');
    await writeFile(names, 'struct dir { string name<20>; };');
    for (const hex of ['00000004b0a1c8a0', '00000003418c6300', '00000004c7d1b1db']) {
      const { stdout } = await rpccall('decode', names, 'dir', hex);
      expect(stdout).toContain('\\udc');
      expect((await rpccall('encode', names, 'dir', stdout.trim())).stdout).toBe(`${hex}\n`);
    }
  });

  it('turn JSON into bytes and back, in every form of bytes', async () => {
    expect((await rpccall('encode', file, 'pair', '{"a":1,"b":-1}')).stdout).toBe('00000001ffffffff\n');
    expect((await rpccall('encode', file, 'pair', '{"a":1,"b":-1}', '--to', 'base64')).stdout).toBe(
      'AAAAAf////8=\n',
    );
    await writeFile(path.join(folder, 'raw'), Buffer.from('00000001ffffffff', 'hex'));
    for (const bytes of [
      '00000001ffffffff',
      '00 00 00 01 ff:ff:ff:ff',
      'AAAAAf////8=',
      `@${path.join(folder, 'raw')}`,
    ])
      expect(JSON.parse((await rpccall('decode', file, 'pair', bytes)).stdout), bytes).toEqual({
        a: 1,
        b: -1,
      });
    expect((await rpccall('decode', file, 'ADD', '0000002a', '--result')).stdout).toBe('42\n');
    expect((await rpccall('decode', file, 'ADD', '0000002a00000001', '--args')).stdout).toContain('"a": 42');
  });

  it('say where bytes break', async () => {
    const ended = await rpccall('decode', file, 'pair', '0000000100');
    expect(ended).toMatchObject({ code: 1, stdout: '' });
    expect(ended.stderr).toMatch(/^rpccall: these 5 bytes are no pair: .*byte 4.*\n$/);
    expect((await rpccall('decode', file, 'pair', '?!')).code).toBe(2);
  });

  it('explain a captured message, and a stream of records with its replies', async () => {
    const header =
      'a1b2c3d4 00000000 00000002 20000099 00000001 00000001 00000000 00000000 00000000 00000000';
    const one = await rpccall('decode', '--rpc', file, `${header} 00000002 00000003`);
    expect(one.stdout).toMatch(/^ +36 +4 {2}00000000 +verf\.length = 0$/m);
    expect(one.stdout).toMatch(/^ +44 +4 {2}00000003 +args\.b = 3$/m);
    const stream = `80000030${header}0000000200000003 8000001c a1b2c3d4 00000001 00000000 00000000 00000000 00000000 00000005`;
    const two = await rpccall('decode', '--rpc', file, stream);
    expect(two.stdout).toMatch(/^record 2, 28 bytes$/m);
    expect(two.stdout).toMatch(/^ +24 +4 {2}00000005 +result = 5$/m);
    const broken = await rpccall('decode', '--rpc', file, `${header} 0000`);
    expect(broken.stdout).toMatch(/^broken at byte 40: /m);
  });
});

describe('the interfaces that come along', () => {
  it('are listed and can be described', async () => {
    const { stdout } = await rpccall('interfaces');
    for (const name of [
      'mount',
      'nfs',
      'nlm',
      'rpcbind',
      'rquota',
      'rstat',
      'rusers',
      'status',
      'vxi11',
      'yp',
    ]) {
      expect(stdout).toMatch(new RegExp(`^${name} +[A-Z]`, 'm'));
      expect((await rpccall('list', name)).code).toBe(0);
    }
  });

  it('call rpcbind itself', async () => {
    const ended = await rpccall('127.0.0.1', 'rpcbind', '2.DUMP', '--compact');
    const rows = JSON.parse(ended.stdout) as { map: { prog: number } }[];
    expect(rows.map(({ map }) => map.prog)).toContain(0x20000099);
  });
});
