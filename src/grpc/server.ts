/** gRPC servers whose methods are described as data: the sockets that the node agent offers to plugins and monitors, and providers of nodes. */
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

interface Methods {
  readonly methods: ReadonlyMap<string, MethodCodec>;
  /** By method; those without one are UNIMPLEMENTED. */
  readonly answers: Readonly<Record<string, Answer>>;
  readonly streams?: Readonly<Record<string, (request: object, stream: AnswerStream) => void>>;
}

interface UnixServerOptions extends Methods {
  readonly socketPath: string;
}

export interface UnixServer {
  /** Ends calls, and removes the socket. */
  close(): void;
}

/** PEM. */
export interface ServerTls {
  readonly cert: Buffer;
  readonly key: Buffer;
  /** Of the clients that are let in; others are not. */
  readonly clientCa: Buffer;
}

interface TcpServerOptions extends Methods {
  /** 'HOST:PORT' */
  readonly address: string;
  /** Undefined: anybody who reaches it may call. */
  readonly tls: ServerTls | undefined;
}

/** Replaces a socket that an earlier server left. Rejects when it cannot listen. */
export async function serveUnixSocket({ socketPath, ...methods }: UnixServerOptions): Promise<UnixServer> {
  const server = serverOf(methods);
  mkdirSync(dirname(socketPath), { recursive: true, mode: 0o750 });
  rmSync(socketPath, { force: true });
  await listen(server, { target: `unix://${socketPath}`, credentials: ServerCredentials.createInsecure() });
  return {
    close() {
      server.forceShutdown();
      rmSync(socketPath, { force: true });
    },
  };
}

/** Rejects when it cannot listen. port: also the one that was chosen for 0. */
export async function serveTcp({
  address,
  tls,
  ...methods
}: TcpServerOptions): Promise<{ readonly port: number; close(): void }> {
  const server = serverOf(methods);
  const credentials = tls
    ? ServerCredentials.createSsl(tls.clientCa, [{ cert_chain: tls.cert, private_key: tls.key }], true)
    : ServerCredentials.createInsecure();
  const port = await listen(server, { target: address, credentials });
  return { port, close: () => server.forceShutdown() };
}

function serverOf({ methods, answers, streams = {} }: Methods): Server {
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
  return server;
}

function listen(
  server: Server,
  { target, credentials }: { readonly target: string; readonly credentials: ServerCredentials },
): Promise<number> {
  return new Promise((resolve, reject) =>
    server.bindAsync(target, credentials, (error, port) => (error ? reject(error) : resolve(port))),
  );
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
