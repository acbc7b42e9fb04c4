/**
 * The HTTPS server of a component, after upstream's: health, metrics, configuration and flags on a separate port. Clients are authenticated by a
 * certificate of the cluster's client authority or a bearer token (TokenReview), and authorized for the path as a non-resource URL
 * (SubjectAccessReview); health checks need neither by default. Front proxy headers are not trusted.
 *
 *   request ─► always allowed? ─► authenticate (certificate │ token) ─► authorize GET PATH ─► page
 *                   '─────────────────────────────────────────────────────────────────►'
 */
import { constants } from 'node:crypto';
import {
  createServer as createPlainServer,
  type IncomingMessage,
  type RequestListener,
  type Server as PlainServer,
  type ServerResponse,
} from 'node:http';
import { createServer, type Server } from 'node:https';
import type { AddressInfo } from 'node:net';
import type { SecureContextOptions, SecureVersion, TLSSocket } from 'node:tls';
import type { Client } from '#client/client.ts';
import { isStatusError } from '#machinery/errors.ts';
import type { Clock } from '#stdx/clock.ts';
import { errorMessage, type Logger } from '#stdx/log.ts';
import { limitRepeats } from '#stdx/repeat-limit.ts';
import { DEFAULT_CIPHERS } from '#stdx/tls-suites.ts';
import { followClientAuthority } from './client-authority.ts';
import { ComponentHealth, type ComponentCheck } from './health.ts';
import { renderPage, type ComponentPages } from './pages.ts';
import { isTrustedPeer, userOfPeer } from './peer.ts';
import { Reviews, type ReviewedUser } from './reviews.ts';

interface ServingPair {
  readonly certificatePem: string;
  readonly keyPem: string;
}

export interface ComponentServerOptions extends ComponentPages {
  readonly api: Client;
  readonly clock: Clock;
  readonly log: Logger;
  readonly address: string;
  /** 0: any free port. */
  readonly port: number;
  readonly serving: ServingPair;
  /** PEM, instead of the CA that the API server publishes. */
  readonly clientCaPem?: string | undefined;
  /** Paths that need no authorization; a trailing * matches any suffix. */
  readonly alwaysAllow: readonly string[];
  readonly checks: readonly ComponentCheck[];
  readonly minVersion?: SecureVersion | undefined;
  readonly ciphers?: string | undefined;
}

export interface ComponentServer {
  readonly port: number;
  replaceServing(pair: ServingPair): void;
  close(): Promise<void>;
}

/** Upstream's defaults of delegated authentication and authorization. */
const REMEMBERED = { authenticatedMs: 10_000, allowedMs: 10_000, deniedMs: 10_000 };
/** Maximum number of connections; further ones are refused. */
const MAX_CONNECTIONS = 128;
const HEADERS_TIMEOUT_MS = 10_000;
const REQUEST_TIMEOUT_MS = 30_000;

/** Resolves once it listens; rejects with the error of listen. */
export async function startComponentServer(options: ComponentServerOptions): Promise<ComponentServer> {
  const server = new Serving(options);
  await server.start();
  return server;
}

class Serving implements ComponentServer {
  readonly #options: ComponentServerOptions;
  readonly #server: Server;
  readonly #reviews: Reviews;
  readonly #health: ComponentHealth;
  readonly #log: Logger;
  #pair: ServingPair;
  #clientCa: string | undefined;
  #authority: { close(): void } | undefined;

