/** Listeners of this cluster's Gateways: which are in conflict, what routes they take, and their certificates. Pure. */
import type { Namespace, Secret } from '#api/types.ts';
import { compileLabelSelector, LabelSelectorError } from '#machinery/labels.ts';
import { objectKey, type Stored } from '#machinery/object.ts';
import { readCertificate } from './certificates.ts';
import {
  GATEWAY_GROUP,
  type Gateway,
  type GatewayListener,
  type ObjectReference,
  type ReferenceGrant,
  type RouteGroupKind,
  type RouteKind,
} from './gateway-api.ts';
import type { Certificate } from './model.ts';
import { isPermitted, type Problem } from './references.ts';
import { isPlainWord } from './words.ts';

export type Transport = 'http' | 'https' | 'passthrough';

export interface ListenerInput {
  readonly namespace: (name: string) => Namespace | undefined;
  readonly secret: (key: string) => Secret | undefined;
  readonly grants: readonly ReferenceGrant[];
  /** Ports that Ingresses have. */
  readonly taken: ReadonlyMap<number, Transport>;
}

/** One with what is wrong with it, by condition; it serves without accepted, conflicted and certificate problems. */
export interface CompiledListener {
  readonly gateway: Stored<Gateway>;
  readonly spec: GatewayListener;
  readonly hostname: string;
  readonly transport: Transport | undefined;
  readonly kinds: readonly RouteKind[];
  readonly certificates: readonly Certificate[];
  readonly accepted?: Problem | undefined;
  readonly conflicted?: Problem | undefined;
  readonly resolvedRefs?: Problem | undefined;
}

const HTTP_KINDS: readonly RouteKind[] = ['HTTPRoute', 'GRPCRoute'];

export function isServing({ accepted, conflicted, transport, certificates }: CompiledListener): boolean {
  return !accepted && !conflicted && (transport !== 'https' || certificates.length > 0);
}

/** Gateways, the oldest first: of two that cannot share a port, that one has it. */
export function compileListeners(
  gateways: readonly Stored<Gateway>[],
  input: ListenerInput,
): CompiledListener[] {
  const owners = new Map<number, Transport>(input.taken);
  return gateways.flatMap((gateway) => {
    const { listeners } = gateway.spec;
    const clashes = conflictsOf(listeners);
    return listeners.map((spec) => {
      const listener = { ...compileListener(spec, { gateway, input }), conflicted: clashes.get(spec.name) };
      const { transport } = listener;
      if (!transport || listener.accepted || listener.conflicted) return listener;
      const owner = owners.get(spec.port) ?? transport;
      if (owner !== transport)
        return {
          ...listener,
          accepted: {
            reason: 'PortUnavailable',
            message: `port ${spec.port} serves ${owner} for an Ingress or an older Gateway`,
          },
        };
      owners.set(spec.port, transport);
      return listener;
    });
  });
}

function transportOf({ protocol, tls }: GatewayListener): Transport | undefined {
  if (protocol === 'HTTP') return 'http';
  if (protocol === 'HTTPS') return 'https';
  return protocol === 'TLS' && tls?.mode === 'Passthrough' ? 'passthrough' : undefined;
}

/** Within one Gateway all that are in conflict with another are refused: none is taken by chance. */
function conflictsOf(listeners: readonly GatewayListener[]): ReadonlyMap<string, Problem> {
  const found = new Map<string, Problem>();
  for (const some of Map.groupBy(listeners, ({ port }) => port).values()) {
    const isMixed = new Set(some.map(transportOf)).size > 1;
    for (const one of some) {
      const isTwice = some.filter(({ hostname = '' }) => hostname === (one.hostname ?? '')).length > 1;
      if (isMixed)
        found.set(one.name, {
          reason: 'ProtocolConflict',
          message: `port ${one.port} has listeners of different protocols; it should have one protocol`,
        });
      else if (isTwice)
        found.set(one.name, {
          reason: 'HostnameConflict',
          message: `port ${one.port} has two listeners with hostname ${JSON.stringify(one.hostname ?? '')}`,
        });
    }
  }
  return found;
}

