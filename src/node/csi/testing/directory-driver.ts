/**
 * A CSI driver for tests, a gRPC server on unix sockets as real ones are: a volume is a directory, staged and published by bind mounts (needs root). It
 * keeps what it was asked, can fail, and registers itself with a node agent.
 */
import { execFileSync } from 'node:child_process';
import { mkdirSync, readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import type { MethodCodec } from '#grpc/codec.ts';
import { GrpcError, serveUnixSocket, type UnixServer } from '#grpc/server.ts';
import { registrationMethods } from '../../plugins/registration.ts';
import {
  csiMethods,
  type NodeCapability,
  type NodeInfo,
  type PublishRequest,
  type StageRequest,
} from '../protocol.ts';

interface DriverOptions {
  readonly name: string;
  /** Where volumes and sockets are. */
  readonly dir: string;
  /** '…/plugins_registry' */
  readonly registryDir: string;
  readonly capabilities?: readonly NodeCapability[];
  readonly node?: NodeInfo;
}

interface DriverCall {
  readonly method: string;
  readonly request: Readonly<Record<string, unknown>>;
}

export class DirectoryDriver {
  readonly #options: DriverOptions;
  readonly calls: DriverCall[] = [];
  readonly registrations: { readonly pluginRegistered: boolean; readonly error: string }[] = [];
  /** Method → text: it fails with INTERNAL while it is here. */
  readonly failures = new Map<string, string>();
  #servers: UnixServer[] = [];

  constructor(options: DriverOptions) {
    this.#options = options;
  }

  volumeDir(volumeId: string): string {
    return join(this.#options.dir, 'volumes', volumeId);
  }

  names(): string[] {
    return this.calls.map(({ method }) => method).filter((method) => !method.startsWith('NodeGet'));
  }

  async start(): Promise<void> {
    const { dir, registryDir, name } = this.#options;
    const endpoint = join(dir, 'csi.sock');
    mkdirSync(registryDir, { recursive: true });
    mkdirSync(dir, { recursive: true });
    await this.#listen(endpoint, { methods: csiMethods, answers: this.#nodeAnswers() });
    await this.#listen(join(registryDir, `${name}-reg.sock`), {
      methods: registrationMethods,
      answers: {
        GetInfo: () => ({ type: 'CSIPlugin', name, endpoint, supportedVersions: ['1.0.0'] }),
        NotifyRegistrationStatus: (request) => {
          this.registrations.push(request as (typeof this.registrations)[number]);
          return {};
        },
      },
    });
  }

  /** Its sockets go with it. */
  stop(): void {
    for (const server of this.#servers.splice(0)) server.close();
  }

  #nodeAnswers(): Record<string, (request: object) => object> {
    const { capabilities = ['STAGE_UNSTAGE_VOLUME'], node = { nodeId: 'id-1', maxVolumesPerNode: 0 } } =
      this.#options;
    return {
      GetPluginInfo: () => ({ name: this.#options.name, vendorVersion: '1' }),
      NodeGetInfo: () => node,
      NodeGetCapabilities: () => ({ capabilities: capabilities.map((type) => ({ rpc: { type } })) }),
      NodeStageVolume: (request) => {
        const { volumeId, stagingTargetPath, volumeCapability } = request as StageRequest;
        if (!volumeCapability.block) this.#bind(this.#made(volumeId), stagingTargetPath);
        return {};
      },
      NodeUnstageVolume: (request) => {
        unmount((request as StageRequest).stagingTargetPath);
        return {};
      },
      NodePublishVolume: (request) => {
        const { volumeId, stagingTargetPath, targetPath, readonly } = request as PublishRequest;
        mkdirSync(targetPath, { recursive: true });
        this.#bind(stagingTargetPath || this.#made(volumeId), targetPath, readonly);
        return {};
      },
      NodeUnpublishVolume: (request) => {
        unmount((request as PublishRequest).targetPath);
        return {};
      },
      NodeExpandVolume: () => ({}),
      NodeGetVolumeStats: () => ({ usage: [{ unit: 'BYTES', total: 1000, used: 1, available: 999 }] }),
    };
  }

  #made(volumeId: string): string {
    const path = this.volumeDir(volumeId);
    mkdirSync(path, { recursive: true });
    return path;
  }

  #bind(source: string, target: string, readonly = false): void {
    if (isMounted(target)) return;
    execFileSync('mount', ['--bind', source, target]);
    if (readonly) execFileSync('mount', ['-o', 'bind,remount,ro', target]);
  }

  async #listen(
    socketPath: string,
    of: {
      readonly methods: ReadonlyMap<string, MethodCodec>;
      readonly answers: Record<string, (request: object) => object>;
    },
  ): Promise<void> {
    const answers = Object.fromEntries(
      Object.entries(of.answers).map(([method, answer]) => [
        method,
        (request: object): object => {
          this.calls.push({ method, request: request as Record<string, unknown> });
          const failure = this.failures.get(method);
          if (failure !== undefined) throw new GrpcError('INTERNAL', failure);
          return answer(request);
        },
      ]),
    );
    this.#servers.push(await serveUnixSocket({ socketPath, methods: of.methods, answers }));
  }
}

export function isMounted(path: string): boolean {
  return readFileSync('/proc/self/mountinfo', 'utf8')
    .split('\n')
    .some((line) => line.split(' ')[4] === path);
}

function unmount(path: string): void {
  if (isMounted(path)) execFileSync('umount', [path]);
  rmSync(path, { recursive: true, force: true });
}
