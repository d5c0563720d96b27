/** What the command line says that concerns every mode, and what a mode gives back. */

import type { ProgramNames } from '../support/programs.js';
import type { ContactOptions } from './contact.js';

/** What every mode is given. */
export interface Setting {
  readonly contact: ContactOptions;
  readonly names: ProgramNames;
  readonly isJson: boolean;
  readonly isQuiet: boolean;
  /** Whether `--timeout` and `--total-time` were given. */
  readonly hasTimeout: boolean;
  readonly hasTotal: boolean;
}

/** An answer in both its forms. */
export interface Answer {
  readonly text: string;
  /** The members of the JSON object, but for `host`. */
  readonly json: Readonly<Record<string, unknown>>;
  /** News that make the exit code 1. */
  readonly isBad?: boolean;
}
