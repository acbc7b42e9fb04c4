/** Expressions, with the evaluator loaded for the first one: most servers have none, and all would start later for it. */
import { createRequire } from 'node:module';

const require = createRequire(import.meta.url);

interface Cel {
  readonly compileExpression: typeof import('./expression.ts').compileExpression;
  readonly AuthorizerChecks: typeof import('./authorizer.ts').AuthorizerChecks;
}

/** Costs some milliseconds once. */
export function cel(): Cel {
  const { compileExpression } = require('./expression.ts') as typeof import('./expression.ts'),
    { AuthorizerChecks } = require('./authorizer.ts') as typeof import('./authorizer.ts');
  return { compileExpression, AuthorizerChecks };
}
