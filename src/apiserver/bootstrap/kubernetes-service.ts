/**
 * The Service default/kubernetes and where it leads: this server. After upstream's kubernetesservice controller: made at start, and made again as soon
 * as somebody deletes it. Objects that exist are corrected at start only, so that several servers on one store do not overwrite each other for ever.
 */
import { isIPv6 } from 'node:net';
import type { Clock } from '#stdx/clock.ts';
import { KeyedWork } from '#stdx/keyed-work.ts';
import type { Logger } from '#stdx/log.ts';
import { deepEqual } from '#machinery/json.ts';
import type { KubeObject } from '#machinery/object.ts';
import type { GroupResource, InternalApi } from '../registry/loopback-client.ts';
import { createIfAbsent } from './create-if-absent.ts';

const SERVICES = { group: '', resource: 'services' };
const ENDPOINTS = { group: '', resource: 'endpoints' };
const SLICES = { group: 'discovery.k8s.io', resource: 'endpointslices' };
const NAME = 'kubernetes',
  NAMESPACE = 'default';

export interface KubernetesServiceOptions {
  readonly internal: InternalApi;
  /** Of the Service. */
  readonly serviceAddress: string;
  readonly advertiseAddress: { readonly ip: string; readonly port: number } | undefined;
}

/** Makes what is missing and corrects what is there. */
export async function ensureKubernetesService(options: KubernetesServiceOptions): Promise<void> {
  const { internal, advertiseAddress } = options;
  await createIfAbsent(internal, SERVICES, serviceObject(options));
  if (!isReachable(advertiseAddress)) return;
  await createOrUpdate(internal, ENDPOINTS, endpointsObject(advertiseAddress), 'subsets');
  await createOrUpdate(internal, SLICES, sliceObject(advertiseAddress), 'endpoints', 'ports');
}

/** Makes the objects again when they are deleted; a failure (an address that another Service took meanwhile) is logged and tried again. */
export class KubernetesService {
  readonly #options: KubernetesServiceOptions;
  readonly #work: KeyedWork;
  readonly #unwatch: (() => void)[] = [];

  constructor(
    options: KubernetesServiceOptions,
    { clock, log }: { readonly clock: Clock; readonly log: Logger },
  ) {
    this.#options = options;
    this.#work = new KeyedWork({
      clock,
      log,
      complaint: 'the kubernetes Service could not be created',
      work: () => this.#createMissing(),
    });
  }

  /** After ensureKubernetesService(). */
  start(): void {
    if (this.#unwatch.length > 0) return;
    for (const resource of [SERVICES, ENDPOINTS, SLICES])
      this.#unwatch.push(
        this.#options.internal.watch(resource, {
          added: () => {},
          updated: () => {},
          deleted: ({ metadata }) => {
            if (metadata?.name === NAME && metadata.namespace === NAMESPACE)
              this.#work.add(`${NAMESPACE}/${NAME}`);
          },
        }),
      );
  }

  async stop(): Promise<void> {
    for (const unwatch of this.#unwatch) unwatch();
    await this.#work.stop();
  }

  async #createMissing(): Promise<void> {
    const { internal, advertiseAddress } = this.#options;
    await createIfAbsent(internal, SERVICES, serviceObject(this.#options));
    if (!isReachable(advertiseAddress)) return;
    await createIfAbsent(internal, ENDPOINTS, endpointsObject(advertiseAddress));
    await createIfAbsent(internal, SLICES, sliceObject(advertiseAddress));
  }
}

type Address = NonNullable<KubernetesServiceOptions['advertiseAddress']>;

/** Endpoints may not be loopback addresses: such a server is reached by no pod anyway. */
function isReachable(address: Address | undefined): address is Address {
  return address !== undefined && !address.ip.startsWith('127.') && address.ip !== '::1';
}

function serviceObject({ serviceAddress, advertiseAddress }: KubernetesServiceOptions): KubeObject {
  return {
    apiVersion: 'v1',
    kind: 'Service',
    metadata: {
      name: 'kubernetes',
      namespace: 'default',
      labels: { component: 'apiserver', provider: 'kubernetes' },
    },
    spec: {
      type: 'ClusterIP',
      clusterIP: serviceAddress,
      clusterIPs: [serviceAddress],
      ipFamilies: ['IPv4'],
      ipFamilyPolicy: 'SingleStack',
      sessionAffinity: 'None',
      ports: [{ name: 'https', protocol: 'TCP', port: 443, targetPort: advertiseAddress?.port ?? 6443 }],
    },
  };
}

function endpointsObject({ ip, port }: Address): KubeObject {
  return {
    apiVersion: 'v1',
    kind: 'Endpoints',
    metadata: {
      name: NAME,
      namespace: NAMESPACE,
      labels: { 'endpointslice.kubernetes.io/skip-mirror': 'true' },
    },
    subsets: [{ addresses: [{ ip }], ports: [{ name: 'https', port, protocol: 'TCP' }] }],
  } as KubeObject;
}

function sliceObject({ ip, port }: Address): KubeObject {
  return {
    apiVersion: 'discovery.k8s.io/v1',
    kind: 'EndpointSlice',
    metadata: { name: NAME, namespace: NAMESPACE, labels: { 'kubernetes.io/service-name': NAME } },
    addressType: isIPv6(ip) ? 'IPv6' : 'IPv4',
    endpoints: [{ addresses: [ip], conditions: { ready: true } }],
    ports: [{ name: 'https', port, protocol: 'TCP' }],
  } as KubeObject;
}

async function createOrUpdate(
  internal: InternalApi,
  resource: GroupResource,
  object: KubeObject,
  ...fields: string[]
): Promise<void> {
  const { name = '', namespace } = object.metadata ?? {};
  const current = internal.get(resource, { name, namespace });
  if (!current) return createIfAbsent(internal, resource, object);
  await internal.modify(resource, { name, namespace }, (stored) => {
    if (fields.every((field) => deepEqual(stored[field], object[field]))) return false;
    for (const field of fields) stored[field] = object[field];
    return true;
  });
}
