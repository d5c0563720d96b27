#!/usr/bin/env node

/** rexec-ts: runs a command on another host and ends as it did. */

import { randomBytes } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { sysCredentials } from '../../runtime/index.js';
import { importOptional } from '../../runtime/protocol.js';
import {
  EXEC_PROG,
  EXEC_V1,
  ExecProgV1Client,
  type exec_call,
  exec_end,
  type exec_outcome,
  exec_status,
} from '../../services/index.js';
import { CliError, command, integer, run, UsageError } from '../support/cli.js';
import { type RemoteOptions, remoteOptions, withProgram } from '../support/remote.js';
import { printable } from '../support/terminal.js';

interface Options extends RemoteOptions {
  readonly shell?: string;
  readonly script?: string;
  readonly function?: string;
  readonly stdin?: boolean;
  readonly encoding: string;
  readonly time?: number;
  readonly list?: boolean;
}

/** Most bytes of input: the protocol's. */
const MAX_INPUT = 1_048_576;
const ENDS: Readonly<Record<number, string>> = {
  [exec_end.EXEC_TIME_LIMIT]: 'killed, since it took too long',
  [exec_end.EXEC_OUTPUT_LIMIT]: 'killed, since it wrote too much',
  [exec_end.EXEC_PROCESS_LIMIT]: 'killed, since it started too many processes',
};

const program = remoteOptions(
  command(
    'rexec-ts',
    'Runs a command of the list that HOST allows; its output and its exit code are those here.',
  )
    .argument('<host>', 'name or address of a host that runs exec')
    .argument('[command...]', 'behind --, a command and its arguments')
    .option('--shell <line>', 'run a command line of /bin/sh, where the host allows that')
    .option('--script <file>', 'run a script of /bin/sh, where the host allows that')
    .option('--function <name>', 'call a function of its table with the arguments behind --')
    .option('--list', 'print what can be called')
    .option('--stdin', 'pass standard input on, at most 1 MiB')
    .option('--encoding <name>', 'of arguments and outputs: utf-8, cp949, ...; raw', 'utf-8')
    .option('--time <milliseconds>', 'kill it after so long', integer('MILLISECONDS', 1, 3_600_000)),
).addHelpText(
  'after',
  '\nExamples:\n  rexec-ts localhost -- date -u\n  rexec-ts --shell "ls | wc -l" localhost\n  rexec-ts --list localhost',
);

program.action(async (host: string, words: readonly string[], options: Options) => {
  const { name, args, input } = await requestOf(words, options);
  const outcome = await withProgram(
    host,
    { program: EXEC_PROG, version: EXEC_V1 },
    options,
    async (caller) => {
      const exec = new ExecProgV1Client(caller);
      // What these credentials claim goes into the log there; they open no door.
      const credentials = sysCredentials({ uid: process.getuid?.() ?? 0, gid: process.getgid?.() ?? 0 });
      if (options.list) {
        for (const { name: each, help } of await exec.list({ credentials }))
          process.stdout.write(`${printable(each)}\t${printable(help)}\n`);
        return undefined;
      }
      const { encodeText } = await encoder(options.encoding);
      const call: exec_call = {
        function: name,
        args: args.map(encodeText),
        input,
        encoding: options.encoding,
        time_ms: options.time ?? 0,
        token: randomBytes(16),
      };
      const result = await exec.call(call, {
        credentials,
        timeoutMs: Math.max(options.totalTime, (options.time ?? 0) + 5_000),
      });
      if (result.status !== exec_status.EXEC_OK) throw new CliError(`${host}: ${printable(result.why)}`);
      return result.outcome;
    },
  );
  if (outcome !== undefined) finish(outcome, host);
});

async function requestOf(
  words: readonly string[],
  options: Options,
): Promise<{ name: string; args: readonly string[]; input: Uint8Array }> {
  const requests = [options.shell, options.script, options.function].filter(
    (request) => request !== undefined,
  );
  if (requests.length > 1) throw new UsageError('only one of --shell, --script and --function can be');
  if (requests.length === 0 && words.length === 0 && !options.list)
    throw new UsageError('no command was given: rexec-ts HOST -- COMMAND');
  const input =
    options.script !== undefined
      ? await readFile(options.script)
      : options.stdin
        ? await readStdin()
        : new Uint8Array(0);
  if (input.length > MAX_INPUT)
    throw new CliError(`the input has ${input.length} bytes, ${MAX_INPUT} are allowed`);
  if (options.shell !== undefined) return { name: 'shell', args: [options.shell, ...words], input };
  if (options.script !== undefined) return { name: 'script', args: words, input };
  return { name: options.function ?? 'run', args: words, input };
}

async function readStdin(): Promise<Uint8Array> {
  const chunks: Uint8Array[] = [];
  let size = 0;
  for await (const chunk of process.stdin as AsyncIterable<Uint8Array>) {
    chunks.push(chunk);
    size += chunk.length;
    if (size > MAX_INPUT) break;
  }
  return Buffer.concat(chunks);
}

/** Arguments in the encoding of the call, which this terminal's need not be. */
async function encoder(name: string): Promise<{ encodeText(text: string): Uint8Array }> {
  if (/^(raw|utf-?8)$/i.test(name)) return { encodeText: (text) => Buffer.from(text) };
  const { default: iconv } = await importOptional(
    'iconv-lite',
    `the encoding ${name}`,
    () => import('iconv-lite'),
  );
  if (!iconv.encodingExists(name)) throw new UsageError(`no encoding ${name} is known`);
  return { encodeText: (text) => iconv.encode(text, name) };
}

function finish({ end, code, out, err }: exec_outcome, host: string): void {
  process.stdout.write(out);
  process.stderr.write(err);
  const why = ENDS[end];
  if (why !== undefined) throw new CliError(`on ${host} it was ${why}`);
  // As a shell says it: 128 and the signal.
  process.exitCode = end === exec_end.EXEC_SIGNALLED ? 128 + code : code & 0xff;
}

await run(program);
