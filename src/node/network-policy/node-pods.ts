/**
 * The pods that the rules are about, from the two that know them: the API, and for pods of this node the agent, which knows their addresses first and keeps them
 * until the sandbox is gone, whatever the API says. And the agent's wait until a pod's rules are in force.
 */
import type { Pod } from '#api/types.ts';
import { isStaticPod } from '#component-helpers/static-pods.ts';
import type { Clock } from '#stdx/clock.ts';
import { canonicalAddress } from './address-ranges.ts';
import { indexedPod } from './pod-index.ts';
import type { Ruleset } from './ruleset.ts';

/** What the node agent needs of the enforcement of network policies. */
export interface PodNetworkPolicies {
  /** Called for each sandbox with a network of its own, again and again: the pod has these addresses. */
  observe(pod: Pod, addresses: readonly string[]): void;
  /**
   * Resolves when the rules for a pod that was observed are in force: its containers may start. Throws NetworkPolicyError when a policy that selects it cannot be
   * enforced or it is not known in time which do; the caller retries. Rejects with signal.reason.
   */
  inForce(pod: Pod, signal: AbortSignal): Promise<void>;
  /** Nothing of the pod is left on the node. */
  release(uid: string): void;
}

export class NetworkPolicyError extends Error {
  constructor(message: string) {
    super(message);
    this.name = 'NetworkPolicyError';
  }
}

/** Maximum wait for rules; then the agent emits an event and tries again. */
const WAIT_MS = 30_000;

interface Entry {
  /** From the API, or from the agent while the API has none. */
  pod?: Pod | undefined;
  /** The API has it. */
  isListed: boolean;
  /** From the agent or the runtime. */
  addresses?: readonly string[] | undefined;
  /** What the index has of it. */
  text: string;
  /** Of the last change of it. */
  version: number;
}

interface Waiter {
  readonly uid: string;
  resolve(): void;
  reject(error: Error): void;
}

interface NodePodsOptions {
  readonly nodeName: string;
  readonly ruleset: Ruleset;
  readonly clock: Clock;
  /** Something changed: write it within this time. */
  readonly changed: (delayMs: number) => void;
}

export class NodePods {
  readonly #options: NodePodsOptions;
  readonly #pods = new Map<string, Entry>();
  readonly #waiters = new Set<Waiter>();
  /** Addresses in the kernel's table before the first write. */
  #inherited: ReadonlySet<string> = new Set();
  #version = 0;
  #appliedVersion = -1;
  /** Why rules between pods of one bridge have no effect. */
  bridgeProblem: string | undefined;

  constructor(options: NodePodsOptions) {
    this.#options = options;
  }

  /** Counts the changes of pods. */
  get version(): number {
    return this.#version;
  }

  inherited(addresses: ReadonlySet<string>): void {
    this.#inherited = addresses;
  }

  /** From the API. */
  set(pod: Pod, gone: boolean): void {
    const uid = pod.metadata?.uid ?? '';
    const entry = this.#entry(uid);
    entry.pod = pod;
    entry.isListed = !gone;
    this.#update(uid, entry);
  }

  /** From the runtime, at the start. What the agent has observed since is newer. */
  found(uid: string, addresses: readonly string[]): void {
    const entry = this.#entry(uid);
    entry.addresses ??= addresses;
    this.#update(uid, entry);
  }

  observe(pod: Pod, addresses: readonly string[]): void {
    if (addresses.length === 0) return;
    const uid = pod.metadata?.uid ?? '';
    const entry = this.#entry(uid);
    if (!entry.isListed) entry.pod = pod;
    entry.addresses = addresses;
    if (this.#update(uid, entry)) this.#options.changed(0);
  }

  release(uid: string): void {
    const entry = this.#pods.get(uid);
    if (!entry) return;
    entry.addresses = undefined;
    if (this.#update(uid, entry)) this.#options.changed(GATHER_RELEASED_MS);
  }

  async inForce(pod: Pod, signal: AbortSignal): Promise<void> {
    const uid = pod.metadata?.uid ?? '';
    if (this.#isInForce(uid) || (this.#appliedVersion < 0 && this.#startsBefore(pod, uid)))
      return this.#requireEnforced(uid);
    const { promise, resolve, reject } = Promise.withResolvers<void>();
    const waiter: Waiter = { uid, resolve, reject };
    this.#waiters.add(waiter);
    const onAbort = (): void => reject(signal.reason);
    signal.addEventListener('abort', onAbort, { once: true });
    const timer = this.#options.clock.after(WAIT_MS, () => reject(new NetworkPolicyError(this.#lateText())));
    try {
      signal.throwIfAborted();
      await promise;
    } finally {
      timer.cancel();
      signal.removeEventListener('abort', onAbort);
      this.#waiters.delete(waiter);
    }
    this.#requireEnforced(uid);
  }

  /** A write of everything up to this version succeeded. */
  applied(version: number): void {
    this.#appliedVersion = version;
    for (const waiter of this.#waiters) if (this.#isInForce(waiter.uid)) waiter.resolve();
  }

  /** A write failed: pods that no policy selects need no rules. */
  failed(problem: string): void {
    for (const waiter of this.#waiters)
      if (this.#options.ruleset.policiesOf(waiter.uid).length === 0) waiter.resolve();
      else waiter.reject(new NetworkPolicyError(`${this.#selectedText(waiter.uid)}: ${problem}`));
  }

  #entry(uid: string): Entry {
    let entry = this.#pods.get(uid);
    if (!entry) this.#pods.set(uid, (entry = { isListed: false, text: '', version: 0 }));
    return entry;
  }

  /** Brings the index up to date. True when something changed. */
  #update(uid: string, entry: Entry): boolean {
    const { pod, isListed, addresses } = entry;
    const indexed = pod && (isListed || addresses) ? indexedPod(pod, addresses) : undefined;
    if (!isListed && !addresses) this.#pods.delete(uid);
    const text = indexed ? JSON.stringify(indexed) : '';
    if (text === entry.text) return false;
    entry.text = text;
    entry.version = this.#version += 1;
    const isLocal = addresses !== undefined || pod?.spec?.nodeName === this.#options.nodeName;
    this.#options.ruleset.setPod(uid, { pod: indexed, isLocal });
    return true;
  }

  #isInForce(uid: string): boolean {
    const entry = this.#pods.get(uid);
    return entry?.addresses !== undefined && entry.version <= this.#appliedVersion;
  }

  /** While the API has not told everything: pods that the former rules know, and static pods, whose traffic these drop where there were policies. */
  #startsBefore(pod: Pod, uid: string): boolean {
    if (isStaticPod(pod)) return true;
    const addresses = this.#pods.get(uid)?.addresses ?? [];
    return (
      addresses.length > 0 && addresses.every((text) => this.#inherited.has(canonicalAddress(text) ?? ''))
    );
  }

  #requireEnforced(uid: string): void {
    if (this.bridgeProblem !== undefined && this.#options.ruleset.policiesOf(uid).length > 0)
      throw new NetworkPolicyError(`${this.#selectedText(uid)}: ${this.bridgeProblem}`);
  }

  #selectedText(uid: string): string {
    return `cannot enforce the network policies ${this.#options.ruleset.policiesOf(uid).join(', ')} on this node`;
  }

  #lateText(): string {
    return this.#appliedVersion < 0
      ? "the cluster's network policies are not known yet: the API server has not listed them"
      : `the rules of network policies were not in force after ${WAIT_MS / 1000} s`;
  }
}

/** The address may be given to another pod, which is observed first. */
const GATHER_RELEASED_MS = 10;
