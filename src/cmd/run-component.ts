/**
 * One component as a program of its own: reads a kubeconfig, waits until the API server responds, runs the component in the foreground and stops it on
 * SIGTERM or SIGINT. Independent of the component; src/cmd/<name>/ creates each.
 *
 *   kubeconfig ─► API server responds ─► create ─► start ─► running ──SIGTERM──► stop ─► exit 0
 *      '── unreadable │ unreachable, untrusted, rejected │ cannot start, failed ──► one sentence, exit 1
 */
import { randomUUID } from 'node:crypto';
import { hostname } from 'node:os';
import { UserError } from '#deploy/data-dir.ts';
import type { Client } from '#client/client.ts';
import { createClient } from '#client/create.ts';
import { RestClientMetrics } from '#client/metrics.ts';
import type { HttpsOptions } from '#client/https.ts';
import { loadKubeconfig, resolveContext } from '#client/kubeconfig.ts';
import type { Transport } from '#client/transport.ts';
import { isTransportError } from '#client/transport-error.ts';
import type { Component, ComponentContext } from '#runtime/component.ts';
import type { EffectiveVersion } from '#machinery/effective-version.ts';
import type { ComponentCheck } from '#runtime/component-server/health.ts';
import { MetricsRegistry } from '#stdx/metrics-registry.ts';
import { realClock } from '#stdx/clock.ts';
import { errorMessage, type Logger } from '#stdx/log.ts';
import { releaseMemoryWhenQuiet } from '#stdx/memory-release.ts';
import { COMPONENT_FLAGS, loggerFrom } from './flags/common.ts';
import { readFlags, shownFlags, type FlagTable, type GivenFlags } from './flags/define.ts';
import type { AccessFlags } from './flags/endpoints.ts';
import { serveEndpoints } from './component-endpoints.ts';
import { FollowedConnection, type Derive } from './followed-connection.ts';
import { KUBERNETES_VERSION } from './version.ts';

/** Options of every component's command. */
export type ComponentFlags = GivenFlags<typeof COMPONENT_FLAGS> & {
  /** Name in leader elections and events. Default '<host>_<uuid>'. */
  readonly identity?: string;
};

interface Connection {
  readonly file: string;
  /** From the current file, which may change. */
  readonly options: HttpsOptions;
}

export interface RunContext extends ComponentContext {
  readonly connection: Connection;
  /** A further transport of the kubeconfig's connection, which follows it as the first does; closed when the program ends. */
  openTransport(derive: Derive): Transport;
  /** A transport of another kubeconfig, which it follows; closed when the program ends. */
  openKubeconfig(file: string): Transport;
  /** The program was asked to stop: `create` should return early. */
  readonly stopping: AbortSignal;
  /** False, for one that starts alone: no API server did, a moment ago. */
  readonly apiAnswers: boolean;
}

interface RunOptions {
  /** Of the command; in the log and as the user agent. */
  readonly name: string;
  readonly flags: ComponentFlags;
  /** It has work while no API server answers: it is asked once, and not waited for. */
  readonly startsAlone?: boolean | undefined;
  create(context: RunContext): Component | Promise<Component>;
  readonly endpoints?: Endpoints;
}

/** Endpoints that the program adds to the component's. */
interface Endpoints {
  /** For /flagz. */
  readonly table: FlagTable;
  readonly access: AccessFlags;
  /** Where. Undefined: nowhere. */
  readonly listen: ListenAddress | undefined;
  /** Of a component that can behave as an older version. */
  readonly effectiveVersion?: EffectiveVersion | undefined;
  /** For /configz, under its group; default: the flags. */
  readonly config?: object;
  readonly checks?: readonly ComponentCheck[];
  /** Further pages of metrics, by path. */
  readonly moreMetrics?: Readonly<Record<string, MetricsRegistry>>;
  /** Further servers, without TLS, that tell health alone. isReady: the component has started. */
  readonly health?: (isReady: () => boolean) => Promise<readonly { close(): Promise<void> }[]>;
}

interface ListenAddress {
  readonly address: string;
  readonly port: number;
}

const PROBE_EVERY_MS = 500;
const PROBE_TIMEOUT_MS = 5_000;
const STOP_TIMEOUT_MS = 60_000;

