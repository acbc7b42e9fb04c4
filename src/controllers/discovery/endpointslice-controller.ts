/**
 * Manages the EndpointSlices of each Service that selects pods, with the conditions ready, serving and terminating.
 * After upstream's pkg/controller/endpointslice. Topology hints of the annotation service.kubernetes.io/topology-mode: Auto are not implemented;
 * those of spec.trafficDistribution are.
 */
import type { Stored } from '#machinery/object.ts';
import { ipFamily } from '#machinery/ip.ts';
import type { Endpoint, EndpointSlice, Node, Pod, Service } from '#api/types.ts';
import { isStatusError } from '#machinery/errors.ts';
import { errorMessage } from '#stdx/log.ts';
import { endpointSlices, nodes, pods, services } from '#client/refs.ts';
import { defineController, watch, type ReconcileContext, type ReconcileResult } from '#runtime/controller.ts';
import { podsByNode, podsOnNode } from '../core/pods-by-node.ts';
import { controllerReference } from '#component-helpers/owner-references.ts';
import { isPodReady } from '#component-helpers/pod-status.ts';
import {
  addressesOf,
  computeHostname,
  isHeadless,
  isIPv6,
  mayServe,
  podsOfService,
  selectsPods,
  servicesOfPod,
  targetPort,
} from './service-pods.ts';
import { formatTime } from '#machinery/time.ts';
import { planSlices, portsId, type EndpointGroup, type SlicePlan, type SlicePorts } from './slice-plan.ts';
import { seenTimes, TRIGGER_ANNOTATION, triggerMs, type SeenTimes } from './trigger-time.ts';
import { writeSlices } from './write-slices.ts';

const MANAGER = 'endpointslice-controller.k8s.io';
const MANAGED_BY = 'endpointslice.kubernetes.io/managed-by';
const SERVICE_NAME = 'kubernetes.io/service-name';
const HEADLESS = 'service.kubernetes.io/headless';
const ZONE = 'topology.kubernetes.io/zone';
const RESERVED_LABELS: ReadonlySet<string> = new Set([MANAGED_BY, SERVICE_NAME, HEADLESS]);
const MAX_ENDPOINTS = 100;
/** Retry interval for a pod whose node is not found. */
const MISSING_NODE_MS = 1_000;
/** Longer names leave no room for the generated suffix. */
const MAX_PREFIX = 253;
const BY_SERVICE = 'service';
/** Cannot be the prefix of a service key. */
const NODE_KEY = 'node ';

/** For slices managed by this controller: the key of their service. */
function serviceKeyOf({ metadata }: Stored<EndpointSlice>): readonly string[] {
  const { labels = {}, namespace = '' } = metadata ?? {};
  return labels[MANAGED_BY] === MANAGER && labels[SERVICE_NAME]
    ? [`${namespace}/${labels[SERVICE_NAME]}`]
    : [];
}

export const endpointSliceController = defineController({
  name: 'endpointslice-controller',
  serviceAccount: 'endpointslice-controller',
  watches: [
    watch(services),
    watch(pods, { keys: (pod, { informer }) => servicesOfPod(pod, informer(services)) }),
    watch(endpointSlices, {
      keys: serviceKeyOf,
      observe: {
        added: (slice, { expectations }) => {
          for (const key of serviceKeyOf(slice)) expectations.creationObserved(key);
        },
      },
    }),
    // Only the node's existence and zone matter: reconcileNode() compares them.
    watch(nodes, { keys: ({ metadata }) => [`${NODE_KEY}${metadata.name}`] }),
  ],
  indexes: [
    podsByNode,
    {
      resource: endpointSlices,
      name: BY_SERVICE,
      values: serviceKeyOf as (object: never) => readonly string[],
    },
  ],
  reconcile: (context) =>
    context.key.startsWith(NODE_KEY) ? reconcileNode(context) : reconcileService(context),
});

async function reconcileNode({ key, informer, memory, enqueue }: ReconcileContext): Promise<void> {
  const name = key.slice(NODE_KEY.length);
  const node = informer(nodes).get(name);
  const zone = node && (node.metadata?.labels?.[ZONE] ?? '');
  if (memory.get(key) === zone) return;
  if (zone === undefined) memory.delete(key);
  else memory.set(key, zone);
  const affected = new Set(
    podsOnNode(informer(pods), name).flatMap((pod) => servicesOfPod(pod, informer(services))),
  );
  for (const service of affected) enqueue(service);
}

async function reconcileService(context: ReconcileContext): Promise<ReconcileResult> {
  const { key, informer, expectations, events, memory } = context;
  const service = informer(services).get(key);
  // The garbage collector deletes the slices of a deleted service.
  if (!service) {
    memory.delete(key);
    return expectations.forget(key);
  }
  if (!selectsPods(service) || service.metadata?.deletionTimestamp) return;
  if (!expectations.satisfied(key)) return { requeueAfterMs: expectations.expiresInMs(key) ?? 1 };
  const { groups, misses } = groupsOf(service, context);
  const seen = seenTimes(service, podsOfService(service, informer(pods)));
  const triggered = triggerMs(seen, memory.get(key) as SeenTimes | undefined);
  const { name = '', namespace = '' } = service.metadata ?? {};
  const prefix = `${name}-`;
  const plan = planSlices({
    existing: informer(endpointSlices).byIndex(BY_SERVICE, key),
    groups,
    addressTypes: addressTypesOf(service),
    maxEndpoints: MAX_ENDPOINTS,
    labels: computeLabels(service),
    metadata: {
      namespace,
      generateName: prefix.length > MAX_PREFIX ? name : prefix,
      ownerReferences: [controllerReference(service, services)],
    },
  });
  try {
    await writeSlices(withTriggerTime(plan, triggered), context);
    memory.set(key, seen);
  } catch (error) {
    // The slice was deleted or is newer than the cache: the next reconcile has the new state.
    if (!isStatusError(error, 'Conflict') && !isStatusError(error, 'NotFound')) {
      events.event(service, {
        type: 'Warning',
        reason: 'FailedToUpdateEndpointSlices',
        message: `Error updating Endpoint Slices for Service ${key}: ${errorMessage(error)}`,
      });
    }
    throw error;
  }
  return misses ? { requeueAfterMs: MISSING_NODE_MS } : undefined;
}

