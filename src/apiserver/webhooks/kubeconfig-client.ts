/**
 * Calls a webhook described by a kubeconfig file (its current context's cluster is the webhook, its user is this server), as the
 * --*-webhook-config-file flags take. POSTs JSON to exactly the server's URL over kept connections. Files of certificates and tokens are reloaded
 * when they change. Webhooks of a clientConfig: client-config.ts. Unsupported fields of the file are refused by name.
 */
import { readFileSync, statSync } from 'node:fs';
import { resolve } from 'node:path';
import { createSecureContext } from 'node:tls';
import {
  parseKubeconfigs,
  type Kubeconfig,
  type KubeconfigCluster,
  type KubeconfigUser,
  type Located,
} from '#machinery/config/kubeconfig.ts';
import { isBrokenConnection } from '#stdx/connection-errors.ts';
import { backoffMs } from '#stdx/backoff.ts';
import { realClock, type Clock } from '#stdx/clock.ts';
import { HttpsClient, readBody, type Destination, type IncomingAnswer } from '#stdx/https-client.ts';
import { errorMessage } from '#stdx/log.ts';

/** A longer response is refused. */
const MAX_RESPONSE_BYTES = 4 * 1024 * 1024;
/** More calls than this at a time wait for a connection. */
const MAX_SOCKETS = 128;
const RELOAD_CHECK_MS = 10_000;

export type WebhookFailure =
  /** Timeout. */
  | 'timeout'
  /** The caller's signal. */
  | 'canceled'
  /** The connection broke: the call may be retried. */
  | 'reset'
  /** No connection, or one that is not trusted. */
  | 'connection'
  /** Any status but 2xx. */
  | 'status'
  /** A response that is not JSON, or too long. */
  | 'malformed';

export class WebhookCallError extends Error {
  override readonly name = 'WebhookCallError';
  readonly failure: WebhookFailure;
  /** HTTP status of the response, 0 without one. */
  readonly status: number;
  /** From Retry-After. */
  readonly retryAfterMs: number | undefined;

  constructor(
    message: string,
    {
      failure,
      status = 0,
      retryAfterMs,
      cause,
    }: {
      readonly failure: WebhookFailure;
      readonly status?: number;
      readonly retryAfterMs?: number | undefined;
      readonly cause?: unknown;
    },
  ) {
    super(message, { cause });
    this.failure = failure;
    this.status = status;
    this.retryAfterMs = retryAfterMs;
  }
}

export interface WebhookCallOptions {
  readonly timeoutMs: number;
  readonly signal?: AbortSignal;
}

export interface KubeconfigClient {
  /** The server's URL, for messages. */
  readonly server: string;
  /** One POST; returns the parsed JSON. Rejects with a WebhookCallError. Does not retry: see withRetries. */
  post(body: unknown, options: WebhookCallOptions): Promise<unknown>;
  /** Closes kept connections; calls in flight fail. */
  close(): void;
}

export interface KubeconfigClientOptions {
  readonly file: string;
  readonly clock?: Clock;
}

/** Reads the file at once. Throws an Error of one sentence for what cannot be used. */
export function createKubeconfigClient({
  file,
  clock = realClock,
}: KubeconfigClientOptions): KubeconfigClient {
  return new FileClient(readTarget(file), clock);
}

export interface RetryOptions {
  /** Default: upstream's for authentication and authorization webhooks: 500 ms, factor 1.5, jitter 0.2, 5 tries. */
  readonly initialMs?: number | undefined;
  readonly tries?: number;
  readonly clock?: Clock;
  readonly signal?: AbortSignal;
}

/** Calls until it works, fails for good, or the tries are used up; rejects with the last error. */
export async function withRetries<T>(
  call: () => Promise<T>,
  { initialMs = 500, tries = 5, clock = realClock, signal }: RetryOptions = {},
): Promise<T> {
  for (let attempt = 0; ; attempt++) {
    try {
      return await call();
    } catch (error) {
      if (attempt + 1 >= tries || !mayRetry(error) || signal?.aborted) throw error;
      const plainMs = backoffMs(attempt, { initialMs, maximumMs: 30_000, factor: 1.5, jitter: 0.2 });
      await clock.sleep(
        Math.max(plainMs, Math.min((error as WebhookCallError).retryAfterMs ?? 0, 30_000)),
        signal,
      );
    }
  }
}

/** Upstream's DefaultShouldRetry: broken connections, 429, 500, 504, and responses with Retry-After. */
export function mayRetry(error: unknown): boolean {
  if (!(error instanceof WebhookCallError)) return false;
  return (
    error.failure === 'reset' ||
    (error.failure === 'status' &&
      (error.retryAfterMs !== undefined || [429, 500, 504].includes(error.status)))
  );
}

