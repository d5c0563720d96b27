/** rget before a server that says what no honest one would. */

import { afterEach, expect, it } from 'vitest';
import { createRpcbind, publish } from '../../rpcbind/index.js';
import { createServer } from '../../runtime/index.js';
import { createFilesProgV1, type FilesProgV1Handlers, files_status } from '../../services/files/files.gen.js';
import { runCommand } from '../support/command.js';

const cleanUps: (() => Promise<unknown>)[] = [];
afterEach(async () => {
  for (const cleanUp of cleanUps.splice(0).reverse()) await cleanUp();
});

it('lists files of any date of 64 bits, as a date where there is one and else as the number', async () => {
  const times: readonly bigint[] = [
    0n,
    1_700_000_000_123n,
    8_640_000_000_000_000n,
    8_640_000_000_000_001n,
    2n ** 63n - 1n,
    2n ** 64n - 1n,
  ];
  const files = times.map((modified, i) => ({ name: `file ${i}`, size: 2n ** 64n - 1n, modified }));
  const list: FilesProgV1Handlers['list'] = () => ({
    status: files_status.FILES_OK,
    page: { files, more: false },
  });
  const rpcbind = await createRpcbind({ host: ['127.0.0.1'], port: 0 });
  cleanUps.push(() => rpcbind.close());
  const server = createServer({ services: [createFilesProgV1({ list } as FilesProgV1Handlers)] });
  cleanUps.push(() => server.close());
  await server.listenTcp({ host: '127.0.0.1' });
  const published = await publish(server, { port: rpcbind.port });
  cleanUps.push(() => published.withdraw());
  const { code, stdout, stderr } = await runCommand('rget', ['127.0.0.1'], {
    RPCBIND_PORT: String(rpcbind.port),
  });
  expect({ code, stderr }).toEqual({ code: 0, stderr: '' });
  expect(stdout.split('\n')).toEqual([
    '18446744073709551615  1970-01-01T00:00:00.000Z  file 0',
    '18446744073709551615  2023-11-14T22:13:20.123Z  file 1',
    '18446744073709551615  +275760-09-13T00:00:00.000Z  file 2',
    '18446744073709551615  @8640000000000001ms       file 3',
    '18446744073709551615  @9223372036854775807ms    file 4',
    '18446744073709551615  @18446744073709551615ms   file 5',
    '',
  ]);
});
