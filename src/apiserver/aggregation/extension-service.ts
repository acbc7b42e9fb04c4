/**
 * One APIService of an extension server: its address (resolved from its Service for each connection), TLS with the front-proxy certificate, verified
 * against caBundle, and the user's headers. Pure except for kept connections.
 */
import type { APIService } from '#api/types.ts';
import {
  HttpsClient,
  readBody,
  type Destination,
  type DestinationTls,
  type IncomingAnswer,
} from '#stdx/https-client.ts';
import type { KubeObject, UserInfo } from '#machinery/object.ts';
import { formatHostPort } from '#stdx/host-port.ts';
import type { InternalApi } from '../registry/loopback-client.ts';
import { describe } from '../handlers/connect/errors.ts';
import { isProxyable, isSimulatedNode, ofFirstFamily } from '../handlers/connect/locations.ts';

/** PEM: what extension servers know this server by. */
export interface ProxyClientCertificate {
  readonly cert: string;
  readonly key: string;
}

export interface ExtensionContext {
  readonly internal: InternalApi;
  /** Absent: no client certificate is sent, and extension servers will trust no user headers. */
  readonly proxyClient: ProxyClientCertificate | undefined;
  /** True: straight to one of the Service's endpoints; false: to its cluster address. */
  readonly endpointRouting: boolean;
  /** 0 ≤ x < 1 */
  readonly random: () => number;
}

export interface ExtensionAddress {
  readonly host: string;
  readonly port: number;
}

/** Why a Service leads nowhere: upstream's reason of the Available condition, and its message. */
export class UnreachableService extends Error {
  readonly reason:
    | 'ServiceNotFound'
    | 'ServicePortError'
    | 'EndpointsNotFound'
    | 'MissingEndpoints'
    | 'SimulatedEndpoints';
  constructor(reason: UnreachableService['reason'], message: string) {
    super(message);
    this.name = 'UnreachableService';
    this.reason = reason;
  }
}

interface ServiceObject extends KubeObject {
  readonly spec?: {
    readonly type?: string;
    readonly clusterIP?: string;
    readonly ipFamilies?: readonly string[];
    readonly externalName?: string;
    readonly ports?: readonly { readonly name?: string; readonly port: number }[];
  };
}
interface SliceObject extends KubeObject {
  readonly addressType?: string;
  readonly endpoints?: readonly {
    readonly addresses: readonly string[];
    readonly nodeName?: string;
    readonly conditions?: { readonly ready?: boolean };
  }[];
  readonly ports?: readonly { readonly name?: string; readonly port?: number }[];
}

/** The aggregator's own identity for discovery and OpenAPI. */
const AGGREGATOR_USER: UserInfo = { name: 'system:kube-aggregator', groups: ['system:masters'] };

/** Connections are kept for one service: its endpoints, or its cluster address. */
const MAX_ADDRESSES = 64;

export class ExtensionService {
  readonly name: string;
  readonly group: string;
  readonly version: string;
  readonly spec: NonNullable<APIService['spec']>;
  /** Status True of the Available condition. */
  readonly isAvailable: boolean;
  readonly #object: APIService;
  readonly #context: ExtensionContext;
  #client: HttpsClient | undefined;
  #tls: DestinationTls | undefined;

  constructor(object: APIService, context: ExtensionContext, before?: ExtensionService) {
    this.name = object.metadata?.name ?? '';
    this.spec = object.spec!;
    this.group = this.spec.group ?? '';
    this.version = this.spec.version ?? '';
    this.isAvailable =
      object.status?.conditions?.some(({ type, status }) => type === 'Available' && status === 'True') ??
      false;
    this.#object = object;
    this.#context = context;
    // A change of its condition leaves its connections alone.
    this.#client = before?.takeClient();
  }

  /** 'apis/metrics.k8s.io/v1beta1' */
  get path(): string {
    return this.group === '' ? `api/${this.version}` : `apis/${this.group}/${this.version}`;
  }

  /** What decides where requests go. */
  static fingerprint({ metadata, spec }: APIService): string {
    return JSON.stringify([metadata?.uid, spec?.service, spec?.caBundle, spec?.insecureSkipTLSVerify]);
  }

  /** 'name.namespace.svc': the name that the server's certificate must have. */
  get serverName(): string {
    const { name, namespace } = this.spec.service!;
    return `${name}.${namespace}.svc`;
  }

  get client(): HttpsClient {
    return (this.#client ??= new HttpsClient({ maximumPools: MAX_ADDRESSES }));
  }

  destination({ host, port }: ExtensionAddress): Destination {
    return { host, port, tls: this.tls };
  }

  get tls(): DestinationTls {
    const { caBundle, insecureSkipTLSVerify } = this.spec;
    return (this.#tls ??= {
      servername: this.serverName,
      rejectUnauthorized: insecureSkipTLSVerify !== true,
      ca: caBundle ? Buffer.from(caBundle, 'base64').toString() : undefined,
      ...this.#context.proxyClient,
    });
  }

