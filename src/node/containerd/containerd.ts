/**
 * One cluster's own containerd: its process, network and registries on this machine. Not shared with any other containerd here.
 *
 *                    start(): spawn or adopt                    stop() or kill -9 of this program
 *   absent ------------------------------------> supervised --------------------------------------> running alone (pods run on)
 *                                                  |    ^  killed: restarted with backoff                    |  start(): adopted
 *                                     stopAll()    |    +--------------------------------------------------- +
 *                                                  v
 *                                               ended: pods and containerd stopped, images and sandboxes kept
 *   destroy() from any state: nothing is left on the machine
 */
import { lstat, mkdir, readFile, readlink, rm, symlink, writeFile } from 'node:fs/promises';
import type { Readable } from 'node:stream';
import { replaceFile } from '#stdx/atomic-file.ts';
import type { Clock, Timer } from '#stdx/clock.ts';
import { realClock } from '#stdx/clock.ts';
import type { Logger } from '#stdx/log.ts';
import { errorMessage, silentLogger } from '#stdx/log.ts';
import { createCriClient } from '../cri/client.ts';
import type { CriClient } from '../cri/client.ts';
import { isCriError } from '../cri/errors.ts';
import { importImage } from '../images/import.ts';
import { createImageMounts, type ImageMounts } from '../images/mount.ts';
import type { ImportedImage } from '../images/import.ts';
import { hostArchitecture } from '../images/build.ts';
import { writeRegistryHosts } from '../images/registry-hosts.ts';
import type { RegistryHosts } from '../images/registry-hosts.ts';
import { buildSandboxImage, SANDBOX_IMAGE } from '../images/sandbox-image.ts';
import { renderConfig } from './config.ts';
import type { CgroupDriver } from './config.ts';
import { removeDamagedAttachments } from './cached-attachments.ts';
import { ContainerdError } from './errors.ts';
import { containerdLayout } from './layout.ts';
import type { ContainerdLayout } from './layout.ts';
import { lastErrors, rotateLog } from './log-file.ts';
import { bootId, chooseSnapshotter, inspectMachine } from './machine.ts';
import type { Machine, Snapshotter } from './machine.ts';
import {
  configureNetwork,
  destroyNetwork,
  forgetStaleAttachments,
  releaseStaleLeases,
  shareNamespaceDir,
} from './network.ts';
import { NetworkGuard } from './network-guard.ts';
import { OrphanedShims } from './orphaned-shims.ts';
import { endProcess, findProcess, isAlive, removePidFile, spawnProcess } from './process.ts';
import type { ContainerdProcess } from './process.ts';
import { run } from './run.ts';
import { removeOldSandboxes } from './sandboxes.ts';
import { removeScope } from './systemd.ts';
import {
  killLeftovers,
  podNamespaces,
  removeCgroups,
  removeShimSockets,
  stopPods,
  unmountBelow,
} from './teardown.ts';

interface ContainerdOptions {
  /** Its directory; created when missing. Its path determines the names used on the machine (layout.ts). */
  readonly dir: string;
  /** Ranges of this node's pods; may come later by configureNetwork: until then only pods of the host's network can run. */
  readonly podCIDRs?: readonly string[] | undefined;
  /** Ranges of all pods of the cluster; traffic to them keeps its source address. Default: this node's. */
  readonly clusterCIDRs?: readonly string[];
  /** MTU of pods' interfaces. Default: the default route's, where it is below Ethernet's. */
  readonly podMtu?: number | undefined;
  readonly registries?: readonly RegistryHosts[];
  /** cgroupfs by default, also under systemd: see docs of renderConfig. With 'systemd' cgroup parents must be slices. */
  readonly cgroupDriver?: CgroupDriver;
  readonly runBase?: string;
  readonly clock?: Clock;
  readonly log?: Logger;
}

