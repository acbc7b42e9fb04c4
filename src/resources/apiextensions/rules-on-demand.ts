/** Loads the compiler of validation rules for the first schema that has any: few clusters need it, and it would delay every start. */
import { createRequire } from 'node:module';
import type { CompiledRules, EvaluateRules } from './rules.ts';
import type { Structural } from '#machinery/structural.ts';
import { hasRules } from './has-rules.ts';

const require = createRequire(import.meta.url);

/** path: that of the schema in the definition. */
export function compileSchemaRules(root: Structural, path: string): CompiledRules {
  if (!hasRules(root.schema)) return { errors: [], evaluate: undefined };
  return (require('./rules.ts') as typeof import('./rules.ts')).compileSchemaRules(root, path);
}

export function compileRules(root: Structural): EvaluateRules | undefined {
  return compileSchemaRules(root, '').evaluate;
}
