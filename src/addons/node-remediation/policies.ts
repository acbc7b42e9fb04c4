/**
 * The configuration of remediation: which conditions of Nodes are acted upon, by which steps, and how many Nodes at once. Kind NodeRemediation of
 * remediation.capstan.dev/v1alpha1, in ConfigMap kube-system/node-remediation. Without it nothing is done.
 */
import { ConfigError, readConfig, configKind } from '#machinery/config/read.ts';
import { duration, flag, integer, listOf, struct, text } from '#machinery/config/schema.ts';
import { parseGoDuration } from '#machinery/go-duration.ts';

export type Step =
  | { readonly kind: 'taint'; readonly effect: string }
  | { readonly kind: 'drain'; readonly timeoutMs: number }
  | { readonly kind: 'reboot'; readonly timeoutMs: number }
  | { readonly kind: 'replace' };

export interface Policy {
  readonly name: string;
  readonly condition: string;
  readonly status: string;
  /** The condition has to hold for so long. */
  readonly forMs: number;
  readonly steps: readonly Step[];
}

interface Budget {
  /** Nodes in remediation at once. */
  readonly maxNodes: number;
  readonly maxPercent: number;
  /** Where more of all Nodes have the condition at once it is taken for a false alarm, and nothing is begun. */
  readonly haltPercent: number;
}

export interface Remediation {
  readonly budget: Budget;
  readonly includeControlPlanes: boolean;
  readonly policies: readonly Policy[];
}

const KIND = configKind(
  { group: 'remediation.capstan.dev', versions: ['v1alpha1'], kind: 'NodeRemediation' },
  {
    budget: struct('Budget', { maxNodes: integer, maxPercent: integer, haltPercent: integer }),
    includeControlPlanes: flag,
    policies: listOf(
      struct('Policy', {
        name: text,
        condition: struct('Condition', { type: text, status: text, for: duration }),
        steps: listOf(
          struct('Step', {
            taint: struct('Taint', { effect: text }),
            drain: struct('Drain', { timeout: duration }),
            reboot: struct('Reboot', { timeout: duration }),
            replace: struct('Replace', {}),
          }),
        ),
      }),
    ),
  },
);

interface GivenStep {
  readonly taint?: { readonly effect?: string };
  readonly drain?: { readonly timeout?: string };
  readonly reboot?: { readonly timeout?: string };
  readonly replace?: object;
}

interface Given {
  readonly budget?: Partial<Budget>;
  readonly includeControlPlanes?: boolean;
  readonly policies?: readonly {
    readonly name?: string;
    readonly condition?: { readonly type?: string; readonly status?: string; readonly for?: string };
    readonly steps?: readonly GivenStep[];
  }[];
}

const DEFAULT_BUDGET: Budget = { maxNodes: 1, maxPercent: 10, haltPercent: 30 };
const FOR_MS = 60_000;
const TIMEOUT_MS = 10 * 60_000;
const EFFECTS = ['NoSchedule', 'PreferNoSchedule', 'NoExecute'];

/** Throws ConfigError. */
export function parseRemediation(content: string): Remediation {
  const { budget, includeControlPlanes = false, policies = [] } = readConfig<Given>(content, [KIND]);
  const names = new Set<string>();
  return {
    budget: budgetOf({ ...DEFAULT_BUDGET, ...budget }),
    includeControlPlanes,
    policies: policies.map(({ name = '', condition = {}, steps = [] }, index) => {
      const path = `policies[${index}]`;
      if (name === '' || names.has(name))
        throw new ConfigError(`${path}.name is ${JSON.stringify(name)}; it should be a name of its own`);
      names.add(name);
      if (!condition.type)
        throw new ConfigError(`${path}.condition.type is missing; it should be that of a Node`);
      if (steps.length === 0) throw new ConfigError(`${path}.steps is empty; it should have one at least`);
      return {
        name,
        condition: condition.type,
        status: condition.status ?? 'True',
        forMs: condition.for === undefined ? FOR_MS : milliseconds(condition.for),
        steps: inOrder(
          steps.map((step, at) => stepOf(step, `${path}.steps[${at}]`)),
          path,
        ),
      };
    }),
  };
}

function budgetOf(budget: Budget): Budget {
  const { maxNodes, maxPercent, haltPercent } = budget;
  if (maxNodes < 0) throw new ConfigError(`budget.maxNodes is ${maxNodes}; it should not be negative`);
  for (const [name, percent] of Object.entries({ maxPercent, haltPercent }))
    if (percent < 0 || percent > 100)
      throw new ConfigError(`budget.${name} is ${percent}; it should be between 0 and 100`);
  return budget;
}

function stepOf(given: GivenStep, path: string): Step {
  const kinds = Object.keys(given);
  const { taint, drain, reboot } = given;
  if (kinds.length !== 1)
    throw new ConfigError(
      `${path} has ${kinds.join(' and ') || 'nothing'}; it should have one of taint, drain, reboot, replace`,
    );
  if (taint) {
    const { effect = 'NoSchedule' } = taint;
    if (!EFFECTS.includes(effect))
      throw new ConfigError(`${path}.taint.effect is ${effect}; it should be one of ${EFFECTS.join(', ')}`);
    return { kind: 'taint', effect };
  }
  if (drain) return { kind: 'drain', timeoutMs: timeoutOf(drain) };
  if (reboot) return { kind: 'reboot', timeoutMs: timeoutOf(reboot) };
  return { kind: 'replace' };
}

const ORDER = ['taint', 'drain', 'reboot', 'replace'];

/** Nothing is rebooted or replaced while its pods run. */
function inOrder(steps: readonly Step[], path: string): readonly Step[] {
  const kinds = steps.map(({ kind }) => kind);
  const places = kinds.map((kind) => ORDER.indexOf(kind));
  if (places.some((place, index) => index > 0 && place <= places[index - 1]!))
    throw new ConfigError(
      `${path}.steps are ${kinds.join(', ')}; they should be in the order ${ORDER.join(', ')}`,
    );
  if ((kinds.includes('reboot') || kinds.includes('replace')) && !kinds.includes('drain'))
    throw new ConfigError(`${path}.steps have no drain; it should come before reboot and replace`);
  return steps;
}

function timeoutOf({ timeout }: { readonly timeout?: string }): number {
  return timeout === undefined ? TIMEOUT_MS : milliseconds(timeout);
}

function milliseconds(given: string): number {
  return Number(parseGoDuration(given) / 1_000_000n);
}
