/** Expressions, with the evaluator loaded for the first one: most servers have none, and all would start later for it. */
import { createRequire } from 'node:module';
import type { Expression, ExpressionOptions } from './expression.ts';

const require = createRequire(import.meta.url);

interface Cel {
  readonly compileExpression: typeof import('./compile-expression.ts').compileExpression;
  readonly AuthorizerChecks: typeof import('./authorizer.ts').AuthorizerChecks;
}

/** Costs some milliseconds once. */
export function cel(): Cel {
  const { compileExpression } =
      require('./compile-expression.ts') as typeof import('./compile-expression.ts'),
    { AuthorizerChecks } = require('./authorizer.ts') as typeof import('./authorizer.ts');
  return { compileExpression, AuthorizerChecks };
}

/** An expression, or why it is none, in the words of a field's error. */
export function compiled(source: string, options: ExpressionOptions): Expression | Error {
  try {
    return cel().compileExpression(source, options);
  } catch (error) {
    const message = error instanceof Error ? error.message : String(error);
    return new Error(message.startsWith('ERROR:') ? `compilation failed: ${message}` : message, {
      cause: error,
    });
  }
}
