/** What an expression over a token's claims, or over the user made from them, is to the rest: see compile-expressions.ts for the making. */
import type { JsonObject } from '#machinery/json.ts';

export interface ClaimExpression {
  /** Synchronous and within a cost limit; throws an Error for a failed expression. Returns JSON data. */
  evaluate(value: JsonObject): unknown;
  /** Whether the source reads this field of its variable. */
  uses(field: string): boolean;
}

/** Throws an Error whose message is upstream's detail for a source that does not compile, or cannot have this result. */
export type ExpressionCompiler = (
  source: string,
  of: { readonly variable: 'claims' | 'user'; readonly result: 'bool' | 'any' },
) => ClaimExpression;
