/** remotedir over real sockets: what it lists, and that nothing leads out of a root. */

import { mkdir, mkdtemp, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type dir_result, RemotedirProgV1Client } from '../../services/remotedir/remotedir.gen.js';
import { createRemotedir, errno } from '../../services/remotedir/service.js';
import { type Served, serve } from './served.js';

let base: string;
let served: Served;
let tcp: RemotedirProgV1Client;
let udp: RemotedirProgV1Client;

beforeAll(async () => {
  base = await mkdtemp(path.join(tmpdir(), 'remotedir-'));
  for (const folder of ['tree/sub/deep', 'tree/many', 'tree/more', 'tree/long', 'treeless', 'secret'])
    await mkdir(path.join(base, folder), { recursive: true });
  for (const file of ['tree/b', 'tree/a', 'tree/\u00e9t\u00e9', 'secret/key', 'tree/sub/deep/down'])
    await writeFile(path.join(base, file), '');
  await symlink('../secret', path.join(base, 'tree/out'));
  await symlink(path.join(base, 'secret'), path.join(base, 'tree/absolute'));
  await symlink('sub/deep', path.join(base, 'tree/inside'));
  await symlink('circle', path.join(base, 'tree/circle'));
  await symlink('/', path.join(base, 'tree/top'));
  for (let i = 0; i < 50; i++) await writeFile(path.join(base, `tree/many/${i}`), '');
  for (let i = 0; i < 51; i++) await writeFile(path.join(base, `tree/more/${i}`), '');
  for (let i = 0; i < 40; i++) await writeFile(path.join(base, `tree/long/${'x'.repeat(200)}${i}`), '');
  served = await serve([await createRemotedir({ roots: [path.join(base, 'tree')], maxEntries: 50 })]);
  tcp = new RemotedirProgV1Client(served.tcp);
  udp = new RemotedirProgV1Client(served.udp);
});

afterAll(async () => {
  await served.close();
  await rm(base, { recursive: true });
});

const names = (result: dir_result): string[] =>
  result.status === 0 ? result.names.map(({ name }) => name) : [`status ${result.status}`];

describe('remotedir', () => {
  it('lists the names of a directory in the order of their bytes, over TCP and UDP', async () => {
    const expected = ['a', 'absolute', 'b', 'circle', 'inside', 'long', 'many', 'more', 'out', 'sub', 'top'];
    for (const client of [tcp, udp])
      expect(names(await client.dirReaddir(path.join(base, 'tree')))).toEqual([...expected, '\u00e9t\u00e9']);
  });

  it('follows a link that stays below the root', async () => {
    expect(names(await tcp.dirReaddir(`${base}/tree/inside`))).toEqual(['down']);
  });

  it('sends as many names as its limit and not one more', async () => {
    expect(names(await tcp.dirReaddir(`${base}/tree/many`))).toHaveLength(50);
    expect(await tcp.dirReaddir(`${base}/tree/more`)).toEqual({ status: errno.EOVERFLOW });
  });

  it('tells over UDP when an answer would be too long, and sends it over TCP', async () => {
    expect(await udp.dirReaddir(`${base}/tree/long`)).toEqual({ status: errno.EMSGSIZE });
    expect(names(await tcp.dirReaddir(`${base}/tree/long`))).toHaveLength(40);
  });

  const refused: readonly (readonly [string, string, number])[] = [
    ['the parent', '/..', errno.EACCES],
    ['the parent by a way around', '/sub/../..', errno.EACCES],
    ['the parent of a file', '/a/../../secret', errno.EACCES],
    ['two dots that would stay inside', '/sub/..', errno.EACCES],
    ['a link to a neighbour', '/out', errno.EACCES],
    ['an absolute link', '/absolute', errno.EACCES],
    ['a link to the top', '/top', errno.EACCES],
    ['a path through a link to the top', '/top/etc', errno.EACCES],
    ['something missing behind a link to the top', '/top/not-there', errno.EACCES],
    ['a file behind a link to the top', '/top/etc/passwd', errno.EACCES],
    ['a link in a circle', '/circle', errno.ELOOP],
    ['a NUL', '/sub\0/../../secret', errno.EACCES],
    ['a NUL at the end', '/sub\0', errno.EACCES],
    ['a neighbour with the same beginning', 'less', errno.EACCES],
    ['a file', '/a', errno.ENOTDIR],
    ['nothing', '/nothing', errno.ENOENT],
    ['a name of 256 bytes', `/${'n'.repeat(256)}`, errno.ENAMETOOLONG],
  ];
  it.each(refused)('refuses %s', async (_what, suffix, status) => {
    expect(await tcp.dirReaddir(`${base}/tree${suffix}`)).toEqual({ status });
  });

  it.each(['', '.', 'tree', '/', '/etc', '//etc', '/proc/self/cwd', '~', 'C:\\', `/${'a'.repeat(4_095)}`])(
    'refuses %j, which no root is above, without looking whether it is there',
    async (asked) => {
      expect(await tcp.dirReaddir(asked)).toEqual({ status: errno.EACCES });
    },
  );

  it('takes a path of 4096 bytes and calls one of 4097 an error of its caller', async () => {
    await expect(tcp.dirReaddir(`/${'a'.repeat(4_096)}`)).rejects.toMatchObject({ code: 'XDR_LIMIT' });
  });

  it('serves under another program number where it is told to', async () => {
    const service = await createRemotedir({ roots: [base], program: 0x3000_0000 });
    expect(service.program).toBe(0x3000_0000);
    expect(service.procedures.every(({ procedure }) => procedure.program === 0x3000_0000)).toBe(true);
  });

  it('cannot be made without a root, with one that is not there, or with a senseless limit', async () => {
    await expect(createRemotedir({ roots: [] })).rejects.toThrow('at least one root');
    await expect(createRemotedir({ roots: [`${base}/none`] })).rejects.toThrow('ENOENT');
    await expect(createRemotedir({ roots: [base], maxEntries: 0 })).rejects.toThrow('maxEntries');
  });
});
