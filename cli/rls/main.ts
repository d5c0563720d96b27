#!/usr/bin/env node

/** rls: lists a directory of another host. */

import { describeStatus, REMOTEDIR_PROG, REMOTEDIR_V1, RemotedirProgV1Client } from '../../services/index.js';
import { CliError, command, run } from '../support/cli.js';
import { type RemoteOptions, remoteOptions, withProgram } from '../support/remote.js';
import { printable } from '../support/terminal.js';

const program = remoteOptions(
  command('rls', 'Lists the names in a directory of HOST, one a line.')
    .argument('<host>', 'name or address of a host that runs remotedir')
    .argument('<path>', 'a directory that it exports, from the root: /srv/pub')
    .addHelpText('after', '\nExamples:\n  rls localhost /srv/pub\n  rls --transport udp localhost /srv/pub'),
);

program.action(async (host: string, path: string, options: RemoteOptions) => {
  const of = { program: REMOTEDIR_PROG, version: REMOTEDIR_V1 };
  const result = await withProgram(host, of, options, (caller) =>
    new RemotedirProgV1Client(caller).dirReaddir(path),
  );
  if (result.status !== 0)
    throw new CliError(`${printable(path)} on ${host}: ${describeStatus(result.status)}`);
  for (const { name } of result.names) process.stdout.write(`${printable(name)}\n`);
});

await run(program);
