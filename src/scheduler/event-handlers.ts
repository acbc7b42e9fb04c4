/** Event handlers of the informers: they keep the cache, the queue and the nominator up to date, on the leader and on standbys. */
import type { Node, Pod } from '#api/types.ts';
import { isPodTerminal } from '#component-helpers/pod-status.ts';
import type { KubeObject } from '#machinery/object.ts';
import type { SchedulerCache } from './cache.ts';
import { EVENTS } from './cluster-events.ts';
import type { DefaultSelectors } from './default-selectors.ts';
import type { ClaimBinder } from './dra/claim-binder.ts';
import type { DeviceState } from './dra/device-state.ts';
import type { Informers } from './informers.ts';
import type { SchedulerMetrics } from './metrics.ts';
import type { Nominator } from './nominator.ts';

import { groupKeyOf, type PodGroups } from './pod-groups.ts';
import { podInfo } from './pod-info.ts';
import type { SchedulingQueue } from './queue.ts';
import { subscribeStorage } from './storage.ts';
import type { VolumeBinder } from './volume-binder.ts';

interface EventHandlerOptions {
  readonly cache: SchedulerCache;
  readonly metrics: SchedulerMetrics;
  readonly queue: SchedulingQueue;
  readonly nominator: Nominator;
  /** Undefined: groups are not looked at. */
  readonly groups: PodGroups | undefined;
  readonly selectors: DefaultSelectors;
  readonly devices: DeviceState;
  readonly volumeBinder: VolumeBinder;
  readonly claimBinder: ClaimBinder;
  /** Whether a profile of this scheduler is for the pod. */
  readonly isResponsible: (pod: Pod) => boolean;
}

/** Returns functions that unsubscribe. */
export function subscribeHandlers(informers: Informers, options: EventHandlerOptions): (() => void)[] {
  const { cache, queue, metrics, selectors, devices, volumeBinder, claimBinder } = options;
  const handlers = new PodHandlers(options);
  return [
    informers.pods.subscribe({
      added: (pod) => metrics.handle(podEvent(pod, 'Add'), () => handlers.set(pod, undefined)),
      updated: (pod, before) =>
        metrics.handle(podEvent(pod, before.spec?.nodeName ? 'Update' : 'Add'), () =>
          handlers.set(pod, before),
        ),
      deleted: (pod) => metrics.handle(podEvent(pod, 'Delete'), () => handlers.delete(pod)),
    }),
    informers.nodes.subscribe(nodeHandlers(options)),
    informers.namespaces.subscribe({
      added: () => cache.namespaceChanged(),
      updated: (now, before) => {
        if (labelsDiffer(now, before)) cache.namespaceChanged();
      },
      deleted: () => cache.namespaceChanged(),
    }),
    informers.services.subscribe({
      added: (service) => selectors.forget(service.metadata?.namespace ?? ''),
      updated: (service) => selectors.forget(service.metadata?.namespace ?? ''),
      deleted: (service) => selectors.forget(service.metadata?.namespace ?? ''),
    }),
    ...(informers.podGroups ? [informers.podGroups.subscribe(groupHandlers(options))] : []),
    ...subscribeStorage(informers, (event, object) => {
      metrics.handle(EVENTS[event], () => queue.event(event, object));
      volumeBinder.changed();
    }),
    ...devices.subscribe((event, { object, before }) => {
      metrics.handle(EVENTS[event], () =>
        queue.event(event, object as KubeObject, before as KubeObject | undefined),
      );
      if (event === 'resource-claim-updated') claimBinder.changed();
    }),
  ];
}

