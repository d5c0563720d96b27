#!/usr/bin/env node
/** rpccerts: a certificate authority of one's own, with certificates for a server and a client, for a first try of TLS. */

import {
  DEV_CERTIFICATE_DAYS,
  type DevCertificateOptions,
  writeDevCertificates,
} from '../../security/index.js';
import { CliError, command, describe, integer, run } from '../support/cli.js';

interface Options {
  readonly name: readonly string[];
  readonly user?: string;
  readonly days: number;
}

const program = command(
  'rpccerts',
  'Writes a certificate authority and certificates for a server and a client, for a first try of TLS.',
)
  .argument('<folder>', 'where the files go: ca, server and client, each .pem and .key (0600)')
  .option(
    '--name <name>',
    'a DNS name or IP address of the server (may be repeated; default: localhost, 127.0.0.1, ::1)',
    (value: string, all: readonly string[]) => [...all, value],
    [],
  )
  .option('--user <user@domain>', "a user in the client's certificate")
  .option('--days <days>', 'how long they are valid', integer('DAYS', 1, 3_650), DEV_CERTIFICATE_DAYS)
  .addHelpText(
    'after',
    `
Not for production: the key of the authority is not protected.

Examples:
  rpccerts certs
  rpcserve --tls-cert certs/server.pem --tls-key certs/server.key printmsg
  rpccall --tls-ca certs/ca.pem localhost services/printmsg/msg.x PRINTMESSAGE '"hi"'`,
  );

program.action(async (folder: string, { name, user, days }: Options) => {
  const options: DevCertificateOptions = { names: name.length === 0 ? undefined : name, user, days };
  try {
    const { ca, server, client } = await writeDevCertificates(folder, options);
    for (const file of [ca, server.cert, server.key, client.cert, client.key])
      process.stdout.write(`${file}\n`);
  } catch (cause) {
    throw new CliError(describe(cause), { cause });
  }
});

await run(program);
