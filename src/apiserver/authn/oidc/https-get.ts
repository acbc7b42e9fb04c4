/** One GET over TLS with bounds on time, size and redirections. For documents of issuers: discovery, key sets, distributed claims. */
import { HttpsClient, readBody, type IncomingAnswer } from '#stdx/https-client.ts';
import { errorMessage } from '#stdx/log.ts';

interface GetOptions {
  /** PEM; absent = the authorities this machine trusts. */
  readonly ca?: string | undefined;
  readonly timeoutMs?: number;
  readonly headers?: Readonly<Record<string, string>>;
  readonly signal?: AbortSignal;
}

export interface Got {
  readonly text: string;
  readonly headers: IncomingAnswer['headers'];
}

const TIMEOUT_MS = 10_000;
const MAX_BYTES = 1024 * 1024;
const MAX_REDIRECTIONS = 5;

/** Rejects with an Error of one sentence, also for any status but 200. */
export async function httpsGet(url: string, options: GetOptions = {}): Promise<Got> {
  const timeout = AbortSignal.timeout(options.timeoutMs ?? TIMEOUT_MS);
  const signal = options.signal ? AbortSignal.any([timeout, options.signal]) : timeout;
  let next = url;
  for (let hop = 0; hop <= MAX_REDIRECTIONS; hop++) {
    const answer = await getOnce(next, { ...options, signal });
    if (!('location' in answer)) return answer;
    const target = new URL(answer.location, next);
    // Credentials are not sent to a redirect target.
    if (target.origin !== new URL(next).origin && options.headers)
      throw new Error(`Get ${JSON.stringify(url)}: redirected to another server, ${target.origin}`);
    next = target.href;
  }
  throw new Error(`Get ${JSON.stringify(url)}: stopped after ${MAX_REDIRECTIONS} redirects`);
}

async function getOnce(
  url: string,
  { ca, headers, signal }: GetOptions & { readonly signal: AbortSignal },
): Promise<Got | { readonly location: string }> {
  const failure = (why: string, cause?: unknown): Error =>
    new Error(`Get ${JSON.stringify(url)}: ${why}`, { cause });
  const target = URL.parse(url);
  if (target?.protocol !== 'https:') throw failure('only https URLs are asked');
  // At most one request every few minutes: no keep-alive.
  const client = new HttpsClient();
  try {
    const answer = await client.request({
      to: { host: target.hostname.replace(/^\[|\]$/g, ''), port: Number(target.port || 443), tls: { ca } },
      method: 'GET',
      path: `${target.pathname}${target.search}`,
      headers: { accept: 'application/json', ...headers },
      signal,
    });
    return await took(answer);
  } catch (error) {
    throw failure(signal.aborted ? 'context deadline exceeded' : errorMessage(error), error);
  } finally {
    client.destroy();
  }
}

async function took(answer: IncomingAnswer): Promise<Got | { readonly location: string }> {
  const bytes = await readBody(answer, {
    maximumBytes: MAX_BYTES,
    tooLong: () => new Error(`the answer is longer than ${MAX_BYTES} bytes`),
  });
  const { status, statusText, headers } = answer;
  const { location } = headers;
  if (status >= 300 && status < 400 && typeof location === 'string') return { location };
  if (status === 200) return { text: bytes.toString('utf8'), headers };
  throw new Error(`${status} ${statusText}`.trim());
}

export function parseJsonObject(text: string, what: string): Record<string, unknown> {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    value = undefined;
  }
  if (typeof value !== 'object' || value === null || Array.isArray(value))
    throw new Error(`${what} is no JSON object`);
  return value as Record<string, unknown>;
}
