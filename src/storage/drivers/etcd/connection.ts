/**
 * The connections to the members of one etcd cluster: mutual TLS, keepalive, and which member is asked.
 * Reads go to another member when one fails; a write is sent once, and only over a connection that is up.
 */
import type { ServiceError } from '@grpc/grpc-js';
import { realClock, type Clock } from '#stdx/clock.ts';
import { errorMessage } from '#stdx/log.ts';
import { StoreError } from '../../store.ts';
import { closedError, EtcdCallError, classifyFailure } from './failures.ts';
import {
  Member,
  type CallOptions as MemberCallOptions,
  type EtcdMember,
  type EtcdStream,
  type EtcdTls,
} from './member.ts';
import type { EtcdMethod, StatusResponse } from './protocol.ts';

/** Default of callTimeoutMs. etcd itself gives up on a proposal after some 7 s. */
const CALL_TIMEOUT_MS = 10_000;
/** Default of connectTimeoutMs. */
const CONNECT_TIMEOUT_MS = 5_000;
/** Likewise where one that failed lately is connected, and asked after that. */
const RECONNECT_MS = 500;
/** How long a diagnosis of unreachable members is cached. */
const DIAGNOSIS_MS = 5_000;
/** Times that a read is asked of some member before its error is the answer. */
const READ_ATTEMPTS = 4;
/** Where no member has a leader, requests wait for an election: at etcd's default timeout it takes up to 2 s. */
const ELECTION_MS = 3_000;
const ELECTION_POLL_MS = 50;

export interface ConnectionOptions extends EtcdTls {
  /** 'https://10.0.0.1:2379' */
  readonly endpoints: readonly string[];
  /** For a member to answer one request. Default: 10 s. */
  readonly callTimeoutMs?: number | undefined;
  /** For any member to be connected. Default: 5 s. */
  readonly connectTimeoutMs?: number | undefined;
  /** Default: a member that is reached over the network. */
  readonly createMember?: ((endpoint: string) => EtcdMember) | undefined;
  readonly clock?: Clock | undefined;
}

/** What one member says of itself; status is absent where it does not answer. */
export interface MemberStatus {
  readonly endpoint: string;
  readonly status?: StatusResponse;
}

interface CallOptions extends Pick<MemberCallOptions, 'doing' | 'withoutLeader' | 'isUrgent'> {
  /** Sent again to another member where one fails. */
  readonly idempotent: boolean;
  /** Default: callTimeoutMs. */
  readonly timeoutMs?: number | undefined;
}

export class EtcdConnection {
  readonly #members: readonly EtcdMember[];
  readonly #callTimeoutMs: number;
  readonly #connectTimeoutMs: number;
  readonly #clock: Clock;
  #diagnosis: { readonly untilMs: number; readonly text: Promise<string> } | undefined;
  #closed = false;

  constructor({
    endpoints,
    callTimeoutMs = CALL_TIMEOUT_MS,
    connectTimeoutMs = CONNECT_TIMEOUT_MS,
    createMember,
    clock = realClock,
    ...tls
  }: ConnectionOptions) {
    this.#clock = clock;
    this.#callTimeoutMs = callTimeoutMs;
    this.#connectTimeoutMs = connectTimeoutMs;
    if (endpoints.length === 0) throw new TypeError('etcd: at least one endpoint is needed');
    this.#members = endpoints.map((endpoint) => createMember?.(endpoint) ?? new Member(endpoint, tls));
  }

  get endpoints(): readonly string[] {
    return this.#members.map(({ endpoint }) => endpoint);
  }

