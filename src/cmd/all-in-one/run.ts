/**
 * The whole cluster in one program: API server and store on the main thread, scheduler and controllers on a second, the node on a third.
 * Started by `capstan up`, which hears its progress over IPC (DaemonMessage); ends on SIGTERM.
 *
 *   lock ─► certificates ─► store ─► API server ─► ready          SIGTERM: node (containers too) ─► control ─► API server ─► store ─► unlock
 *     '───► threads load meanwhile ─► connect when the API is there      kill -9: containers run on and are adopted at the next start
 */
import { existsSync, mkdirSync } from 'node:fs';
import { hostname } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { Worker } from 'node:worker_threads';
import type { HealthCheck } from '#apiserver/nonresource/health.ts';
import { EXIT_LEFTOVERS } from '#deploy/service-unit.ts';
import { createHeartbeat, describeStalled, startBeating, type Heartbeat } from '#runtime/heartbeat.ts';
import { connectServiceManager, watchdogMs, type ServiceManager } from '#runtime/service-manager.ts';
import type { WatchdogData } from './watchdog.ts';
import type { Client } from '#client/client.ts';
import { createClient } from '#client/create.ts';
import { createDirectTransport } from '#client/direct.ts';
import { openStore } from '#storage/drivers/index.ts';
import { StoreError, type Store } from '#storage/store.ts';
import {
  dataDir,
  describeDiskError,
  hasRun,
  readSettings,
  UserError,
  writeFileAtomic,
  type ClusterSettings,
  type DataDir,
} from '#deploy/data-dir.ts';
import type { DaemonMessage, DaemonState } from '#deploy/daemon.ts';
import { ensurePki, PkiError, type Pki, type PkiOptions } from '#deploy/pki/pki.ts';
import { publishCertificates, renewCertificates, type PublishOptions } from '#deploy/cluster-certificates.ts';
import { CertificateRenewal } from '#deploy/pki/renewal.ts';
import { describePortHolder } from '#deploy/port-holder.ts';
import { ContainerdError } from '#node/containerd/errors.ts';
import { ensureBridge } from '#node/containerd/bridge.ts';
import { findHostAddress } from '#node/host-address.ts';
import { containerdLayout } from '#node/containerd/layout.ts';
import { keepFiles, type KeptFiles } from '#stdx/kept-files.ts';
import { acquireProcessLock, LockedError, type ProcessLock } from '#stdx/process-lock.ts';
import { realClock } from '#stdx/clock.ts';
import { createLogger, errorMessage } from '#stdx/log.ts';
import { releaseMemoryWhenQuiet } from '#stdx/memory-release.ts';
import { keepOwnLog } from '#stdx/log-rotation.ts';
import { isUnspecified, machineAddresses, servedAddresses } from '../apiserver/addresses.ts';
import type { ApiServerFlags } from '../apiserver/flags.ts';
import { composeOptionsFrom, settingsFrom } from '../apiserver/run.ts';
import { featuresOn } from '../apiserver/flags/feature-gates.ts';
import { composeApiServer, type ComposedApiServer } from '../apiserver/compose.ts';
import { keptFilesOf, lostSentence } from './kept-dir.ts';
import type { ControlData } from './worker-control.ts';
import type { NodeThreadData } from './worker-node.ts';
import { containerdDir } from '../node/containerd-dir.ts';
import { lockNodeDir } from '../node/node-dir.ts';
import { kubeletAddresses } from '../node/serving-certificate.ts';
import { addressesOf, type Addresses } from './addresses.ts';
import { keepControlPlaneLabel } from './control-plane-label.ts';
import { identities } from './identities.ts';
import { KUBERNETES_VERSION } from '../version.ts';
import { startWorker, STOP_CONTAINERS, type WorkerHandle } from './worker-link.ts';

const CONTROL_HEAP_MB = 2048;
const NODE_HEAP_MB = 2048;

const log = createLogger({ format: 'json' }).with({ thread: 'main' });

