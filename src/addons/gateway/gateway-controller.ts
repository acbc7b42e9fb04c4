/**
 * Keeps what the gateway needs at the API: its classes, the definitions of Gateway API, its Service while something is served, and the status of what is served: addresses, and of Gateways and routes
 * conditions. Says by events what of an Ingress is not carried out, and which Ingresses no controller took. The proxies (gateway.ts) compile the same objects by themselves.
 */
import type { Ingress, IngressClass, Service } from '#api/types.ts';
import {
  endpointSlices,
  ingressClasses,
  ingresses,
  namespaces,
  nodes,
  secrets,
  services,
} from '#client/refs.ts';
import { indexByService } from '#component-helpers/endpoint-slices.ts';
import { isConditionTrue } from '#component-helpers/conditions.ts';
import { isStatusError } from '#machinery/errors.ts';
import { deepEqual } from '#machinery/json.ts';
import { objectKey, type Stored } from '#machinery/object.ts';
import { timeMs } from '#machinery/time.ts';
import { defineController, watch, type ReconcileContext, type ReconcileResult } from '#runtime/controller.ts';
import { INGRESS_CONTROLLER, isOurs } from './compile-ingress.ts';
import { prepareGatewayApi, writeGatewayStatus } from './gateway-api-status.ts';
import {
  BY_SERVICE,
  compileAll,
  gatewayApiInformers,
  GATEWAY_SERVICE,
  INGRESS_CLASS,
  type GatewayInformers,
} from './gateway-objects.ts';

const ALL = 'all';
const RESYNC_MS = 60_000;
const REPEAT_MS = 50 * 60_000;
/** Another controller may be meant to take an Ingress: it is given time. */
const FOREIGN_GRACE_MS = 30_000;
/** Maximum number of sentences that are remembered as said. */
const MAX_SAID = 10_000;
const keys = (): readonly string[] => [ALL];
const labels = { 'app.kubernetes.io/managed-by': 'capstan' };

export const gatewayController = defineController({
  name: 'gateway-controller',
  serviceAccount: 'gateway',
  watches: [
    watch(ingresses, { keys }),
    watch(ingressClasses, { keys }),
    watch(services, { keys }),
    watch(endpointSlices, {
      keys,
      changed: (slice, before) =>
        !deepEqual([slice.endpoints, slice.ports], [before.endpoints, before.ports]),
    }),
    watch(secrets, { select: { fieldSelector: 'type=kubernetes.io/tls' }, keys }),
    watch(namespaces, {
      keys,
      changed: ({ metadata }, before) => !deepEqual(metadata.labels, before.metadata.labels),
    }),
    watch(nodes, { keys, changed: (node, before) => isReady(node) !== isReady(before) }),
  ],
  indexes: [
    {
      resource: endpointSlices,
      name: BY_SERVICE,
      values: indexByService as (object: never) => readonly string[],
    },
  ],
  workers: 1,
  resyncEveryMs: RESYNC_MS,
  async reconcile(context) {
    if (context.key !== ALL) return context.enqueue(ALL);
    await ensureClass(context);
    const isPrepared = await prepareGatewayApi(context);
    const informers = informersOf(context);
    const ours = informers.ingresses.list().filter((one) => isOurs(one, informers.classes.list()));
    const { model, ingresses: compiled, gateways: compiledGateways } = compileAll(informers);
    const ports = model.listeners.map(({ port }) => port);
    // Without Gateways known, nothing to serve is no reason to delete it.
    if (isPrepared || ports.length > 0) await keepService(context, ports);
    const addresses = addressesOf(context);
    for (const ingress of ours)
      await writeStatus(context, {
        ingress,
        addresses,
        ports: compiled.model.listeners.map(({ port }) => port),
      });
    if (isPrepared) await writeGatewayStatus(context, { compiled: compiledGateways, addresses });
    for (const { ingress, message } of compiled.problems) say(context, { ingress, message });
    return sayUntaken(context);
  },
});

function isReady({
  status,
}: {
  readonly status?: { readonly conditions?: readonly { type: string; status: string }[] };
}): boolean {
  return isConditionTrue(status?.conditions, 'Ready');
}

function informersOf({ informer, shared }: ReconcileContext): GatewayInformers {
  return {
    ingresses: informer(ingresses),
    classes: informer(ingressClasses),
    services: informer(services),
    slices: informer(endpointSlices),
    secrets: shared.informer(secrets, { fieldSelector: 'type=kubernetes.io/tls' }),
    namespaces: informer(namespaces),
    api: gatewayApiInformers(shared),
  };
}

/** Once for each leader: an administrator may change it, or delete it until the next start. */
async function ensureClass({ api, informer, memory }: ReconcileContext): Promise<void> {
  if (memory.has('class')) return;
  const ours: IngressClass = {
    metadata: { name: INGRESS_CLASS, labels },
    spec: { controller: INGRESS_CONTROLLER },
  };
  if (!informer(ingressClasses).get(INGRESS_CLASS))
    await api.create(ingressClasses, ours).catch((error: unknown) => {
      if (!isStatusError(error, 'AlreadyExists')) throw error;
    });
  memory.set('class', true);
}

