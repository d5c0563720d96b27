/** `--verbose` and `--hex`: the messages of a call, told on standard error as they go and come. */

import { type Dissection, dissectMessage, hexDump, type Known } from './dissect.js';
import { choices, type Opened } from './interface.js';
import type { Tap } from './target.js';

/** How a message is told. */
export interface TraceOptions {
  readonly verbose: boolean;
  readonly hex: boolean;
}

/** Knows the procedures of an interface, and by xid which call a reply answers. */
export class Dissecting {
  private readonly opened: readonly Opened[];
  private readonly calls = new Map<number, Known>();

  constructor(opened: readonly Opened[]) {
    this.opened = opened;
  }

  /** One message, field by field. */
  dissect(bytes: Uint8Array): Dissection {
    return dissectMessage(bytes, (call, xid) => {
      if (call === undefined) return this.calls.get(xid);
      const found = this.find(call);
      if (found !== undefined) {
        if (this.calls.size >= MAX_CALLS) this.calls.clear();
        this.calls.set(xid, found);
      }
      return found;
    });
  }

  private find({ program, version, procedure }: NonNullable<Dissection['call']>): Known | undefined {
    for (const opened of this.opened)
      for (const { procedure: one } of choices(opened))
        if (one.program === program && one.version === version && one.number === procedure) return one;
    return undefined;
  }
}

/** Most calls whose replies are still to come. */
const MAX_CALLS = 65_536;

/** Tells every message on standard error. Undefined where nothing is to be told. */
export function tracing(opened: Opened, { verbose, hex }: TraceOptions): Tap | undefined {
  if (!verbose && !hex) return undefined;
  const dissecting = new Dissecting([opened]);
  const tell = (mark: string, what: string, bytes: Uint8Array): void => {
    const lines = [`${mark} ${what}, ${bytes.length} bytes`];
    if (hex) lines.push(...hexDump(bytes, mark));
    if (verbose) lines.push(...dissecting.dissect(bytes).lines.map((line) => `${mark} ${line}`));
    process.stderr.write(`${lines.join('\n')}\n`);
  };
  return {
    onSend: (message) => tell('>', 'call', message),
    onReceive: (message) => tell('<', 'reply', message),
  };
}
