/** Unary gRPC calls with a deadline and a signal. A failed call rejects with gRPC's ServiceError: the room that calls translates it. */
import { Client, credentials, Metadata } from '@grpc/grpc-js';
import type { CallOptions as GrpcCallOptions } from '@grpc/grpc-js';
import type { MethodCodec } from './codec.ts';

interface CallOptions {
  /** Absent or 0: none. */
  readonly deadlineMs?: number | undefined;
  /** Cancels the call. */
  readonly signal?: AbortSignal | undefined;
}

/** Connects on the first call. A server that does not listen makes calls fail with UNAVAILABLE at once. */
export function connectUnixSocket(
  socketPath: string,
  { maxMessageBytes }: { readonly maxMessageBytes: number },
): Client {
  return new Client(`unix://${socketPath}`, credentials.createInsecure(), {
    'grpc.max_receive_message_length': maxMessageBytes,
    'grpc.max_send_message_length': maxMessageBytes,
    'grpc.initial_reconnect_backoff_ms': 100,
    'grpc.min_reconnect_backoff_ms': 100,
    'grpc.max_reconnect_backoff_ms': 2_000,
    // One connection per client object: two servers that follow each other on one path are two connections.
    'grpc.use_local_subchannel_pool': 1,
  });
}

/** PEM. */
interface ClientTls {
  /** Undefined: those of the machine. */
  readonly ca: Buffer | undefined;
  readonly cert: Buffer | undefined;
  readonly key: Buffer | undefined;
}

/** address: 'HOST:PORT'. Without TLS everything goes in clear. */
export function connectTcp(
  address: string,
  { tls, maxMessageBytes }: { readonly tls: ClientTls | undefined; readonly maxMessageBytes: number },
): Client {
  const secured = tls && credentials.createSsl(tls.ca, tls.key, tls.cert);
  return new Client(address, secured ?? credentials.createInsecure(), {
    'grpc.max_receive_message_length': maxMessageBytes,
    'grpc.max_reconnect_backoff_ms': 10_000,
    'grpc.use_local_subchannel_pool': 1,
  });
}

export function callUnary<Response>(
  connection: Client,
  {
    codec,
    request,
    options,
  }: { readonly codec: MethodCodec; readonly request: object; readonly options: CallOptions },
): Promise<Response> {
  const { promise, resolve, reject } = Promise.withResolvers<Response>();
  const call = connection.makeUnaryRequest(
    codec.path,
    codec.encode,
    codec.decode,
    request,
    new Metadata(),
    grpcOptions(options),
    (error, response) => {
      options.signal?.removeEventListener('abort', onAbort);
      if (error) reject(error);
      else resolve(response as Response);
    },
  );
  const onAbort = (): void => call.cancel();
  options.signal?.addEventListener('abort', onAbort, { once: true });
  return promise;
}

export function grpcOptions({ deadlineMs }: CallOptions): GrpcCallOptions {
  return deadlineMs ? { deadline: Date.now() + deadlineMs } : {};
}