export interface Containerd {
  readonly layout: ContainerdLayout;
  /** '/capstan-<id>': the parent of the node's pod cgroups. */
  readonly cgroupRoot: string;
  readonly cgroupDriver: CgroupDriver;
  readonly socketPath: string;
  /** Valid from the start on; calls fail with 'unavailable' while containerd is not running. */
  readonly cri: CriClient;
  /** Resolves when containerd responds, the sandbox image is present and stale address leases are released. Throws ContainerdError. */
  start(): Promise<{
    readonly adopted: boolean;
    readonly snapshotter: Snapshotter;
    readonly machine: Machine;
  }>;
  /** Writes the pods' network; runs again when the ranges change. Resolves when a running containerd has taken it up. Throws ContainerdError 'network'. */
  configureNetwork(podCIDRs: readonly string[]): Promise<void>;
  importImage(source: string | Buffer | Readable): Promise<readonly ImportedImage[]>;
  /** Images as directories; valid once start() has resolved. */
  readonly imageMounts: ImageMounts;
  setRegistries(registries: readonly RegistryHosts[]): Promise<void>;
  /** Ends the supervision and leaves containerd and the pods running. */
  stop(): Promise<void>;
  /** Stops the pods, then containerd. Returns what failed on the way, one sentence each. */
  stopAll(options?: { readonly gracePeriodSeconds?: number }): Promise<readonly string[]>;
}

const READY_TIMEOUT_MS = 30_000;
const READY_POLL_MS = 10;
const PROBE_DEADLINE_MS = 2_000;
const NETWORK_TIMEOUT_MS = 10_000;
const WATCH_MS = 500;
/** Between looks at the log's size and for orphaned shims. */
const UPKEEP_MS = 60_000;
const FIRST_BACKOFF_MS = 500;
const MAX_BACKOFF_MS = 30_000;
/** A process that ran this long resets the backoff. */
const STABLE_MS = 60_000;
const DEFAULT_GRACE_SECONDS = 10;

/** Throws ContainerdError for a directory whose sockets would have too long a path; does nothing else yet. */
export function createContainerd(options: ContainerdOptions): Containerd {
  return new ContainerdRuntime(options);
}

class ContainerdRuntime implements Containerd {
  readonly layout: ContainerdLayout;
  readonly cgroupRoot: string;
  readonly cgroupDriver: CgroupDriver;
  readonly socketPath: string;
  readonly cri: CriClient;
  readonly imageMounts: ImageMounts;
  readonly #options: ContainerdOptions;
  readonly #clock: Clock;
  readonly #log: Logger;
  #machine: Machine | undefined;
  #snapshotter: Snapshotter = 'overlayfs';
  #process: ContainerdProcess | undefined;
  #startedAt = 0;
  #backoffMs = FIRST_BACKOFF_MS;
  #watch: Timer | undefined;
  #lastUpkeepMs = 0;
  #shims: OrphanedShims | undefined;
  #supervising = false;
  #podCIDRs: readonly string[] | undefined;
  #guard: NetworkGuard | undefined;

  constructor(options: ContainerdOptions) {
    this.#options = options;
    this.#clock = options.clock ?? realClock;
    this.#log = (options.log ?? silentLogger).with({ component: 'containerd' });
    this.layout = containerdLayout({
      dir: options.dir,
      runBase: options.runBase,
    });
    this.cgroupRoot = this.layout.cgroupRoot;
    this.cgroupDriver = options.cgroupDriver ?? 'cgroupfs';
    this.socketPath = this.layout.socketPath;
    this.cri = createCriClient({ socketPath: this.socketPath });
    this.imageMounts = createImageMounts(() => ({
      ctr: this.#machine?.ctr ?? 'ctr',
      address: this.socketPath,
      snapshotter: this.#snapshotter,
    }));
  }

