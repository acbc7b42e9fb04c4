/**
 * Finds the plugins that register with this node by a socket in plugins_registry, as the kubelet does, and keeps those that are CSI drivers. Mounts
 * nothing: csi-volumes.ts calls the drivers.
 *
 *   socket appears ─► GetInfo ─► CSI? ─► NodeGetInfo at its endpoint ─► CSINode, Node ─► NotifyRegistrationStatus      socket is gone ─► out of CSINode
 *                       └ another kind, or a failure: NotifyRegistrationStatus with the error; failures are tried again with a growing delay
 */
import { lstat, mkdir, readdir } from 'node:fs/promises';
import { join } from 'node:path';
import type { Clock } from '#stdx/clock.ts';
import { errorMessage, type Logger } from '#stdx/log.ts';
import { Rounds } from '../agent/rounds.ts';
import {
  createCsiNodeClient,
  createRegistrationClient,
  type CsiNodeClient,
  type RegistrationClient,
} from './client.ts';
import type { CsiNodeRecord } from './csi-node-record.ts';
import type { NodeCapability, PluginInfo } from './protocol.ts';

export interface CsiDriver {
  readonly name: string;
  readonly client: CsiNodeClient;
  readonly capabilities: ReadonlySet<NodeCapability>;
}

interface PluginsOptions {
  /** '…/plugins_registry' */
  readonly dir: string;
  readonly clock: Clock;
  readonly log: Logger;
  readonly record: CsiNodeRecord;
  /** A driver can be called from now on. */
  readonly onRegistered?: (() => void) | undefined;
}

interface Socket {
  /** Of this file: another one at the same path is another plugin. */
  readonly inode: number;
  readonly driver?: CsiDriver | undefined;
  readonly failures: number;
  readonly retryAtMs: number;
}

const LOOK_MS = 1_000;
const FIRST_RETRY_MS = 1_000;
const MAX_RETRY_MS = 60_000;
/** Sockets in the directory beyond these are not looked at. */
const MAX_SOCKETS = 256;
const CSI_PLUGIN = 'CSIPlugin';

export class Plugins {
  readonly #options: PluginsOptions;
  readonly #rounds: Rounds;
  /** By path. */
  readonly #sockets = new Map<string, Socket>();

  constructor(options: PluginsOptions) {
    this.#options = options;
    this.#rounds = new Rounds(options.clock);
  }

  start(): void {
    this.#rounds.start(async () => {
      await this.#look().catch((error: unknown) =>
        this.#options.log.warn('error looking for plugins', { error: errorMessage(error) }),
      );
      return LOOK_MS;
    });
  }

  async stop(): Promise<void> {
    await this.#rounds.stop();
    for (const { driver } of this.#sockets.values()) driver?.client.close();
    this.#sockets.clear();
  }

  driver(name: string): CsiDriver | undefined {
    for (const { driver } of this.#sockets.values()) if (driver?.name === name) return driver;
    return undefined;
  }

  async #look(): Promise<void> {
    const { dir, clock } = this.#options;
    await mkdir(dir, { recursive: true, mode: 0o750 });
    const found = await socketsIn(dir);
    for (const [path, { inode, driver }] of this.#sockets)
      if (found.get(path) !== inode) await this.#leave(path, driver);
    for (const [path, inode] of found) {
      const known = this.#sockets.get(path);
      if (this.#rounds.stopped) return;
      if (known?.driver || (known && known.retryAtMs > clock.now())) continue;
      await this.#register(path, { inode, failures: known?.failures ?? 0 });
    }
  }

  async #leave(path: string, driver: CsiDriver | undefined): Promise<void> {
    const { log, record } = this.#options;
    if (driver) {
      await record.remove(driver.name);
      driver.client.close();
      log.info('CSI driver has left', { driver: driver.name });
    }
    this.#sockets.delete(path);
  }

  async #register(
    path: string,
    { inode, failures }: { readonly inode: number; readonly failures: number },
  ): Promise<void> {
    const { clock, log, onRegistered } = this.#options;
    const registration = createRegistrationClient(path);
    try {
      const driver = await this.#adopt(registration, path);
      this.#sockets.set(path, { inode, driver, failures: 0, retryAtMs: 0 });
      log.info('CSI driver registered', { driver: driver.name });
      onRegistered?.();
    } catch (error) {
      const waitMs = Math.min(FIRST_RETRY_MS * 2 ** failures, MAX_RETRY_MS);
      this.#sockets.set(path, { inode, failures: failures + 1, retryAtMs: clock.now() + waitMs });
      log.warn('error registering a plugin, retrying', { socket: path, error: errorMessage(error) });
    } finally {
      registration.close();
    }
  }

  async #adopt(registration: RegistrationClient, path: string): Promise<CsiDriver> {
    const info = await registration.getInfo();
    let client: CsiNodeClient | undefined;
    try {
      this.#check(info);
      client = createCsiNodeClient(info.endpoint || path);
      const node = await client.getInfo();
      if (node.nodeId === '') throw new Error(`driver ${info.name} answers NodeGetInfo without a node_id`);
      const capabilities = await client.getCapabilities();
      await this.#options.record.add(info.name, node);
      await registration.notify({ pluginRegistered: true, error: '' });
      return { name: info.name, client, capabilities };
    } catch (error) {
      client?.close();
      await registration.notify({ pluginRegistered: false, error: errorMessage(error) }).catch(() => {});
      throw error;
    }
  }

  #check({ type, name, supportedVersions }: PluginInfo): void {
    if (type !== CSI_PLUGIN)
      throw new Error(`plugins of type ${JSON.stringify(type)} are not supported by this node`);
    if (name === '' || name.length > 63)
      throw new Error(`driver name ${JSON.stringify(name)} must have 1 to 63 characters`);
    if (this.driver(name)) throw new Error(`a driver named ${name} is registered already, by another socket`);
    if (!supportedVersions.some((version) => /^v?1\./.test(version)))
      throw new Error(
        `none of the versions ${supportedVersions.join(', ')} of driver ${name} is supported: must be 1.x`,
      );
  }
}

/** Path → inode. */
async function socketsIn(dir: string): Promise<Map<string, number>> {
  const found = new Map<string, number>();
  for (const name of (await readdir(dir)).sort()) {
    if (found.size === MAX_SOCKETS) break;
    const path = join(dir, name);
    const stats = name.startsWith('.') ? undefined : await lstat(path).catch(() => undefined);
    if (stats?.isSocket()) found.set(path, stats.ino);
  }
  return found;
}
