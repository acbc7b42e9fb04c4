/**
 * ClusterRoles that aggregate the rules of others by label (aggregationRule), after upstream's clusterrole-aggregation-controller. It runs in the API
 * server because authorization depends on the rules: they must be right before any controller runs. Idempotent, so that upstream's controller
 * may run against the same server.
 */
import { compileLabelSelector, type LabelSelector } from '#machinery/labels.ts';
import { errorMessage, type Logger } from '#stdx/log.ts';
import type { InternalApi } from '../registry/loopback-client.ts';
import { RBAC_GROUP, ruleKey, sameRules, type PolicyRule, type RoleObject } from './rbac-rules.ts';

const CLUSTER_ROLES = { group: RBAC_GROUP, resource: 'clusterroles' } as const;
const RETRY_MS = 1000;

/** The rules of all other roles that the aggregation rule selects, by role name, each rule once. */
export function aggregateRules(aggregated: RoleObject, roles: readonly RoleObject[]): PolicyRule[] {
  const name = aggregated.metadata?.name;
  const rules = new Map<string, PolicyRule>();
  for (const selector of selectorsOf(aggregated)) {
    const selected = roles.filter(
      (role) => role.metadata?.name !== name && selector.matches(role.metadata?.labels),
    );
    selected.sort((left, right) => ((left.metadata?.name ?? '') < (right.metadata?.name ?? '') ? -1 : 1));
    for (const rule of selected.flatMap((role) => role.rules ?? []))
      rules.set(ruleKey(rule), rules.get(ruleKey(rule)) ?? rule);
  }
  return [...rules.values()];
}

/** A selector that validation should have refused selects nothing. */
function selectorsOf(role: RoleObject): LabelSelector[] {
  return (role.aggregationRule?.clusterRoleSelectors ?? []).flatMap((selector) => {
    try {
      return [compileLabelSelector(selector)];
    } catch {
      return [];
    }
  });
}

interface AggregationOptions {
  readonly internal: InternalApi;
  readonly log: Logger;
}

/** Keeps the rules of aggregated roles up to date. One pass at a time; changes during a pass cause one more. Returns the function that stops it. */
export function keepAggregated({ internal, log }: AggregationOptions): () => void {
  const roles = new Map<string, RoleObject>();
  let stopped = false;
  let running = false;
  let dirty = false;
  const schedule = (): void => {
    dirty = true;
    if (!running && !stopped) {
      running = true;
      setImmediate(() => void run());
    }
  };
  const run = async (): Promise<void> => {
    while (dirty && !stopped) {
      dirty = false;
      await pass().catch((error: unknown) => {
        if (stopped) return;
        log.warn('error writing the rules of an aggregated ClusterRole, retrying', {
          error: errorMessage(error),
        });
        setTimeout(schedule, RETRY_MS).unref();
      });
    }
    running = false;
  };
  const pass = async (): Promise<void> => {
    const known = [...roles.values()];
    const stale = known.filter(
      (role) => role.aggregationRule && !sameRules(role.rules ?? [], aggregateRules(role, known)),
    );
    await Promise.all(
      stale.map((role) =>
        internal.modify(CLUSTER_ROLES, { name: role.metadata?.name ?? '' }, (object) => {
          const current = object as RoleObject;
          const rules = aggregateRules(current, [...roles.values()]);
          if (!current.aggregationRule || sameRules(current.rules ?? [], rules)) return false;
          current.rules = rules;
          return true;
        }),
      ),
    );
  };
  const set = (object: RoleObject): void => {
    roles.set(object.metadata?.name ?? '', object);
    schedule();
  };
  const stopWatch = internal.watch(CLUSTER_ROLES, {
    added: (object) => set(object as RoleObject),
    updated: (object) => set(object as RoleObject),
    deleted: (object) => {
      roles.delete(object.metadata?.name ?? '');
      schedule();
    },
  });
  return () => {
    stopped = true;
    stopWatch();
  };
}
