/** A connection to one device plugin: its list of devices as it changes, and calls. Rejects with gRPC's words. */
import { Metadata, type Client, type ClientReadableStream } from '@grpc/grpc-js';
import { describeRpcError } from '#grpc/status.ts';
import { callUnary, connectUnixSocket } from '#grpc/unary.ts';
import {
  devicePluginMethods,
  type ContainerAllocation,
  type DevicePluginOptions,
  type PluginDevice,
} from './protocol.ts';

const MAX_MESSAGE_BYTES = 16 * 1024 * 1024;
const DEADLINE_MS = 10_000;
/** Upstream has none for Allocate; a plugin that is silent for so long does not answer any more. */
const ALLOCATE_MS = 120_000;
/** Upstream's. */
const PRE_START_MS = 30_000;

interface PreferredRequest {
  readonly available: readonly string[];
  readonly mustInclude: readonly string[];
  readonly size: number;
}

export class PluginConnection {
  readonly #connection: Client;
  #stream: ClientReadableStream<object> | undefined;
  #closed = false;

  constructor(socketPath: string) {
    this.#connection = connectUnixSocket(socketPath, { maxMessageBytes: MAX_MESSAGE_BYTES });
  }

  options(): Promise<DevicePluginOptions> {
    return this.#call('GetDevicePluginOptions', {});
  }

  /** devices: all of them, at each change. ended: once, when the plugin goes away or closes the stream. */
  watch(on: { devices(list: readonly PluginDevice[]): void; ended(): void }): void {
    const codec = devicePluginMethods.get('ListAndWatch')!;
    const stream = this.#connection.makeServerStreamRequest(
      codec.path,
      codec.encode,
      codec.decode,
      {},
      new Metadata(),
    );
    this.#stream = stream;
    let over = false;
    const end = (): void => {
      if (over) return;
      over = true;
      if (!this.#closed) on.ended();
    };
    stream.on('data', (answer: { readonly devices: readonly PluginDevice[] }) => {
      if (!over && !this.#closed) on.devices(answer.devices);
    });
    stream.on('error', end);
    stream.on('end', end);
  }

  /** For one container. */
  async allocate(devicesIds: readonly string[]): Promise<ContainerAllocation> {
    const { containerResponses } = await this.#call<{
      readonly containerResponses: readonly ContainerAllocation[];
    }>('Allocate', { containerRequests: [{ devicesIds }] }, ALLOCATE_MS);
    const [response] = containerResponses;
    if (!response) throw new Error('no containers return in allocation response');
    return response;
  }

  /** May be fewer than wanted. */
  async preferred({ available, mustInclude, size }: PreferredRequest): Promise<readonly string[]> {
    const { containerResponses } = await this.#call<{
      readonly containerResponses: readonly { readonly deviceIDs: readonly string[] }[];
    }>('GetPreferredAllocation', {
      containerRequests: [
        { availableDeviceIDs: available, mustIncludeDeviceIDs: mustInclude, allocationSize: size },
      ],
    });
    return containerResponses[0]?.deviceIDs ?? [];
  }

  preStart(devicesIds: readonly string[]): Promise<void> {
    return this.#call('PreStartContainer', { devicesIds }, PRE_START_MS);
  }

  close(): void {
    this.#closed = true;
    this.#stream?.cancel();
    this.#connection.close();
  }

  async #call<Response>(name: string, request: object, deadlineMs = DEADLINE_MS): Promise<Response> {
    const codec = devicePluginMethods.get(name)!;
    try {
      return await callUnary<Response>(this.#connection, { codec, request, options: { deadlineMs } });
    } catch (error) {
      throw new Error(describeRpcError(error), { cause: error });
    }
  }
}
