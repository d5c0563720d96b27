#!/usr/bin/env node

/** rpccall: calls any procedure of any program from its `.x`. */

import { run } from '../support/cli.js';
import { buildRpccall } from './command.js';

await run(buildRpccall());
