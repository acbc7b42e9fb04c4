/** /healthz, /readyz and /metrics of the balancer, over plain HTTP: for the supervisor and a scraper on this machine. They contain no secrets. */
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { Address } from './address.ts';

interface StatusListenerOptions {
  readonly address: Address;
  readonly isReady: () => boolean;
  readonly metrics: () => string;
}

const MAX_CONNECTIONS = 32;
const REQUEST_TIMEOUT_MS = 5_000;

export class StatusListener {
  readonly #options: StatusListenerOptions;
  readonly #server: Server;

  constructor(options: StatusListenerOptions) {
    this.#options = options;
    this.#server = createServer({ requestTimeout: REQUEST_TIMEOUT_MS }, (request, response) =>
      this.#answer(request, response),
    );
    this.#server.maxConnections = MAX_CONNECTIONS;
  }

  start(): Promise<void> {
    const { host, port } = this.#options.address;
    return new Promise((resolve, reject) => {
      this.#server.once('error', reject);
      this.#server.listen({ host, port }, resolve);
    });
  }

  stop(): Promise<void> {
    this.#server.closeAllConnections();
    return new Promise((resolve) => this.#server.close(() => resolve()));
  }

  #answer({ url = '' }: IncomingMessage, response: ServerResponse): void {
    const { isReady, metrics } = this.#options;
    const path = url.split('?')[0];
    response.setHeader('content-type', 'text/plain; charset=utf-8');
    if (path === '/healthz' || path === '/livez') response.end('ok');
    else if (path === '/readyz')
      response.writeHead(isReady() ? 200 : 503).end(isReady() ? 'ok' : 'no API server is ready');
    else if (path === '/metrics') response.end(metrics());
    else response.writeHead(404).end('404 page not found');
  }
}