  async start(): Promise<{
    readonly adopted: boolean;
    readonly snapshotter: Snapshotter;
    readonly machine: Machine;
  }> {
    this.#machine = await inspectMachine();
    await this.#prepareDirectories();
    this.#snapshotter = await chooseSnapshotter({
      root: this.layout.root,
      rememberIn: this.layout.snapshotterPath,
    });
    await writeRegistryHosts(this.layout.registryDir, this.#options.registries ?? []);
    const configChanged = await this.#writeConfig(this.#machine);
    if (this.#options.podCIDRs) await this.configureNetwork(this.#options.podCIDRs);
    const adopted = await this.#adopt(configChanged);
    if (!adopted) await this.#spawn();
    await this.#importSandboxImage();
    await this.#clearOldSandboxes(this.#machine);
    this.#supervise();
    this.#guardNetwork();
    this.#log.info(adopted ? 'adopted the running containerd' : 'containerd started', {
      pid: this.#process?.pid,
      snapshotter: this.#snapshotter,
      version: this.#machine.containerdVersion,
    });
    return { adopted, snapshotter: this.#snapshotter, machine: this.#machine };
  }

  async configureNetwork(podCIDRs: readonly string[]): Promise<void> {
    this.#machine ??= await inspectMachine();
    if (!this.#machine.iptables && this.#podCIDRs === undefined)
      this.#log.warn(
        'iptables is not installed: pods with a hostPort will not get it (apt-get install iptables)',
      );
    this.#podCIDRs = podCIDRs;
    await configureNetwork(this.layout, {
      network: {
        podCIDRs,
        clusterCIDRs: this.#options.clusterCIDRs,
        portmap: this.#machine.iptables,
        mtu: this.#options.podMtu,
      },
      log: this.#log,
    });
    if (!this.#supervising) return;
    await this.#networkReady();
    this.#guardNetwork();
  }

  /** containerd reads the directory of its network's configuration when it changes. */
  async #networkReady(): Promise<void> {
    const deadline = this.#clock.monotonic() + NETWORK_TIMEOUT_MS;
    for (;;) {
      const { status } = await this.cri.status({}, { deadlineMs: PROBE_DEADLINE_MS });
      const condition = status?.conditions.find(({ type }) => type === 'NetworkReady');
      if (condition?.status) return;
      if (this.#clock.monotonic() > deadline)
        throw new ContainerdError(
          'network',
          `containerd has no pod network ${NETWORK_TIMEOUT_MS / 1000} s after it was configured: ${condition?.message ?? 'no word of it'}`,
        );
      await this.#clock.sleep(READY_POLL_MS);
    }
  }

  async importImage(source: string | Buffer | Readable): Promise<readonly ImportedImage[]> {
    return importImage(source, {
      address: this.socketPath,
      snapshotter: this.#snapshotter,
      cri: this.cri,
      spoolDir: this.layout.spoolDir,
      ...(this.#machine ? { ctr: this.#machine.ctr } : {}),
    });
  }

  async setRegistries(registries: readonly RegistryHosts[]): Promise<void> {
    await writeRegistryHosts(this.layout.registryDir, registries);
  }

  async stop(): Promise<void> {
    await this.#endSupervision();
    this.cri.close();
  }

  async stopAll({
    gracePeriodSeconds = DEFAULT_GRACE_SECONDS,
  }: { readonly gracePeriodSeconds?: number } = {}): Promise<readonly string[]> {
    await this.#endSupervision();
    const running = await findProcess(this.layout);
    const problems: string[] = [];
    if (running) {
      problems.push(
        ...(await stopPods(this.cri, { gracePeriodSeconds, remove: false }).catch((error: unknown) => [
          errorMessage(error),
        ])),
      );
      await endProcess(running, this.#clock);
    }
    this.cri.close();
    problems.push(...(await killLeftovers(this.layout, this.#clock)));
    await removePidFile(this.layout);
    return problems;
  }

  async #prepareDirectories(): Promise<void> {
    const { layout } = this;
    await mkdir(layout.root, { recursive: true, mode: 0o700 });
    const boot = await bootId();
    const lastBoot = (await readFile(layout.bootIdPath, 'utf8').catch(() => '')).trim();
    if (lastBoot !== '' && lastBoot !== boot) await forgetLastBoot(layout);
    // Synced: without it, what a power cut leaves would not be forgotten at the next boot.
    if (lastBoot !== boot) replaceFile(layout.bootIdPath, `${boot}\n`);
    await rm(layout.spoolDir, { recursive: true, force: true });
    await mkdir(layout.runDir, { recursive: true, mode: 0o711 });
    await mkdir(layout.cniConfDir, { recursive: true });
    await mkdir(layout.registryDir, { recursive: true });
    await linkTo(layout.runLink, layout.runDir);
    await shareNamespaceDir();
  }

  /** True when a running containerd has read another configuration. */
  async #writeConfig(machine: Machine): Promise<boolean> {
    const text = renderConfig({
      layout: this.layout,
      machine,
      snapshotter: this.#snapshotter,
      sandboxImage: SANDBOX_IMAGE,
      cgroupDriver: this.cgroupDriver,
    });
    const stamped = `# Written by Capstan for containerd ${machine.containerdVersion}; changes are overwritten.\n${text}`;
    if ((await readFile(this.layout.configPath, 'utf8').catch(() => '')) === stamped) return false;
    await writeFile(this.layout.configPath, stamped);
    return true;
  }

  async #adopt(configChanged: boolean): Promise<boolean> {
    const running = await findProcess(this.layout);
    if (!running) return false;
    if (configChanged) {
      this.#log.info('containerd has an older configuration: restarting it, pods keep running', {
        pid: running.pid,
      });
      await endProcess(running, this.#clock);
      return false;
    }
    this.#process = running;
    this.#startedAt = this.#clock.monotonic();
    if (await this.#answers(READY_TIMEOUT_MS)) return true;
    this.#log.warn('containerd is running but does not respond: restarting it, pods keep running', {
      pid: running.pid,
    });
    await endProcess(running, this.#clock);
    return false;
  }

  async #spawn(): Promise<void> {
    const { layout } = this;
    rotateLog(layout.logPath);
    const binary = this.#machine?.containerd ?? 'containerd';
    this.#process = await spawnProcess({ binary, layout, log: this.#log });
    this.#startedAt = this.#clock.monotonic();
    if (await this.#answers(READY_TIMEOUT_MS)) return;
    const why = await lastErrors(layout.logPath);
    if (isAlive(this.#process)) {
      await endProcess(this.#process, this.#clock);
      throw new ContainerdError(
        'start-failed',
        `containerd does not answer on ${layout.socketPath} after ${READY_TIMEOUT_MS / 1000} s: ${why} (its log: ${layout.logPath})`,
      );
    }
    throw new ContainerdError(
      'start-failed',
      `containerd ended right after its start: ${why} (its log: ${layout.logPath})`,
    );
  }

  /** Waits for the CRI plugin, which starts after the socket opens. False when the process ends first. */
  async #answers(timeoutMs: number): Promise<boolean> {
    const deadline = this.#clock.monotonic() + timeoutMs;
    let last: unknown;
    while (this.#process && isAlive(this.#process)) {
      const ready = await this.cri.status({}, { deadlineMs: PROBE_DEADLINE_MS }).then(
        () => true,
        (error: unknown) => {
          last = error;
          return false;
        },
      );
      if (ready) return true;
      if (isCriError(last, 'unimplemented'))
        throw new ContainerdError(
          'start-failed',
          `containerd runs without its CRI plugin: ${await lastErrors(this.layout.logPath)} (its log: ${this.layout.logPath})`,
        );
      if (this.#clock.monotonic() > deadline) return false;
      await this.#clock.sleep(READY_POLL_MS);
    }
    return false;
  }

  async #importSandboxImage(): Promise<void> {
    if ((await this.cri.imageStatus({ image: { image: SANDBOX_IMAGE } })).image) return;
    const architecture = hostArchitecture();
    if (!architecture)
      throw new ContainerdError(
        'unsupported-machine',
        `there is no sandbox image for ${process.arch}: containers run on x64 and arm64`,
      );
    await this.importImage((await buildSandboxImage(architecture)).tar);
  }

  async #clearOldSandboxes({ cniBinDir }: Machine): Promise<void> {
    const { items: all } = await this.cri.listPodSandbox({});
    const damaged = await removeDamagedAttachments(this.layout, { sandboxIds: all.map(({ id }) => id) });
    const removed = await removeOldSandboxes(this.cri, this.#log);
    const { items } = await this.cri.listPodSandbox({});
    // A sandbox that is not ready still holds its address until it is stopped.
    const liveSandboxIds = new Set(items.map(({ id }) => id));
    const forgotten = await forgetStaleAttachments(this.layout, { liveSandboxIds, cniBinDir });
    const released = await releaseStaleLeases(this.layout, liveSandboxIds);
    if (damaged + removed + forgotten + released > 0)
      this.#log.info('removed pod resources left by earlier runs', { damaged, removed, forgotten, released });
  }

  #supervise(): void {
    this.#supervising = true;
    this.#schedule(WATCH_MS);
  }

  #schedule(delayMs: number): void {
    if (this.#supervising) this.#watch = this.#clock.after(delayMs, () => void this.#check());
  }

  async #check(): Promise<void> {
    if (this.#process && isAlive(this.#process)) {
      if (this.#clock.monotonic() - this.#startedAt > STABLE_MS) this.#backoffMs = FIRST_BACKOFF_MS;
      if (this.#clock.monotonic() - this.#lastUpkeepMs > UPKEEP_MS) {
        this.#lastUpkeepMs = this.#clock.monotonic();
        await this.#upkeep();
      }
      this.#schedule(WATCH_MS);
      return;
    }
    this.#log.warn('containerd exited: restarting it, pods keep running', { pid: this.#process?.pid });
    try {
      // Another process may have started it.
      this.#process = await findProcess(this.layout);
      if (!this.#process) await this.#spawn();
      this.#log.info('containerd restarted', { pid: this.#process?.pid });
      this.#schedule(WATCH_MS);
    } catch (error) {
      this.#log.error('error starting containerd', {
        error: errorMessage(error),
        retryInMs: this.#backoffMs,
      });
      this.#schedule(this.#backoffMs);
      this.#backoffMs = Math.min(this.#backoffMs * 2, MAX_BACKOFF_MS);
    }
  }

  async #upkeep(): Promise<void> {
    try {
      rotateLog(this.layout.logPath);
    } catch (error) {
      this.#log.warn("error rotating containerd's log", { error: errorMessage(error) });
    }
    this.#shims ??= new OrphanedShims({
      layout: this.layout,
      log: this.#log,
      containers: () => this.#containers(),
      runc: this.#machine?.runc ?? 'runc',
    });
    await this.#shims
      .sweep()
      .catch((error: unknown) =>
        this.#log.warn('error looking for orphaned shims', { error: errorMessage(error) }),
      );
  }

  /** The ids of all containers that containerd has, those too that its CRI plugin does not list. */
  async #containers(): Promise<ReadonlySet<string>> {
    const ctr = this.#machine?.ctr ?? 'ctr';
    const { code, stdout, stderr } = await run([
      ctr,
      '--address',
      this.socketPath,
      '--namespace',
      'k8s.io',
      'containers',
      'list',
      '--quiet',
    ]);
    if (code !== 0) throw new Error(`ctr containers list: ${stderr.trim()}`);
    return new Set(stdout.split('\n').filter((id) => id !== ''));
  }

  /** Once, when the network is configured. */
  #guardNetwork(): void {
    if (this.#guard || !this.#podCIDRs) return;
    this.#guard = new NetworkGuard({
      layout: this.layout,
      cniBinDir: () => this.#machine?.cniBinDir,
      configure: () => this.configureNetwork(this.#podCIDRs ?? []),
      clock: this.#clock,
      log: this.#log,
    });
    this.#guard.start();
  }

  async #endSupervision(): Promise<void> {
    this.#supervising = false;
    this.#watch?.cancel();
    await this.#guard?.stop();
    this.#guard = undefined;
  }
}

