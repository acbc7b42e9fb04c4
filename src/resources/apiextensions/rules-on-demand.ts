/** The compiler of validation rules, loaded for the first schema that has any: few clusters do, and all would start later for it. */
import { createRequire } from 'node:module';
import type { CompiledRules, EvaluateRules } from './rules.ts';
import type { Structural } from '#machinery/structural.ts';
import { hasRules } from './has-rules.ts';

const require = createRequire(import.meta.url);

/** path: of the schema in the definition. */
export function compileSchemaRules(root: Structural, path: string): CompiledRules {
  if (!hasRules(root.schema)) return { errors: [], evaluate: undefined };
  return (require('./rules.ts') as typeof import('./rules.ts')).compileSchemaRules(root, path);
}

export function compileRules(root: Structural): EvaluateRules | undefined {
  return compileSchemaRules(root, '').evaluate;
}
