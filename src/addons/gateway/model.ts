/**
 * What Ingresses and Gateways mean, in words of neither and of no proxy: listeners, virtual hosts, rules in the order in which they are tried, and backends.
 * Compilers make it (compile-ingress.ts, compile-gateway.ts), a driver carries it out (haproxy/). Pure data.
 */
export interface GatewayModel {
  /** One a port. */
  readonly listeners: readonly Listener[];
  readonly backends: readonly Backend[];
}

export interface Listener {
  readonly port: number;
  /** Absent: clear text. */
  readonly certificates?: readonly Certificate[] | undefined;
  readonly hosts: readonly VirtualHost[];
  /** TLS that the backends end themselves, by the name that the client asks for: no hosts and certificates then. Wildcards stand for labels. */
  readonly passthrough?: readonly { readonly hostname: string; readonly backend: string }[] | undefined;
}

export interface Certificate {
  /** '*.example.org' for one label; '' for clients that name no host, or another one. */
  readonly hostname: string;
  readonly certificatePem: string;
  readonly keyPem: string;
}

export interface VirtualHost {
  /** '' for all that have no host of their own. */
  readonly hostname: string;
  /** What the asterisk of '*.example.org' stands for. */
  readonly wildcard: 'one label' | 'labels';
  /** The first that matches decides. Without any: not found, whatever other hosts have. */
  readonly rules: readonly Rule[];
}

export interface Rule {
  readonly match: RequestMatch;
  /** id of a Backend. */
  readonly backend: string;
}

export interface RequestMatch {
  readonly path: { readonly kind: 'Exact' | 'Prefix' | 'Regex'; readonly value: string };
  readonly method?: string | undefined;
  readonly headers?: readonly ValueMatch[] | undefined;
  readonly query?: readonly ValueMatch[] | undefined;
}

export interface ValueMatch {
  readonly kind: 'Exact' | 'Regex';
  readonly name: string;
  readonly value: string;
}

export interface Backend {
  readonly id: string;
  readonly targets: readonly BackendTarget[];
  /** Of the weights, what leads nowhere: answered with 500. */
  readonly invalidWeight: number;
  readonly protocol: 'http1' | 'h2c' | 'tcp';
  readonly filters: readonly Filter[];
  /** Of one attempt to get an answer. */
  readonly timeoutMs?: number | undefined;
  readonly retry?: { readonly attempts: number; readonly codes: readonly number[] } | undefined;
  readonly maximumBodyBytes?: number | undefined;
}

interface BackendTarget {
  readonly weight: number;
  readonly endpoints: readonly Endpoint[];
}

export interface Endpoint {
  readonly ip: string;
  readonly port: number;
}

export type Filter =
  | { readonly kind: 'RequestHeaders' | 'ResponseHeaders'; readonly change: HeaderChange }
  | { readonly kind: 'Redirect'; readonly redirect: Redirect }
  | {
      readonly kind: 'Rewrite';
      readonly hostname?: string | undefined;
      readonly path?: PathChange | undefined;
    };

export interface HeaderChange {
  readonly set: readonly Header[];
  readonly add: readonly Header[];
  readonly remove: readonly string[];
}

interface Header {
  readonly name: string;
  readonly value: string;
}

export interface Redirect {
  readonly scheme?: string | undefined;
  readonly hostname?: string | undefined;
  /** Absent: that of the scheme, where one is given; else the listener's. */
  readonly port?: number | undefined;
  readonly path?: PathChange | undefined;
  readonly status: number;
}

export type PathChange =
  | { readonly kind: 'Full'; readonly value: string }
  /** prefix: what the rule matched, without a slash at its end. */
  | { readonly kind: 'Prefix'; readonly prefix: string; readonly value: string };

/** The most specific first: the order of Gateway API, which is also that of Ingress. Equal ones stay in their order. */
export function compareMatches(a: RequestMatch, b: RequestMatch): number {
  const rank = { Exact: 0, Prefix: 1, Regex: 2 };
  return (
    rank[a.path.kind] - rank[b.path.kind] ||
    b.path.value.length - a.path.value.length ||
    Number(b.method !== undefined) - Number(a.method !== undefined) ||
    (b.headers?.length ?? 0) - (a.headers?.length ?? 0) ||
    (b.query?.length ?? 0) - (a.query?.length ?? 0)
  );
}

/** Both on the same ports; the rules of a host that both have are tried in one order, the first model's first among equal ones. */
export function mergeModels(one: GatewayModel, other: GatewayModel): GatewayModel {
  const byPort = Map.groupBy([...one.listeners, ...other.listeners], ({ port }) => port);
  return {
    listeners: [...byPort.values()]
      .map((some) => some.reduce(mergeListeners))
      .toSorted((a, b) => a.port - b.port),
    backends: [...new Map([...one.backends, ...other.backends].map((each) => [each.id, each])).values()],
  };
}

function mergeListeners(one: Listener, other: Listener): Listener {
  const byName = Map.groupBy([...one.hosts, ...other.hosts], ({ hostname, wildcard }) =>
    hostname.startsWith('*.') ? `${wildcard} ${hostname}` : hostname,
  );
  return {
    ...one,
    hosts: [...byName.values()].map(([host, ...more]) => ({
      ...host!,
      rules: [host!, ...more]
        .flatMap(({ rules }) => rules)
        .toSorted((a, b) => compareMatches(a.match, b.match)),
    })),
    ...(one.certificates ? { certificates: [...one.certificates, ...(other.certificates ?? [])] } : {}),
  };
}
