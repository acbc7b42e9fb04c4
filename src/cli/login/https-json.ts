/** One HTTPS request and its JSON answer, with authorities of one's own; a bound on time and size. */
import type { IncomingHttpHeaders } from 'node:http';
import { request } from 'node:https';
import { UserError } from '#deploy/data-dir.ts';

interface JsonRequest {
  readonly method?: 'GET' | 'POST';
  readonly headers?: Readonly<Record<string, string>>;
  /** Sent as JSON; a URLSearchParams as a form. */
  readonly body?: unknown;
  readonly tls?: { readonly ca?: string | undefined; readonly servername?: string | undefined };
}

export interface JsonAnswer {
  readonly status: number;
  readonly headers: IncomingHttpHeaders;
  /** undefined when it is no JSON. */ readonly body: unknown;
}

const TIMEOUT_MS = 20_000;
const MAX_BYTES = 1024 * 1024;

/** UserError when the server cannot be reached or trusted. No redirects are followed. */
export function httpsJson(
  url: string,
  { method = 'GET', headers = {}, body, tls = {} }: JsonRequest,
): Promise<JsonAnswer> {
  const isForm = body instanceof URLSearchParams;
  const text = body === undefined ? undefined : isForm ? body.toString() : JSON.stringify(body);
  const type =
    text === undefined
      ? {}
      : { 'content-type': isForm ? 'application/x-www-form-urlencoded' : 'application/json' };
  const { origin } = new URL(url);
  return new Promise((resolve, reject) => {
    const call = request(
      url,
      {
        method,
        agent: false,
        signal: AbortSignal.timeout(TIMEOUT_MS),
        headers: { accept: 'application/json', ...type, ...headers },
        ...(tls.ca === undefined ? {} : { ca: tls.ca }),
        ...(tls.servername === undefined ? {} : { servername: tls.servername }),
      },
      (response) => {
        const chunks: Buffer[] = [];
        let size = 0;
        response.on('data', (chunk: Buffer) => {
          size += chunk.length;
          if (size > MAX_BYTES) response.destroy(new Error('the answer is too long'));
          else chunks.push(chunk);
        });
        response.on('error', (error) =>
          reject(new UserError(`${origin} does not answer properly: ${error.message}`, error)),
        );
        response.on('end', () =>
          resolve({
            status: response.statusCode ?? 0,
            headers: response.headers,
            body: parsed(Buffer.concat(chunks).toString('utf8')),
          }),
        );
      },
    );
    call.on('error', (error) =>
      reject(new UserError(`${origin} cannot be reached: ${describe(error)}`, error)),
    );
    call.end(text);
  });
}

function parsed(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

function describe(error: NodeJS.ErrnoException): string {
  if (error.name === 'AbortError' || error.name === 'TimeoutError')
    return `no answer within ${TIMEOUT_MS / 1000} s`;
  if (
    error.code === 'SELF_SIGNED_CERT_IN_CHAIN' ||
    error.code === 'UNABLE_TO_VERIFY_LEAF_SIGNATURE' ||
    error.code === 'DEPTH_ZERO_SELF_SIGNED_CERT'
  )
    return `its certificate is of an unknown authority (${error.code}); name it with --certificate-authority FILE or --oidc-ca-file FILE`;
  return error.message;
}
