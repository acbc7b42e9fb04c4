/** Expressions over `claims` and `user`, compiled with the evaluator that all of the server shares. */
import { cel } from '#cel/on-demand.ts';
import { toStructural } from '#machinery/structural.ts';
import type { ClaimExpression, ExpressionCompiler } from './claim-expressions.ts';

const TEXTS = { type: 'array', items: { type: 'string' } };
const VARIABLES = {
  claims: { claims: 'map' },
  user: {
    user: toStructural({
      type: 'object',
      properties: {
        username: { type: 'string' },
        uid: { type: 'string' },
        groups: TEXTS,
        extra: { type: 'object', additionalProperties: TEXTS },
      },
    }),
  },
} as const;

export const compileClaimExpression: ExpressionCompiler = (source, { variable, result }): ClaimExpression => {
  const expression = compiled(source, {
    variables: VARIABLES[variable],
    ...(result === 'bool' ? { result } : {}),
  });
  return {
    evaluate: (value) => expression.evaluate({ [variable]: value }),
    uses: (field) => selects(source, { variable, field }),
  };
};

/** Upstream's text names only the expected type. */
function compiled(
  source: string,
  options: Parameters<ReturnType<typeof cel>['compileExpression']>[1],
): ReturnType<ReturnType<typeof cel>['compileExpression']> {
  try {
    return cel().compileExpression(source, options);
  } catch (error) {
    if (error instanceof Error)
      error.message = error.message.replace(/^(must evaluate to .*) but got .*$/, '$1');
    throw error;
  }
}

/** Whether `variable.field` or `variable.?field` occurs outside of texts and comments. */
function selects(
  source: string,
  { variable, field }: { readonly variable: string; readonly field: string },
): boolean {
  const code = source.replaceAll(
    /"""[^]*?"""|'''[^]*?'''|"(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*'|\/\/[^\n]*/g,
    ' ',
  );
  return new RegExp(String.raw`(?<![\w.])${variable}\s*\.\s*\??\s*${field}(?!\w)`).test(code);
}
