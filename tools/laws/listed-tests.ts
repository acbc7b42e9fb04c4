/** Every entry of an explicit list has a test: one beside it, or one that names the entry's file or what it exports. */
import type { Finding, Law, Sources } from './law.ts';
import type { Source } from './sources.ts';

/** The lists that docs/ARCHITECTURE.md calls shapes, and the folder of their entries. */
const LISTS = [
  { list: 'src/controllers/list.ts', entries: /^src\/controllers\/.+\// },
  { list: 'src/scheduler/plugins/list.ts', entries: /^src\/scheduler\/plugins\// },
  { list: 'src/resources/registry.ts', entries: /^src\/resources\/.+\// },
  { list: 'src/storage/drivers/index.ts', entries: /^src\/storage\/drivers\// },
];

export const listedTests: Law = {
  name: 'listed-tests',
  about: 'every entry of an explicit list has a test',
  find(sources) {
    const tests = [...sources.values()].filter(({ path }) => /\.(test|suite)\.ts$/.test(path));
    return LISTS.flatMap(({ list, entries }) =>
      listEntries(list, sources)
        .filter((entry) => entries.test(entry.path) && !isTested(entry, tests))
        .map((entry): Finding => ({ path: entry.path, line: 1, text: `is in ${list} and has no test` })),
    );
  },
};

function listEntries(list: string, sources: Sources): Source[] {
  return (sources.get(list)?.imports ?? []).flatMap(({ file }) => sources.get(file) ?? []);
}

function isTested({ path, text, exports }: Source, tests: readonly Source[]): boolean {
  const base = path.replace(/\.ts$/, '');
  // The wire name: a plugin's or controller's name, a resource's plural.
  const wireName = /^ {2}(?:name|plural): '([^']+)'/m.exec(text)?.[1];
  const words = [...exports.map(({ name }) => name), ...(wireName ? [wireName] : [])];
  const named = new RegExp(`\\b(?:${words.map((word) => RegExp.escape(word)).join('|')})\\b`);
  return tests.some(
    (test) =>
      test.path.startsWith(`${base}.`) ||
      test.imports.some(({ file }) => file === path) ||
      (words.length > 0 && named.test(test.text)),
  );
}
