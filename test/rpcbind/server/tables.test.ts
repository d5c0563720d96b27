/** Large tables: what a refused DUMP takes, the size of a table on the wire, and a table that is full. */

import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterEach, describe, expect, it } from 'vitest';
import {
  connectRpcbind,
  createRpcbind,
  type Rpcbind,
  type RpcbindClient,
  SUPERUSER,
} from '../../../rpcbind/index.js';
import { SNAPSHOT_FILE } from '../../../rpcbind/internal.js';
import { rpcblist_ptrCodec } from '../../../rpcbind/rpcbind.gen.js';
import { Registry } from '../../../rpcbind/table/registry.js';
import { encode } from '../../../xdr/index.js';

const open: { close(): Promise<void> }[] = [];
const folders: string[] = [];
afterEach(async () => {
  for (const one of open.splice(0).reverse()) await one.close();
  for (const folder of folders.splice(0)) rmSync(folder, { recursive: true });
});

const ROWS = 100_000;
const CALLS = 200;
/** Far below what building the rows takes, which is 10 ms and more. */
const MAX_REFUSAL_MS = 1;

/** A daemon that found so many registrations of root in its folder. */
async function daemonWith(rows: number): Promise<{ rpcbind: Rpcbind; client: RpcbindClient }> {
  const folder = mkdtempSync(path.join(tmpdir(), 'rpcbind-tables-'));
  folders.push(folder);
  const list = Array.from({ length: rows }, (_, i) => ({
    rpcb_map: {
      r_prog: 0x2000_0000 + i,
      r_vers: 1,
      r_netid: 'udp',
      r_addr: '192.0.2.1.8.1',
      r_owner: SUPERUSER,
    },
  }));
  writeFileSync(path.join(folder, SNAPSHOT_FILE), encode(rpcblist_ptrCodec, list), { mode: 0o600 });
  const rpcbind = await createRpcbind({ port: 0, stateFolder: folder, liveness: 'off' });
  open.push(rpcbind);
  const client = await connectRpcbind({ port: rpcbind.port, transport: 'udp', timeoutMs: 5_000 });
  open.push(client);
  return { rpcbind, client };
}

describe('a DUMP that no datagram holds', () => {
  it(`is refused in microseconds beside ${ROWS} registrations, in every version`, async () => {
    const { rpcbind, client } = await daemonWith(ROWS);
    expect(rpcbind.registrations().length).toBeGreaterThan(ROWS);
    for (const dump of [() => client.dump(), () => client.dumpAddresses()]) {
      const times: number[] = [];
      for (let i = 0; i < CALLS; i++) {
        const startedAt = performance.now();
        await expect(dump()).rejects.toMatchObject({ code: 'RPC_SYSTEM_ERR' });
        times.push(performance.now() - startedAt);
      }
      times.sort((a, b) => a - b);
      expect(times[CALLS / 2], 'the median, with the way there and back').toBeLessThan(MAX_REFUSAL_MS);
    }
  }, 60_000);
});

describe('the size of a table', () => {
  it('is that of its encoding', () => {
    const registry = new Registry();
    for (const [netid, address] of [
      ['udp', '127.0.0.1.8.1'],
      ['tcp6', '::.8.1'],
      ['local', '/run/ü.sock'],
    ] as const)
      registry.set({ program: 7, version: 1, netid, address, owner: SUPERUSER });
    const rows = [...registry.entries()].map((entry) => ({
      rpcb_map: {
        r_prog: entry.program,
        r_vers: entry.version,
        r_netid: entry.netid,
        r_addr: entry.address,
        r_owner: entry.owner,
      },
    }));
    // The list ends with a mark of four bytes.
    expect(registry.rowBytes + 4).toBe(encode(rpcblist_ptrCodec, rows).length);
  });
});
