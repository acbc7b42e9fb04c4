/** Every law, in the order they are checked. */
import { dateFormats } from './date-formats.ts';
import { docComments } from './doc-comments.ts';
import { fencing } from './fencing.ts';
import { glossary } from './glossary.ts';
import { importCycles } from './import-cycles.ts';
import type { Law } from './law.ts';
import { listedTests } from './listed-tests.ts';
import { pluralLiterals } from './plural-literals.ts';
import { testHelpers } from './test-helpers.ts';
import { unusedExports } from './unused-exports.ts';

export const laws: readonly Law[] = [
  unusedExports,
  importCycles,
  testHelpers,
  docComments,
  dateFormats,
  pluralLiterals,
  listedTests,
  glossary,
  fencing,
];
