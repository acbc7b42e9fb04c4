/**
 * Publishes the cluster DNS as Service kube-system/kube-dns with a fixed address and one EndpointSlice per server, and restores them
 * when they are removed or changed. A stopping server deletes its slices; where it may crash alone (leased), a Lease beside each slice
 * is renewed, and a controller deletes the slice when the Lease expires.
 */
import type { EndpointSlice, Service } from '#api/types.ts';
import { ipFamily } from '#machinery/ip.ts';
import { endpointSlices, services } from '#client/refs.ts';
import type { Client } from '#client/client.ts';
import {
  ENDPOINTS_LEASE_SECONDS,
  ENDPOINTS_RENEW_MS,
  LEASED_LABEL,
} from '#component-helpers/leased-endpoints.ts';
import { isStatusError } from '#machinery/errors.ts';
import type { ComponentContext } from '#runtime/component.ts';
import { keepEndpointsLeases } from '#runtime/endpoints-lease.ts';
import { errorMessage } from '#stdx/log.ts';
import type { ListenAddress } from './server.ts';

interface PublishOptions extends Pick<ComponentContext, 'api' | 'clock' | 'log'> {
  readonly serviceIP: string;
  readonly addresses: readonly ListenAddress[];
  readonly signal: AbortSignal;
  /** The server may stop without the API server. */
  readonly leased: boolean;
  /** Holder identity of the leases. */
  readonly identity: string;
}

const RETRY_MS = 1_000;
/** Timeout for deleting the endpoints while the API server is unreachable. */
const UNPUBLISH_TIMEOUT_MS = 2_000;
const AT = { name: 'kube-dns', namespace: 'kube-system' };

/** Resolves after the first attempt, successful or not; failures are retried until the signal is aborted. */
export async function keepPublished(options: PublishOptions): Promise<void> {
  const { api, clock, log, signal } = options;
  const slices = new Set(options.addresses.map(sliceName));
  let dirty = false;
  let working = false;
  const work = async (): Promise<void> => {
    dirty = true;
    if (working) return;
    working = true;
    while (dirty && !signal.aborted) {
      dirty = false;
      await ensure(options).catch((error: unknown) => {
        if (signal.aborted) return;
        log.warn('error publishing the DNS Service, retrying', { error: errorMessage(error) });
        const timer = clock.after(RETRY_MS, () => void work());
        signal.addEventListener('abort', () => timer.cancel(), { once: true });
      });
    }
    working = false;
  };
  if (options.leased)
    keepEndpointsLeases({
      ...options,
      slices: () =>
        options.addresses.map((address) => ({ name: sliceName(address), namespace: AT.namespace })),
      label: LEASED_LABEL,
      leaseSeconds: ENDPOINTS_LEASE_SECONDS,
      renewMs: ENDPOINTS_RENEW_MS,
    });
  await work();
  if (signal.aborted) return;
  const mine = (name: string | undefined, namespace: string | undefined): boolean =>
    namespace === AT.namespace && (name === AT.name || slices.has(name ?? ''));
  const changed = ({ metadata }: Service | EndpointSlice): void => {
    if (mine(metadata?.name, metadata?.namespace)) void work();
  };
  const unsubscribe = [
    api.informer(services).subscribe({ updated: changed, deleted: changed }),
    api.informer(endpointSlices).subscribe({ updated: changed, deleted: changed }),
  ];
  signal.addEventListener(
    'abort',
    () => {
      for (const each of unsubscribe) each();
    },
    { once: true },
  );
}

/** Removes a stopping server's EndpointSlice, so that no client uses it. A failed deletion is logged; the entry then expires with its lease. */
export async function unpublish({
  api,
  log,
  addresses,
}: Pick<PublishOptions, 'api' | 'log' | 'addresses'>): Promise<void> {
  const removed = Promise.all(
    addresses.map((address) =>
      api
        .delete(endpointSlices, { name: sliceName(address), namespace: AT.namespace })
        .catch((error: unknown) => {
          if (!isStatusError(error, 'NotFound'))
            log.warn('error deleting DNS endpoints', {
              slice: sliceName(address),
              error: errorMessage(error),
            });
        }),
    ),
  );
  await Promise.race([removed, new Promise((resolve) => setTimeout(resolve, UNPUBLISH_TIMEOUT_MS).unref())]);
}

