/** What commands share that call one program on a host: their options, the look-up, the connection. */

import { type Command, Option } from 'commander';
import { defaultRpcbindPort, lookup } from '../../rpcbind/index.js';
import { connectTcp, connectUdp, createClient, type RpcClient } from '../../runtime/index.js';
import { callingProgram } from '../../services/index.js';
import { integer, portOption, timeOptions } from './cli.js';
import { clientPolicyOf, handshakeOf, type TlsFlags, tlsClientOptions } from './tls.js';

/** As commander reads them. */
export interface RemoteOptions extends TlsFlags {
  readonly port?: number;
  readonly transport: 'udp' | 'tcp';
  readonly retransmit: number;
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
  for (const option of [...timeOptions(), ...tlsClientOptions()]) program.addOption(option);
  return program;
}

/** Looks a program up on a host, connects, does the job, and closes the connection. */
export async function withProgram<T>(
  host: string,
  of: { readonly program: number; readonly version: number },
  options: RemoteOptions,
  job: (caller: Pick<RpcClient, 'call'>) => Promise<T>,
): Promise<T> {
  const times = { retransmitMs: options.retransmit, timeoutMs: options.totalTime };
  const policy = clientPolicyOf(options, options.transport);
  const found = await lookup({
    host,
    rpcbindPort: options.port ?? defaultRpcbindPort(),
    program: options.program ?? of.program,
    version: of.version,
    transport: options.transport,
    ...times,
  });
  const target = { program: options.program ?? of.program, version: of.version };
  const transport =
    options.transport === 'udp'
      ? await connectUdp(found)
      : connectTcp({ ...found, ...handshakeOf(options, policy, target) });
  const client = createClient(transport, times);
  try {
    return await job(callingProgram(client, options.program));
  } finally {
    await client.close();
  }
}
