/**
 * Priorities of groups for the expander priority, from upstream's ConfigMap cluster-autoscaler-priority-expander: in field `priorities` a YAML map from a priority to regular
 * expressions (RE2) of names of groups.
 */
import { RE2JS } from 're2js';
import { errorMessage } from '#stdx/log.ts';
import { parseYaml } from '#machinery/yaml.ts';

export const PRIORITY_CONFIG_MAP = 'cluster-autoscaler-priority-expander';
export const PRIORITY_FIELD = 'priorities';

export interface Priorities {
  /** The highest whose expressions match; below all others where none does. */
  of(group: string): number;
}

/** Of no priority. */
const UNKNOWN = -Infinity;
const MAX_EXPRESSIONS = 1_000;

/** Throws an Error that says what is wrong. */
export function parsePriorities(text: string): Priorities {
  const value: unknown = parseYaml(text).value;
  if (typeof value !== 'object' || value === null || Array.isArray(value))
    throw new Error(`${PRIORITY_FIELD} should be a map of priorities, each with a list of expressions`);
  const rules = Object.entries(value).flatMap(([priority, expressions]) =>
    rulesOf(priority, expressions as unknown),
  );
  if (rules.length > MAX_EXPRESSIONS)
    throw new Error(`${PRIORITY_FIELD} has ${rules.length} expressions; at most ${MAX_EXPRESSIONS} are read`);
  return {
    of: (group) =>
      rules.reduce(
        (highest, { priority, expression }) =>
          priority > highest && expression.matcher(group).find() ? priority : highest,
        UNKNOWN,
      ),
  };
}

interface Rule {
  readonly priority: number;
  readonly expression: RE2JS;
}

function rulesOf(key: string, expressions: unknown): Rule[] {
  const priority = Number(key);
  if (!Number.isSafeInteger(priority) || priority < 0)
    throw new Error(`${PRIORITY_FIELD} has priority ${key}; it should be a whole number from 0 on`);
  if (!Array.isArray(expressions))
    throw new Error(`${PRIORITY_FIELD}.${key} should be a list of regular expressions`);
  return expressions.map((one: unknown) => {
    try {
      return { priority, expression: RE2JS.compile(String(one)) };
    } catch (error) {
      throw new Error(`${PRIORITY_FIELD}.${key} has ${String(one)}: ${errorMessage(error)}`, {
        cause: error,
      });
    }
  });
}
