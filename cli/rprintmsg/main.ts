#!/usr/bin/env node

/** rprintmsg: prints a message on another host's console, once or often. */

import { defaultRpcbindPort, lookup } from '../../rpcbind/index.js';
import { connectTcp, connectUdp, createClient } from '../../runtime/index.js';
import { resolveHost } from '../../runtime/protocol.js';
import { MAX_MESSAGE, MESSAGEPROG, MESSAGEVERS, MessageprogV1Client } from '../../services/index.js';
import { CliError, command, integer, portOption, run, timeOptions, UsageError } from '../support/cli.js';

interface Options {
  readonly port?: number;
  readonly transport: 'udp' | 'tcp';
  readonly retransmit: number;
  readonly totalTime: number;
}

/** Most calls of one run. */
const MAX_COUNT = 1_000_000_000;
/** A run that takes longer says how far it is, this often. */
const PROGRESS_MS = 1_000;

const program = command('rprintmsg', "Prints MESSAGE on HOST's console, COUNT times.")
  .argument('<host>', 'name or address of a host that runs printmsg')
  .argument('<message>', `text of at most ${MAX_MESSAGE} bytes`)
  .argument('[count]', 'how many times', integer('COUNT', 1, MAX_COUNT), 1)
  .option('--transport <udp|tcp>', 'how to call', transport, 'udp')
  .addOption(portOption());
for (const option of timeOptions()) program.addOption(option);
program.addHelpText(
  'after',
  `
Examples:
  rprintmsg localhost Hello
  rprintmsg localhost Hello 10
  rprintmsg --port 1111 localhost "a message of several words"`,
);

program.action(async (host: string, message: string, count: number, options: Options) => {
  const size = Buffer.byteLength(message);
  if (size > MAX_MESSAGE)
    throw new UsageError(`the message has ${size} bytes, ${MAX_MESSAGE} are allowed: send it in pieces`);
  const times = { retransmitMs: options.retransmit, timeoutMs: options.totalTime };
  const { address } = await resolveHost(host, undefined);
  const found = await lookup({
    host: address,
    rpcbindPort: options.port ?? defaultRpcbindPort(),
    program: MESSAGEPROG,
    version: MESSAGEVERS,
    transport: options.transport,
    ...times,
  });
  const way = options.transport === 'udp' ? await connectUdp(found) : connectTcp(found);
  const client = createClient(way, times);
  try {
    await printOften(new MessageprogV1Client(client), host, message, count);
  } finally {
    await client.close();
  }
});

async function printOften(
  remote: MessageprogV1Client,
  host: string,
  message: string,
  count: number,
): Promise<void> {
  let saidAt = performance.now();
  let hasSaid = false;
  const say = (text: string): void => {
    process.stderr.write(process.stderr.isTTY ? `\r\u001b[K${text}` : `${text}\n`);
    hasSaid = true;
  };
  for (let done = 0; done < count; done++) {
    if ((await remote.printmessage(message)) !== 1)
      throw new CliError(`${host} could not print the message; ${done} of ${count} were printed`);
    const now = performance.now();
    if (now - saidAt >= PROGRESS_MS && done + 1 < count) {
      saidAt = now;
      say(`rprintmsg: ${done + 1} of ${count} printed`);
    }
  }
  if (hasSaid && process.stderr.isTTY) process.stderr.write('\r\u001b[K');
  process.stdout.write(`Message delivered to ${host}${count === 1 ? '' : ` ${count} times`}\n`);
}

function transport(text: string): 'udp' | 'tcp' {
  if (text === 'udp' || text === 'tcp') return text;
  throw new UsageError(`--transport must be udp or tcp, not ${text}`);
}

await run(program);
