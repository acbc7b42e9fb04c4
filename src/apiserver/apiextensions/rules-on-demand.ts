/** The compiler of validation rules, loaded for the first schema that has any: few clusters do, and all would start later for it. */
import { createRequire } from 'node:module';
import type { FieldError } from '#machinery/errors.ts';
import type { CompiledRules } from '../cel/rules.ts';
import type { Structural } from './structural.ts';

const require = createRequire(import.meta.url);

/** path: of the schema in the definition. */
export function compileSchemaRules(root: Structural, path: string): CompiledRules {
  if (!hasRules(root)) return { errors: [], evaluate: undefined };
  return (require('../cel/rules.ts') as typeof import('../cel/rules.ts')).compileSchemaRules(root, path);
}

export function compileRules(root: Structural): ((value: unknown, old: unknown) => FieldError[]) | undefined {
  return compileSchemaRules(root, '').evaluate;
}

export function hasRules({ schema, properties, items, additional }: Structural): boolean {
  const own = schema['x-kubernetes-validations'] as readonly unknown[] | undefined;
  return (own?.length ?? 0) > 0 || (items !== undefined && hasRules(items)) || (typeof additional === 'object' && hasRules(additional)) || Array.from(properties.values()).some(hasRules);
}
