#!/usr/bin/env node
/** rpccall: calls any procedure of any program from its `.x`. */

import { buildRpccall } from './rpccall/command.js';
import { run } from './support/cli.js';

await run(buildRpccall());
