#!/usr/bin/env node

/** rpcinfo-ts: what is registered in an rpcbind, and whether it answers. */

import { run } from '../support/cli.js';
import { buildRpcinfo } from './command.js';
import { withOptionalNumber } from './help.js';

await run(buildRpcinfo(), withOptionalNumber(process.argv, '--watch', '2'));
