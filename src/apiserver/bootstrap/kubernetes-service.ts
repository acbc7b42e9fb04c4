/**
 * The Service default/kubernetes and its endpoints, after upstream's kubernetesservice controller: created at start and again after a deletion. On an
 * embedded store the server is the only endpoint; several servers on one store maintain the endpoints of those with a live lease
 * (server-leases.ts).
 */
import { isIPv6 } from 'node:net';
import { ipFamily } from '#machinery/ip.ts';
import type { Clock } from '#stdx/clock.ts';
import { KeyedWork } from '#stdx/keyed-work.ts';
import type { Logger } from '#stdx/log.ts';
import { deepEqual } from '#machinery/json.ts';
import type { Store } from '#storage/store.ts';
import type { KubeObject } from '#machinery/object.ts';
import type { GroupResource, InternalApi } from '../registry/loopback-client.ts';
import { createIfAbsent } from './create-if-absent.ts';
import { ServerLeases } from './server-leases.ts';

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
  /** Of a store that several servers share. */
  readonly shared?: Store | undefined;
  /** none: Endpoints and EndpointSlice are left to somebody else. Default: lease. */
  readonly reconciler?: 'lease' | 'none' | undefined;
}

/** Creates what is missing and corrects what differs. */
export async function ensureKubernetesService(options: KubernetesServiceOptions): Promise<void> {
  await createIfAbsent(options.internal, SERVICES, serviceObject(options));
  const own = ownAddress(options);
  if (own && !options.shared) await writeEndpoints(options.internal, { ips: [own.ip], port: own.port });
}

async function writeEndpoints(internal: InternalApi, where: Where): Promise<void> {
  await createOrUpdate(internal, ENDPOINTS, endpointsObject(where), 'subsets');
  await createOrUpdate(internal, SLICES, sliceObject(where), 'endpoints', 'ports');
}

/** Makes the objects again when they are deleted; a failure (an address that another Service took meanwhile) is logged and tried again. */
export class KubernetesService {
  readonly #options: KubernetesServiceOptions;
  readonly #work: KeyedWork;
  readonly #unwatch: (() => void)[] = [];
  readonly #leases: ServerLeases | undefined;
  #left: Promise<void> | undefined;

  constructor(
    options: KubernetesServiceOptions,
    { clock, log }: { readonly clock: Clock; readonly log: Logger },
  ) {
    this.#options = options;
    this.#work = new KeyedWork({
      clock,
      log,
      complaint: 'the kubernetes Service could not be created',
      work: () => this.#reconcile(),
    });
    const own = ownAddress(options);
    if (own && options.shared)
      this.#leases = new ServerLeases({
        store: options.shared,
        ip: own.ip,
        onChange: () => this.#add(),
        clock,
        log,
      });
  }

  /** After ensureKubernetesService(). Resolves when this server is among the endpoints. */
  async start(): Promise<void> {
    if (this.#unwatch.length > 0) return;
    for (const resource of [SERVICES, ENDPOINTS, SLICES])
      this.#unwatch.push(
        this.#options.internal.watch(resource, {
          added: () => {},
          updated: () => {},
          deleted: ({ metadata }) => {
            if (metadata?.name === NAME && metadata.namespace === NAMESPACE) this.#add();
          },
        }),
      );
    if (!this.#leases) return;
    await this.#leases.start();
    await this.#reconcile();
  }

  /** This server accepts no more requests: it removes itself from the endpoints, unless it is the last. */
  leave(): Promise<void> {
    return (this.#left ??= this.#leave());
  }

  async stop(): Promise<void> {
    for (const unwatch of this.#unwatch) unwatch();
    this.#leases?.stop();
    await this.#work.stop();
  }

  async #leave(): Promise<void> {
    if (!this.#leases) return;
    await this.#leases.remove();
    await this.#reconcileLeases(this.#leases);
  }

  #add(): void {
    this.#work.add(`${NAMESPACE}/${NAME}`);
  }

  async #reconcile(): Promise<void> {
    const { internal } = this.#options;
    await createIfAbsent(internal, SERVICES, serviceObject(this.#options));
    const own = ownAddress(this.#options);
    if (!own) return;
    if (this.#leases) return this.#reconcileLeases(this.#leases);
    const where = { ips: [own.ip], port: own.port };
    await createIfAbsent(internal, ENDPOINTS, endpointsObject(where));
    await createIfAbsent(internal, SLICES, sliceObject(where));
  }

  /** The last server stays an endpoint: a leaving server cannot be distinguished from a store that lost its leases. */
  async #reconcileLeases(leases: ServerLeases): Promise<void> {
    const { ip, port } = ownAddress(this.#options)!;
    // An EndpointSlice is of one family: that of the server which writes it.
    const ips = (await leases.list()).filter((other) => isIPv6(other) === isIPv6(ip));
    if (ips.length > 0) await writeEndpoints(this.#options.internal, { ips, port });
  }
}

type Address = NonNullable<KubernetesServiceOptions['advertiseAddress']>;

interface Where {
  readonly ips: readonly string[];
  readonly port: number;
}

/** Undefined: this server must not be an endpoint. Endpoints may not be loopback addresses, and no pod could reach such a server. */
function ownAddress({ advertiseAddress, reconciler }: KubernetesServiceOptions): Address | undefined {
  if (!advertiseAddress || reconciler === 'none') return undefined;
  const { ip } = advertiseAddress;
  return ip.startsWith('127.') || ip === '::1' ? undefined : advertiseAddress;
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
      ipFamilies: [ipFamily(serviceAddress)],
      ipFamilyPolicy: 'SingleStack',
      sessionAffinity: 'None',
      ports: [{ name: 'https', protocol: 'TCP', port: 443, targetPort: advertiseAddress?.port ?? 6443 }],
    },
  };
}

function endpointsObject({ ips, port }: Where): KubeObject {
  return {
    apiVersion: 'v1',
    kind: 'Endpoints',
    metadata: {
      name: NAME,
      namespace: NAMESPACE,
      labels: { 'endpointslice.kubernetes.io/skip-mirror': 'true' },
    },
    subsets: [{ addresses: ips.map((ip) => ({ ip })), ports: [{ name: 'https', port, protocol: 'TCP' }] }],
  } as KubeObject;
}

function sliceObject({ ips, port }: Where): KubeObject {
  return {
    apiVersion: 'discovery.k8s.io/v1',
    kind: 'EndpointSlice',
    metadata: { name: NAME, namespace: NAMESPACE, labels: { 'kubernetes.io/service-name': NAME } },
    addressType: ipFamily(ips[0]!),
    endpoints: ips.map((ip) => ({ addresses: [ip], conditions: { ready: true } })),
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
