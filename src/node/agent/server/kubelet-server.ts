/**
 * The kubelet API, called by the API server. HTTPS; authentication and authorization: see access.ts.
 *
 *   GET /pods /healthz /metrics /metrics/{resource,cadvisor,probes} /stats/summary /logs/ /containerLogs/NS/POD/CONTAINER      upgrades: /exec /attach /NS/POD/CONTAINER, /portForward/NS/POD
 */
import { constants } from 'node:crypto';
import type { IncomingMessage, ServerResponse } from 'node:http';
import { createServer, type Server } from 'node:https';
import type { AddressInfo, Socket } from 'node:net';
import type { Duplex } from 'node:stream';
import type { SecureContextOptions, SecureVersion } from 'node:tls';
import type { Pod } from '#api/types.ts';
import type { Client } from '#client/client.ts';
import { responseHead } from '#machinery/streams/upgrade.ts';
import type { Clock } from '#stdx/clock.ts';
import { errorMessage, type Logger } from '#stdx/log.ts';
import { DEFAULT_CIPHERS } from '#stdx/tls-suites.ts';
import type { CriClient } from '../../cri/client.ts';
import { proxyStream } from '../../cri/streaming.ts';
import type { Cgroups, CgroupUsage } from '../cgroups.ts';
import { podCgroup } from '../config/resources.ts';
import type { PodWorker } from '../pod/pod-worker.ts';
import { findContainer } from '../pod/restart-policy.ts';
import { activeSandbox, type RuntimeContainer, type RuntimeView } from '../runtime-view.ts';
import { ComponentHealth } from '#runtime/component-server/health.ts';
import { renderPage } from '#runtime/component-server/pages.ts';
import { MetricsRegistry } from '#stdx/metrics-registry.ts';
import { isStatusError } from '#machinery/errors.ts';
import { KubeletAccess } from './access.ts';
import { writeLogs, type LogOptions } from './container-logs.ts';
import { agentPage, cadvisorPage, probesPage, resourcePage, startTimes } from './metrics.ts';
import { NODE_LOGS_DIR, nodeLogQueryProblem, writeNodeLogs } from './node-logs.ts';
import { interfaceCounters, type InterfaceCounters } from './pod-network.ts';
import { StatsSummary } from './stats.ts';

export interface KubeletTls {
  readonly certificatePem: string;
  readonly keyPem: string;
  /** Signs the API server's client certificate. */
  readonly clientCaPem: string;
  /** Common names of client certificates that are always authorized: the API server's. */
  readonly clients: readonly string[];
  /** Default: TLS 1.2. */
  readonly minVersion?: SecureVersion | undefined;
  /** OpenSSL's names. Default: suites with forward secrecy and authenticated encryption. */
  readonly ciphers?: string | undefined;
}

/** Structured-cloneable. */
export interface ShownSettings {
  readonly flags: Readonly<Record<string, string>>;
  readonly config: object;
}

export interface KubeletServerOptions {
  readonly api: Client;
  readonly cri: CriClient;
  readonly clock: Clock;
  readonly log: Logger;
  readonly view: RuntimeView;
  readonly cgroups: Cgroups;
  readonly cgroupRoot: string;
  /** Counters of the agent. */
  readonly metrics: { render(): readonly string[] };
  /** Of the component around it: requests to the API server, say. */
  readonly moreMetrics?: (() => string) | undefined;
  readonly tls: KubeletTls;
  readonly address: string;
  /** Any free port when this one is in use. */
  readonly port: number;
  readonly nodeName: string;
  /** The kubelet's version in the node's status: for metrics. */
  readonly version?: string | undefined;
  /** The images' directory: the disk of the stats. */
  readonly imageDir: string;
  readonly workers: () => readonly PodWorker[];
  /** Of the program, for /flagz and /configz. */
  readonly shown?: ShownSettings | undefined;
  /** Why pods are not synced; undefined: they are. */
  readonly syncProblem?: (() => string | undefined) | undefined;
  /** Idle timeout of streams. */
  readonly streamIdleMs?: number | undefined;
}

