/** Selects the pods and ports of a service. Pure, except for reading caches. After upstream's endpoint utilities. */
import type { Stored } from '#machinery/object.ts';
import type { Pod, Service, ServicePort } from '#api/types.ts';
import type { Informer } from '#client/client.ts';
import { isPodTerminal } from '#component-helpers/pod-status.ts';
import { longRunningContainers } from '#component-helpers/containers.ts';

/** Endpoints of a service without a selector are managed by its user. */
export function selectsPods(service: Stored<Service>): boolean {
  return service.spec?.selector !== undefined && service.spec.type !== 'ExternalName';
}

function selects(service: Stored<Service>, pod: Stored<Pod>): boolean {
  const selector = service.spec?.selector;
  if (!selector) return false;
  const labels = pod.metadata?.labels ?? {};
  return Object.entries(selector).every(([key, value]) => labels[key] === value);
}

export function servicesOfPod(pod: Stored<Pod>, services: Informer<Service>): string[] {
  const { namespace = '' } = pod.metadata ?? {};
  return services
    .listNamespace(namespace)
    .filter((service) => selects(service, pod))
    .map(({ metadata }) => `${namespace}/${metadata.name}`);
}

export function podsOfService(service: Stored<Service>, pods: Informer<Pod>): Stored<Pod>[] {
  return pods.listNamespace(service.metadata.namespace!).filter((pod) => selects(service, pod));
}

/** The pod has an IP and may still serve. */
export function mayServe(pod: Stored<Pod>): boolean {
  return !isPodTerminal(pod) && addressesOf(pod).length > 0;
}

export function addressesOf({ status }: Stored<Pod>): string[] {
  if (status?.podIPs?.length) return status.podIPs.map(({ ip }) => ip);
  return status?.podIP ? [status.podIP] : [];
}

export function isIPv6(address: string): boolean {
  return address.includes(':');
}

export function isHeadless(service: Stored<Service>): boolean {
  return service.spec?.clusterIP === 'None';
}

/** The container port for a port of the service; undefined when the pod has no port of that name. */
export function targetPort(
  pod: Stored<Pod>,
  { targetPort, port, protocol = 'TCP' }: ServicePort,
): number | undefined {
  if (typeof targetPort === 'number') return targetPort === 0 ? port : targetPort;
  if (targetPort === undefined || targetPort === '') return port;
  for (const container of longRunningContainers(pod.spec)) {
    const found = container.ports?.find(
      (candidate) => candidate.name === targetPort && (candidate.protocol ?? 'TCP') === protocol,
    );
    if (found) return found.containerPort;
  }
  return undefined;
}

/** The pod has a DNS name of its own below the service's. */
export function computeHostname(pod: Stored<Pod>, service: Stored<Service>): string | undefined {
  return pod.spec?.hostname && pod.spec.subdomain === service.metadata.name ? pod.spec.hostname : undefined;
}
