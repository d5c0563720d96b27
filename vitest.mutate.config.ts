import { defineConfig } from 'vitest/config';

/** For `npm run mutate`, which says by the environment which tests can notice a change of the file at hand. */
export default defineConfig({
  test: {
    include: (process.env['MUTATE_TESTS'] ?? '').split(','),
    testTimeout: 30_000,
  },
});
