/** Ingresses of this cluster's class as the model. What cannot be carried out is left out and said; it never spoils other Ingresses. Pure. */
import type { EndpointSlice, Ingress, IngressClass, Secret, Service } from '#api/types.ts';
import { objectKey, type Stored } from '#machinery/object.ts';
import { parseQuantity } from '#machinery/quantity.ts';
import { readCertificate } from './certificates.ts';
import { endpointsOf } from './endpoints.ts';
import {
  compareMatches,
  type Backend,
  type Certificate,
  type Filter,
  type GatewayModel,
  type RequestMatch,
  type Rule,
  type VirtualHost,
} from './model.ts';
import { hasControlCharacters, shortHash } from './words.ts';

export interface IngressInput {
  readonly ingresses: readonly Stored<Ingress>[];
  readonly classes: readonly IngressClass[];
  readonly service: (key: string) => Service | undefined;
  readonly slices: (key: string) => readonly EndpointSlice[];
  readonly secret: (key: string) => Secret | undefined;
}

/** One sentence about an Ingress, for an event. */
interface IngressProblem {
  readonly ingress: Stored<Ingress>;
  readonly message: string;
}

interface CompiledIngresses {
  readonly model: GatewayModel;
  readonly problems: readonly IngressProblem[];
}

export const INGRESS_CONTROLLER = 'gateway.capstan.dev/ingress';
const IS_DEFAULT = 'ingressclass.kubernetes.io/is-default-class';
const LEGACY_CLASS = 'kubernetes.io/ingress.class';
const HTTP_PORT = 80;
const HTTPS_PORT = 443;
const PREFIX = 'gateway.capstan.dev/';
/** Annotations of an Ingress. */
const ANNOTATIONS = {
  redirect: `${PREFIX}ssl-redirect`,
  body: `${PREFIX}max-body-size`,
  timeout: `${PREFIX}timeout-seconds`,
  protocol: `${PREFIX}backend-protocol`,
} as const;

interface Path {
  readonly ingress: Stored<Ingress>;
  readonly host: string;
  readonly match: RequestMatch;
  readonly serviceName: string;
  readonly servicePort: { readonly number?: number | undefined; readonly name?: string | undefined };
}

/** Whether this cluster's controller is to serve it, by its class or the default class. */
export function isOurs({ spec, metadata }: Ingress, classes: readonly IngressClass[]): boolean {
  const named = spec?.ingressClassName ?? metadata?.annotations?.[LEGACY_CLASS];
  const found =
    named === undefined
      ? classes.find((one) => one.metadata?.annotations?.[IS_DEFAULT] === 'true')
      : classes.find((one) => one.metadata?.name === named);
  return found?.spec?.controller === INGRESS_CONTROLLER;
}

export function compileIngresses(input: IngressInput): CompiledIngresses {
  const problems: IngressProblem[] = [];
  const ours = input.ingresses
    .filter((one) => isOurs(one, input.classes) && !one.metadata.deletionTimestamp)
    .toSorted(byAge);
  const paths = ours.flatMap((ingress) => pathsOf(ingress, problems));
  const backends = new Map<string, Backend>();
  const certificates = ours.flatMap((ingress) => certificatesOf(ingress, { input, problems }));
  const tlsHosts = new Set(certificates.map(({ hostname }) => hostname));
  const byHost = Map.groupBy(paths, ({ host }) => host);
  if (ours.length === 0) return { model: { listeners: [], backends: [] }, problems };
  const hosts = (port: number): VirtualHost[] =>
    Array.from(byHost, ([hostname, some]) => ({
      hostname,
      wildcard: 'one label' as const,
      rules: rulesOf(some, {
        input,
        problems,
        backends,
        isRedirected: port === HTTP_PORT ? isTls(tlsHosts, hostname) : () => false,
      }),
    }));
  const listeners = [
    { port: HTTP_PORT, hosts: hosts(HTTP_PORT) },
    ...(certificates.length > 0 ? [{ port: HTTPS_PORT, certificates, hosts: hosts(HTTPS_PORT) }] : []),
  ];
  return { model: { listeners, backends: [...backends.values()] }, problems: unique(problems) };
}

/** The oldest wins where two claim the same path. */
function byAge(a: Stored<Ingress>, b: Stored<Ingress>): number {
  const [left, right] = [a, b].map((one) => `${String(one.metadata.creationTimestamp)} ${objectKey(one)}`);
  return left! < right! ? -1 : 1;
}

