/**
 * One member of etcd as a client sees it: its connection, what is under way on it, and whether it is to be avoided. A member that
 * vanished without a word (its machine lost, its cable cut, its process stopped) would hold calls and watches until keepalive notices, after 40 s:
 * who waits too long suspects it, and it must send something within SUSPECT_MS or loses everything that is under way on it.
 *
 * It is called silent much sooner, by the same question: whoever relies on this process had better go elsewhere, but nothing that is under way is given up.
 *
 * Calls and streams in both directions go over grpc-connection.ts while its connection stands, else over grpc-js.
 *
 *   used ──a call failed, or it is suspected and silent──▶ avoided ──answers Status, asked every PROBE_MS──▶ used
 */
import { EventEmitter } from 'node:events';
import { readFileSync } from 'node:fs';
import { Client, credentials, connectivityState, Metadata, type ServiceError } from '@grpc/grpc-js';
import { whyUnreachable } from './diagnosis.ts';
import { EtcdCallError, classifyFailure } from './failures.ts';
import { GrpcConnection } from './grpc-connection.ts';
import type { CallError } from './grpc-messages.ts';
import { etcdCall, type EtcdMethod, type StatusResponse } from './protocol.ts';

const KEEPALIVE_MS = 30_000;
const KEEPALIVE_TIMEOUT_MS = 10_000;
const MAX_BACKOFF_MS = 1_000;
/** Calls make the member suspected each time they have waited so long. */
const PATIENCE_MS = 1_500;
const SUSPECT_MS = 1_500;
/** Once a call has waited so long, it is asked whether it answers at all: an election holds calls up for longer, and that question not. */
const LISTEN_MS = 250;
const SILENT_MS = 300;
const LISTEN_TIMEOUT_MS = 10_000;
const GRACE_MS = 200;
const PROBE_MS = 1_000;
/** etcd's own bound on requests is 1.5 MiB by default; answers have none that a client could rely on. */
const MAX_RECEIVED_BYTES = 512 * 1024 * 1024;

export interface EtcdTls {
  readonly caFile?: string | undefined;
  readonly certFile?: string | undefined;
  readonly keyFile?: string | undefined;
}

export interface CallOptions {
  /** Words for errors: 'read /registry/pods/'. */
  readonly doing: string;
  /** A member without a leader answers too. Default: it refuses. */
  readonly withoutLeader?: boolean | undefined;
  /** Others wait for it together already: it does not wait for what else is sent in this turn. */
  readonly isUrgent?: boolean | undefined;
  readonly timeoutMs: number;
}

interface UnderWay {
  cancel(): void;
}

export interface Sent {
  readonly method: EtcdMethod;
  readonly request: object;
}

/** grpc-js, and the connection of grpc-connection.ts. */
type Transport = 'grpc' | 'own';

interface CallUnderWay extends UnderWay {
  /** Rejects with what classifyFailure() reads. */
  readonly answer: Promise<object>;
}

/** A stream in both directions; its end comes as 'end' or 'error'. */
export interface EtcdStream {
  on(event: 'data', listener: (message: object) => void): this;
  on(event: 'error', listener: (error: Error) => void): this;
  on(event: 'end', listener: () => void): this;
  write(message: object): unknown;
  cancel(): void;
}

/** What the driver needs of a member, so that a simulated one can take its place. */
export interface EtcdMember {
  readonly endpoint: string;
  /** It failed lately, and has not answered since. */
  readonly avoided: boolean;
  /** A call waits, and it does not answer what needs no leader and no disk either. */
  readonly silent: boolean;
  /** Begins to connect where it is not. */
  readonly connected: boolean;
  /** Rejects where it is not connected in time. */
  whenConnected(timeoutMs: number): Promise<EtcdMember>;
  /** Rejects with an EtcdCallError. */
  send<Response>(sent: Sent, options: CallOptions): Promise<Response>;
  openStream(method: EtcdMethod): EtcdStream;
  openServerStream(method: EtcdMethod, timeoutMs: number): AsyncIterable<object>;
  status(timeoutMs: number): Promise<StatusResponse>;
  /** Undefined where it does not say. */
  version(timeoutMs: number): Promise<string | undefined>;
  /** Whoever calls waits for it too long. Where it does not answer, all that is under way on it fails, and it connects anew. */
  suspect(): void;
  /** Others are asked first, until it answers again. */
  avoid(): void;
  /** Why it cannot be reached; undefined: nothing is wrong with it. */
  diagnose(): Promise<string | undefined>;
  close(): void;
}

