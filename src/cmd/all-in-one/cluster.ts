/**
 * The cluster of a data directory, in this program: API server and store on the main thread, scheduler and controllers on a second, the node
 * on a third. Independent of signals and arguments.
 *
 *   lock ─► certificates ─► store ─► API server ─► ready          stop(): node (containers too) ─► control ─► API server ─► store ─► unlock
 *     '───► threads load meanwhile ─► connect when the API is there
 */
import { existsSync } from 'node:fs';
import { hostname } from 'node:os';
import { join } from 'node:path';
import { isoTime } from '#stdx/dates.ts';
import type { HealthCheck } from '#apiserver/nonresource/health.ts';
import { createHeartbeat, describeStalled, startBeating } from '#runtime/heartbeat.ts';
import type { ServiceManager } from '#runtime/service-manager.ts';
import type { Client } from '#client/client.ts';
import { createClient } from '#client/create.ts';
import { createDirectTransport } from '#client/direct.ts';
import { openStore } from '#storage/drivers/index.ts';
import type { Store } from '#storage/store.ts';
import { hasRun, writeFileAtomic, type ClusterSettings, type DataDir } from '#deploy/data-dir.ts';
import type { DaemonState } from '#deploy/daemon.ts';
import { ensurePki } from '#deploy/pki/pki.ts';
import { CertificateRenewal } from '#deploy/pki/renewal.ts';
import { ensureBridge } from '#node/containerd/bridge.ts';
import { findHostAddress } from '#node/host-address.ts';
import { containerdLayout } from '#node/containerd/layout.ts';
import { keepFiles, type KeptFiles } from '#stdx/kept-files.ts';
import { acquireProcessLock, type ProcessLock } from '#stdx/process-lock.ts';
import { realClock } from '#stdx/clock.ts';
import { errorMessage } from '#stdx/log.ts';
import { releaseMemoryWhenQuiet } from '#stdx/memory-release.ts';
import { keepOwnLog } from '#stdx/log-rotation.ts';
import { machineAddresses } from '../apiserver/addresses.ts';
import type { ApiServerFlags } from '../apiserver/flags.ts';
import { backupsFrom } from '../apiserver/flags/backup.ts';
import { composeOptionsFrom, settingsFrom } from '../apiserver/from-flags.ts';
import { composeApiServer, type ComposedApiServer } from '../apiserver/compose.ts';
import { listKeptFiles, lostSentence } from './kept-dir.ts';
import { containerdDir } from '../node/containerd-dir.ts';
import { lockNodeDir } from '../node/node-dir.ts';
import { addressesOf, listensOn } from './addresses.ts';
import { keepControlPlaneLabel } from './control-plane-label.ts';
import { identities } from './identities.ts';
import { KUBERNETES_VERSION } from '../version.ts';
import { STOP_CONTAINERS, type WorkerHandle } from './worker-link.ts';
import { log, send, warn } from './messages.ts';
import { pkiOptions, startRenewal } from './certificates.ts';
import { startThreads, startWatchdog } from './threads.ts';

export class Cluster {
  readonly #dir: DataDir;
  readonly #settings: ClusterSettings;
  readonly #flags: ApiServerFlags;
  readonly #startedAt = performance.now();
  readonly #startedAtTime = isoTime(Date.now());
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
    const hostAddresses = await Promise.all([findHostAddress('IPv4'), findHostAddress('IPv6')]);
    const network = addressesOf(this.#settings, {
      hostAddresses: hostAddresses.filter((address) => address !== undefined),
      machine: machineAddresses(),
    });
    const {
      promise: handler,
      resolve: giveHandler,
      reject: noHandler,
    } = Promise.withResolvers<ComposedApiServer['handler']>();
    handler.catch(() => {});
    try {
      const pki = await this.#step('certificates', () =>
        ensurePki({
          ...pkiOptions(this.#dir, { settings: this.#settings, network }),
          mayCreate: !hasRun(this.#dir, this.#settings),
        }),
      );
      for (const { message } of pki.warnings) warn(message);
      this.#startThreads({
        dir: this.#dir,
        settings: this.#settings,
        flags: this.#flags,
        pki,
        network,
        handler,
      });
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
            podCIDRs: network.nodePodCIDRs,
            serviceCIDRs: this.#settings.serviceCIDR.split(','),
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
            ...(this.#settings.runtime === 'cri'
              ? network.gateways.filter((gateway) => !listensOn(gateway, this.#settings.bindAddress))
              : []),
          ],
          advertiseAddress: network.advertise,
          healthChecks: [this.#threadsCheck()],
          metrics: () => this.#renewal?.metrics() ?? '',
          backups: backupsFrom(this.#flags, this.#dir),
        });
        giveHandler(this.#server.handler);
        await this.#server.ready();
      });
      this.#components['kube-apiserver'] = 'running';
      this.#renewal = await startRenewal(this.#dir, {
        settings: this.#settings,
        server: this.url,
        pki,
        network,
        log,
      });
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
      paths: listKeptFiles(this.#dir, this.#dir.store),
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

  /** Stops from outside what the node's thread could not stop in time: containerd, then all processes in the pods' cgroups are killed. */
  async #stopLeftovers(problem: string): Promise<string | undefined> {
    log.warn('the node did not stop by itself', { problem });
    if (this.#settings.runtime !== 'cri') return undefined;
    const { stopNode } = await import('../node/control.ts');
    return stopNode({ dir: this.#dir, settings: this.#settings }).then(() => undefined, errorMessage);
  }

  /** Refuses writes at once. If the directory is gone, a real node's state on the machine is removed too: no later command could find it. */
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

  #startThreads(options: Omit<Parameters<typeof startThreads>[0], 'onState'>): void {
    const { control, node } = startThreads({
      ...options,
      onState: (component, state) => {
        this.#components[component] = state;
        this.#saveState();
      },
    });
    this.#control = control;
    this.#node = node;
    this.#watchThread('scheduler and controllers', control);
    this.#watchThread('node', node);
    startWatchdog([this.#heartbeat, control.heartbeat, node.heartbeat], log);
  }

  /** For /livez: answering proves that the main thread's event loop runs. */
  #threadsCheck(): HealthCheck {
    return {
      name: 'event-loops',
      check: () =>
        describeStalled([this.#control, this.#node].flatMap((thread) => (thread ? [thread.heartbeat] : []))),
    };
  }

  /** A thread that dies ends the program: a partial cluster that looks healthy is worse, and `up` restarts it without loss. */
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
