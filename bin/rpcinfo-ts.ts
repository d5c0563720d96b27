#!/usr/bin/env node
/** rpcinfo-ts: what is registered in an rpcbind, and whether it answers. */

import { buildRpcinfo } from './rpcinfo/command.js';
import { withOptionalNumber } from './rpcinfo/help.js';
import { run } from './support/cli.js';

await run(buildRpcinfo(), withOptionalNumber(process.argv, '--watch', '2'));
