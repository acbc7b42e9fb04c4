/** Production code imports no test, suite or test helper. */
import type { Law } from './law.ts';

const TEST_ONLY = /\.(test|suite)\.ts$|\/testing\//;

export const testHelpers: Law = {
  name: 'test-helpers',
  about: 'production code imports no test helpers',
  find: (sources) =>
    [...sources.values()]
      .filter(({ path, isTest }) => path.startsWith('src/') && !isTest)
      .flatMap(({ path, imports }) =>
        imports
          .filter(({ file }) => TEST_ONLY.test(file))
          .map(({ file }) => ({ path, line: 1, text: `imports the test helper ${file}` })),
      ),
};
