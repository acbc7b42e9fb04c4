/** Dates become text in two places: machinery/time.ts has the forms of the API, stdx/dates.ts the plain ones. */
import { placesOf, type Law } from './law.ts';

const FORMATTED = /\.(?:toISOString|toUTCString|toLocale(?:Date|Time)?String)\(/g;
const PLACES = ['src/machinery/time.ts', 'src/stdx/dates.ts'];

export const dateFormats: Law = {
  name: 'date-formats',
  about: `dates are formatted in ${PLACES.join(' and ')}`,
  find: (sources) =>
    [...sources.values()]
      .filter(({ path, isTest }) => path.startsWith('src/') && !PLACES.includes(path) && !isTest)
      .flatMap((source) => placesOf(source, FORMATTED, ([call]) => `formats a date by ${call}…)`)),
};
