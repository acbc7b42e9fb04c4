/**
 * A typed client of the container runtime interface, CRI v1, over gRPC on a unix socket. One method per call of RuntimeService and ImageService, with
 * requests and responses as on the wire (types.ts). It has one connection, which reconnects by itself; callers retry. Every failure is a CriError
 * (errors.ts).
 */
import { Metadata, type Client, type ClientReadableStream } from '@grpc/grpc-js';
import { callUnary, connectUnixSocket, grpcOptions } from '#grpc/unary.ts';
import { methodCodec } from './codec.ts';
import { CriError, toCriError } from './errors.ts';
import type * as cri from './types.ts';
import type { CriInput } from './types.ts';

export interface CriCallOptions {
  /** Replaces the call's default deadline; 0 means none. */
  readonly deadlineMs?: number;
  /** Cancels the call: it then fails with code 'cancelled'. */
  readonly signal?: AbortSignal;
}

type Call<Request, Response> = (request: CriInput<Request>, options?: CriCallOptions) => Promise<Response>;

/** Default deadline 2 min, as upstream's --runtime-request-timeout; exceptions are documented. */
export interface CriClient {
  version: Call<cri.VersionRequest, cri.VersionResponse>;
  /** Deadline 4 min: it sets up the pod's network and may pull the sandbox image. Not idempotent: metadata.attempt makes a retry a new sandbox. */
  runPodSandbox: Call<cri.RunPodSandboxRequest, cri.RunPodSandboxResponse>;
  /** Idempotent: succeeds for a sandbox that is stopped or removed. */
  stopPodSandbox: Call<cri.StopPodSandboxRequest, cri.StopPodSandboxResponse>;
  /** Idempotent. Kills and removes what still runs in it. */
  removePodSandbox: Call<cri.RemovePodSandboxRequest, cri.RemovePodSandboxResponse>;
  podSandboxStatus: Call<cri.PodSandboxStatusRequest, cri.PodSandboxStatusResponse>;
  listPodSandbox: Call<cri.ListPodSandboxRequest, cri.ListPodSandboxResponse>;
  createContainer: Call<cri.CreateContainerRequest, cri.CreateContainerResponse>;
  startContainer: Call<cri.StartContainerRequest, cri.StartContainerResponse>;
  /** timeout is the grace period in seconds; deadline 2 min more than that. Idempotent. */
  stopContainer: Call<cri.StopContainerRequest, cri.StopContainerResponse>;
  /** Idempotent. Kills a running container. */
  removeContainer: Call<cri.RemoveContainerRequest, cri.RemoveContainerResponse>;
  listContainers: Call<cri.ListContainersRequest, cri.ListContainersResponse>;
  containerStatus: Call<cri.ContainerStatusRequest, cri.ContainerStatusResponse>;
  updateContainerResources: Call<cri.UpdateContainerResourcesRequest, cri.UpdateContainerResourcesResponse>;
  reopenContainerLog: Call<cri.ReopenContainerLogRequest, cri.ReopenContainerLogResponse>;
  /** timeout in seconds, 0 = no limit; a command that runs longer is killed and the call fails with 'deadline-exceeded'. */
  execSync: Call<cri.ExecSyncRequest, cri.ExecSyncResponse>;
  /** Returns the URL of the runtime's streaming server: see streaming.ts. */
  exec: Call<cri.ExecRequest, cri.ExecResponse>;
  attach: Call<cri.AttachRequest, cri.AttachResponse>;
  portForward: Call<cri.PortForwardRequest, cri.PortForwardResponse>;
  containerStats: Call<cri.ContainerStatsRequest, cri.ContainerStatsResponse>;
  listContainerStats: Call<cri.ListContainerStatsRequest, cri.ListContainerStatsResponse>;
  podSandboxStats: Call<cri.PodSandboxStatsRequest, cri.PodSandboxStatsResponse>;
  listPodSandboxStats: Call<cri.ListPodSandboxStatsRequest, cri.ListPodSandboxStatsResponse>;
  updateRuntimeConfig: Call<cri.UpdateRuntimeConfigRequest, cri.UpdateRuntimeConfigResponse>;
  status: Call<cri.StatusRequest, cri.StatusResponse>;
  /** 'unimplemented' in containerd 1.6. */
  checkpointContainer: Call<cri.CheckpointContainerRequest, cri.CheckpointContainerResponse>;
  /** 'unimplemented' in containerd 1.6. */
  runtimeConfig: Call<cri.RuntimeConfigRequest, cri.RuntimeConfigResponse>;
  /** 'unimplemented' before containerd 2.1. */
  updatePodSandboxResources: Call<
    cri.UpdatePodSandboxResourcesRequest,
    cri.UpdatePodSandboxResourcesResponse
  >;
  /** Container events as they happen, without end and without deadline; throws 'unimplemented' before containerd 1.7 (poll listContainers then). */
  getContainerEvents(
    request?: CriInput<cri.GetEventsRequest>,
    options?: CriCallOptions,
  ): AsyncIterable<cri.ContainerEventResponse>;