/** Of connections without a request, as upstream's kubelet. */
const IDLE_MS = 90_000;
const STREAM_IDLE_MS = 4 * 3_600_000;
/** As the API server: commands of exec are part of the address. */
const MAX_HEADER_BYTES = 1024 * 1024;

/** An error response. */
class HttpError extends Error {
  readonly status: number;
  constructor(status: number, message: string) {
    super(message);
    this.status = status;
  }
}

export class KubeletServer {
  readonly #options: KubeletServerOptions;
  readonly #server: Server;
  readonly #stats: StatsSummary;
  readonly #access: KubeletAccess;
  readonly #health: ComponentHealth;
  readonly #sockets = new Set<Duplex>();
  #tls: KubeletTls;

  constructor(options: KubeletServerOptions) {
    this.#options = options;
    this.#tls = options.tls;
    const { tls, api, cri, clock, log, nodeName, imageDir } = options;
    this.#stats = new StatsSummary({
      cri,
      nodeName,
      dir: imageDir,
      podUsage: async (uid) => this.#podUsage(uid),
      details: async (uid, id) => {
        const path = this.#cgroupOf(uid);
        return path === undefined ? undefined : options.cgroups.details(`${path}/${id}`);
      },
      interfaces: (uid) => this.#interfaces(uid),
    });
    this.#health = new ComponentHealth([{ name: 'syncloop', check: () => options.syncProblem?.() }]);
    this.#access = new KubeletAccess({
      api,
      clock,
      log,
      nodeName,
      clients: tls.clients,
    });
    this.#server = createServer(
      {
        ...this.#context(tls),
        requestCert: true,
        rejectUnauthorized: false,
        maxHeaderSize: MAX_HEADER_BYTES,
        keepAliveTimeout: IDLE_MS,
      },
      (request, response) => void this.#answer(request, response),
    );
    this.#server.on('upgrade', (request, socket, head) => void this.#upgrade(request, socket, head));
    this.#server.on('connection', (socket) => {
      this.#sockets.add(socket);
      socket.on('close', () => this.#sockets.delete(socket));
    });
  }

  /** Used for new connections, which are verified against these authorities. */
  replaceTls(next: Partial<Pick<KubeletTls, 'certificatePem' | 'keyPem' | 'clientCaPem'>>): void {
    const tls = { ...this.#tls, ...next };
    this.#server.setSecureContext(this.#context(tls));
    this.#tls = tls;
  }

  #context({
    certificatePem,
    keyPem,
    clientCaPem,
    minVersion = 'TLSv1.2',
    ciphers = DEFAULT_CIPHERS,
  }: KubeletTls): SecureContextOptions {
    // Without resumption: a resumed session would keep the verdict on a client certificate that has expired.
    const secureOptions = constants.SSL_OP_NO_TICKET;
    return { cert: certificatePem, key: keyPem, ca: clientCaPem, minVersion, ciphers, secureOptions };
  }

  /** The listening port; 0 before start. */
  get port(): number {
    return (this.#server.address() as AddressInfo | null)?.port ?? 0;
  }

  async start(): Promise<void> {
    const { port } = this.#options;
    await this.#listen(port).catch(async (error: NodeJS.ErrnoException) => {
      if (error.code !== 'EADDRINUSE' || port === 0) throw error;
      await this.#listen(0);
    });
  }

  /** Also closes open streams. */
  async stop(): Promise<void> {
    const { promise, resolve } = Promise.withResolvers<void>();
    if (!this.#server.listening) return;
    this.#server.close(() => resolve());
    for (const socket of this.#sockets) socket.destroy();
    await promise;
  }

  #listen(port: number): Promise<void> {
    const { promise, resolve, reject } = Promise.withResolvers<void>();
    this.#server.once('error', reject);
    this.#server.listen(port, this.#options.address, () => {
      this.#server.off('error', reject);
      resolve();
    });
    return promise;
  }

  async #refuse(request: IncomingMessage): Promise<void> {
    const refused = await this.#access.refusal(request, urlOf(request).pathname);
    if (refused) throw new HttpError(refused.status, refused.text);
  }

  async #answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
    try {
      await this.#refuse(request);
      await this.#route(request, response);
    } catch (error) {
      const status =
        error instanceof HttpError ? error.status : isStatusError(error, 'NotAcceptable') ? 406 : 500;
      if (response.headersSent) response.destroy();
      else
        response
          .writeHead(status, { 'content-type': 'text/plain; charset=utf-8' })
          .end(`${errorMessage(error)}\n`);
    }
  }

  async #route(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const { pathname, searchParams } = urlOf(request);
    const [first = '', ...rest] = pathname.split('/').slice(1).map(decodeURIComponent);
    if (first === 'run') throw new HttpError(405, 'run is not supported: use exec');
    if (['exec', 'attach', 'portForward'].includes(first))
      throw new HttpError(400, 'Upgrade request required');
    if (request.method !== 'GET')
      throw new HttpError(405, `${request.method} is not supported for ${pathname}`);
    const json = (value: object): void =>
      void response.writeHead(200, { 'content-type': 'application/json' }).end(JSON.stringify(value));
    const health = this.#health.answer(pathname, searchParams);
    if (health)
      response.writeHead(health.status, { 'content-type': 'text/plain; charset=utf-8' }).end(health.text);
    else if (['configz', 'flagz', 'statusz'].includes(first) && rest.length === 0)
      this.#page(request, { response, pathname });
    else if (pathname === '/pods' || pathname === '/pods/' || pathname === '/runningpods/')
      json(this.#podList());
    else if (pathname === '/stats/summary')
      json(await this.#stats.summary(startTimes(this.#options.workers())));
    else if (first === 'metrics') await this.#metrics(response, pathname);
    else if (first === 'logs') await this.#nodeLogs(response, { path: rest.join('/'), query: searchParams });
    else if (first === 'containerLogs' && rest.length === 3)
      await this.#logs(response, {
        namespace: rest[0] ?? '',
        name: rest[1] ?? '',
        container: rest[2] ?? '',
        query: searchParams,
      });
    else throw new HttpError(404, '404 page not found');
  }

  #page(
    { headers: { accept } }: IncomingMessage,
    { response, pathname }: { readonly response: ServerResponse; readonly pathname: string },
  ): void {
    const { version = '', shown = { flags: {}, config: {} } } = this.#options;
    const pages = { name: 'kubelet', version, metrics: new MetricsRegistry(), ...shown };
    const page = renderPage(pathname, { pages, health: this.#health, accept });
    if (!page) throw new HttpError(404, '404 page not found');
    response.writeHead(200, page.headers).end(page.body);
  }

  async #nodeLogs(
    response: ServerResponse,
    { path, query }: { readonly path: string; readonly query: URLSearchParams },
  ): Promise<void> {
    const problem = nodeLogQueryProblem(query);
    if (problem !== undefined) throw new HttpError(400, problem);
    if (!(await writeNodeLogs(response, { root: NODE_LOGS_DIR, path })))
      throw new HttpError(404, '404 page not found');
  }

  async #podUsage(uid: string): Promise<CgroupUsage | undefined> {
    const path = this.#cgroupOf(uid);
    return path === undefined ? undefined : this.#options.cgroups.usage(path);
  }

  #cgroupOf(uid: string): string | undefined {
    const { cgroupRoot, workers } = this.#options;
    const spec = workers().find((worker) => worker.uid === uid)?.pod.spec;
    return spec && podCgroup(spec, { root: cgroupRoot, uid }).path;
  }

  /** Of pods with a network namespace of their own. */
  async #interfaces(uid: string): Promise<readonly InterfaceCounters[]> {
    const path = this.#cgroupOf(uid);
    const pod = this.#options.workers().find((worker) => worker.uid === uid)?.pod;
    if (path === undefined || pod?.spec?.hostNetwork) return [];
    const pid = await this.#options.cgroups.processOf(path);
    return pid === undefined ? [] : interfaceCounters(pid);
  }

  #podList(): object {
    const items = this.#options.workers().map(({ pod, status }) => (status ? { ...pod, status } : pod));
    return { kind: 'PodList', apiVersion: 'v1', metadata: {}, items };
  }

  async #metrics(response: ServerResponse, pathname: string): Promise<void> {
    const text = await this.#metricsPage(pathname);
    response.writeHead(200, { 'content-type': 'text/plain; version=0.0.4; charset=utf-8' }).end(text);
  }

  async #metricsPage(pathname: string): Promise<string> {
    const pods = this.#options.workers();
    switch (pathname) {
      case '/metrics':
        return agentPage(pods, {
          nodeName: this.#options.nodeName,
          version: this.#options.version ?? '',
          more: [
            ...this.#options.metrics.render(),
            ...(this.#options.moreMetrics?.().trimEnd().split('\n') ?? []),
          ],
        });
      case '/metrics/resource':
        return resourcePage(await this.#stats.usage().catch(() => undefined), pods);
      case '/metrics/cadvisor':
        return cadvisorPage(await this.#stats.usage(), pods);
      case '/metrics/probes':
        return probesPage(pods);
      default:
        throw new HttpError(404, '404 page not found');
    }
  }

  #find(namespace: string, name: string): PodWorker {
    const found = this.#options
      .workers()
      .find(({ pod }) => pod.metadata?.name === name && pod.metadata.namespace === namespace);
    if (!found) throw new HttpError(404, `pod "${name}/${namespace}" not found\n`.trim());
    return found;
  }

  async #logs(
    response: ServerResponse,
    {
      namespace,
      name,
      container,
      query,
    }: {
      readonly namespace: string;
      readonly name: string;
      readonly container: string;
      readonly query: URLSearchParams;
    },
  ): Promise<void> {
    const { view, clock } = this.#options;
    const { pod, uid } = this.#find(namespace, name);
    if (!findContainer(pod, container))
      throw new HttpError(404, `container "${container}" not found in pod "${name}"`);
    const previous = isTrue(query.get('previous'));
    const runs = (await view.pod(uid)).containers.filter((one) => one.name === container);
    const chosen = chooseRun(runs, { pod, container, previous });
    const options = logOptions(query, clock.now());
    const stop = new AbortController();
    response.on('close', () => stop.abort(new Error('the client went away')));
    response.writeHead(200, { 'content-type': 'text/plain' });
    response.flushHeaders();
    await writeLogs(
      {
        path: chosen.logPath,
        isRunning: async () =>
          (await view.pod(uid)).containers.some(
            ({ id, phase }) => id === chosen.id && (phase === 'running' || phase === 'created'),
          ),
      },
      {
        signal: stop.signal,
        write: (chunk) =>
          new Promise((resolve) => {
            if (stop.signal.aborted || response.write(chunk)) return resolve();
            response.once('drain', resolve);
            stop.signal.addEventListener('abort', () => resolve(), { once: true });
          }),
      },
      options,
    );
    response.end();
  }

  async #upgrade(request: IncomingMessage, socket: Duplex, head: Buffer): Promise<void> {
    socket.on('error', () => socket.destroy());
    try {
      await this.#refuse(request);
      const url = await this.#streamingUrl(request);
      (socket as Socket).setTimeout(this.#options.streamIdleMs ?? STREAM_IDLE_MS, () => socket.destroy());
      await proxyStream({ request, socket, head, url });
    } catch (error) {
      const status = error instanceof HttpError ? error.status : 500;
      const body = Buffer.from(`${errorMessage(error)}\n`);
      socket.write(
        responseHead({
          status,
          reason:
            status === 404
              ? 'Not Found'
              : status === 400
                ? 'Bad Request'
                : status === 401
                  ? 'Unauthorized'
                  : status < 500
                    ? 'Forbidden'
                    : 'Internal Server Error',
          headers: {
            'content-type': 'text/plain; charset=utf-8',
            'content-length': String(body.length),
            connection: 'close',
          },
        }),
      );
      socket.end(body);
    }
  }

  /** URL of the runtime's streaming server. */
  async #streamingUrl(request: IncomingMessage): Promise<string> {
    const { cri, view } = this.#options;
    const { pathname, searchParams } = urlOf(request);
    const [kind = '', namespace = '', name = '', ...rest] = pathname
      .split('/')
      .slice(1)
      .map(decodeURIComponent);
    if (!['exec', 'attach', 'portForward'].includes(kind)) throw new HttpError(404, '404 page not found');
    const worker = this.#find(namespace, name);
    const runtime = await view.pod(worker.uid);
    if (kind === 'portForward') {
      const sandbox = activeSandbox(runtime);
      if (!sandbox) throw new HttpError(404, `pod ${name}_${namespace} does not have a running sandbox`);
      return (
        await cri.portForward({ podSandboxId: sandbox.id, port: searchParams.getAll('port').map(Number) })
      ).url;
    }
    // A uid may precede the container.
    const containerName = rest.at(-1) ?? '';
    const container = runtime.containers.find((one) => one.name === containerName && one.phase === 'running');
    if (!container) throw new HttpError(404, `container not found ("${containerName}")`);
    const flag = (key: string): boolean => isTrue(searchParams.get(key));
    const tty = kind === 'attach' ? (findContainer(worker.pod, containerName)?.tty ?? false) : flag('tty');
    const streams = { stdin: flag('input'), stdout: flag('output'), stderr: flag('error') && !tty, tty };
    if (!streams.stdin && !streams.stdout && !streams.stderr)
      throw new HttpError(400, 'you must specify at least 1 of stdin, stdout, stderr');
    if (kind === 'attach') return (await cri.attach({ containerId: container.id, ...streams })).url;
    return (await cri.exec({ containerId: container.id, cmd: searchParams.getAll('command'), ...streams }))
      .url;
  }
}

