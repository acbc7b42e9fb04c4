/** One HTTPS request with a JSON response, with custom authorities; bounded in time and size. */
import { UserError } from '#deploy/data-dir.ts';
import { HttpsClient, readBody, type IncomingAnswer } from '#stdx/https-client.ts';

interface JsonRequest {
  readonly method?: 'GET' | 'POST';
  readonly headers?: Readonly<Record<string, string>>;
  /** Sent as JSON; a URLSearchParams as a form. */
  readonly body?: unknown;
  readonly tls?: { readonly ca?: string | undefined; readonly servername?: string | undefined };
}

export interface JsonAnswer {
  readonly status: number;
  readonly headers: IncomingAnswer['headers'];
  /** undefined when it is no JSON. */ readonly body: unknown;
}

const TIMEOUT_MS = 20_000;
const MAX_BYTES = 1024 * 1024;

/** UserError when the server cannot be reached or trusted. No redirects are followed. */
export async function httpsJson(
  url: string,
  { method = 'GET', headers = {}, body, tls = {} }: JsonRequest,
): Promise<JsonAnswer> {
  const { origin, protocol, hostname, port, pathname, search } = new URL(url);
  if (protocol !== 'https:') throw new UserError(`${origin} cannot be reached: it should be an https:// URL`);
  const client = new HttpsClient();
  try {
    const answer = await client
      .request({
        to: { host: hostname.replace(/^\[|\]$/g, ''), port: Number(port || 443), tls },
        method,
        path: `${pathname}${search}`,
        headers: { accept: 'application/json', ...contentType(body), ...headers },
        body: encodeFrameBytes(body),
        signal: AbortSignal.timeout(TIMEOUT_MS),
      })
      .catch((error: Error) => {
        throw new UserError(`${origin} cannot be reached: ${describe(error)}`, error);
      });
    return await readAnswer(answer, origin);
  } finally {
    client.destroy();
  }
}

function contentType(body: unknown): Readonly<Record<string, string>> {
  if (body === undefined) return {};
  const isForm = body instanceof URLSearchParams;
  return { 'content-type': isForm ? 'application/x-www-form-urlencoded' : 'application/json' };
}

function encodeFrameBytes(body: unknown): Buffer | undefined {
  if (body === undefined) return undefined;
  return Buffer.from(body instanceof URLSearchParams ? body.toString() : JSON.stringify(body));
}

async function readAnswer(answer: IncomingAnswer, origin: string): Promise<JsonAnswer> {
  const bytes = await readBody(answer, {
    maximumBytes: MAX_BYTES,
    tooLong: () => new Error('the answer is too long'),
  }).catch((error: Error) => {
    throw new UserError(`${origin} does not answer properly: ${error.message}`, error);
  });
  return { status: answer.status, headers: answer.headers, body: parsed(bytes.toString('utf8')) };
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
