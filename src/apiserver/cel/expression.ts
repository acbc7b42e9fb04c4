/** Expressions as the API server has them: the language of #cel with the authorizer. Load it through on-demand.ts. */
import { makeCompiler } from '#cel/expression.ts';
import { AUTHORIZER_EXTENSION } from './authorizer.ts';

export const compileExpression = makeCompiler({ authorizer: AUTHORIZER_EXTENSION });