class Cluster {
  readonly #dir: DataDir;
  readonly #settings: ClusterSettings;
  readonly #flags: ApiServerFlags;
  readonly #startedAt = performance.now();
  readonly #startedAtTime = new Date().toISOString();
  readonly #components: Record<string, string> = {};
  #phase: DaemonState['phase'] = 'starting';
  #lock: ProcessLock | undefined;
  #nodeLock: ProcessLock | undefined;
  #store: Store | undefined;
  #server: ComposedApiServer | undefined;
  #control: WorkerHandle | undefined;
  #node: WorkerHandle | undefined;
  #kept: KeptFiles | undefined;
  #renewal: CertificateRenewal | undefined;
  #stopRelease: (() => void) | undefined;
  #stopLogRotation: (() => void) | undefined;
  #api: Client | undefined;
  readonly #ended = new AbortController();
  #stopping: Promise<string | undefined> | undefined;
  readonly #heartbeat = createHeartbeat('the API server');
  readonly #manager: ServiceManager;

  constructor(
    dir: DataDir,
    {
      settings,
      flags,
      manager,
    }: {
      readonly settings: ClusterSettings;
      readonly flags: ApiServerFlags;
      readonly manager: ServiceManager;
    },
  ) {
    this.#manager = manager;
    this.#dir = dir;
    this.#flags = flags;
    this.#settings = settings;
  }

  get url(): string {
    const { bindAddress, httpsPort } = this.#settings;
    const host =
      bindAddress === '0.0.0.0'
        ? '127.0.0.1'
        : bindAddress === '::'
          ? '[::1]'
          : bindAddress.includes(':')
            ? `[${bindAddress}]`
            : bindAddress;
    return `https://${host}:${httpsPort}`;
  }

  async start(): Promise<void> {
    this.#lock = acquireProcessLock(this.#dir.lock);
    if (this.#settings.runtime === 'cri') this.#nodeLock = lockNodeDir(this.#dir.node);
    this.#stopLogRotation = keepOwnLog({ path: join(this.#dir.logs, 'capstan.log'), clock: realClock, log });
    startBeating(this.#heartbeat);
    this.#saveState();
    const network = addressesOf(this.#settings, {
      hostAddress: await findHostAddress(),
      machine: machineAddresses(),
    });
    const {
      promise: handler,
      resolve: giveHandler,
      reject: noHandler,
    } = Promise.withResolvers<ComposedApiServer['handler']>();
    handler.catch(noop);
    try {
      const pki = await this.#step('certificates', () => this.#certificates(network));
      for (const { message } of pki.warnings) warn(message);
      this.#startThreads({ pki, network, handler });
      const store = await this.#step('store', () =>
        openStore({
          driver: 'lmdb',
          dir: this.#dir.store,
          mayCreate: !hasRun(this.#dir, this.#settings),
          log: log.with({ component: 'store' }),
        }),
      );
      this.#store = store;
      if (this.#settings.runtime === 'cri')
        await this.#step('pod network', () =>
          ensureBridge(containerdLayout({ dir: containerdDir(this.#dir) }), {
            podCIDR: network.nodePodCIDR,
            serviceCIDR: this.#settings.serviceCIDR,
          }),
        );
      await this.#step('API server', async () => {
        this.#server = await composeApiServer({
          store,
          ...composeOptionsFrom(this.#flags, { settings: settingsFrom(this.#flags, this.#dir.pki), pki }),
          serviceCIDR: this.#settings.serviceCIDR,
          port: this.#settings.httpsPort,
          clock: realClock,
          log: log.with({ component: 'kube-apiserver' }),
          listen: [
            this.#settings.bindAddress,
            ...(this.#settings.runtime === 'cri' && !isUnspecified(this.#settings.bindAddress)
              ? [network.gateway]
              : []),
          ],
          advertiseAddress: network.advertise,
          healthChecks: [this.#threadsCheck()],
          metrics: () => this.#renewal?.metrics() ?? '',
        });
        giveHandler(this.#server.handler);
        await this.#server.ready();
      });
      this.#components['kube-apiserver'] = 'running';
      await this.#startRenewal({ pki, network });
      await Promise.all([
        this.#step('scheduler and controllers', () => (this.#control as WorkerHandle).started),
        this.#step(
          this.#settings.runtime === 'cri' ? 'node, service proxy and DNS' : 'simulated nodes',
          () => (this.#node as WorkerHandle).started,
        ),
      ]);
    } catch (error) {
      noHandler(error as Error);
      throw error;
    }
    if (this.#settings.runtime === 'cri') this.#labelNode();
    this.#phase = 'ready';
    this.#saveState();
    this.#kept = keepFiles({
      paths: keptFilesOf(this.#dir, this.#dir.store),
      clock: realClock,
      onLost: (path) => void this.#lost(path),
    });
    this.#stopRelease = releaseMemoryWhenQuiet({ clock: realClock, log, trims: true });
    const millis = Math.round(performance.now() - this.#startedAt);
    log.info('cluster ready', { server: this.url, millis });
    this.#manager.ready();
    send({ type: 'ready', server: this.url, millis });
  }

  #labelNode(): void {
    const transport = createDirectTransport((this.#server as ComposedApiServer).handler, {
      user: identities.up,
    });
    this.#api = createClient(transport, { userAgent: `capstan-up/${KUBERNETES_VERSION}` });
    keepControlPlaneLabel({
      api: this.#api,
      clock: realClock,
      log,
      nodeName: hostname().toLowerCase(),
      signal: this.#ended.signal,
    });
  }

  /** Resolves with what could not be stopped, if anything. */
  stop(): Promise<string | undefined> {
    this.#stopping ??= this.#stopAll();
    return this.#stopping;
  }

  async #stopAll(): Promise<string | undefined> {
    this.#kept?.close();
    this.#stopRelease?.();
    this.#manager.stopping();
    this.#phase = 'stopping';
    this.#saveState();
    this.#ended.abort();
    await this.#renewal?.stop();
    await this.#api?.close();
    const problem = await this.#node?.stop(STOP_CONTAINERS);
    await this.#control?.stop('stop');
    await this.#server?.stop();
    await this.#store?.close();
    this.#stopLogRotation?.();
    const leftover = problem === undefined ? undefined : await this.#stopLeftovers(problem);
    this.#unlock();
    return leftover;
  }

  #unlock(): void {
    this.#nodeLock?.release();
    this.#lock?.release();
  }