/** Kernel state ended with the last boot: directories, leases and sockets are leftovers. */
async function forgetLastBoot(layout: ContainerdLayout): Promise<void> {
  await unmountBelow([layout.runDir]);
  await rm(layout.runDir, { recursive: true, force: true });
  await rm(layout.cniDataDir, { recursive: true, force: true });
  await rm(layout.pidPath, { force: true });
}

async function linkTo(path: string, target: string): Promise<void> {
  if ((await readlink(path).catch(() => undefined)) === target) return;
  await rm(path, { recursive: true, force: true });
  await symlink(target, path);
}

/**
 * Removes everything that a containerd of this directory has on the machine, and the directory. Pods are killed. Returns what could not
 * be removed, one sentence each; then the directory stays, so that it can be tried again.
 */
export async function destroyContainerd(options: ContainerdOptions): Promise<readonly string[]> {
  const layout = containerdLayout({
    dir: options.dir,
    runBase: options.runBase,
  });
  const clock = options.clock ?? realClock;
  const running = await findProcess(layout);
  const problems: string[] = [];
  const cri = running && createCriClient({ socketPath: layout.socketPath });
  const namespaces = await podNamespaces(layout, cri);
  if (running && cri) {
    // Best effort: what the runtime cannot remove is found by name below.
    await stopPods(cri, { gracePeriodSeconds: 0, remove: true }).catch(() => {});
    cri.close();
    await endProcess(running, clock);
  }
  problems.push(...(await killLeftovers(layout, clock)));
  await removeShimSockets(layout);
  const cniBinDir = await inspectMachine().then(
    (machine) => machine.cniBinDir,
    () => undefined,
  );
  problems.push(...(await destroyNetwork(layout, { cniBinDir, namespaces })));
  problems.push(...(await unmountBelow([layout.runDir, layout.dir])));
  problems.push(...(await removeCgroups(layout, clock)));
  await removeScope(layout);
  if (problems.length > 0) return problems;
  await rm(layout.runDir, { recursive: true, force: true });
  await rm(layout.dir, { recursive: true, force: true });
  return [];
}

/** True when this directory's containerd exists in any form. */
export async function containerdExists(
  options: Pick<ContainerdOptions, 'dir' | 'runBase'>,
): Promise<boolean> {
  const layout = containerdLayout({
    dir: options.dir,
    runBase: options.runBase,
  });
  return lstat(layout.configPath).then(
    () => true,
    () => false,
  );
}
