#!/usr/bin/env node

/** rget: fetches a file from another host, lists what there is, and follows its notices. */

import {
  describeFilesStatus,
  downloadFile,
  FILES_PROG,
  FILES_V1,
  FilesProgV1Client,
  files_status,
  nameOf,
} from '../../services/index.js';
import { CliError, command, integer, run, UsageError } from '../support/cli.js';
import { progressBar } from '../support/progress.js';
import { type RemoteOptions, remoteOptions, withProgram } from '../support/remote.js';
import { dateText, printable } from '../support/terminal.js';

interface Options extends RemoteOptions {
  readonly output?: string;
  readonly replace?: boolean;
  readonly follow?: boolean;
  readonly count?: number;
}

const UDP_CHUNK = 8_000;
const FOLLOW_MS = 15_000;
/** Asks for the number of the last notice. */
const LATEST = 2n ** 64n - 1n;

const program = remoteOptions(
  command('rget', 'Fetches the file NAME from HOST; without NAME, lists the files there.')
    .argument('<host>', 'name or address of a host that runs files')
    .argument('[name]', 'the file to fetch')
    .option('-o, --output <file>', 'where to put it (default: NAME, here)')
    .option('--replace', 'replace a file that is there')
    .option('--follow', 'print notices as they come instead, until it is ended')
    .option('--count <count>', 'with --follow: end after so many', integer('COUNT', 1, 1_000_000_000)),
).addHelpText(
  'after',
  '\nExamples:\n  rget localhost\n  rget localhost report.pdf\n  rget --follow localhost',
);

program.action(async (host: string, name: string | undefined, options: Options) => {
  if (options.follow && name !== undefined) throw new UsageError('--follow takes no NAME');
  await withProgram(host, { program: FILES_PROG, version: FILES_V1 }, options, async (caller) => {
    const files = new FilesProgV1Client(caller);
    if (options.follow) await follow(files, options.count ?? Number.POSITIVE_INFINITY);
    else if (name === undefined) await list(files);
    else await fetchFile(caller, host, name, options);
  });
});

async function fetchFile(
  caller: Parameters<typeof downloadFile>[0],
  host: string,
  name: string,
  options: Options,
): Promise<void> {
  const file = options.output ?? nameOf(name);
  const bar = progressBar(printable(name));
  try {
    await downloadFile(caller, name, file, {
      replace: options.replace ?? false,
      onProgress: bar.update,
      ...(options.transport === 'udp' ? { chunkBytes: UDP_CHUNK, inFlight: 4 } : {}),
    });
  } finally {
    bar.done();
  }
  process.stdout.write(`${printable(name)} of ${host} is in ${printable(file)}, its checksum is right\n`);
}

async function list(files: FilesProgV1Client): Promise<void> {
  let after = '';
  for (let more = true; more; ) {
    const result = await files.list(after);
    if (result.status !== files_status.FILES_OK) throw new CliError(describeFilesStatus(result.status));
    for (const { name, size, modified } of result.page.files)
      process.stdout.write(
        `${String(size).padStart(14)}  ${dateText(modified).padEnd(24)}  ${printable(name)}\n`,
      );
    after = result.page.files.at(-1)?.name ?? after;
    more = result.page.more;
  }
}

async function follow(files: FilesProgV1Client, most: number): Promise<void> {
  let after = LATEST;
  for (let left = most, isFirst = true; left > 0; isFirst = false) {
    const result = await files.subscribe({ after, wait_ms: isFirst ? 0 : FOLLOW_MS });
    if (result.status !== files_status.FILES_OK) throw new CliError(describeFilesStatus(result.status));
    const { notices, next, missed } = result.news;
    if (isFirst) process.stderr.write('rget: following\n');
    if (missed) process.stdout.write('... (notices were missed)\n');
    for (const { at, text } of notices.slice(0, left))
      process.stdout.write(`${dateText(at)} ${printable(text)}\n`);
    left -= notices.length;
    after = next;
  }
}

await run(program);
