/** A typed client of one CSI driver, over gRPC on a unix socket. Every failure is a CsiError; callers retry. */
import type { Client } from '@grpc/grpc-js';
import { assert } from '#stdx/assert.ts';
import type { MethodCodec } from '#grpc/codec.ts';
import { describeFailure, describeRpcError, type GrpcCode } from '#grpc/status.ts';
import { callUnary, connectUnixSocket } from '#grpc/unary.ts';
import {
  csiMethods,
  type ExpandRequest,
  type NodeCapability,
  type NodeInfo,
  type PublishRequest,
  type StageRequest,
  type VolumeStats,
} from './protocol.ts';

class CsiError extends Error {
  override readonly name = 'CsiError';
  readonly code: GrpcCode;
  constructor(message: string, of: { readonly code: GrpcCode; readonly cause: unknown }) {
    super(message, { cause: of.cause });
    this.code = of.code;
  }
}

/** All calls may be repeated, as the specification demands of drivers. Deadline 2 min, as upstream's. */
export interface CsiNodeClient {
  getInfo(): Promise<NodeInfo>;
  getCapabilities(): Promise<ReadonlySet<NodeCapability>>;
  stage(request: StageRequest): Promise<void>;
  unstage(request: { readonly volumeId: string; readonly stagingTargetPath: string }): Promise<void>;
  publish(request: PublishRequest): Promise<void>;
  unpublish(request: { readonly volumeId: string; readonly targetPath: string }): Promise<void>;
  expand(request: ExpandRequest): Promise<void>;
  getStats(request: {
    readonly volumeId: string;
    readonly volumePath: string;
    readonly stagingTargetPath: string;
  }): Promise<VolumeStats>;
  close(): void;
}

const DEADLINE_MS = 120_000;
const MAX_MESSAGE_BYTES = 4 * 1024 * 1024;

export function createCsiNodeClient(socketPath: string): CsiNodeClient {
  const connection = connectUnixSocket(socketPath, { maxMessageBytes: MAX_MESSAGE_BYTES });
  const call = caller(connection, { methods: csiMethods, deadlineMs: DEADLINE_MS });
  return {
    getInfo: () => call('NodeGetInfo', {}),
    async getCapabilities() {
      const { capabilities } = await call<{
        readonly capabilities: readonly { readonly rpc?: { readonly type: NodeCapability } }[];
      }>('NodeGetCapabilities', {});
      return new Set(capabilities.flatMap(({ rpc }) => (rpc ? [rpc.type] : [])));
    },
    stage: (request) => call('NodeStageVolume', request),
    unstage: (request) => call('NodeUnstageVolume', request),
    publish: (request) => call('NodePublishVolume', request),
    unpublish: (request) => call('NodeUnpublishVolume', request),
    expand: (request) => call('NodeExpandVolume', request),
    getStats: (request) => call('NodeGetVolumeStats', request),
    close: () => connection.close(),
  };
}

function caller(
  connection: Client,
  {
    methods,
    deadlineMs,
  }: { readonly methods: ReadonlyMap<string, MethodCodec>; readonly deadlineMs: number },
): <Response>(name: string, request: object) => Promise<Response> {
  return async <Response>(name: string, request: object): Promise<Response> => {
    const codec = methods.get(name);
    assert(codec, `the plugin protocol has a method ${name}`);
    try {
      return await callUnary<Response>(connection, { codec, request, options: { deadlineMs } });
    } catch (error) {
      throw new CsiError(describeRpcError(error), { code: describeFailure(error).code, cause: error });
    }
  };
}