  /** What the node's thread could not stop in its time is stopped from outside: containerd, then all processes in the pods' cgroups are killed. */
  async #stopLeftovers(problem: string): Promise<string | undefined> {
    log.warn('the node did not stop by itself', { problem });
    if (this.#settings.runtime !== 'cri') return undefined;
    const { stopNode } = await import('../node/control.ts');
    return stopNode({ dir: this.#dir, settings: this.#settings }).then(() => undefined, errorMessage);
  }

  /** No more writes are taken, at once. What a real node has on the machine goes too where the directory is gone: nobody could find it again. */
  async #lost(path: string): Promise<void> {
    const message = lostSentence(this.#dir, path);
    log.error(message);
    send({ type: 'fatal', message });
    this.#phase = 'failed';
    try {
      await Promise.all([this.#server?.stop(), this.#node?.kill(), this.#control?.kill()]);
      await this.#store?.close();
      if (this.#settings.runtime === 'cri' && !existsSync(this.#dir.settingsFile))
        await (
          await import('../node/control.ts')
        ).destroyNode({ node: this.#dir.node, proxyId: this.#settings.id });
    } catch (error) {
      log.error('not everything was stopped', { error: errorMessage(error) });
    }
    this.#unlock();
    process.exit(1);
  }

  #certificates(network: Addresses): Promise<Pki> {
    return ensurePki({
      ...this.#pkiOptions(network),
      mayCreate: !hasRun(this.#dir, this.#settings),
    });
  }

  #pkiOptions({ service, advertise, gateway }: Addresses): PkiOptions {
    return {
      dir: this.#dir.pki,
      nowMs: Date.now(),
      apiServer: {
        hostName: hostname(),
        serviceIP: service,
        bindAddresses: servedAddresses(this.#settings.bindAddress, {
          advertised: [advertise, gateway],
          machine: machineAddresses(),
        }),
        extraSANs: this.#settings.certExtraSANs ?? [],
      },
    };
  }

  /** Kubeconfigs are written, and certificates renewed from now on. */
  async #startRenewal({ pki, network }: { readonly pki: Pki; readonly network: Addresses }): Promise<void> {
    const real = this.#settings.runtime === 'cri';
    const publish: PublishOptions = { server: this.url, simulatedNodes: !real };
    const ownNode = {
      name: hostname().toLowerCase(),
      addresses: kubeletAddresses({ address: network.node, gateway: network.gateway }),
    };
    this.#renewal = new CertificateRenewal({
      initial: await publishCertificates(this.#dir, { ...publish, pki, nowMs: Date.now() }),
      clock: realClock,
      log: log.with({ component: 'certificates' }),
      ensure: (nowMs) =>
        renewCertificates(this.#dir, {
          ...publish,
          ...(real ? { ownNode } : {}),
          pki: this.#pkiOptions(network),
          nowMs,
        }),
    });
    this.#renewal.start();
  }

  #startThreads({
    pki,
    network,
    handler,
  }: {
    readonly pki: Pki;
    readonly network: Addresses;
    readonly handler: Promise<ComposedApiServer['handler']>;
  }): void {
    const onState = (component: string, state: string): void => {
      this.#components[component] = state;
      this.#saveState();
    };
    const { pki: keys, serving } = composeOptionsFrom(this.#flags, { settings: {}, pki });
    const control: ControlData = {
      identity: `${hostname()}_${this.#settings.id}`,
      clusterCIDR: this.#settings.podCIDR,
      caPem: pki.ca.certificatePem,
      caKeyPem: pki.ca.keyPem,
      serviceAccountKeyPem: keys.serviceAccountKey.keyPem,
      features: featuresOn(serving?.features),
    };
    this.#control = startWorker({
      file: new URL('./worker-control.ts', import.meta.url),
      name: 'scheduler and controllers',
      data: control,
      handler,
      onState,
      maxHeapMb: CONTROL_HEAP_MB,
    });
    this.#watchThread('scheduler and controllers', this.#control);
    const nodeData = this.#nodeData({ pki, network });
    this.#node = startWorker({
      file: new URL('./worker-node.ts', import.meta.url),
      name: 'node',
      data: nodeData,
      handler,
      onState,
      maxHeapMb: NODE_HEAP_MB,
    });
    this.#watchThread('node', this.#node);
    this.#startWatchdog([this.#heartbeat, this.#control.heartbeat, this.#node.heartbeat]);
  }

  #startWatchdog(heartbeats: readonly Heartbeat[]): void {
    const wantedMs = watchdogMs();
    if (wantedMs === undefined) return;
    const data: WatchdogData = { heartbeats, periodMs: Math.max(1_000, wantedMs / 4) };
    const watchdog = new Worker(new URL('./watchdog.ts', import.meta.url), { workerData: data });
    watchdog.on('error', (error) => log.error('watchdog ended', { error: errorMessage(error) }));
    watchdog.unref();
  }

  /** For /livez: the main thread's own loop turns when this is asked. */
  #threadsCheck(): HealthCheck {
    return {
      name: 'event-loops',
      check: () =>
        describeStalled([this.#control, this.#node].flatMap((thread) => (thread ? [thread.heartbeat] : []))),
    };
  }

  #nodeData({ pki, network }: { readonly pki: Pki; readonly network: Addresses }): NodeThreadData {
    const shared = {
      clusterId: this.#settings.id,
      clusterCIDR: this.#settings.podCIDR,
      dnsServiceIP: network.dns,
    };
    if (this.#settings.runtime === 'simulated') return { ...shared, simulatedNodes: this.#settings.nodes };
    return {
      ...shared,
      simulatedNodes: 0,
      real: {
        nodeName: hostname().toLowerCase(),
        address: network.node,
        gateway: network.gateway,
        podCIDR: network.nodePodCIDR,
        clusterCIDR: this.#settings.podCIDR,
        clusterDNS: network.dns,
        dir: this.#dir.node,
        containerdDir: containerdDir(this.#dir),
        serving: { pkiDir: this.#dir.pki },
        caPem: pki.ca.certificatePem,
      },
    };
  }

  /** A thread that dies takes the program with it: half a cluster that looks whole is worse, and `up` starts it again without loss. */
  #watchThread(name: string, worker: WorkerHandle): void {
    void worker.ended.then((problem) => {
      if (problem === undefined || this.#phase !== 'ready') return;
      log.error('a thread ended', { name, problem });
      this.#phase = 'failed';
      void this.#server
        ?.stop()
        .finally(() => this.#store?.close())
        .finally(() => {
          this.#unlock();
          process.exit(1);
        });
    });
  }

  async #step<T>(name: string, work: () => Promise<T> | T): Promise<T> {
    send({ type: 'step', name, state: 'started' });
    try {
      const result = await work();
      send({ type: 'step', name, state: 'done' });
      return result;
    } catch (error) {
      send({ type: 'step', name, state: 'failed', detail: errorMessage(error) });
      throw error;
    }
  }

  #saveState(): void {
    const state: DaemonState = {
      pid: process.pid,
      server: this.url,
      startedAt: this.#startedAtTime,
      phase: this.#phase,
      components: this.#components,
    };
    try {
      writeFileAtomic(this.#dir.state, JSON.stringify(state));
    } catch (error) {
      log.warn('state file not written', { error: errorMessage(error) });
    }
  }
}

/** In the log, and by `up`. */
function warn(message: string): void {
  log.warn(message);
  send({ type: 'warning', message });
}

function send(message: DaemonMessage): void {
  if (process.connected) process.send?.(message, noop);
}

function noop(): void {
  // Nothing to do.
}

/** One sentence for whoever started the cluster. */
function explain(error: unknown, dir: DataDir): string {
  if (error instanceof UserError) return error.message;
  if (error instanceof LockedError)
    return `The cluster in ${dir.path} is already run by process ${error.holder.pid}; stop it with: capstan down --data-dir ${dir.path}`;
  if (error instanceof StoreError || error instanceof PkiError || error instanceof ContainerdError)
    return error.message;
  const code = (error as NodeJS.ErrnoException).code;
  if (code === 'EADDRINUSE')
    return `${errorMessage(error)}: ${describePortHolder((error as { port?: number }).port ?? 0)} listens there; choose another port with --https-port.`;
  if (code === 'ENOSPC' || code === 'EROFS' || code === 'EACCES')
    return describeDiskError(dir.path, error).message;
  return `The cluster could not be started: ${errorMessage(error)} (see ${join(dir.logs, 'capstan.log')})`;
}

async function main(): Promise<void> {
  const { values } = parseArgs({
    options: { 'data-dir': { type: 'string' }, 'apiserver-flags': { type: 'string' } },
  });
  const dir = dataDir(values['data-dir']);
  let cluster: Cluster | undefined;
  const manager = await connectServiceManager(log);
  const end = (signal: string): void => {
    log.info('stopping', { signal });
    void (cluster?.stop() ?? Promise.resolve(undefined)).then(
      (leftover) => {
        if (leftover === undefined) process.exit(0);
        log.error('not everything was stopped', { leftover });
        manager.status(leftover);
        send({ type: 'fatal', message: leftover });
        setImmediate(() => process.exit(EXIT_LEFTOVERS));
      },
      (error: unknown) => {
        log.error('stop failed', { error: errorMessage(error) });
        process.exit(1);
      },
    );
  };
  process.on('SIGTERM', end);
  process.on('SIGINT', end);
  process.on('SIGHUP', noop);
  try {
    const settings = readSettings(dir);
    if (!settings)
      throw new UserError(
        `There is no cluster in ${dir.path}; start one with: capstan up --data-dir ${dir.path}`,
      );
    mkdirSync(dir.run, { recursive: true });
    const given = values['apiserver-flags'];
    if (settings.apiServerArgs && given === undefined)
      throw new UserError(
        `The cluster in ${dir.path} has flags for its API server, which 'capstan up' reads: start it with: capstan up --data-dir ${dir.path}`,
      );
    cluster = new Cluster(dir, {
      settings,
      flags: given === undefined ? {} : (JSON.parse(given) as ApiServerFlags),
      manager,
    });
    await cluster.start();
  } catch (error) {
    log.error('start failed', {
      error: error instanceof Error ? (error.stack ?? error.message) : String(error),
    });
    send({ type: 'fatal', message: explain(error, dir) });
    manager.status(explain(error, dir));
    await cluster?.stop().catch(noop);
    process.exitCode = 1;
    setImmediate(() => process.exit(1));
  }
}

await main();
