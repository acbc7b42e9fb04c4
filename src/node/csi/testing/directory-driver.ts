/**
 * A CSI driver for tests, a gRPC server on unix sockets as real ones are: a volume is a directory, staged and published by bind mounts (needs root). It
 * keeps what it was asked, can fail, and registers itself with a node agent.
 */
import { execFileSync } from 'node:child_process';
import { mkdirSync, readFileSync, rmSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { Server, ServerCredentials, status, type sendUnaryData, type ServerUnaryCall } from '@grpc/grpc-js';
import type { MethodCodec } from '../../grpc/codec.ts';
import {
  csiMethods,
  registrationMethods,
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
  #servers: Server[] = [];

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
    for (const server of this.#servers.splice(0)) server.forceShutdown();
    const { dir, registryDir, name } = this.#options;
    rmSync(join(registryDir, `${name}-reg.sock`), { force: true });
    rmSync(join(dir, 'csi.sock'), { force: true });
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
    socket: string,
    of: {
      readonly methods: ReadonlyMap<string, MethodCodec>;
      readonly answers: Record<string, (request: object) => object>;
    },
  ): Promise<void> {
    const server = new Server();
    this.#servers.push(server);
    const definitions = Object.fromEntries(
      [...of.methods].map(([name, codec]) => [name, this.#definition(codec, of.answers[name])]),
    );
    server.addService(
      Object.fromEntries(Object.entries(definitions).map(([name, { definition }]) => [name, definition])),
      Object.fromEntries(Object.entries(definitions).map(([name, { handle }]) => [name, handle])),
    );
    mkdirSync(dirname(socket), { recursive: true });
    rmSync(socket, { force: true });
    const { promise, resolve, reject } = Promise.withResolvers<void>();
    server.bindAsync(`unix://${socket}`, ServerCredentials.createInsecure(), (error) =>
      error ? reject(error) : resolve(),
    );
    await promise;
  }

  #definition(codec: MethodCodec, answer: ((request: object) => object) | undefined) {
    const definition = {
      path: codec.path,
      requestStream: false,
      responseStream: false,
      requestSerialize: (message: object) => codec.encode(message),
      requestDeserialize: (bytes: Buffer) => codec.decodeRequest(bytes),
      responseSerialize: (message: object) => codec.encodeResponse(message),
      responseDeserialize: (bytes: Buffer) => codec.decode(bytes),
    };
    const handle = (call: ServerUnaryCall<object, object>, done: sendUnaryData<object>): void => {
      const { name } = codec;
      this.calls.push({ method: name, request: call.request as Record<string, unknown> });
      const failure = this.failures.get(name);
      try {
        if (failure !== undefined) throw new Error(failure);
        if (!answer) throw new Error(`no answer for ${name}`);
        done(null, answer(call.request));
      } catch (error) {
        done({ code: status.INTERNAL, details: (error as Error).message });
      }
    };
    return { definition, handle };
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
