/**
 * Mirrors manually managed Endpoints of a Service without a selector to EndpointSlices, which proxies read. After
 * upstream's pkg/controller/endpointslicemirroring.
 */
import type {
  Endpoint,
  EndpointAddress,
  Endpoints,
  EndpointSlice,
  EndpointSubset,
  Service,
} from '#api/types.ts';
import { parseIP } from '#machinery/ip.ts';
import { endpoints, endpointSlices, services } from '#client/refs.ts';
import { defineController, watch, type ReconcileContext, type ReconcileResult } from '#runtime/controller.ts';
import { controllerReference } from '#component-helpers/owner-references.ts';
import { planSlices, portsId, type EndpointGroup, type SlicePorts } from './slice-plan.ts';
import { writeSlices } from './write-slices.ts';

const MANAGER = 'endpointslicemirroring-controller.k8s.io';
const MANAGED_BY = 'endpointslice.kubernetes.io/managed-by';
const SERVICE_NAME = 'kubernetes.io/service-name';
const SKIP_MIRROR = 'endpointslice.kubernetes.io/skip-mirror';
const LEADER = 'control-plane.alpha.kubernetes.io/leader';
const NOT_COPIED: ReadonlySet<string> = new Set([
  'endpoints.kubernetes.io/last-change-trigger-time',
  'kubectl.kubernetes.io/last-applied-configuration',
]);
/** Maximum per subset and per slice. */
const MAX_ENDPOINTS = 1_000;
const MAX_PREFIX = 253;
const BY_ENDPOINTS = 'mirrored';

/** For slices managed by this controller: the key of the Endpoints. */
function endpointsKeyOf({ metadata }: EndpointSlice): readonly string[] {
  const { labels = {}, namespace = '' } = metadata ?? {};
  return labels[MANAGED_BY] === MANAGER && labels[SERVICE_NAME]
    ? [`${namespace}/${labels[SERVICE_NAME]}`]
    : [];
}

export const endpointSliceMirroringController = defineController({
  name: 'endpointslice-mirroring-controller',
  serviceAccount: 'endpointslicemirroring-controller',
  eventSource: 'endpointslicemirroring-controller',
  watches: [
    watch(endpoints),
    watch(services),
    watch(endpointSlices, {
      keys: endpointsKeyOf,
      observe: {
        added: (slice, { expectations }) => {
          for (const key of endpointsKeyOf(slice)) expectations.creationObserved(key);
        },
      },
    }),
  ],
  indexes: [
    {
      resource: endpointSlices,
      name: BY_ENDPOINTS,
      values: endpointsKeyOf as (object: never) => readonly string[],
    },
  ],
  reconcile,
});

async function reconcile(context: ReconcileContext): Promise<ReconcileResult> {
  const { key, informer, expectations } = context;
  const source = informer(endpoints).get(key);
  const existing = informer(endpointSlices).byIndex(BY_ENDPOINTS, key);
  const mirrored = source && isMirrored(source, informer(services).get(key)) ? source : undefined;
  if (!mirrored && existing.length === 0) return expectations.forget(key);
  if (!expectations.satisfied(key)) return { requeueAfterMs: expectations.expiresInMs(key) ?? 1 };
  if (!mirrored) return writeSlices({ create: [], update: [], delete: existing }, context);
  const groups = groupsOf(mirrored, context);
  const { name = '', namespace = '', labels, annotations = {} } = mirrored.metadata ?? {};
  const prefix = `${name}-`;
  const plan = planSlices({
    existing,
    groups,
    addressTypes: [...new Set(groups.map(({ addressType }) => addressType))],
    maxEndpoints: MAX_ENDPOINTS,
    labels: { ...labels, [SERVICE_NAME]: name, [MANAGED_BY]: MANAGER },
    annotations: Object.fromEntries(
      Object.entries(annotations).filter(([annotation]) => !NOT_COPIED.has(annotation)),
    ),
    metadata: {
      namespace,
      generateName: prefix.length > MAX_PREFIX ? name : prefix,
      ownerReferences: [controllerReference(mirrored, endpoints)],
    },
  });
  return writeSlices(plan, context);
}

function isMirrored({ metadata }: Endpoints, service: Service | undefined): boolean {
  if (!service || service.spec?.selector || metadata?.deletionTimestamp) return false;
  return metadata?.labels?.[SKIP_MIRROR] !== 'true' && metadata?.annotations?.[LEADER] === undefined;
}

/** Invalid addresses and those beyond the maximum are omitted, with an event. */
function groupsOf(source: Endpoints, { events }: ReconcileContext): EndpointGroup[] {
  const groups = new Map<string, { addressType: string; ports: SlicePorts; endpoints: Endpoint[] }>();
  let invalid = 0;
  let surplus = 0;
  for (const subset of source.subsets ?? []) {
    const ports = portsOf(subset);
    const all = [...addressesOf(subset, true), ...addressesOf(subset, false)];
    surplus += Math.max(0, all.length - MAX_ENDPOINTS);
    for (const { address, ready } of all.slice(0, MAX_ENDPOINTS)) {
      const ip = parseIP(address.ip);
      if (!ip) {
        invalid += 1;
        continue;
      }
      const addressType = ip.family === 4 ? 'IPv4' : 'IPv6';
      const id = `${addressType} ${portsId(ports)}`;
      const group = groups.get(id) ?? { addressType, ports, endpoints: [] };
      group.endpoints.push(computeEndpoint(address, ready));
      groups.set(id, group);
    }
  }
  if (invalid > 0)
    events.event(source, {
      type: 'Warning',
      reason: 'InvalidIPAddress',
      message: `Skipped ${invalid} invalid IP addresses when mirroring to EndpointSlices`,
    });
  if (surplus > 0) {
    const message = `A max of ${MAX_ENDPOINTS} addresses can be mirrored to EndpointSlices per Endpoints subset. ${surplus} addresses were skipped`;
    events.event(source, { type: 'Warning', reason: 'TooManyAddressesToMirror', message });
  }
  return [...groups.values()];
}

function addressesOf(
  { addresses, notReadyAddresses }: EndpointSubset,
  ready: boolean,
): { readonly address: EndpointAddress; readonly ready: boolean }[] {
  return ((ready ? addresses : notReadyAddresses) ?? []).map((address) => ({ address, ready }));
}

function portsOf({ ports }: EndpointSubset): SlicePorts {
  return (ports ?? []).map(({ name = '', port, protocol = 'TCP', appProtocol }) => ({
    name,
    port,
    protocol,
    ...(appProtocol ? { appProtocol } : {}),
  }));
}

function computeEndpoint({ ip, hostname, nodeName, targetRef }: EndpointAddress, ready: boolean): Endpoint {
  return {
    addresses: [ip],
    conditions: { ready },
    ...(hostname ? { hostname } : {}),
    ...(nodeName ? { nodeName } : {}),
    ...(targetRef ? { targetRef } : {}),
  };
}