  constructor(options: ComponentServerOptions) {
    this.#options = options;
    this.#log = limitRepeats(options.log, { clock: options.clock });
    this.#pair = options.serving;
    this.#clientCa = options.clientCaPem;
    this.#health = new ComponentHealth(options.checks);
    this.#reviews = new Reviews({ ...REMEMBERED, api: options.api, clock: options.clock });
    this.#server = createServer(
      {
        ...this.#context(),
        requestCert: true,
        rejectUnauthorized: false,
        headersTimeout: HEADERS_TIMEOUT_MS,
        requestTimeout: REQUEST_TIMEOUT_MS,
      },
      (request, response) => void this.#answer(request, response),
    );
    this.#server.maxConnections = MAX_CONNECTIONS;
  }

  get port(): number {
    return (this.#server.address() as AddressInfo | null)?.port ?? 0;
  }

  async start(): Promise<void> {
    const { address, port, api, clientCaPem } = this.#options;
    await listening(this.#server, { address, port });
    if (clientCaPem !== undefined) return;
    this.#authority = await followClientAuthority(api, {
      log: this.#log,
      changed: (pem) => {
        this.#clientCa = pem;
        this.#server.setSecureContext(this.#context());
      },
    });
  }

  replaceServing(pair: ServingPair): void {
    this.#pair = pair;
    this.#server.setSecureContext(this.#context());
  }

  async close(): Promise<void> {
    this.#authority?.close();
    await closed(this.#server);
  }

  #context(): SecureContextOptions {
    const { minVersion = 'TLSv1.2', ciphers = DEFAULT_CIPHERS } = this.#options;
    return {
      cert: this.#pair.certificatePem,
      key: this.#pair.keyPem,
      ...(this.#clientCa === undefined ? { ca: [] } : { ca: this.#clientCa }),
      minVersion,
      ciphers,
      // Without session resumption: a resumed session would skip the check of an expired client certificate.
      secureOptions: constants.SSL_OP_NO_TICKET,
    };
  }

  async #answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
    try {
      const { pathname, searchParams } = new URL(request.url ?? '/', 'https://component');
      if (request.method !== 'GET' && request.method !== 'HEAD')
        return end(response, { status: 405, text: `${request.method ?? ''} is not supported\n` });
      const refused = await this.#refusal(request, pathname);
      if (refused) return end(response, refused);
      const health = this.#health.answer(pathname, searchParams);
      if (health) return end(response, health);
      const page = renderPage(pathname, {
        pages: this.#options,
        health: this.#health,
        accept: request.headers.accept,
      });
      if (!page) return end(response, { status: 404, text: '404 page not found\n' });
      response.writeHead(200, page.headers).end(page.body);
    } catch (error) {
      if (response.headersSent) return void response.destroy();
      const status = isStatusError(error, 'NotAcceptable') ? 406 : 500;
      if (status === 500) this.#log.warn('error answering a request', { error: errorMessage(error) });
      end(response, { status, text: `${errorMessage(error)}\n` });
    }
  }

  async #refusal(request: IncomingMessage, path: string): Promise<Answer | undefined> {
    if (this.#options.alwaysAllow.some((allowed) => matches(allowed, path))) return undefined;
    let user: ReviewedUser | undefined;
    try {
      user = await this.#createAuditUser(request);
      const verb = 'get';
      const who = user ?? ANONYMOUS;
      if (await this.#reviews.isAllowed(who, { nonResourceAttributes: { path, verb } })) return undefined;
      if (!user) return { status: 401, text: 'Unauthorized\n' };
      return {
        status: 403,
        text: `forbidden: User ${JSON.stringify(user.username ?? '')} cannot ${verb} path ${JSON.stringify(path)}\n`,
      };
    } catch (error) {
      this.#log.warn('error reviewing a client', { error: errorMessage(error) });
      return { status: 500, text: 'Internal Server Error: the API server could not be asked\n' };
    }
  }

  async #createAuditUser(request: IncomingMessage): Promise<ReviewedUser | undefined> {
    const peer = request.socket as TLSSocket;
    if (this.#clientCa !== undefined && isTrustedPeer(peer, this.#options.clock.now()))
      return userOfPeer(peer);
    return this.#reviews.userOfToken(request.headers.authorization);
  }
}

const ANONYMOUS: ReviewedUser = { username: 'system:anonymous', groups: ['system:unauthenticated'] };

/** A plain HTTP server for health only, for probes: kube-proxy's 10256, CoreDNS's 8080. */
export async function startHealthServer({
  address,
  port,
  answer,
}: {
  readonly address: string;
  readonly port: number;
  /** Undefined: no such path. */
  readonly answer: (path: string) => Answer | undefined;
}): Promise<{ readonly port: number; close(): Promise<void> }> {
  const listener: RequestListener = (request, response) => {
    const { pathname } = new URL(request.url ?? '/', 'http://component');
    end(response, answer(pathname) ?? { status: 404, text: '404 page not found\n' });
  };
  const server = createPlainServer(
    { headersTimeout: HEADERS_TIMEOUT_MS, requestTimeout: REQUEST_TIMEOUT_MS },
    listener,
  );
  server.maxConnections = MAX_CONNECTIONS;
  await listening(server, { address, port });
  return { port: (server.address() as AddressInfo).port, close: () => closed(server) };
}

interface Answer {
  readonly status: number;
  readonly text: string;
  readonly type?: string;
}

function end(response: ServerResponse, { status, text, type = 'text/plain; charset=utf-8' }: Answer): void {
  response.writeHead(status, { 'content-type': type, 'x-content-type-options': 'nosniff' }).end(text);
}

function matches(allowed: string, path: string): boolean {
  return allowed.endsWith('*') ? path.startsWith(allowed.slice(0, -1)) : path === allowed;
}

type Listening = Server | PlainServer;

function listening(
  server: Listening,
  { address, port }: { readonly address: string; readonly port: number },
): Promise<void> {
  const { promise, resolve, reject } = Promise.withResolvers<void>();
  server.once('error', reject);
  server.listen({ host: address, port, exclusive: true }, () => {
    server.off('error', reject);
    resolve();
  });
  return promise;
}

function closed(server: Listening): Promise<void> {
  return new Promise((resolve) => {
    server.close(() => resolve());
    server.closeAllConnections();
  });
}
