/** A real terminal for a test: tmux runs a command in it, keys are sent, the screen is read. */

import { execFile } from 'node:child_process';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { promisify } from 'node:util';
import { until } from './until.js';

const run = promisify(execFile);

/** One terminal of 100 columns and 24 rows. */
export class Terminal {
  private readonly socket: string;
  private readonly folder: string;

  private constructor(folder: string) {
    this.folder = folder;
    this.socket = path.join(folder, 'tmux');
  }

  /** Runs a shell command in a new terminal. */
  static async open(command: string, env: NodeJS.ProcessEnv = {}): Promise<Terminal> {
    const terminal = new Terminal(await mkdtemp(path.join(tmpdir(), 'terminal-')));
    // A configuration of the user's own would make it another terminal.
    await run(
      'tmux',
      ['-S', terminal.socket, '-f', '/dev/null', 'new-session', '-d', '-x', '100', '-y', '24', command],
      {
        env: { ...process.env, ...env, TERM: 'xterm-256color', HOME: terminal.folder },
      },
    );
    return terminal;
  }

  /** The folder that is HOME inside. */
  get home(): string {
    return this.folder;
  }

  /** Types text as it is. */
  async type(text: string): Promise<void> {
    await run('tmux', ['-S', this.socket, 'send-keys', '-l', text]);
  }

  /** Presses keys by tmux' names: Enter, Tab, Up, C-c. */
  async press(...keys: readonly string[]): Promise<void> {
    await run('tmux', ['-S', this.socket, 'send-keys', ...keys]);
  }

  /** What stands on the screen; with `escapes` the colours too. */
  async screen(escapes = false): Promise<string> {
    const { stdout } = await run('tmux', [
      '-S',
      this.socket,
      'capture-pane',
      '-p',
      ...(escapes ? ['-e'] : []),
    ]);
    return stdout;
  }

  /** Waits until the screen shows it, and returns the screen. */
  async shows(what: RegExp | string, limitMs = 15_000): Promise<string> {
    let last = '';
    const isThere = async (): Promise<boolean> => {
      last = await this.screen().catch(() => '(the terminal is gone)');
      return typeof what === 'string' ? last.includes(what) : what.test(last);
    };
    try {
      await until(isThere, limitMs, String(what));
    } catch (error) {
      throw new Error(`${error instanceof Error ? error.message : error}; the screen is:\n${last}`);
    }
    return last;
  }

  async close(): Promise<void> {
    await run('tmux', ['-S', this.socket, 'kill-server']).catch(() => undefined);
    // What ran in it may still be writing its history.
    await rm(this.folder, { recursive: true, force: true, maxRetries: 20, retryDelay: 50 });
  }
}
