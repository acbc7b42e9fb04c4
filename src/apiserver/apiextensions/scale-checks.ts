/** Validates the values that a custom resource's scale reads: counts and a selector's text, in upstream's words. Schema checks are in validation.ts. */
import { fieldErrors, type FieldError } from '#machinery/errors.ts';
import { goType, goValue, isJsonObject } from '#machinery/json.ts';
import type { KubeObject } from '#machinery/object.ts';
import { simplePath } from './json-path.ts';

export interface ScalePaths {
  readonly specReplicasPath: string;
  readonly statusReplicasPath: string;
  readonly labelSelectorPath?: string;
}

const MAX_REPLICAS = 2 ** 31 - 1;

export function specScaleErrors(object: KubeObject, { specReplicasPath }: ScalePaths): FieldError[] {
  return countErrors(object, specReplicasPath);
}

export function statusScaleErrors(
  object: KubeObject,
  { statusReplicasPath, labelSelectorPath }: ScalePaths,
): FieldError[] {
  const errors = countErrors(object, statusReplicasPath);
  if (!labelSelectorPath) return errors;
  const { value, problem } = find(object, labelSelectorPath);
  const wrong =
    problem ??
    (value === undefined || typeof value === 'string'
      ? undefined
      : notA('string', { path: labelSelectorPath, value }));
  return wrong === undefined ? errors : [...errors, fieldErrors.invalid(labelSelectorPath, '', wrong)];
}

function countErrors(object: KubeObject, path: string): FieldError[] {
  const { value, problem } = find(object, path);
  if (problem !== undefined) return [fieldErrors.invalid(path, 0, problem)];
  if (value === undefined) return [];
  if (typeof value !== 'number' || !Number.isInteger(value))
    return [fieldErrors.invalid(path, 0, notA('int64', { path, value }))];
  if (value < 0) return [fieldErrors.invalid(path, value, 'should be a non-negative integer')];
  return value > MAX_REPLICAS
    ? [fieldErrors.invalid(path, value, `should be less than or equal to ${MAX_REPLICAS}`)]
    : [];
}

interface Found {
  readonly value?: unknown;
  readonly problem?: string;
}

function find(object: KubeObject, path: string): Found {
  const steps = simplePath(path) ?? [];
  let value: unknown = object;
  for (const [i, step] of steps.entries()) {
    if (value === null || value === undefined) return {};
    if (!isJsonObject(value))
      return {
        problem: notA('map[string]interface{}', { path: `.${steps.slice(0, i + 1).join('.')}`, value }),
      };
    if (!Object.hasOwn(value, step)) return {};
    value = value[step];
  }
  return { value };
}

function notA(wanted: string, { path, value }: { readonly path: string; readonly value: unknown }): string {
  return `${path} accessor error: ${goValue(value)} is of the type ${goType(value)}, expected ${wanted}`;
}
