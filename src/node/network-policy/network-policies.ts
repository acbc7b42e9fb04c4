/**
 * Enforces NetworkPolicies and ClusterNetworkPolicies for the pods of this node: keeps its nftables table equal to the cluster's pods, namespaces and
 * policies. Changes are gathered for a few milliseconds, then applied in one transaction; when one fails, or the kernel's table differs, the whole table is
 * rewritten.
 *
 *   informers, pods of the agent ──change──► ruleset (incremental) ──GATHER_MS──► content ─► difference ─► nft ──ok──► in force
 *                                                                                                   '──failed──► full rewrite with backoff
 *
 * The rules stay when it stops: pods stay restricted while the program is down or starts again. The first write after a start replaces them in one
 * transaction, once everything is known. The teardown of the node's network deletes the table.
 */
import type { Namespace, NetworkPolicy, Pod } from '#api/types.ts';
import type { Informer } from '#client/client.ts';
import { namespaces, networkPolicies, pods } from '#client/refs.ts';
import { isStatusError } from '#machinery/errors.ts';
import { objectKey, type KubeObject } from '#machinery/object.ts';
import type { Component, ComponentContext } from '#runtime/component.ts';
import type { Timer } from '#stdx/clock.ts';
import { errorMessage } from '#stdx/log.ts';
import { chainContains, listSet, runNft, tableDiffers } from '#stdx/run-nft.ts';
import { loadBridgeFilter, switchOnBridgeFilter } from '#stdx/sysctl.ts';
import { RETRY_MS, TableUpkeep } from '#stdx/table-upkeep.ts';
import { clusterNetworkPolicies, type ClusterNetworkPolicy } from './cluster-network-policy.ts';
import { compileClusterNetworkPolicy } from './compile-cluster-network-policy.ts';
import { compileNetworkPolicy } from './compile-network-policy.ts';
import { PolicyMetrics } from './metrics.ts';
import { NodePods, type PodNetworkPolicies } from './node-pods.ts';
import { emptyPolicyContent, Ruleset, type PolicyContent } from './ruleset.ts';
import { policyDifference, renderPolicyBase } from './table.ts';

interface NetworkPoliciesOptions extends ComponentContext {
  readonly nodeName: string;
  /** Name of the nftables table. */
  readonly table: string;
  /** Ranges from which this node's pods get their addresses; asked from the start on. */
  readonly podCIDRs: () => readonly string[];
  /** Addresses of the node's sandboxes by the UIDs of their pods, from the runtime. */
  readonly sandboxes: () => Promise<ReadonlyMap<string, readonly string[]>>;
}

interface NetworkPolicies extends Component, PodNetworkPolicies {}

/** Changes within this time (a rollout) become one transaction. */
const GATHER_MS = 10;
const CLEANUP_MS = 1_000;
/** Interval at which a wait for the API is repeated in the log, and at which a missing CustomResourceDefinition is looked for again. */
const WAITING_MS = 30_000;
/** A table without it is not whole. */
const BASE = { chain: 'forward-ingress', text: 'vmap @ingress-ip6' };

export function createNetworkPolicies(options: NetworkPoliciesOptions): NetworkPolicies {
  return new Enforcer(options);
}

class Enforcer implements NetworkPolicies {
  readonly name = 'network-policies';
  readonly #options: NetworkPoliciesOptions;
  readonly #at: { readonly family: 'inet'; readonly table: string };
  readonly #ruleset: Ruleset;
  readonly #nodePods: NodePods;
  readonly #metrics: PolicyMetrics;
  readonly #stop = new AbortController();
  readonly #unsubscribe: (() => void)[] = [];
  /** The kernel's content as last written; undefined: write the whole table. */
  #current: PolicyContent | undefined;
  #isStarted = false;
  #pendingSinceMs: number | undefined;
  readonly #upkeep: TableUpkeep;
  #cleanupTimer: Timer | undefined;
  #waitingTimer: Timer | undefined;
  #cleanup = '';