  /** Rejects with an EtcdCallError. */
  async call<Response>(method: EtcdMethod, request: object, options: CallOptions): Promise<Response> {
    const untilMs = this.#clock.monotonic() + ELECTION_MS;
    for (let attempt = 1; ; attempt++) {
      const member = this.#connected() ?? (await this.#ready(options));
      try {
        return await member.send<Response>(
          { method, request },
          {
            ...options,
            timeoutMs: options.timeoutMs ?? this.#callTimeoutMs,
          },
        );
      } catch (error) {
        const { failure } = error as EtcdCallError;
        if (failure.elsewhere) member.avoid();
        if (failure.leaderless && !this.#closed && this.#clock.monotonic() < untilMs) {
          attempt = 0;
          if (!this.#connected()) await this.#pause();
          continue;
        }
        const again = failure.elsewhere && attempt < READ_ATTEMPTS && !this.#closed;
        if (!again || !(options.idempotent || failure.certain)) throw error;
      }
    }
  }

  /** The clock's timers do not keep a process alive: a command that waits for this would end. */
  #pause(): Promise<void> {
    const keepsProcessAlive = setTimeout(() => {}, ELECTION_MS);
    return new Promise<void>((resolve) => void this.#clock.after(ELECTION_POLL_MS, resolve)).finally(() =>
      clearTimeout(keepsProcessAlive),
    );
  }

  /** A stream to a member that is connected. */
  async openStream(method: EtcdMethod, doing: string): Promise<OpenedStream> {
    const member = await this.#ready({ doing });
    const version = await member.version(this.#callTimeoutMs);
    return {
      version,
      stream: member.openStream(method),
      endpoint: member.endpoint,
      avoid: () => member.avoid(),
      suspect: () => member.suspect(),
    };
  }

  /** Why nothing is answered at the moment: the member that is used is silent, or, once it was given up, none is connected. */
  get problem(): string | undefined {
    const member = this.#connected();
    if (!member) return `no connection to etcd ${this.endpoints.join(', ')}`;
    return member.silent ? `etcd ${member.endpoint} does not answer` : undefined;
  }

  /** Asks every member. */
  statuses(): Promise<MemberStatus[]> {
    return Promise.all(
      this.#members.map(async (member) => {
        const status = await member.status(this.#callTimeoutMs).catch(() => undefined);
        return { endpoint: member.endpoint, ...(status && { status }) };
      }),
    );
  }

  /** A stream of answers to one request, from a member that is connected. */
  async openServerStream<Response>(
    method: EtcdMethod,
    { doing, timeoutMs }: { readonly doing: string; readonly timeoutMs: number },
  ): Promise<AsyncIterable<Response>> {
    const member = await this.#ready({ doing });
    return answersOf<Response>(member.openServerStream(method, timeoutMs), {
      doing,
      endpoint: member.endpoint,
    });
  }

  close(): void {
    this.#closed = true;
    for (const member of this.#members) member.close();
  }

  /** The first in order that is connected and did not fail lately. */
  #connected(): EtcdMember | undefined {
    if (this.#closed) return undefined;
    for (const member of this.#members) if (!member.avoided && member.connected) return member;
    return undefined;
  }

  /** That one; else whichever connects first, those that failed lately last. */
  async #ready({ doing }: { readonly doing: string }): Promise<EtcdMember> {
    if (this.#closed) throw new EtcdCallError({ error: closedError(), certain: true, elsewhere: false });
    const first = this.#connected();
    if (first) return first;
    const members = this.#members;
    const connected = members.find((member) => member.connected);
    const preferred = members.filter(({ avoided }) => !avoided);
    const timeoutMs = connected ? RECONNECT_MS : this.#connectTimeoutMs;
    try {
      return await Promise.any(
        (preferred.length > 0 ? preferred : members).map((one) => one.whenConnected(timeoutMs)),
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
      this.#members.map(async (member) => {
        const { endpoint } = member;
        const why = await member.diagnose().catch((error: unknown) => errorMessage(error));
        return why === undefined ? endpoint : `${endpoint}: ${why}`;
      }),
    );
    return all.join('; ');
  }
}

async function* answersOf<Response>(
  stream: AsyncIterable<object>,
  where: { readonly doing: string; readonly endpoint: string },
): AsyncGenerator<Response> {
  try {
    for await (const answer of stream) yield answer as Response;
  } catch (error) {
    throw new EtcdCallError(classifyFailure(error as ServiceError, where));
  }
}

export interface OpenedStream {
  readonly stream: EtcdStream;
  readonly endpoint: string;
  /** Of the member; undefined where it did not say. */
  readonly version: string | undefined;
  /** The next stream had better go elsewhere. */
  avoid(): void;
  /** Nothing comes that should: see member.ts. */
  suspect(): void;
}
