/** One doc comment a declaration: two in a row are what is left where code was moved. */
import { placesOf, type Law } from './law.ts';

const DOUBLED = /\*\/\n[ \t]*\/\*\*/g;
/** The comment of a file, with which the first one of a declaration may follow at once. */
const HEADER = /^(?:#![^\n]*\n)?\/\*\*(?:(?!\*\/)[^])*\*\//;

export const docComments: Law = {
  name: 'doc-comments',
  about: 'no declaration has two doc comments',
  find: (sources) =>
    [...sources.values()].flatMap((source) => {
      const header = HEADER.exec(source.text)?.[0].length ?? 0;
      return placesOf(source, DOUBLED, () => 'two doc comments in a row').filter(
        ({ line }) => line > source.text.slice(0, header).split('\n').length,
      );
    }),
};
