/** Registers many programs in the rpcbind of this host: `fill COUNT`. A process of its own, for the bench. */

import { connectRpcbind } from '../../rpcbind/index.js';

/** The first program that is registered; the others follow. */
const FIRST_PROGRAM = 0x3000_0000;
/** Calls under way at a time. */
const AT_ONCE = 64;

const count = Number(process.argv[2]);
const client = await connectRpcbind({ timeoutMs: 60_000 });
let next = 0;
const work = async (): Promise<void> => {
  while (next < count) {
    const program = FIRST_PROGRAM + next;
    next += 1;
    const port = 1024 + (program % 60_000);
    if (!(await client.set({ program, version: 2, protocol: 'udp', port })))
      throw new Error(`program ${program} was not registered`);
  }
};
await Promise.all(Array.from({ length: AT_ONCE }, work));
await client.close();
