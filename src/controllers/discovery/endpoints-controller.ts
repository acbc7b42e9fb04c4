/**
 * Keeps the (deprecated) Endpoints object of each Service that selects pods, for clients that do not read EndpointSlices. After
 * upstream's pkg/controller/endpoint. The address family is the service's first; at most a thousand addresses.
 */
import type { Stored } from '#machinery/object.ts';
import { isDeepStrictEqual } from 'node:util';
import type { EndpointPort, Endpoints, EndpointSubset, Pod, Service } from '#api/types.ts';
import { isStatusError } from '#machinery/errors.ts';
import { objectKey } from '#machinery/object.ts';
import { errorMessage } from '#stdx/log.ts';
import { endpoints, pods, services } from '#client/refs.ts';
import { defineController, watch, type ReconcileContext } from '#runtime/controller.ts';
import { isNamespaceTerminating } from '../pod-control.ts';
import { isPodReady } from '#component-helpers/pod-status.ts';
import { packSubsets, truncateSubsets, type Listener } from './endpoint-subsets.ts';
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

const MANAGER = 'endpoint-controller';
const MANAGED_BY = 'endpoints.kubernetes.io/managed-by';
const HEADLESS = 'service.kubernetes.io/headless';
const OVER_CAPACITY = 'endpoints.kubernetes.io/over-capacity';
const MAX_ADDRESSES = 1_000;

export const endpointsController = defineController({
  name: 'endpoints-controller',
  serviceAccount: 'endpoint-controller',
  eventSource: 'endpoint-controller',
  watches: [
    watch(services),
    watch(pods, { keys: (pod, { informer }) => servicesOfPod(pod, informer(services)) }),
    // Users may create Endpoints of their own, with or without a service.
    watch(endpoints, {
      keys: (object) => (object.metadata?.labels?.[MANAGED_BY] === MANAGER ? [objectKey(object)] : []),
    }),
  ],
  reconcile,
});

async function reconcile(context: ReconcileContext): Promise<void> {
  const { key, informer } = context;
  const service = informer(services).get(key);
  const current = informer(endpoints).get(key);
  if (!service) return current && removeEndpoints(current, context);
  if (!selectsPods(service) || service.metadata?.deletionTimestamp) return;
  const { subsets, truncated } = truncateSubsets(
    packSubsets(podsOfService(service, informer(pods)).flatMap((pod) => listenersOf(pod, service))),
    MAX_ADDRESSES,
  );
  const labels = {
    ...service.metadata?.labels,
    ...(isHeadless(service) ? { [HEADLESS]: '' } : {}),
    [MANAGED_BY]: MANAGER,
  };
  if (!isHeadless(service)) delete (labels as Record<string, string>)[HEADLESS];
  const { [OVER_CAPACITY]: _, ...annotations } = current?.metadata?.annotations ?? {};
  const wanted = {
    subsets,
    labels,
    annotations: truncated ? { ...annotations, [OVER_CAPACITY]: 'truncated' } : annotations,
  };
  if (
    current &&
    isDeepStrictEqual(wanted, {
      subsets: current.subsets ?? [],
      labels: current.metadata?.labels ?? {},
      annotations: current.metadata?.annotations ?? {},
    })
  )
    return;
  await write(service, { current, wanted, context });
}

function listenersOf(pod: Stored<Pod>, service: Stored<Service>): Listener[] {
  const always = service.spec?.publishNotReadyAddresses === true;
  if (!mayServe(pod) || (pod.metadata?.deletionTimestamp && !always)) return [];
  const { ipFamilies, clusterIP = '' } = service.spec ?? {};
  const wantsIPv6 = ipFamilies?.length ? ipFamilies[0] === 'IPv6' : isIPv6(clusterIP);
  const ip = addressesOf(pod).find((candidate) => isIPv6(candidate) === wantsIPv6);
  if (ip === undefined) return [];
  const { name = '', namespace = '', uid = '' } = pod.metadata ?? {};
  const hostname = computeHostname(pod, service);
  const nodeName = pod.spec?.nodeName;
  const address = {
    ip,
    ...(hostname ? { hostname } : {}),
    ...(nodeName ? { nodeName } : {}),
    targetRef: { kind: 'Pod', namespace, name, uid },
  };
  const ready = always || isPodReady(pod);
  const ports = service.spec?.ports ?? [];
  if (ports.length === 0) return isHeadless(service) ? [{ address, ready }] : [];
  return ports.flatMap((servicePort) => {
    const port = targetPort(pod, servicePort);
    return port === undefined ? [] : [{ address, ready, port: portOf(servicePort, port) }];
  });
}

function portOf(
  {
    name,
    protocol = 'TCP',
    appProtocol,
  }: { readonly name?: string; readonly protocol?: string; readonly appProtocol?: string },
  port: number,
): EndpointPort {
  return { ...(name ? { name } : {}), port, protocol, ...(appProtocol ? { appProtocol } : {}) };
}

interface Wanted {
  readonly subsets: EndpointSubset[];
  readonly labels: Record<string, string>;
  readonly annotations: Record<string, string>;
}

async function write(
  service: Stored<Service>,
  {
    current,
    wanted,
    context,
  }: {
    readonly current: Stored<Endpoints> | undefined;
    readonly wanted: Wanted;
    readonly context: ReconcileContext;
  },
): Promise<void> {
  const { api, events } = context;
  const { subsets, labels, annotations } = wanted;
  const { name = '', namespace = '' } = service.metadata ?? {};
  try {
    if (current)
      await api.update(endpoints, {
        ...current,
        metadata: { ...current.metadata, labels, annotations },
        subsets,
      });
    else await api.create(endpoints, { metadata: { name, namespace, labels, annotations }, subsets });
  } catch (error) {
    if (isNamespaceTerminating(error)) return;
    // It exists already or is newer than the cache: the next reconcile has the new state.
    if (isStatusError(error, 'Conflict') || isStatusError(error, 'AlreadyExists')) throw error;
    const verb = current ? 'update' : 'create';
    events.event(service, {
      type: 'Warning',
      reason: current ? 'FailedToUpdateEndpoint' : 'FailedToCreateEndpoint',
      message: `Failed to ${verb} endpoint for service ${namespace}/${name}: ${errorMessage(error)}`,
    });
    throw error;
  }
}

async function removeEndpoints({ metadata }: Stored<Endpoints>, { api }: ReconcileContext): Promise<void> {
  try {
    await api.delete(endpoints, { name: metadata.name, namespace: metadata.namespace });
  } catch (error) {
    if (!isStatusError(error, 'NotFound')) throw error;
  }
}
