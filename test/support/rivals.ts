/**
 * Debian's rpcinfo beside ours: both are run with the same arguments in the same sandbox, and what
 * they print and how they end comes back as data.
 */

import { type Outcome, sandbox } from './sandbox.js';

/** How one of the two ended. */
export interface Side {
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
}

/** Both, with the same arguments. */
export interface Pair {
  readonly args: string;
  readonly theirs: Side;
  readonly ours: Side;
}

const MARK = '@@pair ';

/** For the script of a sandbox: `both ARGS...` runs rpcinfo and rpcinfo-ts, one after the other. */
const BOTH = `
both() { node -e '
  const { spawnSync } = require("node:child_process");
  const args = process.argv.slice(1);
  const side = (file, args) => {
    const { status, stdout, stderr } = spawnSync(file, args, { encoding: "utf8", timeout: 40000 });
    return { code: status, stdout, stderr };
  };
  const theirs = side("rpcinfo", args);
  const ours = side(process.execPath, [process.env.BIN + "/rpcinfo-ts/main.js", ...args]);
  console.log("${MARK}" + JSON.stringify({ args: args.join(" "), theirs, ours }));
' -- "$@"; }
`;

/** Runs a script that calls `both`; the pairs it made, in order. */
export async function compare(
  script: string,
  limitMs = 120_000,
  env: NodeJS.ProcessEnv = {},
): Promise<{ readonly pairs: readonly Pair[]; readonly outcome: Outcome }> {
  const outcome = await sandbox(`${BOTH}${script}`, limitMs, env);
  const pairs = outcome.stdout
    .split('\n')
    .filter((line) => line.startsWith(MARK))
    .map((line) => JSON.parse(line.slice(MARK.length)) as Pair);
  return { pairs, outcome };
}
