import type { FieldError } from '#machinery/errors.ts';
import type { Structural } from '../structural.ts';
export function compileRules(_node: Structural): ((value: unknown, old: unknown) => FieldError[]) | undefined { return undefined; }
