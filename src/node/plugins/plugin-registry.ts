/**
 * Finds the plugins that register with this node by a socket in plugins_registry, as the kubelet does, and hands each to the handler of its type: CSI
 * drivers, device plugins, DRA drivers. Knows nothing of what they do.
 *
 *   socket appears ─► GetInfo ─► handler of its type ─► NotifyRegistrationStatus      socket is gone, or another file ─► the handler's leave()
 *                       └ no handler, or a failure: NotifyRegistrationStatus with the error; it is tried again with a growing delay
 */
import { lstat, mkdir, readdir } from 'node:fs/promises';
import { join } from 'node:path';
import type { Clock } from '#stdx/clock.ts';
import { errorMessage, type Logger } from '#stdx/log.ts';
import { Rounds } from '../agent/rounds.ts';
import { describeFailure } from '#grpc/status.ts';
import { createRegistrationClient, type PluginInfo, type RegistrationClient } from './registration.ts';

export interface Plugin extends PluginInfo {
  /** Never empty. */
  readonly endpoint: string;
}

export interface PluginHandler {
  /** Can be called from now on. Rejects when it is not accepted: the plugin receives the message, and is tried again. */
  register(plugin: Plugin): Promise<RegisteredPlugin>;
}

export interface RegisteredPlugin {
  /** Its socket is gone. */
  leave(): Promise<void> | void;
  /** The agent stops: the plugin may be there when it starts again. */
  close(): void;
}

interface PluginRegistryOptions {
  /** '…/plugins_registry' */
  readonly dir: string;
  readonly clock: Clock;
  readonly log: Logger;
}

interface Socket {
  /** Of this file: another one at the same path is another plugin. */
  readonly inode: number;
  readonly plugin?: RegisteredPlugin | undefined;
  readonly failures: number;
  readonly retryAtMs: number;
}

const LOOK_MS = 1_000;
const FIRST_RETRY_MS = 1_000;
const MAX_RETRY_MS = 60_000;
/** Sockets in the directory beyond these are not looked at. */
const MAX_SOCKETS = 256;

export class PluginRegistry {
  readonly #options: PluginRegistryOptions;
  readonly #rounds: Rounds;
  /** By type. */
  readonly #handlers = new Map<string, PluginHandler>();
  /** By path. */
  readonly #sockets = new Map<string, Socket>();

  constructor(options: PluginRegistryOptions) {
    this.#options = options;
    this.#rounds = new Rounds(options.clock);
  }

  /** type: 'CSIPlugin', 'DevicePlugin' or 'DRAPlugin'. Before start(). */
  handle(type: string, handler: PluginHandler): void {
    this.#handlers.set(type, handler);
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
    for (const { plugin } of this.#sockets.values()) plugin?.close();
    this.#sockets.clear();
  }

  async #look(): Promise<void> {
    const { dir, clock } = this.#options;
    await mkdir(dir, { recursive: true, mode: 0o750 });
    const found = await socketsIn(dir);
    for (const [path, { inode, plugin }] of this.#sockets)
      if (found.get(path) !== inode) await this.#leave(path, plugin);
    for (const [path, inode] of found) {
      const known = this.#sockets.get(path);
      if (this.#rounds.stopped) return;
      if (known?.plugin || (known && known.retryAtMs > clock.now())) continue;
      await this.#register(path, { inode, failures: known?.failures ?? 0 });
    }
  }

  async #leave(path: string, plugin: RegisteredPlugin | undefined): Promise<void> {
    await plugin?.leave();
    if (plugin) this.#options.log.info('plugin has left', { socket: path });
    this.#sockets.delete(path);
  }

  async #register(
    path: string,
    { inode, failures }: { readonly inode: number; readonly failures: number },
  ): Promise<void> {
    const { clock, log } = this.#options;
    const registration = createRegistrationClient(path);
    try {
      const plugin = await this.#adopt(registration, path);
      this.#sockets.set(path, { inode, plugin, failures: 0, retryAtMs: 0 });
    } catch (error) {
      const waitMs = Math.min(FIRST_RETRY_MS * 2 ** failures, MAX_RETRY_MS);
      this.#sockets.set(path, { inode, failures: failures + 1, retryAtMs: clock.now() + waitMs });
      log.warn('error registering a plugin, retrying', {
        socket: path,
        error: describeFailure(error).details,
      });
    } finally {
      registration.close();
    }
  }

  async #adopt(registration: RegistrationClient, path: string): Promise<RegisteredPlugin> {
    const info = await registration.getInfo();
    try {
      const handler = this.#handlers.get(info.type);
      if (!handler)
        throw new Error(`plugins of type ${JSON.stringify(info.type)} are not supported by this node`);
      const plugin = await handler.register({ ...info, endpoint: info.endpoint || path });
      await registration.notify({ pluginRegistered: true, error: '' }).catch((error: unknown) => {
        plugin.close();
        throw error;
      });
      this.#options.log.info('plugin registered', { type: info.type, plugin: info.name });
      return plugin;
    } catch (error) {
      await registration.notify({ pluginRegistered: false, error: errorMessage(error) }).catch(() => {});
      throw error;
    }
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
