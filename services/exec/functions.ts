/**
 * The table of functions: what can be called by name. Whoever wants one more adds an entry; callers
 * reach it by its name, and nothing else changes.
 */

import path from 'node:path';
import { exec_end, exec_status } from './exec.gen.js';
import type { RunOutcome } from './run.js';

/** What a function gets. */
export interface ExecRequest {
  readonly args: readonly string[];
  /** UTF-8, unless the call is "raw". */
  readonly input: Uint8Array;
  /** Fires when nobody waits for the outcome any more. */
  readonly signal: AbortSignal;
  /** What the call may take, in milliseconds. */
  readonly timeMs: number;
  /** Runs a program within all bounds of the service. */
  run(file: string, args: readonly string[], input: Uint8Array): Promise<RunOutcome>;
}

/** One entry of the table. */
export interface ExecFunction {
  /** One line. At most 1024 bytes. */
  readonly help: string;
  /** May throw {@link ExecRefusal}; anything else it throws is EXEC_FAILED. */
  call(request: ExecRequest): Promise<RunOutcome>;
}

/** Programs that may be run: an absolute path by each name, and where it matters which arguments they may get. */
export type Commands = Readonly<Record<string, string | Command>>;

/** A program with a say in its arguments. */
export interface Command {
  readonly file: string;
  /** Whether these arguments may be passed. Many programs run others if told to: think of `find -exec`. Default: all may. */
  readonly allows?: (args: readonly string[]) => boolean;
}

/** Thrown by a function to say why it does not. */
export class ExecRefusal extends Error {
  override readonly name = 'ExecRefusal';
  readonly status: Exclude<exec_status, 0>;

  constructor(status: Exclude<exec_status, 0>, message: string) {
    super(message);
    this.status = status;
  }
}

const SHELL = '/bin/sh';

/** `run`, and with a free shell `shell` and `script`. Throws RangeError for a path that is not absolute. */
export function standardFunctions(commands: Commands, freeShell: boolean): Record<string, ExecFunction> {
  const table = new Map<string, Command>();
  for (const [name, given] of Object.entries(commands)) {
    const command = typeof given === 'string' ? { file: given } : given;
    if (!path.isAbsolute(command.file))
      throw new RangeError(`the command ${name} needs an absolute path, not ${command.file}`);
    table.set(name, command);
  }
  const names = [...table.keys()].join(', ') || 'none';
  const runEntry: ExecFunction = {
    help: `runs a command with arguments: ${names}`.slice(0, 1_000),
    async call({ args: [name, ...args], input, run }) {
      if (name === undefined) throw new ExecRefusal(exec_status.EXEC_BAD_ARGUMENT, 'no command was given');
      const command = table.get(name);
      if (command === undefined)
        throw new ExecRefusal(
          exec_status.EXEC_NOT_ALLOWED,
          `the command is not on the server's list (${names.slice(0, 500)})`,
        );
      if (command.allows?.(args) === false)
        throw new ExecRefusal(exec_status.EXEC_NOT_ALLOWED, `${name} may not be run with these arguments`);
      return run(command.file, args, input);
    },
  };
  if (!freeShell) return { run: runEntry };
  return {
    run: runEntry,
    shell: {
      help: 'runs its argument as a command line of /bin/sh',
      async call({ args: [line, ...args], input, run }) {
        if (line === undefined) throw new ExecRefusal(exec_status.EXEC_BAD_ARGUMENT, 'no command was given');
        return run(SHELL, ['-c', line, 'sh', ...args], input);
      },
    },
    script: {
      help: 'runs its input as a script of /bin/sh, with its arguments',
      call: ({ args, input, run }) => run(SHELL, ['-s', '--', ...args], input),
    },
  };
}

/** What a function that runs no program gives back. */
export function textOutcome(text: string): RunOutcome {
  return { end: exec_end.EXEC_EXITED, code: 0, out: Buffer.from(text), err: new Uint8Array(0) };
}