function pathsOf(ingress: Stored<Ingress>, problems: IngressProblem[]): Path[] {
  const { rules = [], defaultBackend } = ingress.spec ?? {};
  const found: Path[] = [];
  for (const { host = '', http } of rules)
    for (const { path = '/', pathType, backend } of http?.paths ?? []) {
      if (!backend?.service) {
        problems.push({
          ingress,
          message: `path ${host}${path}: only backends that are Services are served`,
        });
        continue;
      }
      if (hasControlCharacters(path)) {
        problems.push({ ingress, message: `path ${JSON.stringify(path)} has control characters` });
        continue;
      }
      found.push({
        ingress,
        host,
        // ImplementationSpecific is Prefix, as with most controllers.
        match: { path: { kind: pathType === 'Exact' ? 'Exact' : 'Prefix', value: path === '' ? '/' : path } },
        serviceName: backend.service.name,
        servicePort: backend.service.port ?? {},
      });
    }
  const service = defaultBackend?.service;
  if (service) {
    const rest = {
      ingress,
      match: { path: { kind: 'Prefix', value: '/' } } as const,
      serviceName: service.name,
      servicePort: service.port ?? {},
    };
    found.push(
      ...[...new Set(['', ...rules.map(({ host = '' }) => host)])].map((host) => ({ ...rest, host })),
    );
  }
  return found;
}

interface Compiling {
  readonly input: IngressInput;
  readonly problems: IngressProblem[];
}

function rulesOf(
  paths: readonly Path[],
  options: Compiling & {
    readonly backends: Map<string, Backend>;
    readonly isRedirected: (ingress: Ingress) => boolean;
  },
): Rule[] {
  return paths
    .toSorted((a, b) => compareMatches(a.match, b.match))
    .map((path) => {
      const backend = options.isRedirected(path.ingress) ? redirect() : backendFor(path, options);
      options.backends.set(backend.id, backend);
      return { match: path.match, backend: backend.id };
    });
}

/** Hosts with a certificate are served by TLS, and clear text leads there, unless the Ingress says otherwise. */
function isTls(tlsHosts: ReadonlySet<string>, hostname: string): (ingress: Ingress) => boolean {
  return ({ metadata, spec }) =>
    (spec?.tls?.length ?? 0) > 0 &&
    (tlsHosts.has(hostname) || tlsHosts.has(hostname.replace(/^[^.]+/, '*')) || tlsHosts.has('')) &&
    metadata?.annotations?.[ANNOTATIONS.redirect] !== 'false';
}

function redirect(): Backend {
  const filters: readonly Filter[] = [{ kind: 'Redirect', redirect: { scheme: 'https', status: 308 } }];
  return { id: 'redirect-to-https', targets: [], invalidWeight: 0, protocol: 'http1', filters };
}

function backendFor(path: Path, { input, problems }: Compiling): Backend {
  const { ingress, serviceName, servicePort } = path;
  const annotations = ingress.metadata.annotations ?? {};
  const key = `${ingress.metadata.namespace}/${serviceName}`;
  const service = input.service(key);
  const port = service?.spec?.ports?.find((one) =>
    servicePort.name === undefined ? one.port === servicePort.number : one.name === servicePort.name,
  );
  if (!service || !port)
    problems.push({
      ingress,
      message: service
        ? `Service ${key} has no port ${servicePort.name ?? servicePort.number}`
        : `Service ${key} does not exist`,
    });
  const maximumBodyBytes = bodyBytes(annotations[ANNOTATIONS.body], { ingress, problems });
  const seconds = Number(annotations[ANNOTATIONS.timeout] ?? Number.NaN);
  const protocol =
    annotations[ANNOTATIONS.protocol] === 'h2c' || port?.appProtocol === 'kubernetes.io/h2c'
      ? 'h2c'
      : 'http1';
  const settings = {
    maximumBodyBytes,
    timeoutMs: seconds > 0 ? Math.round(seconds * 1000) : undefined,
    protocol,
  } as const;
  return {
    id: `b-${shortHash(JSON.stringify([key, servicePort, settings, port === undefined]))}`,
    targets: port ? [{ weight: 1, endpoints: endpointsOf(input.slices(key), port.name ?? '') }] : [],
    invalidWeight: 0,
    filters: [],
    ...settings,
  };
}

function bodyBytes(
  text: string | undefined,
  { ingress, problems }: Pick<Compiling, 'problems'> & { readonly ingress: Stored<Ingress> },
): number | undefined {
  if (text === undefined) return undefined;
  try {
    return parseQuantity(text).value();
  } catch {
    problems.push({
      ingress,
      message: `annotation ${ANNOTATIONS.body} is ${JSON.stringify(text)}; it should be a quantity, for instance 8Mi`,
    });
    return undefined;
  }
}

function certificatesOf(ingress: Stored<Ingress>, { input, problems }: Compiling): Certificate[] {
  return (ingress.spec?.tls ?? []).flatMap(({ hosts = [], secretName }) => {
    if (!secretName) return [];
    const key = `${ingress.metadata.namespace}/${secretName}`;
    const read = readCertificate(input.secret(key));
    if ('problem' in read) {
      problems.push({ ingress, message: `Secret ${key}: ${read.problem}` });
      return [];
    }
    return (hosts.length > 0 ? hosts : ['']).map((hostname) => ({ hostname, ...read }));
  });
}

function unique(problems: readonly IngressProblem[]): IngressProblem[] {
  return [...new Map(problems.map((one) => [`${objectKey(one.ingress)} ${one.message}`, one])).values()];
}
