/**
 * What every command here shares: how arguments are read, how a failure is told (one line, exit
 * code 1; a wrong command line 2; the stack only with --debug), and how a signal ends a server.
 */

import { readFileSync } from 'node:fs';
import { Command, CommanderError, InvalidArgumentError, Option } from 'commander';
import { completionScript, completions, SHELLS } from './completion.js';
import { printable } from './terminal.js';

/** A job that failed, told to the person at the terminal: what, on what, and what to do next. */
export class CliError extends Error {
  override readonly name = 'CliError';
}

/** A command line that asks for something impossible; ends with exit code 2. */
export class UsageError extends Error {
  override readonly name = 'UsageError';
}

const { version } = JSON.parse(readFileSync(new URL('../../../package.json', import.meta.url), 'utf8')) as {
  version: string;
};

/** A command with the options that all have: --version, --help, --debug. */
export function command(name: string, description: string): Command {
  return new Command(name)
    .description(description)
    .version(version)
    .option('--debug', 'on failure, print the stack')
    .configureOutput({
      // One line, like every other failure.
      outputError: (text, write) =>
        write(`${name}: ${describe(text.replace(/^error: /, ''))} (${name} --help says how)\n`),
    })
    .exitOverride();
}

/** Runs a command to its end. Sets the exit code: 0, 1 for a failed job, 2 for a wrong command line. */
export async function run(program: Command, argv: readonly string[] = process.argv): Promise<void> {
  guardOutput(program.name());
  try {
    if (complete(program, argv.slice(2))) return;
    await program.parseAsync([...argv]);
  } catch (error) {
    if (error instanceof CommanderError) {
      // Commander has printed help, version or its complaint already.
      process.exitCode = error.exitCode === 0 ? 0 : 2;
      return;
    }
    process.stderr.write(`${program.name()}: ${describe(error)}\n`);
    if (program.opts<{ debug?: boolean }>().debug && error instanceof Error)
      process.stderr.write(`${error.stack}\n`);
    process.exitCode = error instanceof UsageError ? 2 : 1;
  }
}

/**
 * What happens when nobody reads our output any more (`| head -1`) or the disk is full: a command
 * ends, quietly or with one line; a server, which has work beyond what it prints, goes on.
 */
export function guardOutput(name: string): void {
  for (const stream of [process.stdout, process.stderr])
    stream.on('error', (error: NodeJS.ErrnoException) => {
      if (isServing) return;
      if (error.code === 'EPIPE') process.exit(0);
      if (stream === process.stdout)
        process.stderr.write(`${name}: cannot write the output: ${describe(error)}\n`);
      process.exit(1);
    });
}

let isServing = false;

/** Whether the command was asked about completion, as each command may be: `--completion SHELL`, and what its script asks. */
function complete(program: Command, [verb, ...words]: readonly string[]): boolean {
  if (verb === '--completions') {
    process.stdout.write(
      completions(program, words)
        .map((each) => `${each}\n`)
        .join(''),
    );
    return true;
  }
  if (verb !== '--completion') return false;
  const shell = SHELLS.find((each) => each === words[0]);
  if (shell === undefined) throw new UsageError(`--completion takes one of ${SHELLS.join(', ')}`);
  process.stdout.write(completionScript(program.name(), shell));
  return true;
}

/** An error as one line, whatever stands in it: the name of a host may be anything. */
export function describe(error: unknown): string {
  const text = error instanceof Error ? error.message : String(error);
  return printable(text.trim().replaceAll(/\s*\n\s*/g, '; '));
}

/** For commander: a whole number within bounds. */
export function integer(what: string, min: number, max: number): (text: string) => number {
  return (text) => {
    const value = /^(0x[0-9a-f]+|\d+)$/i.test(text) ? Number(text) : Number.NaN;
    if (!(value >= min && value <= max))
      throw new InvalidArgumentError(`${what} must be a number from ${min} to ${max}.`);
    return value;
  };
}

/** The option `--port`: rpcbind's port, before RPCBIND_PORT and 111. */
export function portOption(): Option {
  return new Option('--port <port>', "rpcbind's port (default: RPCBIND_PORT, else 111)").argParser(
    integer('PORT', 1, 65_535),
  );
}

/** An option that sets what another one does: its older name. */
export class OlderNameOption extends Option {
  private readonly target: string;

  constructor(flags: string, description: string, target: string) {
    super(flags, description);
    this.target = target;
  }

  override attributeName(): string {
    return this.target;
  }
}

/** The options of waiting, in seconds, as every command that calls has them. */
export function timeOptions(): Option[] {
  const seconds = (text: string): number => {
    const value = /^\d+(\.\d+)?$/.test(text) ? Number(text) : Number.NaN;
    if (!(value >= 0.001 && value <= 86_400))
      throw new InvalidArgumentError('SECONDS must be a number from 0.001 to 86400.');
    return value * 1000;
  };
  let given: number | undefined;
  /** One setting of two names. */
  const retransmit = (text: string): number => {
    const value = seconds(text);
    if (given !== undefined && given !== value)
      throw new InvalidArgumentError('--retransmit and --timeout are the same setting; give one of them.');
    given = value;
    return value;
  };
  return [
    new Option('--retransmit <seconds>', 'send a datagram again after this long without an answer')
      .argParser(retransmit)
      .default(5_000, '5'),
    new OlderNameOption('--timeout <seconds>', 'the older name of --retransmit', 'retransmit').argParser(
      retransmit,
    ),
    new Option('--total-time <seconds>', 'give up after this long').argParser(seconds).default(25_000, '25'),
  ];
}

/** Ends the process once what it printed is read, and after `limitMs` milliseconds even where nobody reads it. */
export function endWithin(limitMs: number): void {
  setTimeout(() => process.exit(), limitMs).unref();
}

/** Resolves at the first SIGINT or SIGTERM. A second one ends the process at once. */
export function untilSignal(): Promise<NodeJS.Signals> {
  isServing = true;
  return new Promise((resolve) => {
    const onSignal = (signal: NodeJS.Signals): void => {
      process.once(signal, () => process.exit(1));
      resolve(signal);
    };
    process.once('SIGINT', onSignal);
    process.once('SIGTERM', onSignal);
  });
}
