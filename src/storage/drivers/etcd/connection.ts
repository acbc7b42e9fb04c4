/**
 * The connections to the members of one etcd cluster: mutual TLS, keepalive, and which member is asked.
 * Reads go to another member when one fails; a write is sent once, and only over a connection that is up.
 */
import { readFileSync } from 'node:fs';
import { Client, connectivityState, credentials, Metadata, type ServiceError } from '@grpc/grpc-js';
import { errorMessage } from '#stdx/log.ts';
import { StoreError } from '../../store.ts';
import { whyUnreachable } from './diagnosis.ts';
import { closedError, failureOf, type EtcdFailure } from './failures.ts';
import { etcdCall, type EtcdMethod, type StatusResponse } from './protocol.ts';

const KEEPALIVE_MS = 30_000;
const KEEPALIVE_TIMEOUT_MS = 10_000;
/** Default of callTimeoutMs. etcd itself gives up on a proposal after some 7 s. */
const CALL_TIMEOUT_MS = 10_000;
/** Default of connectTimeoutMs. */
const CONNECT_TIMEOUT_MS = 5_000;
/** A member that failed is asked last for so long. */
const AVOID_MS = 5_000;
const MAX_BACKOFF_MS = 1_000;
/** What was found out of members that cannot be reached is told for so long. */
const DIAGNOSIS_MS = 5_000;
/** Times that a read is asked of some member before its error is the answer. */
const READ_ATTEMPTS = 4;
/** etcd's own bound on requests is 1.5 MiB by default; answers have none that a client could rely on. */
const MAX_RECEIVED_BYTES = 512 * 1024 * 1024;

interface EtcdTls {
  readonly caFile?: string | undefined;
  readonly certFile?: string | undefined;
  readonly keyFile?: string | undefined;
}

export interface ConnectionOptions extends EtcdTls {
  /** 'https://10.0.0.1:2379' */
  readonly endpoints: readonly string[];
  /** For a member to answer one request. Default: 10 s. */
  readonly callTimeoutMs?: number | undefined;
  /** For any member to be connected. Default: 5 s. */
  readonly connectTimeoutMs?: number | undefined;
}

interface Member {
  readonly endpoint: string;
  readonly client: Client;
  avoidUntilMs: number;
  /** As it said since it was last connected. */
  version: Promise<string | undefined> | undefined;
}

/** What one member says of itself; status is absent where it does not answer. */
export interface MemberStatus {
  readonly endpoint: string;
  readonly status?: StatusResponse;
}

/** Thrown by call(): says whether the request may have happened. */
export class EtcdCallError extends Error {
  readonly failure: EtcdFailure;
  constructor(failure: EtcdFailure) {
    super(failure.error.message, { cause: failure.error });
    this.failure = failure;
  }
}

interface CallOptions {
  /** Words for errors: 'read /registry/pods/'. */
  readonly doing: string;
  /** Sent again to another member where one fails. */
  readonly idempotent: boolean;
  /** A member without a leader answers too. Default: it refuses. */
  readonly withoutLeader?: boolean | undefined;
  /** Default: callTimeoutMs. */
  readonly timeoutMs?: number | undefined;
}

export class EtcdConnection {
  readonly #members: readonly Member[];
  readonly #callTimeoutMs: number;
  readonly #connectTimeoutMs: number;
  readonly #tls: EtcdTls;
  #diagnosis: { readonly untilMs: number; readonly text: Promise<string> } | undefined;
  #closed = false;

