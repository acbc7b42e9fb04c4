/**
 * A pod's default selector, as upstream calls it: it selects the pods of every Service that selects the pod and of the controller that owns
 * it. Default topology spread constraints use it.
 */
import type { ReplicaSet, ReplicationController, Service, StatefulSet } from '#api/types.ts';
import type { Informer } from '#client/client.ts';
import { findController } from '#component-helpers/owner-references.ts';
import { compileLabelSelector, type LabelSelector, type LabelSelectorObject } from '#machinery/labels.ts';
import type { PodInfo, PodMatcher } from './pod-info.ts';

interface SelectorSources {
  readonly services: Pick<Informer<Service>, 'listNamespace' | 'subscribe'>;
  readonly replicaSets: Pick<Informer<ReplicaSet>, 'get'>;
  readonly replicationControllers: Pick<Informer<ReplicationController>, 'get'>;
  readonly statefulSets: Pick<Informer<StatefulSet>, 'get'>;
}

/** Service selectors by their first label: looking up a pod's labels avoids iterating over all Services. */
type ByPair = ReadonlyMap<string, readonly (readonly (readonly [string, string])[])[]>;

export class DefaultSelectors {
  readonly #sources: SelectorSources;
  readonly #services = new Map<string, ByPair>();
  readonly #selectors = new WeakMap<object, LabelSelector>();

  constructor(sources: SelectorSources) {
    this.#sources = sources;
  }

  /** Services of this namespace changed. */
  forget(namespace: string): void {
    this.#services.delete(namespace);
  }

  of(pod: PodInfo): PodMatcher | undefined {
    const pairs = this.#servicePairs(pod);
    const owner = this.#ownerSelector(pod);
    if (pairs.length === 0 && !owner) return undefined;
    return {
      namespace: pod.namespace,
      key: `${pod.namespace}/${pairs.map(([name, value]) => `${name}=${value}`).join(',')};${owner ? JSON.stringify(owner.requirements) : ''}`,
      matches: (labels) =>
        pairs.every(([name, value]) => labels[name] === value) && (!owner || owner.matches(labels)),
    };
  }

  /** The combined selectors of all Services that select the pod. */
  #servicePairs({ namespace, labels }: PodInfo): (readonly [string, string])[] {
    let byPair = this.#services.get(namespace);
    if (!byPair) {
      const selectors = this.#sources.services
        .listNamespace(namespace)
        .map((service) => Object.entries(service.spec?.selector ?? {}).sort())
        .filter((pairs) => pairs.length > 0);
      byPair = Map.groupBy(selectors, ([first]) => `${first?.[0]}=${first?.[1]}`);
      this.#services.set(namespace, byPair);
    }
    if (byPair.size === 0) return [];
    const together = new Map<string, string>();
    for (const [name, value] of Object.entries(labels)) {
      for (const pairs of byPair.get(`${name}=${value}`) ?? []) {
        if (pairs.every(([key, wanted]) => labels[key] === wanted))
          for (const [key, wanted] of pairs) together.set(key, wanted);
      }
    }
    return [...together].sort();
  }

  #ownerSelector({ pod, namespace }: PodInfo): LabelSelector | undefined {
    const owner = findController(pod);
    if (!owner) return undefined;
    const key = `${namespace}/${owner.name}`;
    switch (owner.kind) {
      case 'ReplicaSet':
        return this.#compiled(this.#sources.replicaSets.get(key)?.spec?.selector);
      case 'StatefulSet':
        return this.#compiled(this.#sources.statefulSets.get(key)?.spec?.selector);
      case 'ReplicationController': {
        const selector = this.#sources.replicationControllers.get(key)?.spec?.selector;
        return selector && Object.keys(selector).length > 0
          ? this.#compiled({ matchLabels: selector }, selector)
          : undefined;
      }
      default:
        return undefined;
    }
  }

  #compiled(selector: object | undefined, key = selector): LabelSelector | undefined {
    if (!selector || !key) return undefined;
    let compiled = this.#selectors.get(key);
    if (!compiled) {
      compiled = compileLabelSelector(selector as LabelSelectorObject);
      this.#selectors.set(key, compiled);
    }
    return compiled;
  }
}