  listImages: Call<cri.ListImagesRequest, cri.ListImagesResponse>;
  /** image is absent in the response when the runtime has no such image: no error. */
  imageStatus: Call<cri.ImageStatusRequest, cri.ImageStatusResponse>;
  /** No deadline: the runtime gives up by itself when a registry is silent. */
  pullImage: Call<cri.PullImageRequest, cri.PullImageResponse>;
  /** Idempotent. */
  removeImage: Call<cri.RemoveImageRequest, cri.RemoveImageResponse>;
  imageFsInfo: Call<cri.ImageFsInfoRequest, cri.ImageFsInfoResponse>;

  /** Closes the connection; calls in flight fail with 'cancelled' or 'unavailable'. */
  close(): void;
}

interface CriClientOptions {
  /** Path of the runtime's socket; at most 107 bytes. */
  readonly socketPath: string;
}

const DEFAULT_DEADLINE_MS = 120_000;
const SANDBOX_DEADLINE_MS = 240_000;
/** containerd's own limit. */
const MAX_MESSAGE_BYTES = 16 * 1024 * 1024;
const NO_DEADLINE = 0;

/** Connects on the first call. A runtime that does not listen makes calls fail with 'unavailable' at once. */
export function createCriClient({ socketPath }: CriClientOptions): CriClient {
  const connection = connectUnixSocket(socketPath, { maxMessageBytes: MAX_MESSAGE_BYTES });
  const unary =
    <Request, Response>(
      name: string,
      defaultDeadlineMs: number | ((request: CriInput<Request>) => number) = DEFAULT_DEADLINE_MS,
    ): Call<Request, Response> =>
    (request, options = {}) => {
      const deadlineMs =
        options.deadlineMs ??
        (typeof defaultDeadlineMs === 'number' ? defaultDeadlineMs : defaultDeadlineMs(request));
      return callRuntime<Response>({
        connection,
        name,
        request: request as object,
        options: { ...options, deadlineMs },
      });
    };
  return {
    version: unary('Version'),
    runPodSandbox: unary('RunPodSandbox', SANDBOX_DEADLINE_MS),
    stopPodSandbox: unary('StopPodSandbox'),
    removePodSandbox: unary('RemovePodSandbox'),
    podSandboxStatus: unary('PodSandboxStatus'),
    listPodSandbox: unary('ListPodSandbox'),
    createContainer: unary('CreateContainer'),
    startContainer: unary('StartContainer'),
    stopContainer: unary<cri.StopContainerRequest, cri.StopContainerResponse>(
      'StopContainer',
      ({ timeout }) => DEFAULT_DEADLINE_MS + (timeout ?? 0) * 1000,
    ),
    removeContainer: unary('RemoveContainer'),
    listContainers: unary('ListContainers'),
    containerStatus: unary('ContainerStatus'),
    updateContainerResources: unary('UpdateContainerResources'),
    reopenContainerLog: unary('ReopenContainerLog'),
    execSync: unary<cri.ExecSyncRequest, cri.ExecSyncResponse>('ExecSync', ({ timeout }) =>
      timeout ? DEFAULT_DEADLINE_MS + timeout * 1000 : NO_DEADLINE,
    ),
    exec: unary('Exec'),
    attach: unary('Attach'),
    portForward: unary('PortForward'),
    containerStats: unary('ContainerStats'),
    listContainerStats: unary('ListContainerStats'),
    podSandboxStats: unary('PodSandboxStats'),
    listPodSandboxStats: unary('ListPodSandboxStats'),
    updateRuntimeConfig: unary('UpdateRuntimeConfig'),
    status: unary('Status'),
    checkpointContainer: unary('CheckpointContainer'),
    runtimeConfig: unary('RuntimeConfig'),
    updatePodSandboxResources: unary('UpdatePodSandboxResources'),
    getContainerEvents: (request = {}, options = {}) =>
      callStream<cri.ContainerEventResponse>({ connection, name: 'GetContainerEvents', request, options }),
    listImages: unary('ListImages'),
    imageStatus: unary('ImageStatus'),
    pullImage: unary('PullImage', NO_DEADLINE),
    removeImage: unary('RemoveImage'),
    imageFsInfo: unary('ImageFsInfo'),
    close: () => connection.close(),
  };
}

interface CallParts {
  readonly connection: Client;
  /** 'RunPodSandbox' */
  readonly name: string;
  readonly request: object;
  readonly options: CriCallOptions;
}

async function callRuntime<Response>({ connection, name, request, options }: CallParts): Promise<Response> {
  if (options.signal?.aborted) throw cancelled(name);
  try {
    return await callUnary<Response>(connection, { codec: methodCodec(name), request, options });
  } catch (error) {
    throw toCriError(name, error);
  }
}

async function* callStream<Response>({
  connection,
  name,
  request,
  options,
}: CallParts): AsyncGenerator<Response> {
  if (options.signal?.aborted) throw cancelled(name);
  const codec = methodCodec(name);
  const call = connection.makeServerStreamRequest(
    codec.path,
    codec.encode,
    codec.decode,
    request,
    new Metadata(),
    grpcOptions(options),
  ) as ClientReadableStream<Response>;
  const onAbort = (): void => call.cancel();
  options.signal?.addEventListener('abort', onAbort, { once: true });
  try {
    for await (const message of call) yield message as Response;
  } catch (error) {
    throw toCriError(name, error);
  } finally {
    options.signal?.removeEventListener('abort', onAbort);
    call.cancel();
  }
}

function cancelled(method: string): CriError {
  return new CriError({ code: 'cancelled', method, details: 'cancelled before it was sent' });
}