function urlOf(request: IncomingMessage): URL {
  return new URL(request.url ?? '/', 'https://kubelet');
}

function isTrue(text: string | null): boolean {
  return text !== null && ['1', 't', 'true'].includes(text.toLowerCase());
}

function chooseRun(
  runs: readonly RuntimeContainer[],
  { pod, container, previous }: { readonly pod: Pod; readonly container: string; readonly previous: boolean },
): RuntimeContainer {
  const [latest, before] = runs;
  const waiting = [
    ...(pod.status?.containerStatuses ?? []),
    ...(pod.status?.initContainerStatuses ?? []),
  ].find((status) => status.name === container)?.state?.waiting;
  // While a container waits to be restarted, its latest run is the last one that ended.
  const lastEnded = waiting && latest?.phase === 'exited' ? latest : before;
  const chosen = previous ? lastEnded : latest;
  const name = pod.metadata?.name ?? '';
  if (chosen && chosen.phase !== 'created') return chosen;
  if (previous)
    throw new HttpError(400, `previous terminated container "${container}" in pod "${name}" not found`);
  const reason = waiting?.reason ?? 'ContainerCreating';
  const why = ['ImagePullBackOff', 'ErrImagePull'].includes(reason)
    ? `trying and failing to pull image`
    : reason === 'ContainerCreating' || reason === 'PodInitializing'
      ? reason
      : `${reason}`;
  throw new HttpError(400, `container "${container}" in pod "${name}" is waiting to start: ${why}`);
}

function logOptions(query: URLSearchParams, nowMs: number): LogOptions {
  const number = (key: string): number | undefined => {
    const text = query.get(key);
    if (text === null || text === '' || text === 'all') return undefined;
    const value = Number(text);
    if (!Number.isInteger(value))
      throw new HttpError(
        400,
        `unable to decode the request's query: ${key} is ${JSON.stringify(text)}, should be a whole number`,
      );
    return value;
  };
  const sinceSeconds = number('sinceSeconds');
  const sinceTime = query.get('sinceTime');
  const stream = query.get('stream')?.toLowerCase();
  return {
    follow: isTrue(query.get('follow')),
    timestamps: isTrue(query.get('timestamps')),
    tailLines: number('tailLines'),
    limitBytes: number('limitBytes'),
    sinceMs:
      sinceSeconds === undefined
        ? sinceTime
          ? Date.parse(sinceTime)
          : undefined
        : nowMs - sinceSeconds * 1000,
    stream: stream === 'stdout' || stream === 'stderr' ? stream : undefined,
  };
}
