/**
 * One request for ConfigMap kube-public/cluster-info, over a connection that may be untrusted: responses are bounded and classified for retries.
 * Makes no trust decision.
 */
import { createHttpsTransport, type HttpsOptions } from '#client/https.ts';
import { isTransportError } from '#client/transport-error.ts';
import { errorMessage } from '#stdx/log.ts';

const PATH = '/api/v1/namespaces/kube-public/configmaps/cluster-info';
/** A ConfigMap has at most 1 MiB of data; base64 and signatures add to it. */
const MAX_BYTES = 4 * 1024 * 1024;
const ANSWER_TIMEOUT_MS = 10_000;
/** Of the keys with signatures; the token's ID follows. */
export const SIGNATURE_PREFIX = 'jws-kubeconfig-';

export type ClusterInfoAnswer =
  | { readonly kind: 'found'; readonly info: ClusterInfo }
  /** The server has no such ConfigMap, or requires credentials for it. */
  | { readonly kind: 'absent'; readonly why: string }
  /** Unreachable now: may be temporary. */
  | { readonly kind: 'unreachable'; readonly why: string }
  /** Its certificate is not accepted: does not pass. */
  | { readonly kind: 'untrusted'; readonly why: string }
  /** The server is not a Kubernetes API server. */
  | { readonly kind: 'foreign'; readonly why: string };

export interface ClusterInfo {
  /** The text that is signed. */
  readonly kubeconfig: string;
  /** By the token's ID. */
  readonly signatures: ReadonlyMap<string, string>;
  /** The server's clock minus this machine's; undefined without a Date header. */
  readonly clockSkewMs: number | undefined;
}

export async function askForClusterInfo(
  options: HttpsOptions,
  { nowMs }: { readonly nowMs: () => number },
): Promise<ClusterInfoAnswer> {
  const transport = createHttpsTransport({ timeoutMs: ANSWER_TIMEOUT_MS, ...options });
  try {
    const { status, headers, stream } = await transport.request({
      method: 'GET',
      path: PATH,
      headers: { accept: 'application/json' },
    });
    const body = await boundedBody(stream());
    return answerOf({ status, body, server: options.server, clockSkewMs: skewOf(headers['date'], nowMs()) });
  } catch (error) {
    if (error instanceof TooLarge) return { kind: 'foreign', why: error.message };
    const why = errorMessage(error);
    return { kind: isTransportError(error, 'tls') ? 'untrusted' : 'unreachable', why };
  } finally {
    await transport.close();
  }
}

interface Answered {
  readonly status: number;
  readonly body: string;
  readonly server: string;
  readonly clockSkewMs: number | undefined;
}

function answerOf({ status, body, server, clockSkewMs }: Answered): ClusterInfoAnswer {
  const object = parsed(body);
  if (status === 200 && object?.['kind'] === 'ConfigMap') return found(object, clockSkewMs);
  const says = typeof object?.['message'] === 'string' ? object['message'] : `HTTP ${status}`;
  if (object?.['kind'] !== 'Status')
    return {
      kind: 'foreign',
      why: `${server} answers with HTTP ${status} and no Kubernetes object: it is no API server`,
    };
  if (status >= 500 || status === 429) return { kind: 'unreachable', why: says };
  return { kind: 'absent', why: says };
}

function found(
  object: Readonly<Record<string, unknown>>,
  clockSkewMs: number | undefined,
): ClusterInfoAnswer {
  const data = (object['data'] ?? {}) as Readonly<Record<string, unknown>>;
  const { kubeconfig } = data;
  if (typeof kubeconfig !== 'string')
    return { kind: 'absent', why: 'the ConfigMap kube-public/cluster-info has no "kubeconfig"' };
  const signatures = Object.entries(data).flatMap(([name, value]) =>
    name.startsWith(SIGNATURE_PREFIX) && typeof value === 'string'
      ? [[name.slice(SIGNATURE_PREFIX.length), value] as const]
      : [],
  );
  return { kind: 'found', info: { kubeconfig, signatures: new Map(signatures), clockSkewMs } };
}

function parsed(body: string): Readonly<Record<string, unknown>> | undefined {
  try {
    const value: unknown = JSON.parse(body);
    return typeof value === 'object' && value !== null ? (value as Record<string, unknown>) : undefined;
  } catch {
    return undefined;
  }
}

class TooLarge extends Error {}

async function boundedBody(pieces: AsyncIterable<Buffer>): Promise<string> {
  const held: Buffer[] = [];
  let bytes = 0;
  for await (const piece of pieces) {
    bytes += piece.length;
    if (bytes > MAX_BYTES)
      throw new TooLarge(`the answer is longer than ${MAX_BYTES} bytes: it is no API server's`);
    held.push(piece);
  }
  return Buffer.concat(held).toString();
}

function skewOf(date: string | undefined, nowMs: number): number | undefined {
  const serverMs = Date.parse(date ?? '');
  return Number.isNaN(serverMs) ? undefined : serverMs - nowMs;
}
