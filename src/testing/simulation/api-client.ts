/** A client's end of the API over the simulated network: one connection at a time, to whichever server it picked, given up when an answer takes too long. */
import type { SimApiServer, SimRequest } from './api-server.ts';
import type { Connection, Network } from './network.ts';
import type { SimNode } from './world.ts';

const CONNECT_MS = 3;
const REQUEST_TIMEOUT_MS = 12_000;

export interface SimAnswer {
  readonly status: number;
  // oxlint-disable-next-line no-explicit-any
  readonly body: any;
  /** That answered. */
  readonly server: string;
}

export interface SimWatchEvent {
  readonly type: string;
  // oxlint-disable-next-line no-explicit-any
  readonly object: any;
}

/** No answer: what was asked may have happened. */
export class NoAnswer extends Error {
  /** It was never sent. */
  readonly unsent: boolean;
  constructor(message: string, { unsent }: { readonly unsent: boolean }) {
    super(message);
    this.unsent = unsent;
  }
}

export class ApiClient {
  readonly node: SimNode;
  readonly #servers: readonly SimApiServer[];
  readonly #network: Network;
  #current: { readonly server: SimApiServer; readonly connection: Connection } | undefined;

  constructor(
    node: SimNode,
    { servers, network }: { readonly servers: readonly SimApiServer[]; readonly network: Network },
  ) {
    this.node = node;
    this.#servers = servers;
    this.#network = network;
  }

  /** The next request goes over a new connection, maybe to another server. */
  disconnect(): void {
    this.#current?.connection.break('the client closed it');
  }

  async request(request: SimRequest): Promise<SimAnswer> {
    const { server, connection } = await this.#connect();
    const { promise, resolve, reject } = Promise.withResolvers<SimAnswer>();
    const { identity } = server;
    const lost = (why: string): void => reject(new NoAnswer(why, { unsent: false }));
    const timer = this.node.clock.after(REQUEST_TIMEOUT_MS, () => connection.break('no answer in time'));
    const forget = connection.onBreak(lost);
    const head = (status: number, body: string | undefined): void =>
      resolve({ status, body: JSON.parse(body ?? '{}'), server: identity });
    const ends = { head, chunk: () => {}, end: () => {} };
    connection.send('server', () => server.serve(request, { connection, ends }));
    return promise.finally(() => {
      timer.cancel();
      forget();
    });
  }

  /** Resolves to the server that it is of when the stream ended, however it did. */
  async watch(
    request: SimRequest,
    {
      onBegin,
      onEvent,
    }: { readonly onBegin: (server: string) => void; onEvent: (event: SimWatchEvent) => void },
  ): Promise<void> {
    const { server, connection } = await this.#connect();
    const { promise, resolve } = Promise.withResolvers<void>();
    let text = '';
    const chunk = (more: string): void => {
      text += more;
      for (let end = text.indexOf('\n'); end >= 0; end = text.indexOf('\n')) {
        onEvent(JSON.parse(text.slice(0, end)) as SimWatchEvent);
        text = text.slice(end + 1);
      }
    };
    onBegin(server.identity);
    const forget = connection.onBreak(() => resolve());
    const ends = {
      head: (status: number, body: string | undefined): void => {
        if (status === 200 && body === undefined) return;
        if (status === 200) chunk(body!);
        resolve();
      },
      chunk,
      end: resolve,
    };
    connection.send('server', () => server.serve(request, { connection, ends }));
    return promise.finally(forget);
  }

  async #connect(): Promise<{ readonly server: SimApiServer; readonly connection: Connection }> {
    if (this.#current && this.#current.connection.broken === undefined) return this.#current;
    const { world } = this.node;
    const server = world.pick(this.#servers);
    await this.node.clock.sleep(world.between(0.1, CONNECT_MS));
    const isCut = this.#network.isCut(this.node, server.node) || this.#network.isCut(server.node, this.node);
    if (isCut || server.node.paused || !server.isServing)
      throw new NoAnswer(`${server.node.name} is not reachable`, { unsent: true });
    this.#current = { server, connection: this.#network.connect(this.node, server.node) };
    return this.#current;
  }
}
