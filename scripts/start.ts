#!/usr/bin/env node

/**
 * What `npm start` runs: the daemon and one service in one process, a look at the table, one call,
 * and what to try next. A demonstration that stays up; rpcbind-ts and rpcserve are the real things.
 */

import { CliError, command, describe, run, untilSignal } from '../cli/support/cli.js';
import { formatPortmap } from '../cli/support/portmap.js';
import { programNames } from '../cli/support/programs.js';
import {
  connectRpcbind,
  createRpcbind,
  defaultRpcbindPort,
  lookup,
  publish,
  type Rpcbind,
} from '../rpcbind/index.js';
import { connectUdp, createClient, createServer } from '../runtime/index.js';
import { createPrintmsg, MESSAGEPROG, MESSAGEVERS, MessageprogV1Client } from '../services/index.js';

/** Where the demonstration goes when rpcbind's own port may not be bound. */
const SPARE_PORT = 1111;

const program = command(
  'npm start',
  'Starts rpcbind and the printmsg service, and shows them at work.',
).option('--host <address>', 'listen here; 0.0.0.0 to be reached from other hosts', '127.0.0.1');

program.action(async ({ host }: { host: string }) => {
  const stopped = untilSignal();
  const rpcbind = await startRpcbind(host);
  const { port } = rpcbind;
  const server = createServer({ services: [createPrintmsg()] });
  await server.listenUdp({ host });
  await server.listenTcp({ host });
  const publication = await publish(server, { port });
  await show(port);
  const prefix = port === 111 ? '' : `RPCBIND_PORT=${port} `;
  say(`
Try in another terminal:
  ${prefix}npx rpcinfo-ts -p 127.0.0.1
  ${prefix}npx rprintmsg 127.0.0.1 Hello 10
Ctrl-C ends it.
`);
  await stopped;
  await publication.withdraw();
  await server.close();
  await rpcbind.close();
});

async function startRpcbind(host: string): Promise<Rpcbind> {
  const wanted = defaultRpcbindPort();
  let reason: string;
  try {
    const rpcbind = await createRpcbind({ host: [host], port: wanted });
    say(`rpcbind-ts serves on ${host} port ${wanted}.`);
    return rpcbind;
  } catch (error) {
    reason = why(error, host, wanted);
    if (wanted !== 111)
      throw new CliError(`${reason}: choose another with RPCBIND_PORT=...`, { cause: error });
  }
  try {
    const rpcbind = await createRpcbind({ host: [host], port: SPARE_PORT });
    say(
      `${reason}, so rpcbind-ts serves on port ${SPARE_PORT}; tools find it with RPCBIND_PORT=${SPARE_PORT}.`,
    );
    return rpcbind;
  } catch (error) {
    throw new CliError(
      `${reason}, and ${why(error, host, SPARE_PORT)}: choose another with RPCBIND_PORT=...`,
      {
        cause: error,
      },
    );
  }
}

/** Why a port cannot be had. A portmapper that is there already is worth knowing of. */
function why(error: unknown, host: string, port: number): string {
  const { code } = error as NodeJS.ErrnoException;
  if (code === 'EADDRINUSE') return `something serves on ${host} port ${port} already (another rpcbind?)`;
  if (code === 'EACCES') return `this user may not bind ${host} port ${port}`;
  return `${host} port ${port} cannot be had (${describe(error)})`;
}

/** The table, and one call: lookup, XDR, reply. */
async function show(port: number): Promise<void> {
  const rpcbind = await connectRpcbind({ port });
  say('\nRegistered programs:');
  say(formatPortmap(await rpcbind.dump(), programNames()));
  await rpcbind.close();
  say('\nOne call, found through rpcbind:');
  const found = await lookup({
    host: '127.0.0.1',
    rpcbindPort: port,
    program: MESSAGEPROG,
    version: MESSAGEVERS,
    transport: 'udp',
  });
  const client = createClient(await connectUdp(found));
  const result = await new MessageprogV1Client(client).printmessage('Hello from rpcbind-ts');
  await client.close();
  say(`PRINTMESSAGE("Hello from rpcbind-ts") at ${found.host} port ${found.port} returned ${result}.`);
}

function say(text: string): void {
  process.stdout.write(`${text}\n`);
}

await run(program);
