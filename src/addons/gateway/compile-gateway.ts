/**
 * Gateways of this cluster's class and the routes that attach to them as the model, with what is to be said of each. Several Gateways share the machines' addresses: their listeners on one port are merged.
 * Precedence is Gateway API's: of hosts the most specific, of rules by compareMatches, of equal ones that of the older route. Pure.
 */
import { objectKey, type KubeObject, type Stored } from '#machinery/object.ts';
import {
  compileGrpcRule,
  compileHttpRule,
  problemsOf,
  UnsupportedValue,
  type CompiledRule,
} from './compile-rules.ts';
import {
  allowsRoute,
  compileListeners,
  isServing,
  listenerKey,
  type CompiledListener,
  type ListenerInput,
  type Transport,
} from './compile-listeners.ts';
import {
  GATEWAY_CONTROLLER,
  GATEWAY_GROUP,
  type Gateway,
  type GatewayClass,
  type GRPCRoute,
  type HTTPRoute,
  type ParentReference,
  type Route,
  type RouteKind,
  type TLSRoute,
} from './gateway-api.ts';
import { intersectHostnames } from './hostnames.ts';
import {
  compareMatches,
  type Backend,
  type GatewayModel,
  type Listener,
  type Rule,
  type VirtualHost,
} from './model.ts';
import { resolveBackends, type BackendInput, type Problem } from './references.ts';
import { isPlainWord, shortHash } from './words.ts';

export interface GatewayInput extends ListenerInput, BackendInput {
  readonly classes: readonly GatewayClass[];
  readonly gateways: readonly Stored<Gateway>[];
  readonly httpRoutes: readonly Stored<HTTPRoute>[];
  readonly grpcRoutes: readonly Stored<GRPCRoute>[];
  readonly tlsRoutes: readonly Stored<TLSRoute>[];
}

export interface CompiledGateways {
  readonly model: GatewayModel;
  readonly gateways: readonly Stored<Gateway>[];
  /** Of those Gateways, in their order. */
  readonly listeners: readonly (CompiledListener & { readonly attachedRoutes: number })[];
  /** Every reference of a route to such a Gateway. */
  readonly parents: readonly CompiledParent[];
}

export interface CompiledParent {
  readonly kind: RouteKind;
  readonly route: Stored<Route>;
  readonly ref: ParentReference;
  /** Absent: it is attached. */
  readonly accepted?: Problem | undefined;
  readonly resolvedRefs?: Problem | undefined;
}

/** A route on one listener, with the hosts that both take. */
interface Attachment {
  readonly kind: RouteKind;
  readonly route: Stored<Route>;
  readonly listener: CompiledListener;
  readonly hostnames: readonly string[];
}

interface AnyRoute {
  readonly kind: RouteKind;
  readonly route: Stored<Route>;
}

const INPUT_KINDS = { HTTPRoute: 'httpRoutes', GRPCRoute: 'grpcRoutes', TLSRoute: 'tlsRoutes' } as const;

function isOurGateway({ spec }: Gateway, classes: readonly GatewayClass[]): boolean {
  return classes.some(
    (one) => one.metadata?.name === spec.gatewayClassName && one.spec.controllerName === GATEWAY_CONTROLLER,
  );
}

export function compileGateways(input: GatewayInput): CompiledGateways {
  const ours = input.gateways
    .filter((one) => isOurGateway(one, input.classes) && !one.metadata.deletionTimestamp)
    .toSorted(byAge);
  const listeners = compileListeners(ours, input);
  const attachments: Attachment[] = [];
  const parents = routesOf(input).flatMap((route) =>
    (route.route.spec.parentRefs ?? []).flatMap((ref) => {
      const gateway = ours.find((one) => objectKey(one) === parentKey(ref, route.route));
      return gateway ? [attach({ ...route, ref }, { gateway, listeners, input, attachments })] : [];
    }),
  );
  const distinct = [...new Map(attachments.map((one) => [attachmentKey(one), one])).values()];
  const attached = Map.groupBy(distinct, ({ listener }) => listenerKey(listener));
  return {
    model: modelOf({ listeners, attached, input }),
    gateways: ours,
    listeners: listeners.map((one) => ({
      ...one,
      attachedRoutes: attached.get(listenerKey(one))?.length ?? 0,
    })),
    parents,
  };
}

