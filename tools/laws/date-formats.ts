/** Dates become text in one place, machinery/time.ts: its forms are part of the API. */
import { placesOf, type Law } from './law.ts';

const FORMATTED = /\.(?:toISOString|toUTCString|toLocale(?:Date|Time)?String)\(/g;
const PLACE = 'src/machinery/time.ts';

export const dateFormats: Law = {
  name: 'date-formats',
  about: `dates are formatted in ${PLACE}`,
  find: (sources) =>
    [...sources.values()]
      .filter(({ path, isTest }) => path.startsWith('src/') && path !== PLACE && !isTest)
      .flatMap((source) => placesOf(source, FORMATTED, ([call]) => `formats a date by ${call}…)`)),
};
