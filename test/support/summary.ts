/** A vitest reporter that closes with one plain line of counts, and names what was skipped. */

import type { Reporter, TestModule } from 'vitest/node';

export default class Summary implements Reporter {
  onTestRunEnd(modules: readonly TestModule[]): void {
    const counts = { passed: 0, failed: 0, skipped: 0, pending: 0 };
    const skipped: string[] = [];
    for (const module of modules) {
      for (const test of module.children.allTests()) {
        const { state } = test.result();
        counts[state] += 1;
        if (state === 'skipped') skipped.push(`${module.relativeModuleId}: ${test.fullName}`);
      }
      // A file that could not even be loaded has no tests to count.
      if (!module.ok() && module.children.size === 0) counts.failed += 1;
    }
    for (const name of skipped) console.log(`skipped: ${name}`);
    const tail = counts.skipped > 0 ? `, ${counts.skipped} skipped` : '';
    console.log(`${counts.passed} passed, ${counts.failed + counts.pending} failed${tail}`);
  }
}
