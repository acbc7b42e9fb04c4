/**
 * Gives Services of type LoadBalancer addresses of IPAddressPools. The speakers of the nodes announce them (speaker/), the service proxy translates them.
 *
 *   Service ──► address claimed (IPAddress) ──► finalizer ──► status.loadBalancer ──deleted, or of another type──► finalizer removed ──► address released
 *
 * The claim comes first and is what makes a Service this controller's: without one nothing of a Service is touched, so that another load balancer may have it.
 */
import type { IPAddress, Service } from '#api/types.ts';
import { ipAddresses, namespaces, services } from '#client/refs.ts';
import { deepEqual } from '#machinery/json.ts';
import { objectKey, type Stored } from '#machinery/object.ts';
import { timeMs } from '#machinery/time.ts';
import { defineController, watch, type ReconcileContext, type ReconcileResult } from '#runtime/controller.ts';
import { installDefinitions } from '../definitions/custom-resource.ts';
import { allocate, AllocationError, type Allocation } from './allocate.ts';
import { holdersOf, holdsAddress, releaseAddress } from './address-holders.ts';
import { BGP_DEFINITIONS } from './bgp-api.ts';
import { CLEANUP_FINALIZER, ipAddressPools, isBalanced, LOAD_BALANCER_DEFINITIONS, POOL } from './api.ts';
import { readPool, type AddressPool } from './pools.ts';
import { reportPools } from './report-pools.ts';

const BY_SERVICE = 'load-balancer-service';
const SWEEP = 'sweep';
const SWEEP_MS = 60_000;
/** Another load balancer, installed into the cluster, may serve it in that time. */
const FOREIGN_GRACE_MS = 30_000;
/** An event is kept for an hour. */
const REPEAT_MS = 50 * 60_000;

type Balanced = Stored<Service>;

export const loadBalancerController = defineController({
  name: 'load-balancer-controller',
  eventSource: 'load-balancer-controller',
  watches: [
    watch(services, {
      changed: ({ metadata, spec, status }, before) =>
        !deepEqual([spec, status], [before.spec, before.status]) ||
        metadata.deletionTimestamp !== before.metadata.deletionTimestamp ||
        !deepEqual(
          [metadata.annotations, metadata.labels],
          [before.metadata.annotations, before.metadata.labels],
        ),
    }),
    watch(ipAddresses, {
      keys: (address) => (isPooled(address) ? [...Object.keys(holdersOf(address)), SWEEP] : []),
    }),
    watch(namespaces, { keys: () => [] }),
  ],
  indexes: [
    {
      resource: ipAddresses,
      name: BY_SERVICE,
      values: ((address: IPAddress) => Object.keys(holdersOf(address))) as (
        object: never,
      ) => readonly string[],
    },
  ],
  resyncEveryMs: SWEEP_MS,
  async reconcile(context): Promise<ReconcileResult> {
    if (!(await isPrepared(context))) return { requeueAfterMs: 1_000 };
    if (context.key === '' || context.key === SWEEP) return sweep(context);
    return reconcileService(context);
  },
});

function isPooled({ metadata }: IPAddress): boolean {
  return metadata?.labels?.[POOL] !== undefined;
}

/** Definitions, and the informer of pools; once for each leader. False: another key is at it. */
async function isPrepared({ memory, ...context }: ReconcileContext): Promise<boolean> {
  const state = memory.get('prepared');
  if (state === true) return true;
  if (state !== undefined) return false;
  memory.set('prepared', 'begun');
  try {
    await installDefinitions(context, [...LOAD_BALANCER_DEFINITIONS, ...BGP_DEFINITIONS]);
    await context.shared.informer(ipAddressPools).synced(context.signal);
  } catch (error) {
    memory.delete('prepared');
    throw error;
  }
  const changed = (): void => enqueueBalanced(context);
  const unsubscribe = context.shared
    .informer(ipAddressPools)
    .subscribe({ added: changed, updated: changed, deleted: changed });
  context.signal.addEventListener('abort', unsubscribe, { once: true });
  memory.set('prepared', true);
  return true;
}

function enqueueBalanced({ informer, enqueue }: Pick<ReconcileContext, 'informer' | 'enqueue'>): void {
  for (const service of informer(services).list())
    if (service.spec?.type === 'LoadBalancer') enqueue(objectKey(service));
  enqueue(SWEEP);
}

function readPools({ shared }: ReconcileContext): AddressPool[] {
  return shared.informer(ipAddressPools).list().map(readPool);
}

/** What Services that are gone left; who waits for an address; what pools have. */
async function sweep(context: ReconcileContext): Promise<void> {
  const { api, informer, enqueue } = context;
  for (const address of informer(ipAddresses).list().filter(isPooled)) {
    const holders = Object.entries(holdersOf(address));
    for (const [key, { uid }] of holders)
      if (informer(services).get(key)?.metadata.uid !== uid)
        await releaseAddress(api, { address: address.metadata.name, key });
    if (holders.length === 0) await releaseAddress(api, { address: address.metadata.name, key: '' });
  }
  for (const service of informer(services).list())
    if (isBalanced(service) && !service.status?.loadBalancer?.ingress?.length) enqueue(objectKey(service));
  await reportPools(context, readPools(context));
}

