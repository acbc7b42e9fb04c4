/**
 * What is known of groups and their Nodes from loop to loop, after upstream's ClusterStateRegistry: readiness, machines that are on their way, increases that came true or timed out, instances that never became
 * Nodes, and groups that are backed off. It decides nothing and calls nobody.
 *
 *   increase ─► request ─┬─ as many Nodes as the target ─► over, the backoff is forgotten
 *                        ├─ an instance reports an error ─► failed, backed off
 *                        '─ after maxNodeProvisionMs      ─► timed out, backed off
 */
import type { Node } from '#api/types.ts';
import { timeMs } from '#machinery/time.ts';
import { GroupBackoff, type FailureInfo } from './group-backoff.ts';
import { isBeingDeleted, isNodeReady } from './node-facts.ts';
import {
  instanceIdOf,
  providerNode,
  type GroupOptions,
  type Instance,
  type ProviderGroup,
} from './provider.ts';
import type { AutoscalerSettings } from './settings.ts';

export interface ObservedGroup extends ProviderGroup {
  readonly target: number;
  readonly instances: readonly Instance[];
  readonly options: GroupOptions;
}

export interface Observation {
  readonly groups: readonly ObservedGroup[];
  readonly nodes: readonly Node[];
  /** By the name of the Node. */
  readonly groupOf: ReadonlyMap<string, string>;
  readonly nowMs: number;
}

/** Names of Nodes, or IDs of instances. */
export interface Readiness {
  readonly registered: string[];
  readonly ready: string[];
  /** They were Ready once, or should be by now. */
  readonly unready: string[];
  readonly notStarted: string[];
  readonly beingDeleted: string[];
  readonly unregistered: string[];
  readonly longUnregistered: string[];
}

interface Request {
  readonly increase: number;
  readonly sinceMs: number;
  readonly expectedMs: number;
}

/** What update() found out. */
export interface Findings {
  /** Groups whose machines did not come in time. */
  readonly timedOut: readonly { readonly group: string; readonly afterMs: number }[];
  /** Instances that will not become Nodes, of each group. */
  readonly failed: readonly {
    readonly group: string;
    readonly instances: readonly Instance[];
    /** Not seen before: it counts as a failure of the group. */
    readonly isNew: boolean;
  }[];
  /** Nodes of groups whose instance was there and is not listed any more, and since when. */
  readonly gone: readonly { readonly node: Node; readonly sinceMs: number }[];
}

export class ClusterState {
  readonly #settings: AutoscalerSettings;
  readonly #backoff: GroupBackoff;
  readonly #requests = new Map<string, Request>();
  #groups = new Map<string, ObservedGroup>();
  #readiness = new Map<string, Readiness>();
  #total = emptyReadiness();
  #groupOf: ReadonlyMap<string, string> = new Map();
  /** Since when an instance has no Node, by group and ID. */
  #unregisteredSince = new Map<string, number>();
  #incorrectSince = new Map<string, { readonly delta: number; readonly sinceMs: number }>();
  /** Instances whose error was counted. */
  #failedInstances = new Set<string>();
  /** Of Nodes that had an instance: when it was first missed; undefined: it is there. */
  #instanceGone = new Map<string, number | undefined>();

  constructor(settings: AutoscalerSettings) {
    this.#settings = settings;
    this.#backoff = new GroupBackoff(settings);
  }

