/** Calls a KMS v2 plugin by gRPC over its unix socket. The connection comes back by itself after the plugin was away; a call waits for it within its deadline. */
import { Client, credentials, Metadata, status, type ServiceError } from '@grpc/grpc-js';
import type { KmsConfiguration } from './configuration.ts';
import {
  methods,
  type DecryptRequest,
  type DecryptResponse,
  type EncryptRequest,
  type EncryptResponse,
  type StatusResponse,
} from './kms-messages.ts';
import type { TransformationMetrics } from './metrics.ts';
import { TransformError } from './transformer.ts';

/** Every failure is a TransformError with gRPC's word for it. */
export interface KmsClient {
  status(): Promise<StatusResponse>;
  encrypt(request: EncryptRequest): Promise<EncryptResponse>;
  decrypt(request: DecryptRequest): Promise<DecryptResponse>;
  close(): void;
}

const RECONNECT_MS = 1000;

export function createKmsClient(
  { name, socket, timeoutMs }: KmsConfiguration,
  metrics: TransformationMetrics,
): KmsClient {
  const connection = new Client(`unix:${socket}`, credentials.createInsecure(), {
    'grpc.initial_reconnect_backoff_ms': 100,
    'grpc.max_reconnect_backoff_ms': RECONNECT_MS,
  });
  const call = async <Response>(method: keyof typeof methods, request: object): Promise<Response> => {
    const { path, request: sent, response: received } = methods[method];
    const startMs = performance.now();
    const { promise, resolve, reject } = Promise.withResolvers<Response>();
    connection.makeUnaryRequest(
      path,
      (message: object) => (sent as { encode(message: object): Buffer }).encode(message),
      (wire: Buffer): object => received.decode(wire),
      request,
      new Metadata({ waitForReady: true }),
      { deadline: Date.now() + timeoutMs },
      (error: ServiceError | null, response?: object) => {
        metrics.kmsCall({
          provider: name,
          method,
          status: codeName(error),
          seconds: (performance.now() - startMs) / 1000,
        });
        if (error)
          reject(
            new TransformError(
              `KMS provider ${name}: ${method}: rpc error: code = ${codeName(error)} desc = ${error.details}`,
              { cause: error },
            ),
          );
        else resolve(response as Response);
      },
    );
    return promise;
  };
  return {
    status: () => call('Status', {}),
    encrypt: (request) => call('Encrypt', request),
    decrypt: (request) => call('Decrypt', request),
    close: () => connection.close(),
  };
}

/** 'DEADLINE_EXCEEDED' → 'DeadlineExceeded' */
function codeName(error: ServiceError | null): string {
  if (!error) return 'OK';
  return (status[error.code] ?? 'UNKNOWN')
    .toLowerCase()
    .replace(/(^|_)([a-z])/g, (_, _bar, letter: string) => letter.toUpperCase());
}