async function reconcileService(context: ReconcileContext): Promise<ReconcileResult> {
  const { key, informer } = context;
  const service = informer(services).get(key);
  if (!service) return;
  const held = informer(ipAddresses)
    .byIndex(BY_SERVICE, key)
    .filter((address) => holdsAddress(address, service))
    .map(({ metadata }) => metadata.name);
  if (service.metadata.deletionTimestamp || !isBalanced(service)) return release(context, { service, held });
  try {
    const allocation = await allocate(service, {
      api: context.api,
      pools: readPools(context),
      namespace: informer(namespaces).get(service.metadata.namespace ?? ''),
      addressOf: (address) => informer(ipAddresses).get(address),
      held,
    });
    return await assign(context, { service, allocation });
  } catch (error) {
    if (!(error instanceof AllocationError)) throw error;
    return fail(context, { service, held, message: error.message });
  }
}

/** The finalizer goes last: what it guards is done by then. Addresses are released after that, so that a controller that ends in between finds them in its sweep. */
async function release(
  context: ReconcileContext,
  { service, held }: { readonly service: Balanced; readonly held: readonly string[] },
): Promise<void> {
  if (held.length === 0) return;
  const { api, events, key } = context;
  const written = service.metadata.deletionTimestamp
    ? service
    : await writeIngress(context, { service, addresses: [] });
  const finalizers = written.metadata.finalizers?.filter((one) => one !== CLEANUP_FINALIZER);
  if (finalizers?.length !== written.metadata.finalizers?.length)
    await patchMetadata(context, { service: written, metadata: { finalizers } });
  for (const address of held) await releaseAddress(api, { address, key });
  events.event(service, { type: 'Normal', reason: 'DeletedLoadBalancer', message: 'Deleted load balancer' });
}

async function assign(
  context: ReconcileContext,
  {
    service,
    allocation: { addresses, pools, surplus },
  }: { readonly service: Balanced; readonly allocation: Allocation },
): Promise<void> {
  const { api, events, key, memory } = context;
  memory.delete(`failed ${key}`);
  const finalizers = service.metadata.finalizers ?? [];
  const guarded = finalizers.includes(CLEANUP_FINALIZER)
    ? service
    : await patchMetadata(context, { service, metadata: { finalizers: [...finalizers, CLEANUP_FINALIZER] } });
  const before = service.status?.loadBalancer?.ingress;
  const written = await writeIngress(context, { service: guarded, addresses });
  for (const address of surplus) await releaseAddress(api, { address, key });
  if (
    !deepEqual(
      before?.map(({ ip }) => ip),
      written.status?.loadBalancer?.ingress?.map(({ ip }) => ip),
    )
  )
    events.event(service, {
      type: 'Normal',
      reason: 'EnsuredLoadBalancer',
      message: `Ensured load balancer: ${addresses.join(', ')} of ${[...new Set(pools)].join(', ')}`,
    });
}

/** It keeps what it has, unless that is what it may not have any more. */
async function fail(
  context: ReconcileContext,
  {
    service,
    held,
    message,
  }: { readonly service: Balanced; readonly held: readonly string[]; readonly message: string },
): Promise<ReconcileResult> {
  const { api, clock, events, key, memory, shared } = context;
  if (held.length > 0) {
    await writeIngress(context, { service, addresses: [] });
    for (const address of held) await releaseAddress(api, { address, key });
  }
  // Without pools another load balancer may be meant to have it: it is given time, and what it assigned is enough.
  const isUnused = shared.informer(ipAddressPools).list().length === 0;
  if (isUnused && held.length === 0 && service.status?.loadBalancer?.ingress?.length) return;
  const ageMs = clock.now() - (timeMs(service.metadata.creationTimestamp) ?? 0);
  if (isUnused && ageMs < FOREIGN_GRACE_MS) return { requeueAfterMs: FOREIGN_GRACE_MS - ageMs };
  const said = memory.get(`failed ${key}`) as { message: string; atMs: number } | undefined;
  if (said?.message === message && clock.now() - said.atMs < REPEAT_MS) return;
  memory.set(`failed ${key}`, { message, atMs: clock.now() });
  events.event(service, {
    type: 'Warning',
    reason: 'SyncLoadBalancerFailed',
    message: `Error syncing load balancer: failed to ensure load balancer: ${message}`,
  });
  return { requeueAfterMs: REPEAT_MS };
}

async function writeIngress(
  { api }: ReconcileContext,
  { service, addresses }: { readonly service: Balanced; readonly addresses: readonly string[] },
): Promise<Balanced> {
  const ports = (service.spec?.ports ?? []).map(({ port, protocol = 'TCP' }) => ({ port, protocol }));
  const ingress = addresses.map((ip) => ({ ip, ipMode: 'VIP', ports }));
  if (deepEqual(ingress, service.status?.loadBalancer?.ingress ?? [])) return service;
  const { name, namespace, resourceVersion } = service.metadata;
  return api.patch(
    services,
    { name, namespace },
    {
      type: 'merge',
      subresource: 'status',
      patch: {
        metadata: { resourceVersion },
        status: { loadBalancer: ingress.length > 0 ? { ingress } : null },
      },
    },
  );
}

async function patchMetadata(
  { api }: ReconcileContext,
  { service, metadata }: { readonly service: Balanced; readonly metadata: object },
): Promise<Balanced> {
  const { name, namespace, resourceVersion } = service.metadata;
  return api.patch(
    services,
    { name, namespace },
    { type: 'merge', patch: { metadata: { resourceVersion, ...metadata } } },
  );
}
