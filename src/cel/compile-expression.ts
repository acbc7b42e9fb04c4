/** Expressions as the API has them: the language with the authorizer. Load it through on-demand.ts. */
import { makeCompiler } from './expression.ts';
import { AUTHORIZER_EXTENSION } from './authorizer.ts';

export const compileExpression = makeCompiler({ authorizer: AUTHORIZER_EXTENSION });