  /** A copy with connections of its own. */
  with(context: ExtensionContext): ExtensionService {
    return new ExtensionService(this.#object, context);
  }

  /** Requests in flight finish; new ones do not use these connections. */
  retire(): void {
    this.takeClient()?.retire();
  }

  takeClient(): HttpsClient | undefined {
    const client = this.#client;
    this.#client = undefined;
    return client;
  }

  close(): void {
    this.takeClient()?.destroy();
  }

  /** Address of the next connection. Throws UnreachableService. */
  address(): ExtensionAddress {
    const all = this.addresses();
    return all[Math.floor(this.#context.random() * all.length)]!;
  }

  /** At least one. Throws UnreachableService. */
  addresses(): ExtensionAddress[] {
    const { internal, endpointRouting } = this.#context;
    const { name = '', namespace = '', port = 443 } = this.spec.service!;
    const quoted = `service/${name} in ${JSON.stringify(namespace)}`;
    const service = internal.get({ group: '', resource: 'services' }, { name, namespace }) as
      | ServiceObject
      | undefined;
    if (!service) throw new UnreachableService('ServiceNotFound', `${quoted} is not present`);
    const { type = 'ClusterIP', clusterIP = '', externalName = '', ports = [] } = service.spec ?? {};
    if (type === 'ExternalName') return [{ host: externalName, port }];
    const servicePort = ports.find((candidate) => candidate.port === port);
    if (!servicePort)
      throw new UnreachableService('ServicePortError', `${quoted} is not listening on port ${port}`);
    const endpoints = this.#endpoints({ quoted, service, portName: servicePort.name ?? '' });
    return endpointRouting || clusterIP === '' || clusterIP === 'None'
      ? endpoints
      : [{ host: clusterIP, port }];
  }

  #endpoints({
    quoted,
    service,
    portName,
  }: {
    readonly quoted: string;
    readonly service: ServiceObject;
    readonly portName: string;
  }): ExtensionAddress[] {
    const { internal } = this.#context;
    const { name = '', namespace = '' } = this.spec.service!;
    const all = (
      internal.list({ group: 'discovery.k8s.io', resource: 'endpointslices' }, { namespace }) as SliceObject[]
    ).filter(({ metadata }) => metadata?.labels?.['kubernetes.io/service-name'] === name);
    const slices = ofFirstFamily(service, all);
    if (slices.length === 0)
      throw new UnreachableService('EndpointsNotFound', `cannot find endpointslices for ${quoted}`);
    const ready = slices.flatMap((slice) => {
      const port = slice.ports?.find((candidate) => (candidate.name ?? '') === portName)?.port;
      const endpoints = (slice.endpoints ?? []).filter(({ conditions }) => conditions?.ready !== false);
      return port === undefined
        ? []
        : endpoints.flatMap(({ addresses, nodeName }) => addresses.map((host) => ({ host, port, nodeName })));
    });
    const usable = ready.filter(({ host }) => isProxyable(host));
    if (usable.length === 0)
      throw new UnreachableService(
        'MissingEndpoints',
        `endpointslices for ${quoted} have no addresses with port name ${JSON.stringify(portName)}`,
      );
    // Simulated pods have invented addresses, which may be somebody else's on the real network.
    const real = usable.filter(({ nodeName }) => !isSimulatedNode(internal, nodeName));
    if (real.length === 0)
      throw new UnreachableService(
        'SimulatedEndpoints',
        `all endpoints of ${quoted} are on simulated nodes, whose pods run no containers`,
      );
    return real.map(({ host, port }) => ({ host, port }));
  }
}

// ----------------------------------------------------------------------------------------------------------- own requests

interface ExtensionFetch {
  readonly path: string;
  readonly accept: string;
  readonly timeoutMs: number;
  readonly maxBytes: number;
  readonly etag?: string | undefined;
  /** Default: one of its addresses. */
  readonly address?: ExtensionAddress;
}

export interface ExtensionAnswer {
  readonly status: number;
  readonly headers: IncomingAnswer['headers'];
  readonly body: Buffer;
}

/** One GET as the aggregator itself, redirects not followed. Rejects with an Error in one sentence. */
export async function fetchFromExtension(
  service: ExtensionService,
  { path, accept, timeoutMs, maxBytes, etag, address = service.address() }: ExtensionFetch,
): Promise<ExtensionAnswer> {
  const { host, port } = address;
  const timeout = AbortSignal.timeout(timeoutMs);
  try {
    const answer = await service.client.request({
      to: service.destination(address),
      method: 'GET',
      path,
      headers: {
        accept,
        host: `${service.serverName}:${port}`,
        'user-agent': 'capstan-aggregator',
        ...identityHeaders(AGGREGATOR_USER),
        ...(etag === undefined ? {} : { 'if-none-match': etag }),
      },
      signal: timeout,
      repeats: true,
    });
    const tooLong = (): Error => new Error(`the answer is longer than ${maxBytes} bytes`);
    const body = await readBody(answer, { maximumBytes: maxBytes, tooLong });
    return { status: answer.status, headers: answer.headers, body };
  } catch (cause) {
    const url = `https://${formatHostPort(host, port)}${path}`;
    const why = timeout.aborted ? 'context deadline exceeded' : describe(cause);
    throw new Error(`Get ${JSON.stringify(url)}: ${why}`, { cause });
  }
}

/** The user's headers for the extension server, each value on a line of its own, in UTF-8. */
export function identityHeaders({ name, uid, groups, extra }: UserInfo): Record<string, string | string[]> {
  const headers: Record<string, string | string[]> = { 'x-remote-user': utf8(name) };
  if (uid) headers['x-remote-uid'] = utf8(uid);
  if (groups.length > 0) headers['x-remote-group'] = groups.map(utf8);
  for (const [key, values] of Object.entries(extra ?? {}))
    headers[`x-remote-extra-${escapeKey(key)}`] = values.map(utf8);
  return headers;
}

function utf8(text: string): string {
  return Buffer.from(text).toString('latin1');
}

/** Percent-encodes all but token characters of RFC 9110, and the percent sign. */
function escapeKey(key: string): string {
  return Buffer.from(key)
    .toString('latin1')
    .replace(
      /[^A-Za-z0-9!#$&'*+.^_`|~-]/g,
      (byte) => `%${byte.charCodeAt(0).toString(16).toUpperCase().padStart(2, '0')}`,
    );
}