// ------------------------------------------------------------------------------------------------------------ the file

interface Target {
  readonly url: URL;
  readonly serverName: string | undefined;
  readonly insecure: boolean;
  readonly ca: Source | undefined;
  readonly cert: Source | undefined;
  readonly key: Source | undefined;
  readonly token: Source | undefined;
  readonly basic: string | undefined;
}

/** A value in the kubeconfig itself, or in a file beside it. */
type Source = { readonly data: string } | { readonly file: string };

function readTarget(file: string): Target {
  const refuse = (why: string): Error => new Error(`kubeconfig ${file}: ${why}`);
  const { cluster, user, userName } = selectTarget(readKubeconfig(file), refuse);
  for (const name of UNSUPPORTED)
    if (user.value[name] !== undefined)
      throw refuse(`${name} of user ${JSON.stringify(userName)} is not supported for webhooks`);
  if (cluster.value['proxy-url'] !== undefined) throw refuse('proxy-url is not supported for webhooks');
  const { server = '' } = cluster.value;
  if (!URL.canParse(server))
    throw refuse(`server is ${JSON.stringify(server)}; it should be an https:// URL`);
  const url = new URL(server);
  if (url.protocol !== 'https:' && url.protocol !== 'http:')
    throw refuse(`server is ${JSON.stringify(server)}; it should be an https:// URL`);
  const { username = '', password = '', token, tokenFile } = user.value;
  const target: Target = {
    url,
    serverName: cluster.value['tls-server-name'] || undefined,
    insecure: cluster.value['insecure-skip-tls-verify'] === true,
    ca: source(cluster, 'certificate-authority'),
    cert: source(user, 'client-certificate'),
    key: source(user, 'client-key'),
    token: token ? { data: token } : tokenFile ? { file: resolve(user.folder, tokenFile) } : undefined,
    basic: username === '' ? undefined : `Basic ${Buffer.from(`${username}:${password}`).toString('base64')}`,
  };
  if ((target.cert === undefined) !== (target.key === undefined))
    throw refuse('client-certificate and client-key go together');
  return target;
}

const UNSUPPORTED = ['exec', 'auth-provider', 'as', 'as-groups', 'as-uid', 'as-user-extra'] as const;

function readKubeconfig(file: string): Kubeconfig {
  let text: string;
  try {
    text = readFileSync(file, 'utf8');
  } catch (error) {
    throw new Error(`Cannot read kubeconfig ${file}: ${errorMessage(error)}`, { cause: error });
  }
  return parseKubeconfigs([{ file, text }]);
}

interface Selected {
  readonly cluster: Located<KubeconfigCluster>;
  readonly user: Located<KubeconfigUser>;
  readonly userName: string;
}

/** Of the current context; where none is named, of the only one there is. */
function selectTarget(
  { currentContext, contexts, clusters, users }: Kubeconfig,
  refuse: (why: string) => Error,
): Selected {
  const context = contexts.get(currentContext) ?? onlyOne(contexts);
  const cluster = clusters.get(context?.cluster ?? '') ?? (context ? undefined : onlyOne(clusters));
  if (!cluster) throw refuse('no cluster is configured for its current context');
  const userName = context?.user ?? '';
  return { cluster, userName, user: users.get(userName) ?? { value: {}, folder: cluster.folder } };
}

function onlyOne<T>(values: ReadonlyMap<string, T>): T | undefined {
  return values.size === 1 ? [...values.values()][0] : undefined;
}

function source<N extends string>(
  { value, folder }: Located<{ readonly [K in N | `${N}-data`]?: string }>,
  name: N,
): Source | undefined {
  const data = value[`${name}-data`];
  if (data) return { data: Buffer.from(data, 'base64').toString() };
  const file = value[name];
  return file ? { file: resolve(folder, file) } : undefined;
}

function load(from: Source | undefined): string | undefined {
  if (!from) return undefined;
  if ('data' in from) return from.data;
  try {
    return readFileSync(from.file, 'utf8');
  } catch (error) {
    throw new Error(`Cannot read ${from.file}: ${errorMessage(error)}`, { cause: error });
  }
}

// ------------------------------------------------------------------------------------------------------------ the calls

interface Connected {
  readonly to: Destination;
  readonly authorization: string | undefined;
}

class FileClient implements KubeconfigClient {
  readonly server: string;
  readonly #target: Target;
  readonly #clock: Clock;
  readonly #client = new HttpsClient({ maximumPools: 1, maximumSockets: MAX_SOCKETS });
  readonly #files: readonly string[];
  #seen: string;
  #checkedMs: number;
  #connected: Connected;
  readonly #closed = new AbortController();

