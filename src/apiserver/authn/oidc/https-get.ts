/** One GET over TLS with bounds on time, size and redirections. For documents of issuers: discovery, key sets, distributed claims. */
import { request } from 'node:https';
import type { IncomingHttpHeaders } from 'node:http';

interface GetOptions {
  /** PEM; absent = the authorities this machine trusts. */
  readonly ca?: string | undefined;
  readonly timeoutMs?: number;
  readonly headers?: Readonly<Record<string, string>>;
  readonly signal?: AbortSignal;
}

export interface Got {
  readonly text: string;
  readonly headers: IncomingHttpHeaders;
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
    // What was told to one server is no other's business.
    if (target.origin !== new URL(next).origin && options.headers)
      throw new Error(`Get ${JSON.stringify(url)}: redirected to another server, ${target.origin}`);
    next = target.href;
  }
  throw new Error(`Get ${JSON.stringify(url)}: stopped after ${MAX_REDIRECTIONS} redirects`);
}

function getOnce(
  url: string,
  { ca, headers, signal }: GetOptions & { readonly signal: AbortSignal },
): Promise<Got | { readonly location: string }> {
  return new Promise((resolve, reject) => {
    const fail = (why: string): void => reject(new Error(`Get ${JSON.stringify(url)}: ${why}`));
    if (!URL.canParse(url) || new URL(url).protocol !== 'https:') return fail('only https URLs are asked');
    const call = request(
      url,
      {
        agent: false,
        ...(ca === undefined ? {} : { ca }),
        headers: { accept: 'application/json', ...headers },
        signal,
      },
      (response) => {
        const parts: Buffer[] = [];
        let size = 0;
        response.on('data', (part: Buffer) => {
          size += part.length;
          if (size > MAX_BYTES) response.destroy(new Error(`the answer is longer than ${MAX_BYTES} bytes`));
          else parts.push(part);
        });
        response.on('error', (error) => fail(error.message));
        response.on('end', () => {
          const {
            statusCode = 0,
            headers: { location },
          } = response;
          if (statusCode >= 300 && statusCode < 400 && location !== undefined) resolve({ location });
          else if (statusCode === 200)
            resolve({ text: Buffer.concat(parts).toString('utf8'), headers: response.headers });
          else fail(`${statusCode} ${response.statusMessage ?? ''}`.trim());
        });
      },
    );
    call.on('error', (error) => fail(signal.aborted ? 'context deadline exceeded' : error.message));
    call.end();
  });
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