function nodeHandlers({
  cache,
  queue,
  metrics,
  devices,
}: EventHandlerOptions): Parameters<Informers['nodes']['subscribe']>[0] {
  return {
    added: (node) =>
      metrics.handle(EVENTS['node-added'], () => {
        cache.setNode(node);
        queue.event('node-added', node);
      }),
    updated: (node, before) =>
      metrics.handle(EVENTS['node-updated'], () => {
        // Heartbeats must not make the node look changed to what is known about it.
        if (nodeChanged(node, before)) {
          cache.setNode(node);
          queue.event('node-updated', node, before);
        } else if (imagesDiffer(node, before)) cache.setNode(node);
        else cache.refreshNode(node);
      }),
    deleted: (node) =>
      metrics.handle(EVENTS['node-deleted'], () => {
        cache.removeNode(node.metadata?.name ?? '');
        devices.forgetNode(node.metadata?.name ?? '');
        queue.event('node-deleted', node);
      }),
  };
}

/** The policy of a group does not change; pods whose group is gone are told so when they are decided on. */
function groupHandlers({
  queue,
  metrics,
}: EventHandlerOptions): Parameters<NonNullable<Informers['podGroups']>['subscribe']>[0] {
  return {
    added: (group) =>
      metrics.handle(EVENTS['pod-group-added'], () => queue.event('pod-group-added', group as KubeObject)),
    updated: () => {},
    deleted: () => {},
  };
}

class PodHandlers {
  readonly #options: Pick<EventHandlerOptions, 'cache' | 'queue' | 'nominator' | 'groups' | 'isResponsible'>;

  constructor(options: EventHandlerOptions) {
    this.#options = options;
  }

  set(pod: Pod, before: Pod | undefined): void {
    const { cache, queue, nominator, groups, isResponsible } = this.#options;
    const uid = pod.metadata?.uid ?? '';
    if (isPodTerminal(pod)) return this.delete(pod);
    if (!pod.spec?.nodeName) {
      if (isResponsible(pod) && !pod.metadata?.deletionTimestamp) {
        nominator.seen(podInfo(pod), before && podInfo(before));
        groups?.set(pod);
        queue.set(pod);
        if (groups && !before && groupKeyOf(pod) !== undefined) queue.event('unscheduled-pod-added', pod);
      } else {
        groups?.delete(pod);
        this.#forgetWaiting(uid);
      }
      return;
    }
    this.#forgetWaiting(uid);
    groups?.set(pod);
    cache.setPod(pod);
    if (!before?.spec?.nodeName) queue.event('pod-added', pod);
    else if (pod.metadata?.generation !== before.metadata?.generation || labelsDiffer(pod, before))
      queue.event('pod-updated', pod, before);
  }

  delete(pod: Pod): void {
    const { cache, queue, groups } = this.#options;
    const uid = pod.metadata?.uid ?? '';
    groups?.delete(pod);
    this.#forgetWaiting(uid);
    if (!cache.isPlaced(uid)) return;
    cache.removePod(uid);
    queue.event('pod-deleted', pod);
  }

  #forgetWaiting(uid: string): void {
    this.#options.queue.remove(uid);
    this.#options.nominator.delete(uid);
  }
}

function labelsDiffer(a: KubeObject, b: KubeObject): boolean {
  return JSON.stringify(a.metadata?.labels) !== JSON.stringify(b.metadata?.labels);
}

function podEvent({ spec }: Pod, change: 'Add' | 'Update' | 'Delete'): string {
  return `${spec?.nodeName ? 'AssignedPod' : 'UnschedulablePod'}${change}`;
}

/** They count for scores alone. */
function imagesDiffer(node: Node, before: Node): boolean {
  return JSON.stringify(node.status?.images) !== JSON.stringify(before.status?.images);
}

/** Heartbeats do not affect scheduling. */
function nodeChanged(node: Node, before: Node): boolean {
  const seen = (of: Node): string =>
    JSON.stringify([
      of.metadata?.labels,
      of.spec?.taints,
      of.spec?.unschedulable,
      of.status?.allocatable,
      of.status?.capacity,
      of.status?.declaredFeatures,
    ]);
  return seen(node) !== seen(before);
}
