/**
 * Authentication and authorization of the kubelet API, after upstream's delegated authentication and authorization: a client certificate of the cluster's CA or a
 * bearer token (TokenReview), then a SubjectAccessReview on nodes/SUBRESOURCE. Anonymous requests are refused.
 * The API server itself, recognised by its certificate, skips the review, so logs and exec need no call back to it.
 */
import type { IncomingMessage } from 'node:http';
import type { TLSSocket } from 'node:tls';
import type { Client } from '#client/client.ts';
import { isTrustedPeer, userOfPeer, type Peer } from '#runtime/component-server/peer.ts';
import { Reviews, type ReviewedUser } from '#runtime/component-server/reviews.ts';
import type { Clock } from '#stdx/clock.ts';
import { errorMessage, type Logger } from '#stdx/log.ts';
import { limitRepeats } from '#stdx/repeat-limit.ts';

interface Refusal {
  readonly status: 401 | 403 | 500;
  readonly text: string;
}

interface KubeletAccessOptions {
  readonly api: Pick<Client, 'create'>;
  readonly clock: Clock;
  readonly log: Logger;
  readonly nodeName: string;
  /** Common names of client certificates that are always authorized. */
  readonly clients: readonly string[];
}

/** Upstream's defaults of the kubelet's caches. */
const REMEMBERED = { authenticatedMs: 120_000, allowedMs: 300_000, deniedMs: 30_000 };

export class KubeletAccess {
  readonly #options: KubeletAccessOptions;
  readonly #reviews: Reviews;
  /** Log lines about failed reviews are rate-limited, because unauthenticated clients can cause them. */
  readonly #log: Logger;

  constructor(options: KubeletAccessOptions) {
    this.#options = options;
    const { api, clock } = options;
    this.#log = limitRepeats(options.log, { clock });
    this.#reviews = new Reviews({ ...REMEMBERED, api, clock });
  }

  /** undefined: allowed. */
  async refusal(request: IncomingMessage, path: string): Promise<Refusal | undefined> {
    const peer = request.socket as TLSSocket;
    const isTrusted = isTrustedPeer(peer, this.#options.clock.now());
    if (isTrusted && this.#options.clients.includes(commonNameOf(peer))) return undefined;
    try {
      const user = isTrusted
        ? userOfPeer(peer)
        : await this.#reviews.userOfToken(request.headers.authorization);
      if (!user) return { status: 401, text: 'Unauthorized' };
      return await this.#refusalOf(user, {
        verb: mapVerb(request.method ?? 'GET', path),
        subresources: mapSubresources(path),
      });
    } catch (error) {
      this.#log.warn('error reviewing a client of the kubelet API', {
        error: errorMessage(error),
      });
      return { status: 500, text: 'Authorization error: the API server could not be asked' };
    }
  }

  /** One authorized subresource is enough: the fine-grained one, or proxy, which is older. */
  async #refusalOf(
    user: ReviewedUser,
    { verb, subresources }: { readonly verb: string; readonly subresources: readonly string[] },
  ): Promise<Refusal | undefined> {
    const { nodeName: name } = this.#options;
    for (const subresource of subresources) {
      const resourceAttributes = { verb, version: 'v1', resource: 'nodes', subresource, name };
      if (await this.#reviews.isAllowed(user, { resourceAttributes })) return undefined;
    }
    return {
      status: 403,
      text: `Forbidden (user=${user.username ?? ''}, verb=${verb}, resource=nodes, subresource(s)=[${subresources.join(' ')}])`,
    };
  }
}

function commonNameOf(peer: Peer): string {
  return String(peer.getPeerCertificate().subject?.CN ?? '');
}

const STREAMS: ReadonlySet<string> = new Set(['exec', 'attach', 'portForward', 'run']);

/** exec, attach and port-forward require 'create', also for WebSockets opened by GET: read permission does not allow them. */
export function mapVerb(method: string, path: string): string {
  if (STREAMS.has(firstOf(path))) return 'create';
  return (
    { GET: 'get', HEAD: 'get', POST: 'create', PUT: 'update', PATCH: 'patch', DELETE: 'delete' }[method] ??
    method.toLowerCase()
  );
}

/** Paths without an upstream subresource require nodes/proxy. */
export function mapSubresources(path: string): readonly string[] {
  switch (firstOf(path)) {
    case 'stats':
      return ['stats'];
    case 'metrics':
      return ['metrics'];
    case 'logs':
      return ['log'];
    case 'healthz':
    case 'livez':
    case 'readyz':
      return ['healthz', 'proxy'];
    case 'configz':
      return ['configz', 'proxy'];
    case 'statusz':
      return ['statusz', 'proxy'];
    case 'flagz':
      return ['flagz', 'proxy'];
    case 'pods':
    case 'runningpods':
      return ['pods', 'proxy'];
    default:
      return ['proxy'];
  }
}

/** Decoded as the server decodes it, so that no encoding of a path is authorized as another one. */
function firstOf(path: string): string {
  const [, first = ''] = path.split('/');
  try {
    return decodeURIComponent(first);
  } catch {
    return '';
  }
}
