/** The controller's part for Gateway API: its definitions, the GatewayClass, and the status of classes, Gateways and routes. */
import type { Informer, ResourceRef } from '#client/client.ts';
import { isStatusError } from '#machinery/errors.ts';
import { deepEqual } from '#machinery/json.ts';
import { objectKey, type KubeObject, type Stored } from '#machinery/object.ts';
import { formatTime } from '#machinery/time.ts';
import type { ReconcileContext } from '#runtime/controller.ts';
import { errorMessage } from '#stdx/log.ts';
import type { CompiledGateways } from './compile-gateway.ts';
import {
  GATEWAY_CLASS,
  GATEWAY_CONTROLLER,
  gatewayClasses,
  gateways,
  grpcRoutes,
  httpRoutes,
  referenceGrants,
  tlsRoutes,
  type Route,
  type RouteKind,
} from './gateway-api.ts';
import { installGatewayDefinitions } from './gateway-definitions.ts';
import { gatewayApiInformers } from './gateway-objects.ts';
import { classConditions, conditionsOf, gatewayStatus, routeParents } from './gateway-status.ts';

const ALL = 'all';
const PREPARED = 'gateway-api';
const RETRY_MS = 5 * 60_000;
const REFS: readonly ResourceRef[] = [
  gatewayClasses,
  gateways,
  httpRoutes,
  grpcRoutes,
  tlsRoutes,
  referenceGrants,
];
const ROUTES: Readonly<Record<RouteKind, ResourceRef<Route>>> = {
  HTTPRoute: httpRoutes,
  GRPCRoute: grpcRoutes,
  TLSRoute: tlsRoutes,
};

/** Once for each leader. False: its definitions could not be installed, which is tried again later; Ingresses are served all the same. */
export async function prepareGatewayApi(context: ReconcileContext): Promise<boolean> {
  const { memory, clock, log, signal } = context;
  const state = memory.get(PREPARED) as true | number | undefined;
  if (state === true) return true;
  if (state !== undefined && clock.now() - state < RETRY_MS) return false;
  try {
    await prepare(context);
    memory.set(PREPARED, true);
    return true;
  } catch (error) {
    if (signal.aborted) throw error;
    log.error('error preparing Gateway API', { error: errorMessage(error) });
    memory.set(PREPARED, clock.now());
    return false;
  }
}

/** Definitions, the class, and informers of what is served. */
async function prepare(context: ReconcileContext): Promise<void> {
  const { shared, signal, enqueue, api } = context;
  const served = await installGatewayDefinitions(context);
  const serving = REFS.filter(({ plural, group }) => served.has(`${plural}.${group}`));
  await Promise.all(serving.map((ref) => shared.informer(ref).synced(signal)));
  if (serving.includes(gatewayClasses) && !shared.informer(gatewayClasses).get(GATEWAY_CLASS))
    await api
      .create(gatewayClasses, {
        apiVersion: 'gateway.networking.k8s.io/v1',
        kind: 'GatewayClass',
        metadata: { name: GATEWAY_CLASS, labels: { 'app.kubernetes.io/managed-by': 'capstan' } },
        spec: { controllerName: GATEWAY_CONTROLLER },
      })
      .catch((error: unknown) => {
        if (!isStatusError(error, 'AlreadyExists')) throw error;
      });
  const changed = (): void => enqueue(ALL);
  for (const informer of Object.values(gatewayApiInformers(shared)) as Informer<never>[]) {
    const unsubscribe = informer.subscribe({ added: changed, updated: changed, deleted: changed });
    signal.addEventListener('abort', unsubscribe, { once: true });
  }
}

interface Writing {
  readonly compiled: CompiledGateways;
  readonly addresses: readonly string[];
}

export async function writeGatewayStatus(context: ReconcileContext, writing: Writing): Promise<void> {
  const time = formatTime(context.clock.now());
  const informers = gatewayApiInformers(context.shared);
  for (const one of informers.classes.list())
    if (one.spec.controllerName === GATEWAY_CONTROLLER)
      await writeStatus(context, {
        ref: gatewayClasses,
        object: one,
        status: {
          ...one.status,
          conditions: conditionsOf(one.status?.conditions, {
            wanted: classConditions(one.spec.parametersRef !== undefined),
            stamp: { generation: one.metadata.generation ?? 0, time },
          }),
        },
      });
  for (const gateway of writing.compiled.gateways)
    await writeStatus(context, {
      ref: gateways,
      object: gateway,
      status: gatewayStatus(gateway, { ...writing, time }),
    });
  for (const [kind, routes] of [
    ['HTTPRoute', informers.httpRoutes.list()],
    ['GRPCRoute', informers.grpcRoutes.list()],
    ['TLSRoute', informers.tlsRoutes.list()],
  ] as const)
    for (const route of routes) await writeRoute(context, { kind, route, compiled: writing.compiled, time });
}

async function writeRoute(
  context: ReconcileContext,
  {
    kind,
    route,
    compiled,
    time,
  }: {
    readonly kind: RouteKind;
    readonly route: Stored<Route>;
    readonly compiled: CompiledGateways;
    readonly time: string;
  },
): Promise<void> {
  const before = route.status?.parents ?? [];
  const parents = compiled.parents.filter(
    (one) => one.kind === kind && objectKey(one.route) === objectKey(route),
  );
  const next = routeParents(before, { parents, generation: route.metadata.generation ?? 0, time });
  if (before.length > 0 || next.length > 0)
    await writeStatus(context, { ref: ROUTES[kind], object: route, status: { parents: next } });
}

async function writeStatus<T extends KubeObject & { readonly status?: object }>(
  { api }: ReconcileContext,
  {
    ref,
    object,
    status,
  }: { readonly ref: ResourceRef<T>; readonly object: Stored<T>; readonly status: object },
): Promise<void> {
  if (object.metadata.deletionTimestamp || deepEqual(status, object.status ?? {})) return;
  const { name, namespace, resourceVersion } = object.metadata;
  await api.patch(
    ref,
    { name, namespace },
    { type: 'merge', subresource: 'status', patch: { metadata: { resourceVersion }, status } },
  );
}
