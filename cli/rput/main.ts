#!/usr/bin/env node

/** rput: sends a file to another host, and what else changes its files. */

import {
  describeFilesStatus,
  FILES_PROG,
  FILES_V1,
  FilesProgV1Client,
  files_status,
  nameOf,
  uploadFile,
} from '../../services/index.js';
import { CliError, command, run, UsageError } from '../support/cli.js';
import { progressBar } from '../support/progress.js';
import { type RemoteOptions, remoteOptions, withProgram } from '../support/remote.js';
import { printable } from '../support/terminal.js';

interface Options extends RemoteOptions {
  readonly as?: string;
  readonly replace?: boolean;
  readonly remove?: string;
  readonly notice?: string;
}

/** Bytes of one piece over UDP: what passes most networks in a few fragments. */
const UDP_CHUNK = 8_000;

const program = remoteOptions(
  command('rput', 'Sends FILE to HOST; a transfer that was cut goes on where it was.')
    .argument('<host>', 'name or address of a host that runs files')
    .argument('[file]', 'the file to send')
    .option('--as <name>', 'its name there (default: its own)')
    .option('--replace', 'replace a file of this name')
    .option('--remove <name>', 'remove a file there instead')
    .option('--notice <text>', 'send a notice to all who listen (rget --follow) instead'),
).addHelpText(
  'after',
  '\nExamples:\n  rput localhost report.pdf\n  rput --as today.pdf --replace localhost report.pdf',
);

program.action(async (host: string, file: string | undefined, options: Options) => {
  const { remove, notice } = options;
  if ([file, remove, notice].filter((one) => one !== undefined).length !== 1)
    throw new UsageError('give one of: a file, --remove NAME, --notice TEXT');
  await withProgram(host, { program: FILES_PROG, version: FILES_V1 }, options, async (caller) => {
    const files = new FilesProgV1Client(caller);
    if (remove !== undefined) check(await files.remove(remove), `${remove} on ${host}`);
    else if (notice !== undefined) check(await files.sendAll(notice), 'the notice');
    else await send(caller, host, file ?? '', options);
  });
});

async function send(
  caller: Parameters<typeof uploadFile>[0],
  host: string,
  file: string,
  options: Options,
): Promise<void> {
  const name = options.as ?? nameOf(file);
  const bar = progressBar(printable(name));
  try {
    await uploadFile(caller, file, name, {
      replace: options.replace ?? false,
      onProgress: bar.update,
      ...(options.transport === 'udp' ? { chunkBytes: UDP_CHUNK, inFlight: 4 } : {}),
    });
  } finally {
    bar.done();
  }
  process.stdout.write(`${printable(name)} is on ${host}, its checksum is right\n`);
}

function check(status: files_status, what: string): void {
  if (status !== files_status.FILES_OK)
    throw new CliError(`${printable(what)}: ${describeFilesStatus(status)}`);
}

await run(program);