class OwnStream extends EventEmitter implements EtcdStream {
  write!: (message: object) => void;
  cancel!: () => void;

  end(error: CallError | undefined): void {
    if (!error) this.emit('end');
    else if (this.listenerCount('error') > 0) this.emit('error', error);
  }
}

export class Member implements EtcdMember {
  readonly endpoint: string;
  avoided = false;
  silent = false;
  readonly #tls: EtcdTls;
  readonly #underWay = new Set<UnderWay>();
  #client: Client;
  #own: GrpcConnection;
  /** As it said since it was last connected. */
  #version: Promise<string | undefined> | undefined;
  #isSuspected = false;
  /** When each connection last brought anything but an error. */
  readonly #heardMs: Record<Transport, number> = { grpc: 0, own: 0 };
  readonly #waiting = new Set<{ readonly sinceMs: number; suspectsMs: number }>();
  #patience: NodeJS.Timeout | undefined;
  #listening: NodeJS.Timeout | undefined;
  #probe: NodeJS.Timeout | undefined;
  #closed = false;

  constructor(endpoint: string, tls: EtcdTls) {
    this.endpoint = endpoint;
    this.#tls = tls;
    this.#client = clientOf(endpoint, tls);
    this.#own = connectionOf(endpoint, tls);
  }

  get connected(): boolean {
    return this.#client.getChannel().getConnectivityState(true) === connectivityState.READY;
  }

  whenConnected(timeoutMs: number): Promise<this> {
    return new Promise((resolve, reject) =>
      this.#client.waitForReady(Date.now() + timeoutMs, (error) => (error ? reject(error) : resolve(this))),
    );
  }

  async send<Response>(sent: Sent, options: CallOptions): Promise<Response> {
    if (options.withoutLeader) return this.#send<Response>(sent, options);
    const sinceMs = performance.now();
    const waiting = { sinceMs, suspectsMs: sinceMs + PATIENCE_MS };
    this.#waiting.add(waiting);
    if (!this.#listening) this.#listenIn(LISTEN_MS);
    if (!this.#patience) this.#beImpatientIn(PATIENCE_MS);
    try {
      return await this.#send<Response>(sent, options);
    } finally {
      this.#waiting.delete(waiting);
    }
  }

  /** One timer for all calls. Insertion order is order of time: the first one waits longest. */
  #listenIn(delayMs: number): void {
    this.#listening = setTimeout(() => {
      this.#listening = undefined;
      const [oldest] = this.#waiting;
      if (!oldest || this.#closed) return;
      const waitedMs = performance.now() - oldest.sinceMs;
      if (waitedMs < LISTEN_MS) this.#listenIn(LISTEN_MS - waitedMs);
      else void this.#listen();
    }, delayMs);
    this.#listening.unref();
  }

  async #listen(): Promise<void> {
    const askedMs = performance.now();
    let isOver = false;
    const judge = (): void => {
      this.silent = !isOver && Math.max(this.#heardMs.grpc, this.#heardMs.own) < askedMs;
    };
    // Where this process itself stood still, answers wait in the socket: they are read before the check.
    this.#listening = setTimeout(() => setImmediate(judge), SILENT_MS);
    this.#listening.unref();
    const options = { doing: 'read the status', timeoutMs: LISTEN_TIMEOUT_MS, withoutLeader: true };
    await this.#send(STATUS, options).catch(() => {});
    isOver = true;
    clearTimeout(this.#listening);
    this.#listening = undefined;
    this.silent = false;
    if (this.#waiting.size > 0 && !this.#closed) this.#listenIn(LISTEN_MS);
  }

  /** One timer for all calls, at the earliest that is to suspect the member. */
  #beImpatientIn(delayMs: number): void {
    this.#patience = setTimeout(() => {
      this.#patience = undefined;
      const now = performance.now();
      let isLate = false;
      let next = Infinity;
      for (const one of this.#waiting) {
        if (one.suspectsMs <= now) {
          isLate = true;
          one.suspectsMs = now + PATIENCE_MS;
        }
        next = Math.min(next, one.suspectsMs);
      }
      if (next < Infinity && !this.#closed) this.#beImpatientIn(next - now);
      if (isLate) this.suspect();
    }, delayMs);
    this.#patience.unref();
  }

