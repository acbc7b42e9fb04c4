/** Generic code of the API server knows no single resource: plurals are written in registry/, admission/ plugins, authz/ and the documents of what is served. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { placesOf, type Law } from './law.ts';
import { root } from './sources.ts';

const KNOWS_RESOURCES = /^src\/apiserver\/(?:registry|admission\/plugins|authz)\//;

export const pluralLiterals: Law = {
  name: 'plural-literals',
  about:
    'plurals of resources are written only in registry/, admission/plugins/ and authz/ of the API server',
  find(sources) {
    const plurals = builtinPlurals();
    const literal = new RegExp(`(?<=['"])(?:${plurals.join('|')})(?=['"])`, 'g');
    return [...sources.values()]
      .filter(
        ({ path, isTest }) => path.startsWith('src/apiserver/') && !KNOWS_RESOURCES.test(path) && !isTest,
      )
      .flatMap((source) => placesOf(source, literal, ([plural]) => `names the resource '${plural}'`));
  },
};

function builtinPlurals(): string[] {
  const text = readFileSync(join(root, 'src/api/generated/refs.ts'), 'utf8');
  return [...new Set([...text.matchAll(/plural: '([a-z]+)'/g)].map(([, plural]) => plural!))].sort();
}
