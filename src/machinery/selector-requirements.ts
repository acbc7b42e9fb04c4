/** Converts a request's selectors to the form of authorizers. An invalid selector is undefined: no restriction. */
import { parseFieldSelector } from './fields.ts';
import { parseLabelSelector } from './labels.ts';

export interface SelectorRequirement {
  readonly key: string;
  readonly operator: string;
  readonly values: readonly string[];
}

const LABEL_OPERATORS: Readonly<Record<string, string>> = {
  '=': 'In',
  '==': 'In',
  in: 'In',
  '!=': 'NotIn',
  notin: 'NotIn',
  exists: 'Exists',
  '!': 'DoesNotExist',
  gt: 'Gt',
  lt: 'Lt',
};

export function fieldRequirements(selector: string): SelectorRequirement[] | undefined {
  return readable(() =>
    parseFieldSelector(selector).requirements.map(({ field, operator, value }) => ({
      key: field,
      operator: operator === '=' ? 'In' : 'NotIn',
      values: [value],
    })),
  );
}

export function labelRequirements(selector: string): SelectorRequirement[] | undefined {
  return readable(() =>
    parseLabelSelector(selector).requirements.map(({ key, operator, values }) => ({
      key,
      operator: LABEL_OPERATORS[operator] ?? operator,
      values,
    })),
  );
}

function readable(read: () => SelectorRequirement[]): SelectorRequirement[] | undefined {
  try {
    return read();
  } catch {
    return undefined;
  }
}
