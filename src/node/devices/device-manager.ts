/**
 * Device plugins (v1beta1): takes their registrations, follows their devices, and gives devices to the containers of pods. Its checkpoint is the record of
 * who has what. choose.ts decides; plugins say what a container gets.
 *
 *   Register ─► GetDevicePluginOptions ─► ListAndWatch: devices ─► the node's capacity and allocatable      stream ends ─► all unhealthy; after 5 min: 0
 *   pod admitted ─► choose ─► [GetPreferredAllocation] ─► Allocate ─► checkpoint      container starts ─► [PreStartContainer] ─► its envs, mounts, devices …
 */
import { readdirSync, mkdirSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import type { Container, Pod } from '#api/types.ts';
import { isSidecar } from '#component-helpers/containers.ts';
import { parseQuantity } from '#machinery/quantity.ts';
import type { Clock } from '#stdx/clock.ts';
import { KeyedMutex } from '#stdx/keyed-mutex.ts';
import { errorMessage, type Logger } from '#stdx/log.ts';
import type { AgentMetrics } from '../agent/agent-metrics.ts';
import { isExtendedResource } from '../agent/node/node-status.ts';
import { serveUnixSocket, type UnixServer } from '#grpc/server.ts';
import type { Plugin, PluginHandler, RegisteredPlugin } from '../plugins/plugin-registry.ts';
import {
  CHECKPOINT_NAME,
  deviceIds,
  readCheckpoint,
  writeCheckpoint,
  type DeviceGrant,
} from './checkpoint.ts';
import { chooseDevices, completeChoice, type ResourceState } from './choose.ts';
import { PluginConnection } from './plugin-connection.ts';
import {
  devicePluginMethods,
  DEVICE_PLUGIN_VERSION,
  HEALTHY,
  type ContainerAllocation,
  type DevicePluginOptions,
  type PluginDevice,
  type RegisterRequest,
} from './protocol.ts';

interface DeviceManagerOptions {
  /** '…/device-plugins' */
  readonly dir: string;
  readonly clock: Clock;
  readonly log: Logger;
  readonly metrics: Pick<AgentMetrics, 'devicePluginRegistered' | 'devicesAllocated'>;
  /** Whether the pod with this UID may run: else its devices are free. */
  readonly isActive: (uid: string) => boolean;
  /** Devices came, went, or changed their health. */
  readonly onChange: () => void;
}

/** A resource of a plugin, also of one that is gone. */
interface Resource {
  readonly connection?: PluginConnection | undefined;
  readonly options?: DevicePluginOptions | undefined;
  readonly devices: readonly PluginDevice[];
  /** Monotonic, in ms; undefined: the plugin is there. */
  readonly goneMs?: number | undefined;
}

interface NodeDevices {
  readonly capacity: Readonly<Record<string, string>>;
  readonly allocatable: Readonly<Record<string, string>>;
}

/** A resource whose plugin has been away for longer leaves the node. Upstream's. */
const GONE_MS = 5 * 60_000;
const NO_NUMA_NODE = '-1';
const SOCKET_NAME = 'kubelet.sock';

export class DeviceManager implements PluginHandler {
  readonly #options: DeviceManagerOptions;
  readonly #resources = new Map<string, Resource>();
  /** Once registered, gone for too long: the node shows 0 of them, as upstream. */
  readonly #removed = new Set<string>();
  readonly #mutex = new KeyedMutex();
  #grants: readonly DeviceGrant[] = [];
  #server: UnixServer | undefined;

  constructor(options: DeviceManagerOptions) {
    this.#options = options;
  }

  /** Plugins see their sockets removed and the agent's created anew, and register again. */
  async start(): Promise<void> {
    const { dir, log } = this.#options;
    mkdirSync(dir, { recursive: true, mode: 0o750 });
    try {
      const known = await readCheckpoint(join(dir, CHECKPOINT_NAME));
      this.#grants = known?.grants ?? [];
      for (const resource of Object.keys(known?.registered ?? {})) this.#lose(resource);
    } catch (error) {
      log.warn('error reading the checkpoint of devices: what containers have is not known', {
        error: errorMessage(error),
      });
    }
    for (const name of readdirSync(dir))
      if (name !== CHECKPOINT_NAME) rmSync(join(dir, name), { force: true, recursive: true });
    this.#server = await serveUnixSocket({
      socketPath: join(dir, SOCKET_NAME),
      methods: devicePluginMethods,
      answers: { Register: (request) => this.#registerBySocket(request as RegisterRequest) },
    });
  }

  stop(): void {
    this.#server?.close();
    for (const { connection } of this.#resources.values()) connection?.close();
    this.#resources.clear();
  }

  /** Devices that containers have. */
  get grants(): readonly DeviceGrant[] {
    return this.#grants;
  }

  /** Healthy devices by resource. */
  get devices(): ReadonlyMap<string, readonly PluginDevice[]> {
    return new Map(
      [...this.#resources].map(([name, { devices }]) => [
        name,
        devices.filter(({ health }) => health === HEALTHY),
      ]),
    );
  }

  /** For the node's status. Resources that were here and are not any more are 0. */
  nodeDevices(): NodeDevices {
    this.#forgetGone();
    const gone = [...this.#removed].map((name): [string, string] => [name, '0']);
    const count = (read: (state: ResourceState) => number): Record<string, string> =>
      Object.fromEntries([
        ...gone,
        ...[...this.#resources.keys()].map((name) => [name, String(read(this.#state(name)!))]),
      ]);
    return {
      capacity: count(({ healthy, unhealthy }) => healthy.length + unhealthy.length),
      allocatable: count(({ healthy }) => healthy.length),
    };
  }

  needsDevices({ spec }: Pod): boolean {
    return [...(spec?.initContainers ?? []), ...(spec?.containers ?? [])].some(
      (container) => this.#wantedOf(container).length > 0,
    );
  }

  /** For all containers of a pod that is being admitted. Rejects in upstream's words; then the pod has none. */
  async allocate(pod: Pod): Promise<void> {
    const uid = pod.metadata?.uid ?? '';
    await this.#mutex.run('', async () => {
      this.#dropInactive(uid);
      try {
        await this.#allocatePod(pod);
      } catch (error) {
        this.#grants = this.#grants.filter(({ podUID }) => podUID !== uid);
        throw error;
      } finally {
        this.#save();
      }
    });
  }

  /** What a container that starts gets, by all of its resources. undefined: it has no devices. Rejects when a plugin refuses. */
  async prepareContainer(pod: Pod, container: Container): Promise<ContainerAllocation | undefined> {
    const uid = pod.metadata?.uid ?? '';
    const wanted = this.#wantedOf(container);
    if (wanted.length === 0) return undefined;
    const lacks = wanted.some(({ resource }) => !this.#granted(uid, container.name, resource));
    if (lacks) await this.allocate(pod);
    const own = this.#grants.filter((one) => one.podUID === uid && one.container === container.name);
    for (const grant of own) {
      const { connection, options } = this.#resources.get(grant.resource) ?? {};
      if (!options?.preStartRequired) continue;
      if (!connection)
        throw new Error(`endpoint not found in cache for a registered resource: ${grant.resource}`);
      await connection.preStart(deviceIds(grant));
    }
    return mergeAllocations(own.map(({ allocation }) => allocation));
  }

  /** From plugins_registry: the plugin's name is its resource. */
  async register({ name, endpoint, supportedVersions }: Plugin): Promise<RegisteredPlugin> {
    if (!supportedVersions.includes(DEVICE_PLUGIN_VERSION)) throw unsupported(supportedVersions.join());
    const connection = await this.#connect(name, endpoint);
    const leave = (): void => this.#ended(name, connection);
    return { leave, close: () => connection.close() };
  }

  async #registerBySocket({ version, endpoint, resourceName }: RegisterRequest): Promise<object> {
    if (version !== DEVICE_PLUGIN_VERSION) throw unsupported(version);
    await this.#connect(resourceName, join(this.#options.dir, endpoint));
    return {};
  }

  /** Replaces an earlier plugin of the same resource. */
  async #connect(resource: string, socketPath: string): Promise<PluginConnection> {
    const { log, metrics, onChange } = this.#options;
    metrics.devicePluginRegistered(resource);
    if (!isExtendedResource(resource))
      throw new Error(`the ResourceName ${JSON.stringify(resource)} is invalid`);
    const connection = new PluginConnection(socketPath);
    const options = await connection.options().catch((error: unknown) => {
      connection.close();
      throw error;
    });
    this.#resources.get(resource)?.connection?.close();
    this.#removed.delete(resource);
    this.#resources.set(resource, { connection, options, devices: [] });
    log.info('device plugin registered', { resource });
    connection.watch({
      devices: (devices) => {
        if (this.#resources.get(resource)?.connection !== connection) return;
        this.#resources.set(resource, { connection, options, devices });
        this.#save();
        onChange();
      },
      ended: () => this.#ended(resource, connection),
    });
    return connection;
  }

  #ended(resource: string, connection: PluginConnection): void {
    const { log, onChange } = this.#options;
    connection.close();
    const known = this.#resources.get(resource);
    if (known?.connection !== connection) return;
    log.warn('device plugin has gone', { resource });
    this.#lose(resource, known.devices);
    onChange();
  }

  #lose(resource: string, devices: readonly PluginDevice[] = []): void {
    this.#resources.set(resource, {
      devices: devices.map((device) => ({ ...device, health: 'Unhealthy' })),
      goneMs: this.#options.clock.monotonic(),
    });
  }

  #forgetGone(): void {
    const nowMs = this.#options.clock.monotonic();
    for (const [name, { goneMs }] of this.#resources) {
      if (goneMs === undefined || nowMs - goneMs < GONE_MS) continue;
      this.#resources.delete(name);
      this.#removed.add(name);
      this.#save();
    }
  }

  #state(resource: string): ResourceState | undefined {
    const known = this.#resources.get(resource);
    if (!known) return undefined;
    const ids = (healthy: boolean): string[] =>
      known.devices
        .filter(({ health }) => (health === HEALTHY) === healthy)
        .map(({ ID }) => ID)
        .sort();
    return { healthy: ids(true), unhealthy: ids(false) };
  }

  /** As upstream by limits, which equal requests. */
  #wantedOf({ resources }: Container): { readonly resource: string; readonly count: number }[] {
    return Object.entries(resources?.limits ?? {})
      .filter(([name]) => this.#resources.has(name) || this.#grants.some(({ resource }) => resource === name))
      .map(([resource, amount]) => ({ resource, count: parseQuantity(amount).value() }))
      .filter(({ count }) => count > 0);
  }

  #granted(uid: string, container: string, resource: string): DeviceGrant | undefined {
    return this.#grants.find(
      (one) => one.podUID === uid && one.container === container && one.resource === resource,
    );
  }

  #dropInactive(except: string): void {
    this.#grants = this.#grants.filter(({ podUID }) => podUID === except || this.#options.isActive(podUID));
  }

  /** Devices of init containers that end are there for later ones. */
  async #allocatePod(pod: Pod): Promise<void> {
    const uid = pod.metadata?.uid ?? '';
    const reusable = new Set<string>();
    for (const container of [...(pod.spec?.initContainers ?? []), ...(pod.spec?.containers ?? [])]) {
      const ends = pod.spec?.initContainers?.includes(container) === true && !isSidecar(container);
      for (const { resource, count } of this.#wantedOf(container)) {
        await this.#allocateResource({ pod, container, resource, count, reusable });
        for (const id of deviceIds(this.#granted(uid, container.name, resource) ?? { devices: {} }))
          if (ends) reusable.add(`${resource} ${id}`);
          else reusable.delete(`${resource} ${id}`);
      }
    }
  }

  async #allocateResource({
    pod,
    container,
    resource,
    count,
    reusable,
  }: {
    readonly pod: Pod;
    readonly container: Container;
    readonly resource: string;
    readonly count: number;
    /** 'resource id' */
    readonly reusable: ReadonlySet<string>;
  }): Promise<void> {
    const { clock, metrics } = this.#options;
    const uid = pod.metadata?.uid ?? '';
    const granted = this.#granted(uid, container.name, resource);
    const choice = chooseDevices({
      resource,
      count,
      state: this.#state(resource),
      own: granted && deviceIds(granted),
      inUse: new Set(this.#grants.filter((one) => one.resource === resource).flatMap(deviceIds)),
      reusable: new Set(
        [...reusable]
          .filter((one) => one.startsWith(`${resource} `))
          .map((one) => one.slice(resource.length + 1)),
      ),
      who: `pod "${uid}" container "${container.name}"`,
    });
    if (choice.kind === 'kept') return;
    const { connection, options } = this.#resources.get(resource) ?? {};
    if (!connection) throw new Error(`unknown Device Plugin ${resource}`);
    const ids =
      choice.kind === 'fixed'
        ? choice.devices
        : completeChoice(
            choice,
            options?.getPreferredAllocationAvailable
              ? await connection.preferred({
                  available: [...choice.must, ...choice.available],
                  mustInclude: choice.must,
                  size: count,
                })
              : [],
          );
    const startedMs = clock.monotonic();
    const allocation = await connection.allocate(ids);
    metrics.devicesAllocated(resource, (clock.monotonic() - startedMs) / 1000);
    const grant = { podUID: uid, container: container.name, resource, allocation };
    this.#grants = [...this.#grants, { ...grant, devices: this.#byNumaNode(resource, ids) }];
  }

  #byNumaNode(resource: string, ids: readonly string[]): Record<string, string[]> {
    const devices = this.#resources.get(resource)?.devices ?? [];
    const nodesOf = (id: string): string[] => {
      const nodes = devices.find(({ ID }) => ID === id)?.topology?.nodes ?? [];
      return nodes.length > 0 ? nodes.map(({ ID }) => String(ID)) : [NO_NUMA_NODE];
    };
    const placed = ids.flatMap((id) => nodesOf(id).map((node) => ({ id, node })));
    return Object.fromEntries(
      Array.from(
        Map.groupBy(placed, ({ node }) => node),
        ([node, all]) => [node, all.map(({ id }) => id)],
      ),
    );
  }

  #save(): void {
    const { dir, log } = this.#options;
    try {
      const registered = [...this.#resources.keys()].map((name) => [name, this.#state(name)?.healthy ?? []]);
      writeCheckpoint(join(dir, CHECKPOINT_NAME), {
        grants: this.#grants,
        registered: Object.fromEntries(registered),
      });
    } catch (error) {
      log.error('error writing the checkpoint of devices', { error: errorMessage(error) });
    }
  }
}

function unsupported(version: string): Error {
  return new Error(
    `requested API version ${JSON.stringify(version)} is not supported by kubelet. Supported version is ["${DEVICE_PLUGIN_VERSION}"]`,
  );
}

/** Of several resources; as upstream, the first that sets something wins. */
export function mergeAllocations(all: readonly ContainerAllocation[]): ContainerAllocation {
  const unique = <One>(list: readonly One[], key: (one: One) => string): One[] =>
    [...new Map(list.toReversed().map((one) => [key(one), one])).values()].toReversed();
  return {
    envs: Object.assign({}, ...all.map(({ envs }) => envs).toReversed()) as Record<string, string>,
    annotations: Object.assign({}, ...all.map(({ annotations }) => annotations).toReversed()) as Record<
      string,
      string
    >,
    mounts: unique(
      all.flatMap(({ mounts }) => mounts),
      ({ containerPath }) => containerPath,
    ),
    devices: unique(
      all.flatMap(({ devices }) => devices),
      ({ containerPath }) => containerPath,
    ),
    cdiDevices: unique(
      all.flatMap(({ cdiDevices }) => cdiDevices),
      ({ name }) => name,
    ),
  };
}