  constructor({
    endpoints,
    callTimeoutMs = CALL_TIMEOUT_MS,
    connectTimeoutMs = CONNECT_TIMEOUT_MS,
    ...tls
  }: ConnectionOptions) {
    this.#callTimeoutMs = callTimeoutMs;
    this.#connectTimeoutMs = connectTimeoutMs;
    this.#tls = tls;
    if (endpoints.length === 0) throw new TypeError('etcd: at least one endpoint is needed');
    this.#members = endpoints.map((endpoint) => ({
      endpoint,
      client: clientOf(endpoint, tls),
      avoidUntilMs: 0,
      version: undefined,
    }));
  }

  get endpoints(): readonly string[] {
    return this.#members.map(({ endpoint }) => endpoint);
  }

  /** Rejects with an EtcdCallError. */
  async call<Response>(method: EtcdMethod, request: object, options: CallOptions): Promise<Response> {
    for (let attempt = 1; ; attempt++) {
      const member = await this.#ready(options);
      try {
        return await this.#send<Response>(member, { method, request, options });
      } catch (error) {
        const { failure } = error as EtcdCallError;
        if (failure.elsewhere) this.#avoid(member);
        const again = failure.elsewhere && attempt < READ_ATTEMPTS && !this.#closed;
        if (!again || !(options.idempotent || failure.certain)) throw error;
      }
    }
  }

  /** A stream to a member that is connected. */
  async openStream(method: EtcdMethod, doing: string): Promise<OpenedStream> {
    const member = await this.#ready({ doing });
    const { path, encode, decode } = etcdCall(method);
    const version = await this.#versionOf(member);
    const stream = member.client.makeBidiStreamRequest<object, object>(path, encode, decode, metadata(), {});
    return { stream, version, endpoint: member.endpoint, avoid: () => this.#avoid(member) };
  }

  /** Asks every member. */
  statuses(): Promise<MemberStatus[]> {
    return Promise.all(
      this.#members.map(async (member) => {
        const status = await this.#statusOf(member).catch(() => undefined);
        if (status) member.version = Promise.resolve(status.version);
        return { endpoint: member.endpoint, ...(status && { status }) };
      }),
    );
  }

  #versionOf(member: Member): Promise<string | undefined> {
    member.version ??= this.#statusOf(member).then(
      ({ version }) => version,
      () => (member.version = undefined),
    );
    return member.version;
  }

  #statusOf(member: Member): Promise<StatusResponse> {
    const options = { doing: 'read the status', idempotent: true };
    return this.#send<StatusResponse>(member, { method: 'Status', request: {}, options });
  }

  /** A stream of answers to one request, from a member that is connected. */
  async openServerStream<Response>(
    method: EtcdMethod,
    { doing, timeoutMs }: { readonly doing: string; readonly timeoutMs: number },
  ): Promise<AsyncIterable<Response>> {
    const member = await this.#ready({ doing });
    const { path, encode, decode } = etcdCall(method);
    const options = { deadline: Date.now() + timeoutMs };
    const stream = member.client.makeServerStreamRequest<object, object>(
      path,
      encode,
      decode,
      {},
      new Metadata(),
      options,
    );
    return answersOf<Response>(stream as AsyncIterable<object>, { doing, endpoint: member.endpoint });
  }

  close(): void {
    this.#closed = true;
    for (const { client } of this.#members) client.close();
  }

  #avoid(member: Member): void {
    member.avoidUntilMs = Date.now() + AVOID_MS;
    member.version = undefined;
  }

  /** The first in order that is connected, those that failed lately last; else whichever connects first. */
  async #ready({ doing }: { readonly doing: string }): Promise<Member> {
    if (this.#closed) throw new EtcdCallError({ error: closedError(), certain: true, elsewhere: false });
    const now = Date.now();
    const members = this.#members.toSorted(
      (a, b) => Math.max(a.avoidUntilMs, now) - Math.max(b.avoidUntilMs, now),
    );
    const connected = members.find(
      ({ client }) => client.getChannel().getConnectivityState(true) === connectivityState.READY,
    );
    if (connected && connected.avoidUntilMs <= now) return connected;
    const preferred = members.filter(({ avoidUntilMs }) => avoidUntilMs <= now);
    try {
      return await Promise.any(
        (preferred.length > 0 ? preferred : members).map((one) => whenConnected(one, this.#connectTimeoutMs)),
      );
    } catch {
      if (connected) return connected;
      throw new EtcdCallError({
        error: new StoreError(
          'unavailable',
          `Cannot ${doing}: no member of etcd can be reached (${await this.#diagnose()})`,
        ),
        certain: true,
        elsewhere: false,
      });
    }
  }

  /** 'https://10.0.0.1:2379: nothing listens there; …', found out once for all who ask within DIAGNOSIS_MS. */
  #diagnose(): Promise<string> {
    const now = Date.now();
    if (!this.#diagnosis || this.#diagnosis.untilMs <= now)
      this.#diagnosis = { untilMs: now + DIAGNOSIS_MS, text: this.#askWhy() };
    return this.#diagnosis.text;
  }

  async #askWhy(): Promise<string> {
    const all = await Promise.all(
      this.endpoints.map(async (endpoint) => {
        const why = await whyUnreachable({ endpoint, files: this.#tls, ...readTls(this.#tls) }).catch(
          (error: unknown) => errorMessage(error),
        );
        return why === undefined ? endpoint : `${endpoint}: ${why}`;
      }),
    );
    return all.join('; ');
  }

  #send<Response>(
    { client, endpoint }: Member,
    { method, request, options }: { method: EtcdMethod; request: object; options: CallOptions },
  ): Promise<Response> {
    const { path, encode, decode } = etcdCall(method);
    return new Promise((resolve, reject) => {
      client.makeUnaryRequest<object, object>(
        path,
        encode,
        decode,
        request,
        options.withoutLeader ? new Metadata() : metadata(),
        { deadline: Date.now() + (options.timeoutMs ?? this.#callTimeoutMs) },
        (error: ServiceError | null, response?: object) => {
          if (error) reject(new EtcdCallError(failureOf(error, { doing: options.doing, endpoint })));
          else resolve(response as Response);
        },
      );
    });
  }
}

async function* answersOf<Response>(
  stream: AsyncIterable<object>,
  where: { readonly doing: string; readonly endpoint: string },
): AsyncGenerator<Response> {
  try {
    for await (const answer of stream) yield answer as Response;
  } catch (error) {
    throw new EtcdCallError(failureOf(error as ServiceError, where));
  }
}

export interface OpenedStream {
  readonly stream: ReturnType<typeof Client.prototype.makeBidiStreamRequest<object, object>>;
  readonly endpoint: string;
  /** Of the member; undefined where it did not say. */
  readonly version: string | undefined;
  /** The next stream had better go elsewhere. */
  avoid(): void;
}

/** A member without a leader refuses instead of waiting. */
function metadata(): Metadata {
  const sent = new Metadata();
  sent.set('hasleader', 'true');
  return sent;
}

function whenConnected(member: Member, timeoutMs: number): Promise<Member> {
  return new Promise((resolve, reject) =>
    member.client.waitForReady(Date.now() + timeoutMs, (error) => (error ? reject(error) : resolve(member))),
  );
}

function readTls({ caFile, keyFile, certFile }: EtcdTls): Record<'ca' | 'key' | 'cert', Buffer | null> {
  const read = (path: string | undefined): Buffer | null => (path === undefined ? null : readFileSync(path));
  return { ca: read(caFile), key: read(keyFile), cert: read(certFile) };
}

function clientOf(endpoint: string, tls: EtcdTls): Client {
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
  const { ca, key, cert } = readTls(tls);
  const secrets =
    url.protocol === 'https:' ? credentials.createSsl(ca, key, cert) : credentials.createInsecure();
  return new Client(`${url.hostname}:${url.port || '2379'}`, secrets, {
    'grpc.keepalive_time_ms': KEEPALIVE_MS,
    'grpc.keepalive_timeout_ms': KEEPALIVE_TIMEOUT_MS,
    'grpc.keepalive_permit_without_calls': 1,
    'grpc.initial_reconnect_backoff_ms': 100,
    'grpc.max_reconnect_backoff_ms': MAX_BACKOFF_MS,
    'grpc.max_receive_message_length': MAX_RECEIVED_BYTES,
    'grpc.enable_retries': 0,
    // Each store its own connections: a member that stalls for one must not stall another.
    'grpc.use_local_subchannel_pool': 1,
  });
}