/** Resolves after the component was stopped by a signal; throws a UserError, or the component's failure, when it ends otherwise. */
export async function runComponent({
  name,
  flags,
  startsAlone = false,
  create,
  endpoints,
}: RunOptions): Promise<void> {
  const { apiTimeoutSeconds } = readFlags(COMPONENT_FLAGS, flags);
  const log = loggerFrom(flags, name);
  const connections: FollowedConnection[] = [];
  const { file } = readConnection(flags);
  const follow = (path: string): FollowedConnection => {
    const read = (): HttpsOptions => readConnection({ ...flags, kubeconfig: path }).options;
    const made = new FollowedConnection({ file: path, read, log });
    connections.push(made);
    return made;
  };
  const followed = follow(file);
  const connection: Connection = {
    file,
    get options() {
      return followed.options;
    },
  };
  const stopping = stopSignal(log);
  const metrics = new MetricsRegistry();
  const requests = new RestClientMetrics();
  metrics.add(requests);
  const measured = (transport: Transport, { server }: HttpsOptions): Transport =>
    requests.measured(transport, new URL(server).host);
  const openTransport = (derive: Derive): Transport =>
    measured(followed.open(derive), derive(followed.options));
  const openKubeconfig = (path: string): Transport => {
    const other = follow(path);
    return measured(other.open(), other.options);
  };
  const transport = followed.open();
  try {
    const wait = {
      transport,
      connection,
      log,
      stopping: stopping.signal,
      timeoutMs: apiTimeoutSeconds * 1000,
    };
    const apiAnswers = startsAlone ? await askApi(wait) : await waitForApi(wait).then(() => true);
    if (stopping.signal.aborted) return;
    const api = createClient(measured(transport, connection.options), {
      userAgent: `${name}/${KUBERNETES_VERSION}`,
      log,
    });
    const identity = flags.identity ?? `${hostname()}_${randomUUID()}`;
    const context = {
      api,
      clock: realClock,
      log,
      identity,
      connection,
      openTransport,
      openKubeconfig,
      metrics,
      stopping: stopping.signal,
      apiAnswers,
    };
    const component = await unlessStopped(() => create(context), stopping.signal);
    if (!component) return;
    const state = { isStarted: false };
    const shown = endpoints ? await show(endpoints, { name, context, state }) : [];
    try {
      await runUntilStopped({ component, api, log, signal: stopping.signal, state });
    } finally {
      await Promise.all(shown.map((one) => one.close()));
    }
  } finally {
    await Promise.all(connections.map((one) => one.close()));
    stopping.end();
  }
}

/** undefined: it was asked to stop during creation. */
async function unlessStopped(
  create: () => Component | Promise<Component>,
  signal: AbortSignal,
): Promise<Component | undefined> {
  try {
    return await create();
  } catch (error) {
    if (signal.aborted) return undefined;
    throw error;
  }
}

interface Running {
  readonly component: Component;
  readonly api: Client;
  readonly log: Logger;
  readonly signal: AbortSignal;
  readonly state: RunState;
}

interface RunState {
  isStarted: boolean;
}

interface Showing {
  readonly name: string;
  readonly context: RunContext & { readonly metrics: MetricsRegistry };
  readonly state: RunState;
}

async function show(
  { table, access, listen, effectiveVersion, config, checks = [], moreMetrics, health }: Endpoints,
  { name, context, state }: Showing,
): Promise<readonly { close(): Promise<void> }[]> {
  const { metrics, clock, log, api } = context;
  const flags = shownFlags(table, access);
  const started: ComponentCheck = {
    name: 'started',
    readyOnly: true,
    check: () => (state.isStarted ? undefined : 'the component has not started yet'),
  };
  const server =
    listen &&
    (await serveEndpoints({
      ...listen,
      name,
      access,
      api: reviewClient(access, { context, name }) ?? api,
      metrics,
      moreMetrics,
      flags,
      effectiveVersion,
      config: config ?? { [name]: flags },
      checks: [started, ...checks],
      clock,
      log,
    }));
  const more = (await health?.(() => state.isStarted)) ?? [];
  return [...(server ? [server] : []), ...more];
}

/** Of --authentication-kubeconfig. */
function reviewClient(
  { authenticationKubeconfig, authorizationKubeconfig }: AccessFlags,
  { context, name }: Pick<Showing, 'context' | 'name'>,
): Client | undefined {
  const files = new Set(
    [authenticationKubeconfig, authorizationKubeconfig].filter((file) => file !== undefined),
  );
  if (files.size > 1)
    throw new UserError(
      '--authentication-kubeconfig and --authorization-kubeconfig should be the same file.',
    );
  const [file] = files;
  if (file === undefined || file === context.connection.file) return undefined;
  return createClient(context.openKubeconfig(file), {
    userAgent: `${name}/${KUBERNETES_VERSION}`,
    log: context.log,
  });
}