  constructor(target: Target, clock: Clock) {
    this.server = target.url.href;
    this.#target = target;
    this.#clock = clock;
    this.#files = [target.ca, target.cert, target.key, target.token].flatMap((one) =>
      one && 'file' in one ? [one.file] : [],
    );
    this.#checkedMs = clock.monotonic();
    this.#seen = this.#stamp();
    this.#connected = connect(target);
  }

  #stamp(): string {
    return this.#files
      .map((file) => {
        try {
          const { mtimeMs, size, ino } = statSync(file);
          return `${mtimeMs}/${size}/${ino}`;
        } catch {
          return '-';
        }
      })
      .join(' ');
  }

  /** Files that changed but cannot be used leave the old credentials in place: a rotation may be half done. */
  #refresh(): void {
    if (this.#files.length === 0 || this.#clock.monotonic() - this.#checkedMs < RELOAD_CHECK_MS) return;
    this.#checkedMs = this.#clock.monotonic();
    const stamp = this.#stamp();
    if (stamp === this.#seen) return;
    try {
      this.#connected = connect(this.#target);
      this.#seen = stamp;
      this.#client.retire();
    } catch {
      // Tried again at the next check.
    }
  }

  async post(body: unknown, { timeoutMs, signal }: WebhookCallOptions): Promise<unknown> {
    this.#refresh();
    const timeout = AbortSignal.timeout(timeoutMs);
    const canceled = signal ? AbortSignal.any([signal, this.#closed.signal]) : this.#closed.signal;
    const fail = (
      why: string,
      options: { readonly failure: WebhookFailure; readonly cause?: unknown },
    ): Error => new WebhookCallError(`Post ${JSON.stringify(this.server)}: ${why}`, options);
    try {
      const answer = await this.#send(body, AbortSignal.any([timeout, canceled]));
      return await valueOf(answer, `Post ${JSON.stringify(this.server)}`);
    } catch (cause) {
      if (cause instanceof WebhookCallError) throw cause;
      if (canceled.aborted) throw fail('context canceled', { failure: 'canceled', cause });
      if (timeout.aborted) throw fail('context deadline exceeded', { failure: 'timeout', cause });
      throw fail(errorMessage(cause), { failure: isBrokenConnection(cause) ? 'reset' : 'connection', cause });
    }
  }

  #send(body: unknown, signal: AbortSignal): Promise<IncomingAnswer> {
    const { url } = this.#target;
    const { to, authorization } = this.#connected;
    return this.#client.request({
      to,
      method: 'POST',
      path: url.pathname + url.search,
      headers: {
        'content-type': 'application/json',
        accept: 'application/json',
        ...(authorization ? { authorization } : {}),
      },
      body: Buffer.from(JSON.stringify(body)),
      signal,
    });
  }

  close(): void {
    this.#closed.abort();
    this.#client.destroy();
  }
}

function connect(target: Target): Connected {
  const token = load(target.token)?.trim();
  const authorization = token ? `Bearer ${token}` : target.basic;
  const { protocol, hostname, port } = target.url;
  const isPlain = protocol === 'http:';
  const tls = { ca: load(target.ca), cert: load(target.cert), key: load(target.key) };
  // Refuses what does not fit together before it is used.
  if (!isPlain) createSecureContext(tls);
  const to: Destination = {
    protocol: isPlain ? 'http:' : 'https:',
    host: hostname.replace(/^\[|\]$/g, ''),
    port: Number(port || (isPlain ? 80 : 443)),
    tls: { ...tls, servername: target.serverName, rejectUnauthorized: !target.insecure },
  };
  return { to, authorization };
}

/** The parsed body. Rejects with a WebhookCallError for any status but 2xx, and for a body that is too long or not JSON. */
async function valueOf(answer: IncomingAnswer, shown: string): Promise<unknown> {
  const malformed = (why: string, cause?: unknown): Error =>
    new WebhookCallError(`${shown}: ${why}`, { failure: 'malformed', cause });
  const bytes = await readBody(answer, {
    maximumBytes: MAX_RESPONSE_BYTES,
    tooLong: () => malformed(`the answer is longer than ${MAX_RESPONSE_BYTES} bytes`),
  });
  const { status, headers } = answer;
  if (status < 200 || status > 299) {
    const seconds = Number(headers['retry-after'] ?? 'x');
    throw new WebhookCallError(`${shown}: the server answered ${status}`, {
      failure: 'status',
      status,
      retryAfterMs: Number.isFinite(seconds) && seconds >= 0 ? seconds * 1000 : undefined,
    });
  }
  try {
    return JSON.parse(bytes.toString()) as unknown;
  } catch (error) {
    throw malformed('the answer is no JSON', error);
  }
}
