/** Words that HOUSE.md replaced do not come back: upstream's word where there is one, imperative English, no dialect. */
import { placesOf, type Law } from './law.ts';

/** Old word → the one to use. */
const REPLACED: readonly (readonly [pattern: RegExp, word: string])[] = [
  [/\bwakesOn\b/g, 'queueing hints'],
  [/\bRelist\b/g, 'PLEG'],
  [/\bSiblings\b/g, 'default selector'],
  [/\bnot brought forward\b/g, 'error syncing pod'],
  [/\b(?:demand|hear|become)[A-Z]\w*/g, 'requireX, parseX, validateX'],
  [/\bcarriers?\b/g, 'listener'],
  [/\bwatch on the store\b/g, 'watch cache'],
  [/\bis said\b/g, 'is reported, is logged'],
  [/\bhears? of\b/g, 'observes, receives'],
  [/\bgives way\b/g, 'is evicted, is replaced'],
  [/\bputs away\b/g, 'deletes, cleans up'],
  [/\bof elsewhere\b/g, 'outside of the cluster, another'],
  [/\bfor history's sake\b/g, 'for compatibility'],
  [/\bthe way of the past\b/g, 'legacy, deprecated'],
  [/\bcatalogue\b/gi, 'served endpoints'],
  [/\bmade anew\b/g, 'recreated, rebuilt'],
  [/\bis told\b/g, 'is notified, is reported'],
  [/\bis believed\b/g, 'is trusted'],
];

export const glossary: Law = {
  name: 'glossary',
  about: 'words that the glossary replaced do not come back',
  find: (sources) =>
    [...sources.values()]
      .filter(({ path }) => !path.startsWith('tools/laws/'))
      .flatMap((source) =>
        REPLACED.flatMap(([pattern, word]) =>
          placesOf(source, pattern, ([found]) => `'${found}' should be: ${word}`),
        ),
      ),
};
