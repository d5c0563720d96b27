/** What commands share that call one program on a host: their options, the look-up, the connection. */

import { type Command, Option } from 'commander';
import { defaultRpcbindPort, lookup } from '../../rpcbind/index.js';
import { connectTcp, connectUdp, createClient, type RpcClient } from '../../runtime/index.js';
import { callingProgram } from '../../services/index.js';
import { integer, portOption, timeOptions } from './cli.js';

/** As commander reads them. */
export interface RemoteOptions {
  readonly port?: number;
  readonly transport: 'udp' | 'tcp';
  readonly timeout: number;
  readonly totalTime: number;
  readonly program?: number;
}

/** Adds the options of calling: how, when, and under which number. */
export function remoteOptions(
  program: Command,
  transports: readonly ('udp' | 'tcp')[] = ['tcp', 'udp'],
): Command {
  program
    .addOption(new Option('--transport <udp|tcp>', 'how to call').choices(transports).default(transports[0]))
    .addOption(portOption())
    .addOption(
      new Option('--program <number>', 'program number, where it is not the usual one').argParser(
        integer('NUMBER', 0, 0xffff_ffff),
      ),
    );
  for (const option of timeOptions()) program.addOption(option);
  return program;
}

/** Looks a program up on a host, connects, does the job, and closes the connection. */
export async function withProgram<T>(
  host: string,
  of: { readonly program: number; readonly version: number },
  options: RemoteOptions,
  job: (caller: Pick<RpcClient, 'call'>) => Promise<T>,
): Promise<T> {
  const times = { retransmitMs: options.timeout, timeoutMs: options.totalTime };
  const found = await lookup({
    host,
    rpcbindPort: options.port ?? defaultRpcbindPort(),
    program: options.program ?? of.program,
    version: of.version,
    transport: options.transport,
    ...times,
  });
  const way = options.transport === 'udp' ? await connectUdp(found) : connectTcp(found);
  const client = createClient(way, times);
  try {
    return await job(callingProgram(client, options.program));
  } finally {
    await client.close();
  }
}
