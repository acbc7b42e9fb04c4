/**
 * An extension API server as others write them, for tests of the aggregator: HTTPS, group wardle.example.com/v1alpha1 with namespaced flunders in memory.
 * It believes X-Remote-* headers of whoever shows a certificate of the request-header authority that the cluster publishes, takes bearer tokens to the
 * cluster's TokenReview, and asks its SubjectAccessReview about everything. Tests can make it misbehave.
 */
import { createServer, request as httpsRequest, type Server } from 'node:https';
import type { IncomingMessage, ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import type { TLSSocket } from 'node:tls';
import type { Client } from '#client/client.ts';
import { createAuthority, issueCertificate, type KeyPair } from '#pki/certificate.ts';
import type { KubeObject } from '#machinery/object.ts';

export const EXTENSION_GROUP = 'wardle.example.com';
export const EXTENSION_VERSION = 'v1alpha1';
export type { ResourceRef } from '#client/client.ts';
export { createAuthority, issueCertificate } from '#pki/certificate.ts';

const GROUP_VERSION = `${EXTENSION_GROUP}/${EXTENSION_VERSION}`;
const HOUR_MS = 3_600_000;

type Misbehaviour = 'hangs' | 'redirects' | 'garbage' | 'refuses' | 'no-v3';

export interface ExtensionServer {
  readonly port: number;
  /** PEM, for caBundle. */
  readonly ca: string;
  /** What came in, oldest first. */
  readonly requests: {
    readonly method: string;
    readonly url: string;
    readonly headers: IncomingMessage['headers'];
    readonly headersDistinct: IncomingMessage['headersDistinct'];
    readonly peer: string;
  }[];
  misbehaves: Misbehaviour | undefined;
  stop(): Promise<void>;
}

interface ExtensionServerOptions {
  /** An administrator of the cluster: reads the published authority, asks for reviews. */
  readonly api: Client;
  /** What the certificate is for. */
  readonly serverName: string;
  readonly expired?: boolean;
  /** Only the classic discovery, as servers before 1.26. */
  readonly classicOnly?: boolean;
}

interface Identity {
  readonly name: string;
  readonly groups: readonly string[];
  readonly extra: Readonly<Record<string, readonly string[]>>;
}

export async function startExtensionServer(options: ExtensionServerOptions): Promise<ExtensionServer> {
  const published = await options.api.get(
    { group: '', version: 'v1', plural: 'configmaps', kind: 'ConfigMap', namespaced: true },
    { name: 'extension-apiserver-authentication', namespace: 'kube-system' },
  );
  const settings = published['data'] as Record<string, string>;
  const authority = createAuthority({
    commonName: 'extension-ca',
    nowMs: Date.now() - 4 * HOUR_MS,
    lifetimeMs: 24 * HOUR_MS,
  });
  const pair: KeyPair = issueCertificate(authority, {
    subject: { commonName: options.serverName },
    usages: ['serverAuth'],
    altNames: { dnsNames: [options.serverName], ipAddresses: [] },
    nowMs: options.expired ? Date.now() - 3 * HOUR_MS : Date.now(),
    lifetimeMs: options.expired ? HOUR_MS : 12 * HOUR_MS,
  });
  const wardle = new Wardle(options, settings);
  const server: Server = createServer({
    cert: pair.certificatePem,
    key: pair.keyPem,
    ca: settings['requestheader-client-ca-file'] ?? '',
    requestCert: true,
    rejectUnauthorized: false,
  });
  server.on('request', (request, response) => void wardle.serve(request, response));
  server.on('upgrade', (request, socket) => {
    if (!wardle.identityOf(request))
      return void socket.end('HTTP/1.1 401 Unauthorized\r\ncontent-length: 0\r\n\r\n');
    if (request.headers.upgrade !== 'echo')
      return void socket.end('HTTP/1.1 400 Bad Request\r\ncontent-length: 9\r\n\r\necho only');
    socket.write('HTTP/1.1 101 Switching Protocols\r\nconnection: Upgrade\r\nupgrade: echo\r\n\r\n');
    socket.pipe(socket);
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  return {
    port: (server.address() as AddressInfo).port,
    ca: authority.certificatePem,
    requests: wardle.requests,
    get misbehaves() {
      return wardle.misbehaves;
    },
    set misbehaves(value) {
      wardle.misbehaves = value;
    },
    async stop() {
      server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
    },
  };
}

class Wardle {
  readonly #options: ExtensionServerOptions;
  readonly #settings: Readonly<Record<string, string>>;
  readonly #flunders = new Map<string, KubeObject>();
  readonly #watchers = new Set<(type: string, object: KubeObject) => void>();
  #revision = 1;
  readonly requests: ExtensionServer['requests'] = [];
  misbehaves: Misbehaviour | undefined;

  constructor(options: ExtensionServerOptions, settings: Readonly<Record<string, string>>) {
    this.#options = options;
    this.#settings = settings;
  }

  async serve(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const { method = 'GET', url = '/', headers, headersDistinct } = request;
    this.requests.push({
      method,
      url,
      headers,
      headersDistinct,
      peer: ((request.socket as TLSSocket).getPeerCertificate()?.subject?.CN as string) ?? '',
    });
    const { pathname, searchParams } = new URL(url, 'https://localhost');
    switch (this.misbehaves) {
      case 'hangs':
        return;
      case 'redirects':
        return void response.writeHead(302, { location: 'https://localhost:1/elsewhere' }).end();
      case 'garbage':
        return void response
          .writeHead(200, { 'content-type': 'application/json' })
          .end('{"kind":"APIResourceList","resources":[{"name":7},');
      case 'refuses':
        return void response.writeHead(500).end('out of order');
      default:
    }
    const user = this.identityOf(request) ?? (await this.#fromToken(request));
    if (!user) return answer(response, 401, status(401, 'Unauthorized', 'Unauthorized'));
    if (
      pathname.startsWith('/openapi/') ||
      pathname === '/apis' ||
      pathname === `/apis/${EXTENSION_GROUP}` ||
      pathname === `/apis/${GROUP_VERSION}`
    )
      return this.#documents(response, { pathname, accept: headers.accept ?? '' });
    const match = new RegExp(`^/apis/${GROUP_VERSION}/(?:namespaces/([^/]+)/)?flunders(?:/([^/]+))?$`).exec(
      pathname,
    );
    if (!match) return answer(response, 404, status(404, 'NotFound', `no ${pathname} here`));
    const [, namespace = '', name = ''] = match;
    const verb =
      {
        GET: name === '' ? (searchParams.has('watch') ? 'watch' : 'list') : 'get',
        POST: 'create',
        DELETE: 'delete',
      }[method] ?? method.toLowerCase();
    if (!(await this.#isAllowed(user, { verb, namespace, name })))
      return answer(
        response,
        403,
        status(403, 'Forbidden', `the extension server forbids ${user.name} to ${verb} flunders`),
      );
    if (verb === 'watch') return this.#watch(response);
    if (verb === 'create')
      return this.#create(response, { namespace, object: JSON.parse(await bodyOf(request)) as KubeObject });
    if (verb === 'list')
      return answer(response, 200, {
        kind: 'FlunderList',
        apiVersion: GROUP_VERSION,
        metadata: { resourceVersion: String(this.#revision) },
        items: [...this.#flunders.values()].filter(
          ({ metadata }) => namespace === '' || metadata?.namespace === namespace,
        ),
      });
    const found = this.#flunders.get(`${namespace}/${name}`);
    if (!found)
      return answer(response, 404, {
        ...status(404, 'NotFound', `flunders.${EXTENSION_GROUP} "${name}" not found`),
        details: { name, group: EXTENSION_GROUP, kind: 'flunders' },
      });
    if (verb === 'delete') {
      this.#flunders.delete(`${namespace}/${name}`);
      this.#tell('DELETED', found);
    }
    answer(response, 200, found);
  }

  /** The word of a proxy whose certificate the cluster's request-header authority has signed. */
  identityOf(request: IncomingMessage): Identity | undefined {
    const socket = request.socket as TLSSocket;
    const names = JSON.parse(this.#settings['requestheader-allowed-names'] ?? '[]') as string[];
    const commonName = socket.getPeerCertificate()?.subject?.CN as string | undefined;
    if (!socket.authorized || commonName === undefined || !names.includes(commonName)) return undefined;
    const name = request.headers['x-remote-user'];
    if (typeof name !== 'string') return undefined;
    const extra = Object.fromEntries(
      Object.entries(request.headersDistinct)
        .filter(([header]) => header.startsWith('x-remote-extra-'))
        .map(([header, values]) => [
          decodeURIComponent(header.slice('x-remote-extra-'.length)),
          values ?? [],
        ]),
    );
    return { name, groups: request.headersDistinct['x-remote-group'] ?? [], extra };
  }

  async #fromToken({ headers }: IncomingMessage): Promise<Identity | undefined> {
    const token = /^Bearer (.+)$/.exec(headers.authorization ?? '')?.[1];
    if (token === undefined) return undefined;
    const review = await this.#options.api.create(
      {
        group: 'authentication.k8s.io',
        version: 'v1',
        plural: 'tokenreviews',
        kind: 'TokenReview',
        namespaced: false,
      },
      { apiVersion: 'authentication.k8s.io/v1', kind: 'TokenReview', spec: { token } },
    );
    const { authenticated, user } = (review as KubeObject)['status'] as {
      authenticated?: boolean;
      user?: { username?: string; groups?: string[]; extra?: Record<string, string[]> };
    };
    return authenticated
      ? { name: user?.username ?? '', groups: user?.groups ?? [], extra: user?.extra ?? {} }
      : undefined;
  }

  async #isAllowed(
    { name: user, groups, extra }: Identity,
    { verb, namespace, name }: { readonly verb: string; readonly namespace: string; readonly name: string },
  ): Promise<boolean> {
    const review = await this.#options.api.create(
      {
        group: 'authorization.k8s.io',
        version: 'v1',
        plural: 'subjectaccessreviews',
        kind: 'SubjectAccessReview',
        namespaced: false,
      },
      {
        apiVersion: 'authorization.k8s.io/v1',
        kind: 'SubjectAccessReview',
        spec: {
          user,
          groups,
          extra,
          resourceAttributes: {
            verb,
            namespace,
            name,
            group: EXTENSION_GROUP,
            version: EXTENSION_VERSION,
            resource: 'flunders',
          },
        },
      },
    );
    return (
      ((review as KubeObject)['status'] as { allowed?: boolean }).allowed === true &&
      name !== 'forbidden-by-extension'
    );
  }

  #create(
    response: ServerResponse,
    { namespace, object }: { readonly namespace: string; readonly object: KubeObject },
  ): void {
    const name = object.metadata?.name ?? '';
    if (this.#flunders.has(`${namespace}/${name}`))
      return answer(
        response,
        409,
        status(409, 'AlreadyExists', `flunders.${EXTENSION_GROUP} "${name}" already exists`),
      );
    const created: KubeObject = {
      ...object,
      kind: 'Flunder',
      apiVersion: GROUP_VERSION,
      metadata: {
        ...object.metadata,
        name,
        namespace,
        uid: `uid-${++this.#revision}`,
        resourceVersion: String(this.#revision),
        creationTimestamp: new Date().toISOString(),
      },
    };
    this.#flunders.set(`${namespace}/${name}`, created);
    this.#tell('ADDED', created);
    answer(response, 201, created);
  }

  #tell(type: string, object: KubeObject): void {
    for (const tell of this.#watchers) tell(type, object);
  }

  #watch(response: ServerResponse): void {
    response.writeHead(200, { 'content-type': 'application/json' });
    response.flushHeaders();
    const tell = (type: string, object: KubeObject): void =>
      void response.write(`${JSON.stringify({ type, object })}\n`);
    for (const object of this.#flunders.values()) tell('ADDED', object);
    this.#watchers.add(tell);
    response.on('close', () => this.#watchers.delete(tell));
  }

  #documents(
    response: ServerResponse,
    { pathname, accept }: { readonly pathname: string; readonly accept: string },
  ): void {
    const verbs = ['create', 'delete', 'get', 'list', 'watch'];
    const group = {
      name: EXTENSION_GROUP,
      versions: [{ groupVersion: GROUP_VERSION, version: EXTENSION_VERSION }],
      preferredVersion: { groupVersion: GROUP_VERSION, version: EXTENSION_VERSION },
    };
    if (
      pathname === '/apis' &&
      accept.includes('g=apidiscovery.k8s.io;v=v2;') &&
      !this.#options.classicOnly
    ) {
      const resources = [
        {
          resource: 'flunders',
          responseKind: { group: EXTENSION_GROUP, version: EXTENSION_VERSION, kind: 'Flunder' },
          scope: 'Namespaced',
          singularResource: 'flunder',
          verbs,
          shortNames: ['flu'],
          categories: ['all'],
        },
      ];
      return answer(
        response,
        200,
        {
          kind: 'APIGroupDiscoveryList',
          apiVersion: 'apidiscovery.k8s.io/v2',
          metadata: {},
          items: [
            {
              metadata: { name: EXTENSION_GROUP },
              versions: [{ version: EXTENSION_VERSION, resources, freshness: 'Current' }],
            },
          ],
        },
        'application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList',
      );
    }
    if (pathname === '/apis')
      return answer(response, 200, { kind: 'APIGroupList', apiVersion: 'v1', groups: [group] });
    if (pathname === `/apis/${EXTENSION_GROUP}`)
      return answer(response, 200, { kind: 'APIGroup', apiVersion: 'v1', ...group });
    if (pathname === `/apis/${GROUP_VERSION}`)
      return answer(response, 200, {
        kind: 'APIResourceList',
        apiVersion: 'v1',
        groupVersion: GROUP_VERSION,
        resources: [
          {
            name: 'flunders',
            singularName: 'flunder',
            namespaced: true,
            kind: 'Flunder',
            verbs,
            shortNames: ['flu'],
            categories: ['all'],
          },
        ],
      });
    if (pathname === '/openapi/v2') return answer(response, 200, openapiV2());
    if (this.misbehaves === 'no-v3') return answer(response, 404, status(404, 'NotFound', 'no OpenAPI v3'));
    if (pathname === '/openapi/v3')
      return answer(response, 200, {
        paths: {
          [`apis/${GROUP_VERSION}`]: { serverRelativeURL: `/openapi/v3/apis/${GROUP_VERSION}?hash=F1` },
        },
      });
    if (pathname === `/openapi/v3/apis/${GROUP_VERSION}`) return answer(response, 200, openapiV3());
    answer(response, 404, status(404, 'NotFound', `no ${pathname} here`));
  }
}

const FLUNDER = {
  type: 'object',
  description: 'A flunder is there to be counted.',
  'x-kubernetes-group-version-kind': [
    { group: EXTENSION_GROUP, version: EXTENSION_VERSION, kind: 'Flunder' },
  ],
  properties: {
    apiVersion: { type: 'string' },
    kind: { type: 'string' },
    metadata: { type: 'object' },
    spec: {
      type: 'object',
      description: 'What it is to be.',
      properties: { size: { type: 'integer', format: 'int32', description: 'How big it is.' } },
    },
  },
};
const COLLECTION = `/apis/${GROUP_VERSION}/namespaces/{namespace}/flunders`;
const gvk = { group: EXTENSION_GROUP, version: EXTENSION_VERSION, kind: 'Flunder' };

function openapiV2(): object {
  const definition = 'com.example.wardle.v1alpha1.Flunder';
  return {
    swagger: '2.0',
    info: { title: 'wardle', version: '1' },
    paths: {
      [COLLECTION]: {
        post: {
          consumes: ['application/json'],
          produces: ['application/json'],
          'x-kubernetes-action': 'post',
          'x-kubernetes-group-version-kind': gvk,
          parameters: [
            { in: 'body', name: 'body', required: true, schema: { $ref: `#/definitions/${definition}` } },
            { in: 'path', name: 'namespace', required: true, type: 'string' },
          ],
          responses: { 201: { description: 'Created', schema: { $ref: `#/definitions/${definition}` } } },
        },
      },
    },
    definitions: { [definition]: FLUNDER },
  };
}

function openapiV3(): object {
  const schema = { $ref: '#/components/schemas/com.example.wardle.v1alpha1.Flunder' };
  return {
    openapi: '3.0.0',
    info: { title: 'wardle', version: '1' },
    paths: {
      [COLLECTION]: {
        post: {
          'x-kubernetes-action': 'post',
          'x-kubernetes-group-version-kind': gvk,
          parameters: [{ in: 'path', name: 'namespace', required: true, schema: { type: 'string' } }],
          requestBody: { content: { '*/*': { schema } } },
          responses: { 201: { description: 'Created', content: { 'application/json': { schema } } } },
        },
      },
    },
    components: { schemas: { 'com.example.wardle.v1alpha1.Flunder': FLUNDER } },
  };
}

function status(code: number, reason: string, message: string): object {
  return { kind: 'Status', apiVersion: 'v1', metadata: {}, status: 'Failure', reason, message, code };
}

function answer(
  response: ServerResponse,
  code: number,
  body: object,
  contentType = 'application/json',
): void {
  response.writeHead(code, { 'content-type': contentType }).end(JSON.stringify(body));
}

async function bodyOf(request: IncomingMessage): Promise<string> {
  const parts: Buffer[] = [];
  for await (const part of request) parts.push(part as Buffer);
  return Buffer.concat(parts).toString();
}

// --------------------------------------------------------------------------------------------------------------- requests

export interface Answer {
  readonly status: number;
  readonly headers: IncomingMessage['headers'];
  readonly text: string;
}

export interface AskOptions {
  readonly url: string;
  readonly ca: string;
  readonly client?: KeyPair | undefined;
  readonly method?: string;
  readonly headers?: Readonly<Record<string, string | readonly string[]>>;
  readonly body?: string;
}

/** One HTTPS request, with or without a client certificate. */
export function ask({ url, ca, client, method = 'GET', headers = {}, body }: AskOptions): Promise<Answer> {
  return new Promise((resolve, reject) => {
    const outgoing = Object.fromEntries(
      Object.entries(headers).map(([name, value]) => [name, typeof value === 'string' ? value : [...value]]),
    );
    const request = httpsRequest(
      url,
      {
        method,
        agent: false,
        ca,
        headers: outgoing,
        ...(client ? { cert: client.certificatePem, key: client.keyPem } : {}),
      },
      (response) => {
        bodyOf(response).then(
          (text) => resolve({ status: response.statusCode ?? 0, headers: response.headers, text }),
          reject,
        );
      },
    );
    request.on('error', reject);
    // As bytes: Node would write headers in the encoding of a text.
    request.end(body === undefined ? undefined : Buffer.from(body));
  });
}