function byAge(a: Stored<KubeObject>, b: Stored<KubeObject>): number {
  const [left, right] = [a, b].map((one) => `${String(one.metadata.creationTimestamp)} ${objectKey(one)}`);
  return left! < right! ? -1 : 1;
}

function routesOf(input: GatewayInput): AnyRoute[] {
  return (Object.keys(INPUT_KINDS) as RouteKind[]).flatMap((kind) =>
    (input[INPUT_KINDS[kind]] as readonly Stored<Route>[])
      .filter(({ metadata }) => !metadata.deletionTimestamp)
      .toSorted(byAge)
      .map((route) => ({ kind, route })),
  );
}

/** '' where it is no Gateway. */
function parentKey(
  { group = GATEWAY_GROUP, kind = 'Gateway', namespace, name }: ParentReference,
  { metadata }: Stored<Route>,
): string {
  return group === GATEWAY_GROUP && kind === 'Gateway' ? `${namespace ?? metadata.namespace}/${name}` : '';
}

function attachmentKey({ kind, route, listener }: Attachment): string {
  return `${kind} ${objectKey(route)} ${listenerKey(listener)}`;
}

interface Attaching {
  readonly gateway: Stored<Gateway>;
  readonly listeners: readonly CompiledListener[];
  readonly input: GatewayInput;
  readonly attachments: Attachment[];
}

function attach(parent: AnyRoute & { readonly ref: ParentReference }, options: Attaching): CompiledParent {
  const { gateway, listeners, input, attachments } = options;
  const { kind, route, ref } = parent;
  const refused = (reason: string, message: string): CompiledParent => ({
    ...parent,
    accepted: { reason, message },
    resolvedRefs: referenceProblem(parent, input),
  });
  const named = listeners.filter(
    ({ gateway: of, spec }) =>
      of === gateway &&
      (ref.sectionName === undefined || ref.sectionName === spec.name) &&
      (ref.port === undefined || ref.port === spec.port),
  );
  if (named.length === 0)
    return refused('NoMatchingParent', 'the Gateway has no listener with that sectionName and port');
  const allowing = named.filter((one) =>
    allowsRoute(one, { kind, namespace: route.metadata.namespace ?? '', input }),
  );
  if (allowing.length === 0)
    return refused('NotAllowedByListeners', `no listener allows a ${kind} of this namespace`);
  const matching = allowing
    .map((listener) => ({ kind, route, listener, hostnames: commonHostnames(route, listener) }))
    .filter(({ hostnames }) => hostnames.length > 0);
  if (matching.length === 0)
    return refused('NoMatchingListenerHostname', 'no hostname of the route is one of a listener');
  const unsupported = unsupportedValue(parent, input);
  if (unsupported !== undefined) return refused('UnsupportedValue', unsupported);
  attachments.push(...matching);
  return { ...parent, resolvedRefs: referenceProblem(parent, input) };
}

function commonHostnames({ spec }: Stored<Route>, { hostname }: CompiledListener): string[] {
  const own = spec.hostnames?.length ? spec.hostnames : [''];
  return [...new Set(own.flatMap((one) => intersectHostnames(one, hostname) ?? []))];
}

/** Whatever the listener: entrances differ in what redirects say only. */
function unsupportedValue(route: AnyRoute, input: GatewayInput): string | undefined {
  const strange = route.route.spec.hostnames?.find((one) => !isPlainWord(one));
  if (strange !== undefined) return `hostname ${JSON.stringify(strange)} is not supported`;
  try {
    rulesOf(route, { input, entrance: { scheme: 'http', port: 80 } });
    return undefined;
  } catch (error) {
    if (error instanceof UnsupportedValue) return error.message;
    throw error;
  }
}

function referenceProblem({ kind, route }: AnyRoute, input: BackendInput): Problem | undefined {
  const from = { kind, namespace: route.metadata.namespace ?? '' };
  return ((route.spec.rules ?? []) as HTTPRoute['spec']['rules'] & object)
    .flatMap((rule) => problemsOf(rule, { input, from }))
    .at(0);
}

