/** A device plugin for tests, a gRPC server on a unix socket as real ones are: its "GPUs" are character devices of the machine, /dev/null by default. */
import { join } from 'node:path';
import { serveUnixSocket, type AnswerStream, type UnixServer } from '#grpc/server.ts';
import { callUnary, connectUnixSocket } from '#grpc/unary.ts';
import { devicePluginMethods, type ContainerAllocation, type PluginDevice } from '../protocol.ts';

interface GpuPluginOptions {
  /** '…/device-plugins' */
  readonly dir: string;
  readonly resource: string;
  readonly devices: readonly PluginDevice[];
  readonly preStartRequired?: boolean;
  /** What the plugin prefers, of what is available. */
  readonly prefers?: (available: readonly string[]) => readonly string[];
  /** Beside the variable GPUS with the ids, and a device for each. */
  readonly adds?: Partial<ContainerAllocation>;
}

export class GpuPlugin {
  readonly #options: GpuPluginOptions;
  readonly #streams = new Set<AnswerStream>();
  readonly calls: string[] = [];
  /** Allocate fails with it while it is here. */
  failure: string | undefined;
  #devices: readonly PluginDevice[];
  #server: UnixServer | undefined;

  constructor(options: GpuPluginOptions) {
    this.#options = options;
    this.#devices = options.devices;
  }

  get endpoint(): string {
    return `${this.#options.resource.replaceAll('/', '_')}.sock`;
  }

  /** Listens, then registers with the agent, as plugins do whenever kubelet.sock is recreated. */
  async start(version = 'v1beta1'): Promise<void> {
    const { dir, resource } = this.#options;
    await this.listen(join(dir, this.endpoint));
    const agent = connectUnixSocket(join(dir, 'kubelet.sock'), { maxMessageBytes: 4 * 1024 * 1024 });
    try {
      await callUnary(agent, {
        codec: devicePluginMethods.get('Register')!,
        request: { version, endpoint: this.endpoint, resourceName: resource },
        options: { deadlineMs: 10_000 },
      });
    } finally {
      agent.close();
    }
  }

  async listen(socketPath: string): Promise<void> {
    const { preStartRequired = false, prefers, adds = {} } = this.#options;
    this.#server = await serveUnixSocket({
      socketPath,
      methods: devicePluginMethods,
      answers: {
        GetDevicePluginOptions: () => ({
          preStartRequired,
          getPreferredAllocationAvailable: prefers !== undefined,
        }),
        GetPreferredAllocation: (request) => {
          const { containerRequests } = request as {
            containerRequests: { availableDeviceIDs: string[]; allocationSize: number }[];
          };
          return {
            containerResponses: containerRequests.map(({ availableDeviceIDs }) => ({
              deviceIDs: prefers?.(availableDeviceIDs) ?? [],
            })),
          };
        },
        Allocate: (request) => {
          if (this.failure !== undefined) throw new Error(this.failure);
          const { containerRequests } = request as { containerRequests: { devicesIds: string[] }[] };
          return {
            containerResponses: containerRequests.map(({ devicesIds }) => {
              this.calls.push(`allocate ${devicesIds.join()}`);
              return {
                ...adds,
                envs: { GPUS: devicesIds.join(), ...adds.envs },
                devices: devicesIds.map((id) => ({
                  containerPath: `/dev/gpu-${id}`,
                  hostPath: '/dev/null',
                  permissions: 'rw',
                })),
              };
            }),
          };
        },
        PreStartContainer: (request) => {
          this.calls.push(`start ${(request as { devicesIds: string[] }).devicesIds.join()}`);
          return {};
        },
      },
      streams: {
        ListAndWatch: (_, stream) => {
          this.#streams.add(stream);
          stream.onEnd(() => this.#streams.delete(stream));
          stream.write({ devices: this.#devices });
        },
      },
    });
  }

  /** Now it has these. */
  change(devices: readonly PluginDevice[]): void {
    this.#devices = devices;
    for (const stream of this.#streams) stream.write({ devices });
  }

  stop(): void {
    this.#server?.close();
    this.#streams.clear();
  }
}

/** Healthy ones. */
export function gpus(...ids: readonly string[]): PluginDevice[] {
  return ids.map((ID) => ({ ID, health: 'Healthy' }));
}