  get groups(): readonly ObservedGroup[] {
    return [...this.#groups.values()];
  }

  get total(): Readiness {
    return this.#total;
  }

  group(id: string): ObservedGroup | undefined {
    return this.#groups.get(id);
  }

  groupOfNode(name: string): ObservedGroup | undefined {
    return this.#groups.get(this.#groupOf.get(name) ?? '');
  }

  readinessOf(group: string): Readiness {
    return this.#readiness.get(group) ?? emptyReadiness();
  }

  update(observation: Observation): Findings {
    const { groups, groupOf, nowMs } = observation;
    this.#groups = new Map(groups.map((group) => [group.id, group]));
    this.#groupOf = groupOf;
    this.#countReadiness(observation);
    const findings = {
      failed: this.#failures(nowMs),
      timedOut: this.#checkRequests(nowMs),
      gone: this.#findGone(observation),
    };
    this.#noteSizes(nowMs);
    return findings;
  }

  /** Machines of the group that are on their way. */
  upcoming(group: string): number {
    const { target = 0 } = this.#groups.get(group) ?? {};
    const { ready, unready, longUnregistered } = this.readinessOf(group);
    return Math.max(0, target - ready.length - unready.length - longUnregistered.length);
  }

  isScalingUp(group: string): boolean {
    return this.#requests.has(group) && this.upcoming(group) > 0;
  }

  isHealthy(): boolean {
    const { registered, unready } = this.#total;
    return this.#isTolerable(unready.length, registered.length);
  }

  isGroupHealthy(group: string): boolean {
    const { target = 0 } = this.#groups.get(group) ?? {};
    const { ready, unready, notStarted, longUnregistered } = this.readinessOf(group);
    const expected = target - longUnregistered.length - (this.#requests.get(group)?.increase ?? 0);
    return this.#isTolerable(expected - ready.length, ready.length + unready.length + notStarted.length);
  }

  #isTolerable(missing: number, of: number): boolean {
    const { okTotalUnreadyCount, maxTotalUnreadyPercentage } = this.#settings;
    return missing <= okTotalUnreadyCount || missing <= (maxTotalUnreadyPercentage / 100) * of;
  }

  backoffOf(group: string, nowMs: number): FailureInfo | undefined {
    return this.#backoff.statusOf(group, nowMs);
  }

  registerScaleUp(
    group: string,
    { increase, nowMs }: { readonly increase: number; readonly nowMs: number },
  ): void {
    const known = this.#groups.get(group);
    const options = known?.options ?? this.#settings.groupDefaults;
    if (known) this.#groups.set(group, { ...known, target: known.target + increase });
    this.#requests.set(group, {
      increase: increase + (this.#requests.get(group)?.increase ?? 0),
      sinceMs: nowMs,
      expectedMs: nowMs + options.maxNodeProvisionMs,
    });
  }

  registerFailure(group: string, failure: { readonly info: FailureInfo; readonly nowMs: number }): void {
    this.#backoff.fail(group, failure);
    this.#requests.delete(group);
  }

  /** Targets that nothing has come of for longer than machines take. Negative deltas. */
  sizesToFix(nowMs: number): readonly { readonly group: string; readonly delta: number }[] {
    return [...this.#incorrectSince].flatMap(([group, { delta, sinceMs }]) =>
      nowMs - sinceMs >= this.#groups.get(group)!.options.maxNodeProvisionMs ? [{ group, delta }] : [],
    );
  }

  #countReadiness({ nodes, groupOf, groups, nowMs }: Observation): void {
    this.#readiness = new Map(groups.map(({ id }) => [id, emptyReadiness()]));
    this.#total = emptyReadiness();
    const known = new Set<string>();
    for (const node of nodes) {
      known.add(instanceIdOf(providerNode(node)));
      const kind = this.#kindOf(node, nowMs);
      const name = node.metadata?.name ?? '';
      for (const counted of [this.#total, this.#readiness.get(groupOf.get(name) ?? '')]) {
        counted?.registered.push(name);
        counted?.[kind].push(name);
      }
    }
    const since = new Map<string, number>();
    for (const { id: group, instances, options } of groups)
      for (const { id, state, error } of instances) {
        if (known.has(id) || state === 'deleting' || error) continue;
        const key = `${group}/${id}`;
        const sinceMs = this.#unregisteredSince.get(key) ?? nowMs;
        since.set(key, sinceMs);
        const kind = nowMs - sinceMs >= options.maxNodeProvisionMs ? 'longUnregistered' : 'unregistered';
        this.#readiness.get(group)![kind].push(id);
        this.#total[kind].push(id);
      }
    this.#unregisteredSince = since;
  }