/** Without a selector: the proxies write its EndpointSlices. */
async function keepService({ api, informer }: ReconcileContext, listeners: readonly number[]): Promise<void> {
  const found = informer(services).get(`${GATEWAY_SERVICE.namespace}/${GATEWAY_SERVICE.name}`);
  if (listeners.length === 0) {
    if (found && !found.metadata.deletionTimestamp) await api.delete(services, GATEWAY_SERVICE);
    return;
  }
  const ports = listeners.map((port) => ({ name: `port-${port}`, port, targetPort: port, protocol: 'TCP' }));
  const wanted: Service = {
    metadata: { ...GATEWAY_SERVICE, labels },
    spec: {
      type: 'LoadBalancer',
      externalTrafficPolicy: 'Local',
      allocateLoadBalancerNodePorts: false,
      ipFamilyPolicy: 'PreferDualStack',
      ports,
    },
  };
  if (!found) await api.create(services, wanted);
  else if (
    !deepEqual(
      found.spec?.ports?.map(({ port }) => port),
      listeners,
    )
  )
    await api.update(services, { ...found, spec: { ...found.spec, ports } });
}

/** Of the load balancer, where it has one; else of the machines whose proxies run. */
function addressesOf({ informer }: ReconcileContext): readonly string[] {
  const key = `${GATEWAY_SERVICE.namespace}/${GATEWAY_SERVICE.name}`;
  const balanced = informer(services).get(key)?.status?.loadBalancer?.ingress ?? [];
  const given = balanced.flatMap(({ ip, hostname }) => ip ?? hostname ?? []);
  if (given.length > 0) return given;
  const running = informer(endpointSlices)
    .byIndex(BY_SERVICE, key)
    .flatMap(({ endpoints = [] }) => endpoints)
    .filter(({ nodeName }) => {
      const node = nodeName === undefined ? undefined : informer(nodes).get(nodeName);
      return node === undefined || isReady(node as Parameters<typeof isReady>[0]);
    });
  return [...new Set(running.flatMap(({ addresses }) => addresses))].toSorted();
}

interface Status {
  readonly ingress: Stored<Ingress>;
  readonly addresses: readonly string[];
  readonly ports: readonly number[];
}

async function writeStatus({ api }: ReconcileContext, { ingress, addresses, ports }: Status): Promise<void> {
  const wanted = addresses.map((ip) => ({ ip, ports: ports.map((port) => ({ port, protocol: 'TCP' })) }));
  if (ingress.metadata.deletionTimestamp || deepEqual(wanted, ingress.status?.loadBalancer?.ingress ?? []))
    return;
  const { name, namespace, resourceVersion } = ingress.metadata;
  const status = { loadBalancer: wanted.length > 0 ? { ingress: wanted } : null };
  await api.patch(
    ingresses,
    { name, namespace },
    { type: 'merge', subresource: 'status', patch: { metadata: { resourceVersion }, status } },
  );
}

/** Of Ingresses that no controller took. */
function sayUntaken(context: ReconcileContext): ReconcileResult {
  const { clock, informer } = context;
  const classes = informer(ingressClasses).list();
  const ages = informer(ingresses)
    .list()
    .filter((one) => !isOurs(one, classes) && isUntaken(one))
    .map((ingress) => ({ ingress, ageMs: clock.now() - (timeMs(ingress.metadata.creationTimestamp) ?? 0) }));
  for (const { ingress, ageMs } of ages)
    if (ageMs >= FOREIGN_GRACE_MS) say(context, { ingress, message: untakenMessage(ingress) });
  const waits = ages.map(({ ageMs }) => FOREIGN_GRACE_MS - ageMs).filter((waitMs) => waitMs > 0);
  if (waits.length > 0) return { requeueAfterMs: Math.min(...waits) };
}

function isUntaken({ metadata, status }: Stored<Ingress>): boolean {
  return !metadata.deletionTimestamp && (status?.loadBalancer?.ingress?.length ?? 0) === 0;
}

function untakenMessage({ spec }: Ingress): string {
  const name = spec?.ingressClassName;
  const which =
    name === undefined ? 'it names no class, and no class is the default' : `its class is ${name}`;
  return `no ingress controller has taken this Ingress: ${which}; this cluster serves class ${INGRESS_CLASS}`;
}

/** Again before the event expires. */
function say(
  { clock, events, memory }: ReconcileContext,
  { ingress, message }: { readonly ingress: Stored<Ingress>; readonly message: string },
): void {
  const name = `said ${objectKey(ingress)} ${ingress.metadata.uid} ${message}`;
  const atMs = memory.get(name) as number | undefined;
  if (atMs !== undefined && clock.now() - atMs < REPEAT_MS) return;
  if (memory.size >= MAX_SAID && atMs === undefined) return;
  memory.set(name, clock.now());
  events.event(ingress, { type: 'Warning', reason: 'NotServed', message: message.slice(0, 1024) });
}
