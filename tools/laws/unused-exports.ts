/** What a file exports, another file imports. --fix takes the word `export` away; what is then not used at all, lint names, for a hand to delete. */
import type { Finding, Law, Sources } from './law.ts';
import type { Source } from './sources.ts';

export const unusedExports: Law = {
  name: 'unused-exports',
  about: 'what a file exports, another file imports',
  find(sources) {
    const used = usedNames(sources);
    return [...sources.values()].flatMap((source) => unusedIn(source, used.get(source.path)));
  },
  fix(source, findings) {
    const lines = source.text.split('\n');
    for (const { line } of findings) lines[line - 1] = lines[line - 1]!.replace(/^export (?:default )?/, '');
    return lines.join('\n');
  },
};

function unusedIn({ path, exports }: Source, used: ReadonlySet<string> | undefined): Finding[] {
  if (used?.has('*')) return [];
  return exports
    .filter(({ name }) => !used?.has(name))
    .map(({ name, line }) => ({ path, line, text: `${name} is exported and nobody imports it` }));
}

/** Per file, the names that others import of it. */
function usedNames(sources: Sources): Map<string, Set<string>> {
  const used = new Map<string, Set<string>>();
  for (const { imports } of sources.values())
    for (const { file, names } of imports) {
      const known = used.get(file) ?? new Set();
      for (const name of names) known.add(name);
      used.set(file, known);
    }
  return used;
}
