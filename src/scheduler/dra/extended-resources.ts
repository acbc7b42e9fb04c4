/**
 * Extended resources that a DeviceClass serves: the claim that a pod needs for them, per node, and which container uses which of its requests. Pure.
 * After upstream's DynamicResources for extended resources.
 */
import type { DeviceClass, DeviceRequest, ResourceClaim } from '#api/generated/types/resource-v1.ts';
import type { Container, ContainerExtendedResourceRequest, Pod } from '#api/types.ts';
import { parseQuantity } from '#machinery/quantity.ts';

/** On claims that the scheduler makes for them. */
const EXTENDED_RESOURCE_CLAIM = 'resource.kubernetes.io/extended-resource-claim';
/** Followed by the name of a class: its implicit resource. */
export const IMPLICIT_PREFIX = 'deviceclass.resource.kubernetes.io/';

export function isExtendedResourceClaim({ metadata }: ResourceClaim): boolean {
  return metadata?.annotations?.[EXTENDED_RESOURCE_CLAIM] === 'true';
}

export interface ExtendedResources {
  readonly requests: readonly DeviceRequest[];
  readonly mappings: readonly ContainerExtendedResourceRequest[];
}

/** The claim to create, without a name. */
export function extendedResourceClaim(pod: Pod, { requests }: ExtendedResources): ResourceClaim {
  const { name = '', namespace, uid = '' } = pod.metadata ?? {};
  return {
    metadata: {
      generateName: `${name}-extended-resources-`,
      ...(namespace === undefined ? {} : { namespace }),
      annotations: { [EXTENDED_RESOURCE_CLAIM]: 'true' },
      ownerReferences: [{ apiVersion: 'v1', kind: 'Pod', name, uid, controller: true }],
    },
    spec: { devices: { requests: [...requests] } },
  };
}

/** classes: resource → class, for those that the node does not provide itself. */
export function extendedResources(pod: Pod, classes: ReadonlyMap<string, DeviceClass>): ExtendedResources {
  const parts = [...classes.keys()].sort().map((resource) =>
    requestsFor(pod, {
      resource,
      className: classes.get(resource)!.metadata?.name ?? '',
    }),
  );
  return {
    requests: parts.flatMap(({ requests }) => requests).sort((a, b) => (a.name < b.name ? -1 : 1)),
    mappings: parts.flatMap(({ mappings }) => mappings),
  };
}

interface Resource {
  readonly resource: string;
  readonly className: string;
}

/**
 * Containers that run beside each other have devices of their own; init containers that end first reuse theirs, and one request, the largest, covers
 * what is missing for all of them.
 */
function requestsFor(pod: Pod, resource: Resource): ExtendedResources {
  const initContainers = pod.spec?.initContainers ?? [];
  const containers = [...initContainers, ...(pod.spec?.containers ?? [])];
  const isShortLived = (container: Container, index: number): boolean =>
    index < initContainers.length && container.restartPolicy !== 'Always';
  const longLived = containers.map((container, index) =>
    isShortLived(container, index) ? NOTHING : requestOf(container, { ...resource, index, reusable: [] }),
  );
  const shortLived = containers.map((container, index) =>
    isShortLived(container, index)
      ? requestOf(container, {
          ...resource,
          index,
          reusable: longLived.slice(index).flatMap(({ request }) => request ?? []),
        })
      : NOTHING,
  );
  const own = shortLived.flatMap(({ request }) => request ?? []);
  const largest = own.reduce<DeviceRequest | undefined>(
    (most, request) => (countOf(request) > (most ? countOf(most) : 0) ? request : most),
    undefined,
  );
  const names = new Set(own.map(({ name }) => name));
  return {
    requests: [...(largest ? [largest] : []), ...longLived.flatMap(({ request }) => request ?? [])],
    mappings: [
      ...longLived.flatMap(({ mappings }) => mappings),
      ...shortLived
        .flatMap(({ mappings }) => mappings)
        .map((mapping) =>
          largest && names.has(mapping.requestName) ? { ...mapping, requestName: largest.name } : mapping,
        ),
    ],
  };
}

interface ContainerRequest {
  readonly request: DeviceRequest | undefined;
  readonly mappings: readonly ContainerExtendedResourceRequest[];
}

const NOTHING: ContainerRequest = { request: undefined, mappings: [] };

function requestOf(
  container: Container,
  {
    resource,
    className,
    index,
    reusable,
  }: Resource & { readonly index: number; readonly reusable: readonly DeviceRequest[] },
): ContainerRequest {
  const requested = container.resources?.requests ?? {};
  const wanted = requested[resource] === undefined ? 0 : parseQuantity(String(requested[resource])).value();
  if (wanted === 0) return NOTHING;
  const mapping = (requestName: string): ContainerExtendedResourceRequest => ({
    containerName: container.name,
    resourceName: resource,
    requestName,
  });
  const mappings: ContainerExtendedResourceRequest[] = [];
  let found = 0;
  for (const request of reusable) {
    found += countOf(request);
    mappings.push(mapping(request.name));
    if (found >= wanted) return { request: undefined, mappings };
  }
  // Named by the container's place, and the resource's among its sorted requests.
  const name = `container-${index}-request-${Object.keys(requested).sort().indexOf(resource)}`;
  const exactly = { deviceClassName: className, allocationMode: 'ExactCount', count: wanted - found };
  return { request: { name, exactly }, mappings: [...mappings, mapping(name)] };
}

function countOf({ exactly }: DeviceRequest): number {
  return exactly?.count ?? 0;
}
