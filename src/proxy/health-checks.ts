/**
 * Health check node ports: external load balancers query each node for local endpoints of a Service with externalTrafficPolicy Local, and skip the others.
 * Responses as upstream's service proxy; independent of rules.
 */
import { createServer, type Server, type ServerResponse } from 'node:http';
import { errorMessage, type Logger } from '#stdx/log.ts';

/** localEndpoints: ready endpoints on this node, without terminating ones. */
export interface ServiceHealth {
  readonly namespace: string;
  readonly name: string;
  readonly port: number;
  readonly localEndpoints: number;
}

interface Listener {
  readonly server: Server;
  health: ServiceHealth;
}

export class HealthCheckPorts {
  readonly #log: Logger;
  readonly #listeners = new Map<number, Listener>();

  constructor(log: Logger) {
    this.#log = log;
  }

  /** Opens and closes listeners so that exactly these are served. A port in use is logged and retried at the next change. */
  sync(wanted: readonly ServiceHealth[]): void {
    const byPort = new Map(wanted.map((health) => [health.port, health]));
    for (const [port, { server }] of this.#listeners) if (!byPort.has(port)) this.#close(port, server);
    for (const [port, health] of byPort) {
      const listener = this.#listeners.get(port);
      if (listener) listener.health = health;
      else this.#open(health);
    }
  }

  close(): void {
    this.sync([]);
  }

  #open(health: ServiceHealth): void {
    const listener: Listener = {
      health,
      server: createServer((_, response) => answer(response, listener.health)),
    };
    listener.server.on('error', (error) => {
      this.#log.warn('error opening a health check node port', {
        service: `${health.namespace}/${health.name}`,
        port: health.port,
        error: errorMessage(error),
      });
      this.#listeners.delete(health.port);
    });
    this.#listeners.set(health.port, listener);
    listener.server.listen(health.port).unref();
  }

  #close(port: number, server: Server): void {
    this.#listeners.delete(port);
    server.close();
    server.closeAllConnections();
  }
}

function answer(response: ServerResponse, { namespace, name, localEndpoints }: ServiceHealth): void {
  const headers = {
    'content-type': 'application/json',
    'x-content-type-options': 'nosniff',
    'x-load-balancing-endpoint-weight': String(localEndpoints),
  };
  response
    .writeHead(localEndpoints > 0 ? 200 : 503, headers)
    .end(
      JSON.stringify(
        { service: { namespace, name }, localEndpoints, serviceProxyHealthy: true },
        undefined,
        '\t',
      ),
    );
}