  #send<Response>(sent: Sent, options: CallOptions): Promise<Response> {
    return this.#sendBy(this.#own.ready ? 'own' : 'grpc', sent, options);
  }

  async #sendBy<Response>(transport: Transport, sent: Sent, options: CallOptions): Promise<Response> {
    let call: CallUnderWay | undefined;
    try {
      call = transport === 'own' ? this.#callOwn(sent, options) : this.#callGrpc(sent, options);
      this.#underWay.add(call);
      const response = await call.answer;
      this.#heardMs[transport] = performance.now();
      return response as Response;
    } catch (error) {
      const where = { doing: options.doing, endpoint: this.endpoint };
      throw new EtcdCallError(classifyFailure(error as ServiceError, where));
    } finally {
      if (call) this.#underWay.delete(call);
    }
  }

  #callOwn(
    { method, request }: Sent,
    { timeoutMs, withoutLeader = false, isUrgent }: CallOptions,
  ): CallUnderWay {
    const { path, encode, decode } = etcdCall(method);
    const call = this.#own.call({
      path,
      message: encode(request),
      metadata: withoutLeader ? {} : REQUIRE_LEADER,
      timeoutMs,
      isUrgent,
    });
    return { answer: call.answer.then(decode), cancel: () => call.cancel() };
  }

  #callGrpc({ method, request }: Sent, { timeoutMs, withoutLeader = false }: CallOptions): CallUnderWay {
    const { path, encode, decode } = etcdCall(method);
    const { promise, resolve, reject } = Promise.withResolvers<object>();
    const call = this.#client.makeUnaryRequest<object, object>(
      path,
      encode,
      decode,
      request,
      withoutLeader ? new Metadata() : metadata(),
      { deadline: Date.now() + timeoutMs },
      (error: ServiceError | null, response?: object) => (error ? reject(error) : resolve(response!)),
    );
    return { answer: promise, cancel: () => call.cancel() };
  }

  openStream(method: EtcdMethod): EtcdStream {
    return this.#own.ready ? this.#openOwnStream(method) : this.#openGrpcStream(method);
  }

  #openOwnStream(method: EtcdMethod): EtcdStream {
    const { path, encode, decode } = etcdCall(method);
    const stream = new OwnStream();
    const { write, cancel } = this.#own.openStream(
      { path, metadata: REQUIRE_LEADER },
      {
        message: (wire) => {
          this.#heardMs.own = performance.now();
          stream.emit('data', decode(wire));
        },
        closed: (error) => {
          this.#underWay.delete(stream);
          stream.end(error);
        },
      },
    );
    stream.write = (message) => write(encode(message));
    stream.cancel = cancel;
    this.#underWay.add(stream);
    return stream;
  }

  #openGrpcStream(method: EtcdMethod): EtcdStream {
    const { path, encode, decode } = etcdCall(method);
    const stream = this.#client.makeBidiStreamRequest<object, object>(path, encode, decode, metadata(), {});
    this.#underWay.add(stream);
    stream.once('close', () => this.#underWay.delete(stream));
    stream.on('data', () => (this.#heardMs.grpc = performance.now()));
    return stream;
  }

  openServerStream(method: EtcdMethod, timeoutMs: number): AsyncIterable<object> {
    const { path, encode, decode } = etcdCall(method);
    const options = { deadline: Date.now() + timeoutMs };
    return this.#client.makeServerStreamRequest<object, object>(
      path,
      encode,
      decode,
      {},
      new Metadata(),
      options,
    ) as AsyncIterable<object>;
  }

  status(timeoutMs: number): Promise<StatusResponse> {
    return this.#send<StatusResponse>(STATUS, { doing: 'read the status', timeoutMs });
  }

  version(timeoutMs: number): Promise<string | undefined> {
    this.#version ??= this.status(timeoutMs).then(
      ({ version }) => version,
      () => (this.#version = undefined),
    );
    return this.#version;
  }

  suspect(): void {
    if (this.#closed || this.#isSuspected) return;
    this.#isSuspected = true;
    const begunMs = performance.now();
    const transports: readonly Transport[] = this.#own.ready ? ['grpc', 'own'] : ['grpc'];
    const over = (): void => void (this.#isSuspected = false);
    // Without a leader it is not silent: an election ends nothing that is under way.
    const options = { doing: 'read the status', timeoutMs: SUSPECT_MS, withoutLeader: true };
    Promise.all(transports.map((transport) => this.#sendBy(transport, STATUS, options))).then(
      over,
      (error: EtcdCallError) => {
        // Where this process itself stood still, answers wait in the socket.
        setTimeout(() => {
          over();
          const silent = transports.some((transport) => this.#heardMs[transport] < begunMs);
          if (error.failure.certain || silent) this.#abandon();
        }, GRACE_MS);
      },
    );
  }

  #abandon(): void {
    if (this.#closed) return;
    this.avoid();
    const { endpoint } = this;
    const underWay = [...this.#underWay];
    this.#underWay.clear();
    const before = [this.#client, this.#own];
    this.#client = clientOf(endpoint, this.#tls);
    this.#own = connectionOf(endpoint, this.#tls);
    for (const one of underWay) one.cancel();
    for (const one of before) one.close();
  }

  avoid(): void {
    this.#version = undefined;
    if (this.avoided || this.#closed) return;
    this.avoided = true;
    this.#probeLater();
  }

  #probeLater(): void {
    this.#probe = setTimeout(() => {
      this.status(PROBE_MS).then(
        () => (this.avoided = false),
        () => this.#closed || this.#probeLater(),
      );
    }, PROBE_MS);
    this.#probe.unref();
  }

  diagnose(): Promise<string | undefined> {
    return whyUnreachable({ endpoint: this.endpoint, files: this.#tls, ...readTls(this.#tls) });
  }

  close(): void {
    this.#closed = true;
    clearTimeout(this.#probe);
    clearTimeout(this.#patience);
    clearTimeout(this.#listening);
    this.#client.close();
    this.#own.close();
  }
}

const STATUS: Sent = { method: 'Status', request: {} };
/** A member without a leader refuses instead of waiting. */
const REQUIRE_LEADER = { hasleader: 'true' };

function metadata(): Metadata {
  return Metadata.fromHttp2Headers(REQUIRE_LEADER);
}

function connectionOf(endpoint: string, tls: EtcdTls): GrpcConnection {
  return new GrpcConnection({
    url: parseEndpoint(endpoint),
    readTls: () => readTls(tls),
    maxReceivedBytes: MAX_RECEIVED_BYTES,
    keepaliveMs: KEEPALIVE_MS,
    keepaliveTimeoutMs: KEEPALIVE_TIMEOUT_MS,
  });
}

function readTls({ caFile, keyFile, certFile }: EtcdTls): Record<'ca' | 'key' | 'cert', Buffer | null> {
  const read = (path: string | undefined): Buffer | null => (path === undefined ? null : readFileSync(path));
  return { ca: read(caFile), key: read(keyFile), cert: read(certFile) };
}

/** With etcd's port where it names none. Throws a TypeError. */
function parseEndpoint(endpoint: string): URL {
  let url: URL;
  try {
    url = new URL(endpoint);
  } catch {
    throw new TypeError(
      `etcd endpoint ${JSON.stringify(endpoint)} is no URL; it should be like https://10.0.0.1:2379`,
    );
  }
  if (url.protocol !== 'https:' && url.protocol !== 'http:')
    throw new TypeError(`etcd endpoint ${endpoint}: the scheme should be https (or http without TLS)`);
  url.port ||= '2379';
  return url;
}

function clientOf(endpoint: string, tls: EtcdTls): Client {
  const url = parseEndpoint(endpoint);
  const { ca, key, cert } = readTls(tls);
  const secrets =
    url.protocol === 'https:' ? credentials.createSsl(ca, key, cert) : credentials.createInsecure();
  return new Client(url.host, secrets, {
    'grpc.keepalive_time_ms': KEEPALIVE_MS,
    'grpc.keepalive_timeout_ms': KEEPALIVE_TIMEOUT_MS,
    // etcd closes a connection that pings while nothing is under way (ENHANCE_YOUR_CALM).
    'grpc.keepalive_permit_without_calls': 0,
    'grpc.initial_reconnect_backoff_ms': 100,
    'grpc.max_reconnect_backoff_ms': MAX_BACKOFF_MS,
    'grpc.max_receive_message_length': MAX_RECEIVED_BYTES,
    'grpc.enable_retries': 0,
    // Each store its own connections: a member that stalls for one must not stall another.
    'grpc.use_local_subchannel_pool': 1,
  });
}