function rulesOf(
  { kind, route }: AnyRoute,
  {
    input,
    entrance,
  }: { readonly input: BackendInput; readonly entrance: Parameters<typeof compileHttpRule>[1]['entrance'] },
): CompiledRule[] {
  const options = { input, entrance, from: { kind, namespace: route.metadata.namespace ?? '' } };
  if (kind === 'HTTPRoute')
    return ((route as HTTPRoute).spec.rules ?? [{}]).flatMap((rule) => compileHttpRule(rule, options));
  if (kind === 'GRPCRoute')
    return ((route as GRPCRoute).spec.rules ?? []).flatMap((rule) => compileGrpcRule(rule, options));
  return [];
}

interface Modelling {
  readonly listeners: readonly CompiledListener[];
  readonly attached: ReadonlyMap<string, readonly Attachment[]>;
  readonly input: GatewayInput;
}

function modelOf({ listeners, attached, input }: Modelling): GatewayModel {
  const backends = new Map<string, Backend>();
  const serving = listeners.filter(isServing);
  const byPort = [...Map.groupBy(serving, ({ spec }) => spec.port)].toSorted(([a], [b]) => a - b);
  return {
    listeners: byPort.map(([port, some]): Listener => {
      const transport = some[0]!.transport!;
      const here = some.flatMap((one) => attached.get(listenerKey(one)) ?? []);
      if (transport === 'passthrough')
        return { port, hosts: [], passthrough: passthroughOf(here, { input, backends }) };
      const hosts = hostsOf(some, { here, input, backends, transport });
      return transport === 'http'
        ? { port, hosts }
        : { port, hosts, certificates: some.flatMap(({ certificates }) => certificates) };
    }),
    backends: [...backends.values()],
  };
}

interface Collecting {
  readonly input: GatewayInput;
  readonly backends: Map<string, Backend>;
}

/** A listener's own host is one even without routes: requests for it never go to a listener that is less specific. */
function hostsOf(
  listeners: readonly CompiledListener[],
  {
    here,
    input,
    backends,
    transport,
  }: Collecting & {
    readonly here: readonly Attachment[];
    readonly transport: Exclude<Transport, 'passthrough'>;
  },
): VirtualHost[] {
  const names = new Set([
    ...listeners.map(({ hostname }) => hostname),
    ...here.flatMap(({ hostnames }) => hostnames),
  ]);
  const owner = (name: string): string | undefined =>
    listeners
      .map(({ hostname }) => hostname)
      .filter((one) => intersectHostnames(name, one) === name)
      .toSorted((a, b) => b.length - a.length)[0];
  return [...names].map((hostname) => ({
    hostname,
    wildcard: 'labels',
    rules: here
      .filter((one) => one.hostnames.includes(hostname) && one.listener.hostname === owner(hostname))
      .toSorted((a, b) => byAge(a.route, b.route))
      .flatMap((one) =>
        rulesOf(one, { input, entrance: { scheme: transport, port: one.listener.spec.port } }),
      )
      .toSorted((a, b) => compareMatches(a.match, b.match))
      .map(({ match, backend }): Rule => {
        backends.set(backend.id, backend);
        return { match, backend: backend.id };
      }),
  }));
}

/** The older route has a name that two claim. */
function passthroughOf(
  here: readonly Attachment[],
  { input, backends }: Collecting,
): NonNullable<Listener['passthrough']> {
  const found = new Map<string, string>();
  for (const { kind, route, hostnames } of here) {
    const from = { kind, namespace: route.metadata.namespace ?? '' };
    const refs = (route as TLSRoute).spec.rules?.[0]?.backendRefs ?? [];
    const { targets, invalidWeight } = resolveBackends(refs, { input, from });
    const id = `t-${shortHash(JSON.stringify([from, refs, targets.length, invalidWeight]))}`;
    backends.set(id, { id, targets, invalidWeight, protocol: 'tcp', filters: [] });
    for (const hostname of hostnames) if (!found.has(hostname)) found.set(hostname, id);
  }
  return [...found].map(([hostname, backend]) => ({ hostname, backend }));
}