function compileListener(
  spec: GatewayListener,
  { gateway, input }: { readonly gateway: Stored<Gateway>; readonly input: ListenerInput },
): CompiledListener {
  const transport = transportOf(spec);
  const able =
    transport === undefined ? [] : transport === 'passthrough' ? (['TLSRoute'] as const) : HTTP_KINDS;
  const asked = spec.allowedRoutes?.kinds ?? [];
  const kinds = asked.length === 0 ? able : able.filter((kind) => asked.some((one) => isKind(one, kind)));
  const strange = asked.filter((one) => !able.some((kind) => isKind(one, kind)));
  const tls =
    transport === 'https' ? certificatesOf(spec, { gateway, input }) : { certificates: [], problems: [] };
  const problems = [
    ...strange.map(({ group = GATEWAY_GROUP, kind }) => ({
      reason: 'InvalidRouteKinds',
      message: `routes of kind ${group}/${kind} are not supported by protocol ${spec.protocol}`,
    })),
    ...tls.problems,
  ];
  return {
    gateway,
    spec,
    hostname: spec.hostname ?? '',
    transport,
    kinds,
    certificates: tls.certificates,
    accepted: transport === undefined ? unsupportedProtocol(spec) : invalidSelector(spec),
    resolvedRefs: problems[0],
  };
}

function unsupportedProtocol({ protocol }: GatewayListener): Problem {
  return {
    reason: 'UnsupportedProtocol',
    message: `protocol ${protocol}${protocol === 'TLS' ? ' with mode Terminate' : ''} is not supported; HTTP, HTTPS and TLS with mode Passthrough are`,
  };
}

function invalidSelector({ hostname = 'x', allowedRoutes }: GatewayListener): Problem | undefined {
  if (!isPlainWord(hostname))
    return { reason: 'Invalid', message: `hostname ${JSON.stringify(hostname)} is not supported` };
  try {
    compileLabelSelector(allowedRoutes?.namespaces?.selector);
    return undefined;
  } catch (error) {
    if (!(error instanceof LabelSelectorError)) throw error;
    return { reason: 'Invalid', message: `allowedRoutes.namespaces.selector: ${error.message}` };
  }
}

function isKind({ group = GATEWAY_GROUP, kind }: RouteGroupKind, wanted: RouteKind): boolean {
  return group === GATEWAY_GROUP && kind === wanted;
}

function certificatesOf(
  { hostname = '', tls }: GatewayListener,
  { gateway, input }: { readonly gateway: Stored<Gateway>; readonly input: ListenerInput },
): { readonly certificates: Certificate[]; readonly problems: Problem[] } {
  const certificates: Certificate[] = [];
  const problems: Problem[] = [];
  const refs = tls?.certificateRefs ?? [];
  if (refs.length === 0)
    problems.push({ reason: 'InvalidCertificateRef', message: 'certificateRefs should name a Secret' });
  for (const ref of refs) {
    const read = readReference(ref, { gateway, input });
    if ('reason' in read) problems.push(read);
    else certificates.push({ hostname, ...read });
  }
  return { certificates, problems };
}

function readReference(
  { group = '', kind = 'Secret', name, namespace }: ObjectReference,
  { gateway, input }: { readonly gateway: Stored<Gateway>; readonly input: ListenerInput },
): Problem | Omit<Certificate, 'hostname'> {
  const from = { kind: 'Gateway', namespace: gateway.metadata.namespace ?? '' };
  const to = { group, kind, name, namespace: namespace ?? from.namespace };
  const key = `${to.namespace}/${name}`;
  if (group !== '' || kind !== 'Secret')
    return {
      reason: 'InvalidCertificateRef',
      message: `${group}/${kind} ${key}: only Secrets are supported`,
    };
  if (!isPermitted(input.grants, { from, to }))
    return { reason: 'RefNotPermitted', message: `no ReferenceGrant permits the reference to Secret ${key}` };
  const read = readCertificate(input.secret(key));
  return 'problem' in read
    ? { reason: 'InvalidCertificateRef', message: `Secret ${key}: ${read.problem}` }
    : read;
}

/** By allowedRoutes: kind and namespace of the route. */
export function allowsRoute(
  { gateway, spec, kinds, accepted }: CompiledListener,
  {
    kind,
    namespace,
    input,
  }: {
    readonly kind: RouteKind;
    readonly namespace: string;
    readonly input: Pick<ListenerInput, 'namespace'>;
  },
): boolean {
  if (!kinds.includes(kind)) return false;
  const { from = 'Same', selector } = spec.allowedRoutes?.namespaces ?? {};
  if (from === 'All') return true;
  if (from === 'Same') return namespace === gateway.metadata.namespace;
  return (
    from === 'Selector' &&
    selector !== undefined &&
    accepted?.reason !== 'Invalid' &&
    compileLabelSelector(selector).matches(input.namespace(namespace)?.metadata?.labels ?? {})
  );
}

export function listenerKey({ gateway, spec }: CompiledListener): string {
  return `${objectKey(gateway)} ${spec.name}`;
}