async function runUntilStopped({ component, api, log, signal, state }: Running): Promise<void> {
  const failed = Promise.withResolvers<never>();
  failed.promise.catch(() => {});
  component.onFailure?.((error) => failed.reject(error));
  const stopped = aborted(signal);
  // Timers of components do not keep a process alive, and a standby may have nothing else.
  const alive = setInterval(() => {}, 2 ** 30);
  let endRelease: (() => void) | undefined;
  try {
    const start = component.start();
    start.catch(() => {});
    await Promise.race([start, stopped, failed.promise]);
    endRelease = releaseMemoryWhenQuiet({ clock: realClock, log, trims: true });
    state.isStarted = true;
    if (!signal.aborted) log.info('running');
    await Promise.race([stopped, failed.promise]);
  } finally {
    await bounded(component.stop(), { ms: STOP_TIMEOUT_MS, log });
    await api.close();
    clearInterval(alive);
    endRelease?.();
  }
  log.info('stopped');
}

async function bounded(
  work: Promise<void>,
  { ms, log }: { readonly ms: number; readonly log: Logger },
): Promise<void> {
  const late = realClock.after(ms, () => {
    log.error('not stopped in time, ending anyway', { ms });
    process.exit(1);
  });
  await work;
  late.cancel();
}

/** The first SIGTERM or SIGINT requests a stop, the second ends the process. */
function stopSignal(log: Logger): { readonly signal: AbortSignal; end(): void } {
  const controller = new AbortController();
  const onSignal = (signal: NodeJS.Signals): void => {
    if (controller.signal.aborted) process.exit(1);
    log.info('stopping', { signal });
    controller.abort(new Error(`stopped by ${signal}`));
  };
  const signals = ['SIGTERM', 'SIGINT'] as const;
  for (const signal of signals) process.on(signal, onSignal);
  return { signal: controller.signal, end: () => signals.forEach((signal) => process.off(signal, onSignal)) };
}

/** The server of the kubeconfig. UserError when there is none, or it cannot be read. */
export function readConnection({
  kubeconfig = process.env['KUBECONFIG'],
  context,
}: Pick<ComponentFlags, 'kubeconfig' | 'context'>): Connection {
  if (!kubeconfig)
    throw new UserError(
      '--kubeconfig FILE is needed: it says where the API server is and who this component is there (capstan up writes one for each into DIR/kubeconfigs).',
    );
  try {
    return {
      file: kubeconfig,
      options: resolveContext(loadKubeconfig({ path: kubeconfig }), { context }).options,
    };
  } catch (error) {
    throw new UserError(`${errorMessage(error)} (--kubeconfig ${kubeconfig}).`, error);
  }
}

interface Wait {
  readonly transport: Transport;
  readonly connection: Connection;
  readonly log: Logger;
  readonly stopping: AbortSignal;
  readonly timeoutMs: number;
}

async function askApi({ transport, connection, log }: Wait): Promise<boolean> {
  const problem = await probe(transport, connection);
  if (problem !== undefined)
    log.warn('starting without the API server', { server: connection.options.server, problem });
  return problem === undefined;
}

/** A refused connection may be temporary (the server is starting); a rejected certificate is not. */
async function waitForApi({ transport, connection, log, stopping, timeoutMs }: Wait): Promise<void> {
  const deadline = realClock.monotonic() + timeoutMs;
  for (let said = false; !stopping.aborted;) {
    const problem = await probe(transport, connection);
    if (problem === undefined) return;
    if (realClock.monotonic() >= deadline)
      throw new UserError(
        `The API server ${connection.options.server} does not answer after ${timeoutMs / 1000} s: ${problem}.`,
      );
    if (!said) log.info('waiting for the API server', { server: connection.options.server, problem });
    said = true;
    await realClock.sleep(PROBE_EVERY_MS, stopping).catch(() => {});
  }
}

/** Undefined when it is ready, else the temporary error; throws permanent ones. */
async function probe(
  transport: Transport,
  { file, options: { server } }: Connection,
): Promise<string | undefined> {
  let status: number;
  try {
    const response = await transport.request({
      method: 'GET',
      path: '/version',
      signal: AbortSignal.timeout(PROBE_TIMEOUT_MS),
    });
    await response.bytes();
    status = response.status;
  } catch (error) {
    if (isTransportError(error, 'tls'))
      throw new UserError(
        `The certificate of ${server}, or ours, was not accepted (${errorMessage(error)}): is ${file} of this cluster?`,
        error,
      );
    return errorMessage(error);
  }
  if (status === 401)
    throw new UserError(
      `The API server ${server} does not accept the credentials in ${file} (401 Unauthorized): they are expired or of another cluster.`,
    );
  return status >= 500 ? `it answers with HTTP ${status}` : undefined;
}

function aborted(signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    if (signal.aborted) resolve();
    else signal.addEventListener('abort', () => resolve(), { once: true });
  });
}