/** As upstream, only writes caused by a change with a timestamp have a trigger time. */
function withTriggerTime(plan: SlicePlan, ms: number | undefined): SlicePlan {
  const stamp = (slice: EndpointSlice): EndpointSlice => {
    const { [TRIGGER_ANNOTATION]: _before, ...annotations } = slice.metadata?.annotations ?? {};
    const time = ms === undefined ? {} : { [TRIGGER_ANNOTATION]: formatTime(ms) };
    return { ...slice, metadata: { ...slice.metadata, annotations: { ...annotations, ...time } } };
  };
  return { ...plan, create: plan.create.map(stamp), update: plan.update.map(stamp) };
}

function addressTypesOf({ spec }: Service): string[] {
  if (spec?.ipFamilies?.length) return [...spec.ipFamilies];
  return [ipFamily(spec?.clusterIP ?? '')];
}

function computeLabels(service: Stored<Service>): Record<string, string> {
  const own = Object.entries(service.metadata?.labels ?? {}).filter(([name]) => !RESERVED_LABELS.has(name));
  return {
    ...Object.fromEntries(own),
    ...(isHeadless(service) ? { [HEADLESS]: '' } : {}),
    [SERVICE_NAME]: service.metadata.name,
    [MANAGED_BY]: MANAGER,
  };
}

/** `misses`: a pod was omitted because its node is unknown. */
function groupsOf(
  service: Stored<Service>,
  { informer }: ReconcileContext,
): { readonly groups: EndpointGroup[]; readonly misses: boolean } {
  const addressTypes = addressTypesOf(service);
  const groups = new Map<string, { addressType: string; ports: SlicePorts; endpoints: Endpoint[] }>();
  let misses = false;
  for (const pod of podsOfService(service, informer(pods))) {
    if (!mayServe(pod)) continue;
    const node = pod.spec?.nodeName ? informer(nodes).get(pod.spec.nodeName) : undefined;
    if (pod.spec?.nodeName && !node) {
      misses = true;
      continue;
    }
    const ports = portsOf(service, pod);
    for (const addressType of addressTypes) {
      const addresses = addressesOf(pod).filter((address) => isIPv6(address) === (addressType === 'IPv6'));
      if (addresses.length === 0) continue;
      const id = `${addressType} ${portsId(ports)}`;
      const group = groups.get(id) ?? { addressType, ports, endpoints: [] };
      group.endpoints.push(computeEndpoint(pod, { service, node, addresses }));
      groups.set(id, group);
    }
  }
  return { groups: [...groups.values()], misses };
}

function portsOf(service: Stored<Service>, pod: Stored<Pod>): SlicePorts {
  return (service.spec?.ports ?? []).flatMap((servicePort) => {
    const port = targetPort(pod, servicePort);
    const { name = '', protocol = 'TCP', appProtocol } = servicePort;
    return port === undefined ? [] : [{ name, port, protocol, ...(appProtocol ? { appProtocol } : {}) }];
  });
}

function computeEndpoint(
  pod: Stored<Pod>,
  {
    service,
    node,
    addresses,
  }: {
    readonly service: Stored<Service>;
    readonly node: Stored<Node> | undefined;
    readonly addresses: string[];
  },
): Endpoint {
  const serving = isPodReady(pod);
  const terminating = pod.metadata?.deletionTimestamp !== undefined;
  const ready = service.spec?.publishNotReadyAddresses === true || (serving && !terminating);
  const hostname = computeHostname(pod, service);
  const zone = node?.metadata?.labels?.[ZONE];
  const { name = '', namespace = '', uid = '' } = pod.metadata ?? {};
  const nodeName = pod.spec?.nodeName;
  const hints = ready ? hintsOf(service.spec?.trafficDistribution, { zone, nodeName }) : undefined;
  return {
    addresses,
    conditions: { ready, serving, terminating },
    targetRef: { kind: 'Pod', namespace, name, uid },
    ...(hostname ? { hostname } : {}),
    ...(nodeName ? { nodeName } : {}),
    ...(zone ? { zone } : {}),
    ...(hints ? { hints } : {}),
  };
}

function hintsOf(
  distribution: string | undefined,
  { zone, nodeName }: { readonly zone: string | undefined; readonly nodeName: string | undefined },
): Endpoint['hints'] {
  const forZones = zone ? { forZones: [{ name: zone }] } : {};
  if (distribution === 'PreferClose' || distribution === 'PreferSameZone') return zone ? forZones : undefined;
  if (distribution === 'PreferSameNode' && nodeName) return { ...forZones, forNodes: [{ name: nodeName }] };
  return undefined;
}
