/** A gRPC server on a unix socket whose methods are described as data: the sockets that the node agent offers to plugins and monitors. */
import { mkdirSync, rmSync } from 'node:fs';
import { dirname } from 'node:path';
import {
  Server,
  ServerCredentials,
  status,
  type sendUnaryData,
  type ServerUnaryCall,
  type ServerWritableStream,
} from '@grpc/grpc-js';
import type { MethodCodec } from './codec.ts';

/** Thrown by an answer; any other error is UNKNOWN, as upstream's are. */
export class GrpcError extends Error {
  override readonly name = 'GrpcError';
  readonly code: number;
  constructor(code: keyof typeof status, message: string) {
    super(message);
    this.code = status[code];
  }
}

type Answer = (request: object) => object | Promise<object>;

export interface AnswerStream {
  write(message: object): void;
  end(): void;
  /** The client went away. */
  onEnd(listener: () => void): void;
}

interface UnixServerOptions {
  readonly socketPath: string;
  readonly methods: ReadonlyMap<string, MethodCodec>;
  /** By method; those without one are UNIMPLEMENTED. */
  readonly answers: Readonly<Record<string, Answer>>;
  readonly streams?: Readonly<Record<string, (request: object, stream: AnswerStream) => void>>;
}

export interface UnixServer {
  /** Ends calls, and removes the socket. */
  close(): void;
}

/** Replaces a socket that an earlier server left. Rejects when it cannot listen. */
export async function serveUnixSocket(options: UnixServerOptions): Promise<UnixServer> {
  const { socketPath, methods, answers, streams = {} } = options;
  const server = new Server();
  const offered = [...methods].filter(([name]) => answers[name] ?? streams[name]);
  server.addService(
    Object.fromEntries(offered.map(([name, codec]) => [name, definition(codec)])),
    Object.fromEntries(
      offered.map(([name]) => {
        const stream = streams[name];
        return [name, stream ? streamHandler(stream) : unaryHandler(answers[name]!)];
      }),
    ),
  );
  mkdirSync(dirname(socketPath), { recursive: true, mode: 0o750 });
  rmSync(socketPath, { force: true });
  const { promise, resolve, reject } = Promise.withResolvers<void>();
  server.bindAsync(`unix://${socketPath}`, ServerCredentials.createInsecure(), (error) =>
    error ? reject(error) : resolve(),
  );
  await promise;
  return {
    close() {
      server.forceShutdown();
      rmSync(socketPath, { force: true });
    },
  };
}

function definition(codec: MethodCodec) {
  return {
    path: codec.path,
    requestStream: false,
    responseStream: codec.serverStream,
    requestSerialize: (message: object) => codec.encode(message),
    requestDeserialize: (bytes: Buffer) => codec.decodeRequest(bytes),
    responseSerialize: (message: object) => codec.encodeResponse(message),
    responseDeserialize: (bytes: Buffer) => codec.decode(bytes),
  };
}

function unaryHandler(answer: Answer) {
  return async (call: ServerUnaryCall<object, object>, done: sendUnaryData<object>): Promise<void> => {
    try {
      done(null, await answer(call.request));
    } catch (error) {
      const code = error instanceof GrpcError ? error.code : status.UNKNOWN;
      done({ code, details: error instanceof Error ? error.message : String(error) });
    }
  };
}

function streamHandler(stream: (request: object, to: AnswerStream) => void) {
  return (call: ServerWritableStream<object, object>): void =>
    stream(call.request, {
      write: (message) => void call.write(message),
      end: () => call.end(),
      onEnd: (listener) => void call.once('close', listener).once('cancelled', listener),
    });
}