  constructor(options: NetworkPoliciesOptions) {
    this.#options = options;
    this.#at = { family: 'inet', table: options.table };
    this.#ruleset = new Ruleset({ podCIDRs: options.podCIDRs });
    this.#metrics = new PolicyMetrics(options.clock, options.metrics);
    this.#nodePods = new NodePods({
      nodeName: options.nodeName,
      ruleset: this.#ruleset,
      clock: options.clock,
      changed: (delayMs) => this.#changed(delayMs),
    });
    this.#upkeep = new TableUpkeep({
      clock: options.clock,
      log: options.log,
      subject: 'the rules of network policies',
      apply: () => this.#apply(),
      check: (thorough) => this.#check(thorough),
      failed: (error) => {
        this.#current = undefined;
        this.#nodePods.failed(errorMessage(error));
        this.#upkeep.schedule(RETRY_MS);
      },
    });
  }

  observe(pod: Pod, addresses: readonly string[]): void {
    this.#nodePods.observe(pod, addresses);
  }

  inForce(pod: Pod, signal: AbortSignal): Promise<void> {
    return this.#nodePods.inForce(pod, signal);
  }

  release(uid: string): void {
    this.#nodePods.release(uid);
  }

  /** Does not wait for the API: the node agent works without it. */
  async start(): Promise<void> {
    await this.#prepareBridges();
    await this.#inherit();
    this.#upkeep.watchDeletions();
    this.#follow().catch((error: unknown) => {
      if (!this.#stop.signal.aborted)
        this.#options.log.error('network policies are not followed', { error: errorMessage(error) });
    });
  }

  async stop(): Promise<void> {
    this.#stop.abort(new Error('network policies stopped'));
    for (const unsubscribe of this.#unsubscribe) unsubscribe();
    this.#cleanupTimer?.cancel();
    this.#waitingTimer?.cancel();
    await this.#upkeep.stop();
  }

  async #follow(): Promise<void> {
    const { api, sandboxes, log } = this.#options;
    const informers = [
      this.#subscribe(api.informer(namespaces), (namespace: Namespace, gone) =>
        this.#ruleset.setNamespace(
          namespace.metadata?.name ?? '',
          gone ? undefined : (namespace.metadata?.labels ?? {}),
        ),
      ),
      this.#subscribe(api.informer(networkPolicies), (policy: NetworkPolicy, gone) =>
        this.#ruleset.setPolicy(objectKey(policy), gone ? undefined : compileNetworkPolicy(policy)),
      ),
      this.#subscribe(api.informer(pods), (pod: Pod, gone) => this.#nodePods.set(pod, gone)),
    ];
    this.#armWaiting(informers);
    await Promise.all(informers.map((informer) => informer.synced(this.#stop.signal)));
    await this.#followClusterPolicies();
    for (const [uid, addresses] of await sandboxes()) this.#nodePods.found(uid, addresses);
    if (this.#stop.signal.aborted) return;
    this.#waitingTimer?.cancel();
    this.#isStarted = true;
    log.info('network policies are followed', { policies: this.#ruleset.policyCount });
    this.#upkeep.schedule(0);
    this.#upkeep.startChecks();
  }

  /** Without their CustomResourceDefinition there are none: it is looked for again later. */
  async #followClusterPolicies(): Promise<void> {
    const { api, clock } = this.#options;
    try {
      await api.list(clusterNetworkPolicies, { limit: 1 });
    } catch (error) {
      if (!isStatusError(error, 'NotFound')) throw error;
      const again = (): void =>
        void this.#followClusterPolicies().catch((problem: unknown) =>
          this.#options.log.warn('error following ClusterNetworkPolicies', { error: errorMessage(problem) }),
        );
      clock.after(WAITING_MS, () => {
        if (!this.#stop.signal.aborted) again();
      });
      return;
    }
    const informer = this.#subscribe(
      api.informer(clusterNetworkPolicies),
      (policy: ClusterNetworkPolicy, gone) => {
        const compiled = gone ? undefined : compileClusterNetworkPolicy(policy);
        if (!gone && !compiled)
          this.#options.log.error('a ClusterNetworkPolicy is not enforced: its subject is not known', {
            policy: policy.metadata?.name,
          });
        this.#ruleset.setPolicy(`/${policy.metadata?.name ?? ''}`, compiled);
      },
    );
    await informer.synced(this.#stop.signal);
  }

  #armWaiting(informers: readonly { readonly hasSynced: boolean }[]): void {
    this.#waitingTimer = this.#options.clock.after(WAITING_MS, () => {
      const kinds = ['namespaces', 'networkpolicies', 'pods'];
      const waitingFor = kinds.filter((_kind, index) => !informers[index]?.hasSynced).join(', ');
      this.#options.log.warn(
        'network policies are not followed: the API server has not listed what they need (ClusterRole capstan:node-network-policy)',
        { waitingFor },
      );
      this.#armWaiting(informers);
    });
  }

  #subscribe<T extends KubeObject>(
    informer: Informer<T>,
    set: (object: T, gone: boolean) => void,
  ): Informer<T> {
    const changed = (gone: boolean) => (object: T) => {
      // One object that cannot be understood must not end the informer: it is logged, and its former state stays in force.
      try {
        set(object, gone);
      } catch (error) {
        this.#options.log.error('error following an object of network policies', {
          object: objectKey(object),
          error: errorMessage(error),
        });
      }
      this.#changed(GATHER_MS);
    };
    this.#unsubscribe.push(
      informer.subscribe({ added: changed(false), updated: changed(false), deleted: changed(true) }),
    );
    return informer;
  }

  #changed(delayMs: number): void {
    this.#pendingSinceMs ??= this.#options.clock.monotonic();
    if (this.#isStarted) this.#upkeep.schedule(delayMs);
  }

  async #check(thorough: boolean): Promise<void> {
    if (!this.#current) return;
    await this.#prepareBridges();
    if ((await chainContains(this.#at, BASE)) && !(thorough && (await tableDiffers(this.#at, this.#current))))
      return;
    this.#options.log.warn(
      'rules of network policies were changed by another program: writing the whole table',
      { table: this.#at.table },
    );
    this.#current = undefined;
    await this.#apply();
  }

  async #apply(): Promise<void> {
    const pendingSinceMs = this.#pendingSinceMs;
    this.#pendingSinceMs = undefined;
    const version = this.#nodePods.version;
    await this.#metrics.measure(pendingSinceMs, () => this.#write());
    this.#metrics.setPolicies(this.#ruleset.policyCount);
    this.#nodePods.applied(version);
  }

  async #write(): Promise<PolicyContent> {
    const to = this.#ruleset.content();
    const change = { from: this.#current ?? emptyPolicyContent(), to };
    const { script, cleanup } = policyDifference(this.#at.table, change);
    if (this.#current === undefined) {
      this.#takeCleanup();
      await runNft(`${renderPolicyBase(this.#at.table)}${script}`);
    } else if (script !== '') {
      // A chain that waits for removal may be needed again: the pending ones are removed first.
      await runNft(`${this.#takeCleanup()}${script}`);
    }
    this.#current = to;
    if (cleanup !== '') {
      this.#cleanup = cleanup;
      this.#cleanupTimer = this.#options.clock.after(CLEANUP_MS, () =>
        this.#upkeep.inTurn('error removing old chains of network policies', () => this.#runCleanup()),
      );
    }
    return to;
  }

  async #runCleanup(): Promise<void> {
    const script = this.#takeCleanup();
    if (script !== '') await runNft(script);
  }

  #takeCleanup(): string {
    const script = this.#cleanup;
    this.#cleanup = '';
    this.#cleanupTimer?.cancel();
    return script;
  }

  /** Pods that the table of an earlier run knows are restricted already. */
  async #inherit(): Promise<void> {
    try {
      if (!(await chainContains(this.#at, BASE))) return;
      this.#nodePods.inherited(await setElements(this.#at.table));
    } catch (error) {
      this.#options.log.warn('error reading the rules of network policies of an earlier run', {
        error: errorMessage(error),
      });
    }
  }

  /** Packets between two pods of one bridge pass the rules only where br_netfilter hands them over. */
  async #prepareBridges(): Promise<void> {
    await loadBridgeFilter();
    try {
      await switchOnBridgeFilter();
      this.#nodePods.bridgeProblem = undefined;
    } catch (error) {
      this.#nodePods.bridgeProblem = `the kernel does not filter packets between pods of this node (br_netfilter): ${errorMessage(error)}`;
      this.#options.log.error('network policies cannot be enforced', {
        problem: this.#nodePods.bridgeProblem,
      });
    }
  }
}

async function setElements(table: string): Promise<Set<string>> {
  const listed = await Promise.all(
    ['known-ip', 'known-ip6'].map((set) => listSet({ family: 'inet', table }, set)),
  );
  return new Set(listed.flat());
}