async function ensure({ api, log, serviceIP, addresses, leased }: PublishOptions): Promise<void> {
  const service = await ensureService(api, serviceIP);
  if (service.spec?.clusterIP !== serviceIP)
    log.warn('Service kube-system/kube-dns does not have the address in the resolv.conf of pods', {
      has: service.spec?.clusterIP ?? '',
      pods: serviceIP,
    });
  for (const address of addresses) await ensureSlice(api, { ...address, leased });
}

async function ensureService(api: Client, serviceIP: string): Promise<Service> {
  const wanted: Service = {
    apiVersion: 'v1',
    kind: 'Service',
    metadata: {
      ...AT,
      labels: {
        'k8s-app': 'kube-dns',
        'kubernetes.io/cluster-service': 'true',
        'kubernetes.io/name': 'CoreDNS',
      },
    },
    spec: {
      clusterIP: serviceIP,
      ports: [
        { name: 'dns', port: 53, protocol: 'UDP' },
        { name: 'dns-tcp', port: 53, protocol: 'TCP' },
      ],
    },
  };
  const known = api.informer(services).get(`${AT.namespace}/${AT.name}`);
  if (known) return known;
  return api.create(services, wanted).catch((error: unknown) => {
    if (!isStatusError(error, 'AlreadyExists')) throw error;
    return api.get(services, AT);
  });
}

function sliceName({ address, port }: ListenAddress): string {
  return `kube-dns-${address.replaceAll(/[.:]/g, '-')}-${port}`;
}

/** One slice per server, so that servers do not share an object. */
async function ensureSlice(api: Client, listen: ListenAddress & { readonly leased: boolean }): Promise<void> {
  const name = sliceName(listen);
  const { address, port } = listen;
  const wanted = {
    apiVersion: 'discovery.k8s.io/v1',
    kind: 'EndpointSlice',
    metadata: {
      name,
      namespace: AT.namespace,
      labels: {
        'kubernetes.io/service-name': AT.name,
        'endpointslice.kubernetes.io/managed-by': 'cluster-dns.capstan.dev',
        ...(listen.leased ? { [LEASED_LABEL]: '' } : {}),
      },
    },
    addressType: ipFamily(address),
    ports: [
      { name: 'dns', port, protocol: 'UDP' },
      { name: 'dns-tcp', port, protocol: 'TCP' },
    ],
    endpoints: [{ addresses: [address], conditions: { ready: true, serving: true, terminating: false } }],
  };
  const known = api.informer(endpointSlices).get(`${AT.namespace}/${name}`);
  if (known && points(known, wanted)) return;
  try {
    await api.create(endpointSlices, wanted);
  } catch (error) {
    if (!isStatusError(error, 'AlreadyExists')) throw error;
    const current = await api.get(endpointSlices, { name, namespace: AT.namespace });
    if (points(current, wanted)) return;
    const { [LEASED_LABEL]: _, ...others } = current.metadata?.labels ?? {};
    const labels = { ...others, ...wanted.metadata.labels };
    await api.update(endpointSlices, {
      ...current,
      metadata: { ...current.metadata, labels },
      ports: wanted.ports,
      endpoints: wanted.endpoints,
    });
  }
}

function points(slice: EndpointSlice, wanted: EndpointSlice): boolean {
  const seen = ({ endpoints, ports, metadata }: EndpointSlice): string =>
    JSON.stringify([
      endpoints?.map(({ addresses, conditions }) => [addresses, conditions?.ready]),
      ports?.map(({ name, port, protocol }) => [name, port, protocol]),
      metadata?.labels?.['kubernetes.io/service-name'],
      metadata?.labels?.[LEASED_LABEL],
    ]);
  return seen(slice) === seen(wanted);
}
