#!/usr/bin/env node
/** rpcbind-ts: the daemon in the foreground. */

import { createRpcbind, defaultRpcbindPort, type Rpcbind } from '../rpcbind/index.js';
import { CliError, command, describe, portOption, run, untilSignal } from './support/cli.js';

interface Options {
  readonly host: readonly string[];
  readonly port?: number;
  readonly insecure?: boolean;
}

const program = command('rpcbind-ts', 'Tells callers where the programs of this host are (RFC 1833).')
  .option('-h, --host <address>', 'listen here (may be repeated)', collect, [])
  .addOption(portOption())
  .option('-i, --insecure', 'let other hosts register')
  .helpOption('--help', 'display help for command');

program.action(async (options: Options) => {
  const stopped = untilSignal();
  const port = options.port ?? defaultRpcbindPort();
  const rpcbind = await start(options, port);
  process.stdout.write(`rpcbind-ts: serving on ${doors(rpcbind)}\n`);
  await stopped;
  await rpcbind.close();
});

async function start(options: Options, port: number): Promise<Rpcbind> {
  const host = options.host.length === 0 ? ['0.0.0.0'] : options.host;
  try {
    return await createRpcbind({ host, port, isInsecure: options.insecure ?? false });
  } catch (cause) {
    throw new CliError(explain(cause, port), { cause });
  }
}

function explain(error: unknown, port: number): string {
  const code = error instanceof Error && 'code' in error ? error.code : undefined;
  if (code === 'EADDRINUSE')
    return `port ${port} is taken: another rpcbind runs here; stop it, or choose another port with --port`;
  if (code === 'EACCES')
    return `port ${port} may not be bound by this user: run as root or with CAP_NET_BIND_SERVICE, or choose a port over 1023 with --port`;
  return `cannot serve on port ${port}: ${describe(error)}`;
}

function doors(rpcbind: Rpcbind): string {
  return rpcbind.listeners.map(({ netid, address, port }) => `${netid} ${address}:${port}`).join(', ');
}

function collect(value: string, list: readonly string[]): string[] {
  return [...list, value];
}

await run(program);