  #kindOf(node: Node, nowMs: number): 'ready' | 'unready' | 'notStarted' | 'beingDeleted' {
    if (isBeingDeleted(node)) return 'beingDeleted';
    if (isNodeReady(node)) return 'ready';
    const createdMs = timeMs(node.metadata?.creationTimestamp) ?? 0;
    return nowMs - createdMs < this.#settings.maxNodeStartupMs ? 'notStarted' : 'unready';
  }

  #failures(nowMs: number): Findings['failed'] {
    const seen = new Set<string>();
    const failed = this.groups.flatMap(({ id: group, instances }) => {
      const wrong = instances.filter(({ error, state }) => error && state !== 'deleting');
      if (wrong.length === 0) return [];
      const keys = wrong.map(({ id }) => `${group}/${id}`);
      const isNew = keys.some((key) => !this.#failedInstances.has(key));
      for (const key of keys) seen.add(key);
      if (isNew) this.registerFailure(group, { info: failureOf(wrong[0]!), nowMs });
      return [{ group, instances: wrong, isNew }];
    });
    this.#failedInstances = seen;
    return failed;
  }

  #checkRequests(nowMs: number): Findings['timedOut'] {
    return [...this.#requests].flatMap(([group, { sinceMs, expectedMs }]) => {
      const isOver = this.upcoming(group) === 0 && this.readinessOf(group).longUnregistered.length === 0;
      if (isOver) {
        this.#requests.delete(group);
        if (this.#groups.has(group)) this.#backoff.succeed(group);
        return [];
      }
      if (nowMs < expectedMs) return [];
      const info = { errorCode: 'timeout', errorMessage: `Scale-up timed out for node group ${group}` };
      this.registerFailure(group, { info, nowMs });
      return [{ group, afterMs: nowMs - sinceMs }];
    });
  }

  #noteSizes(nowMs: number): void {
    const incorrect = new Map<string, { readonly delta: number; readonly sinceMs: number }>();
    for (const { id, target } of this.groups) {
      const { registered, beingDeleted, unregistered, longUnregistered } = this.readinessOf(id);
      const there = registered.length - beingDeleted.length + unregistered.length + longUnregistered.length;
      const delta = there - target;
      const before = this.#incorrectSince.get(id);
      if (delta < 0) incorrect.set(id, { delta, sinceMs: before?.delta === delta ? before.sinceMs : nowMs });
    }
    this.#incorrectSince = incorrect;
  }

  #findGone({ nodes, groups, nowMs }: Observation): Findings['gone'] {
    const listed = new Set(groups.flatMap(({ instances }) => instances.map(({ id }) => id)));
    const next = new Map<string, number | undefined>();
    const gone: { readonly node: Node; readonly sinceMs: number }[] = [];
    for (const node of nodes) {
      const { uid = '', name = '' } = node.metadata ?? {};
      // One that an earlier leader saw the end of.
      const isLeftOver = () =>
        this.groupOfNode(name) !== undefined && this.#kindOf(node, nowMs) === 'unready';
      if (listed.has(instanceIdOf(providerNode(node)))) next.set(uid, undefined);
      else if (this.#instanceGone.has(uid) || isLeftOver()) {
        const sinceMs = this.#instanceGone.get(uid) ?? nowMs;
        next.set(uid, sinceMs);
        gone.push({ node, sinceMs });
      }
    }
    this.#instanceGone = next;
    return gone;
  }
}

function emptyReadiness(): Readiness {
  return {
    registered: [],
    ready: [],
    unready: [],
    notStarted: [],
    beingDeleted: [],
    unregistered: [],
    longUnregistered: [],
  };
}

function failureOf({ error }: Instance): FailureInfo {
  return { errorCode: error?.code ?? 'OTHER', errorMessage: error?.message ?? '' };
}
