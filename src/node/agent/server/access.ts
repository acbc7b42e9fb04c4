/**
 * Authentication and authorization of the kubelet API, after upstream's delegated authentication and authorization: a client certificate of the cluster's CA or a
 * bearer token (TokenReview), then a SubjectAccessReview on nodes/SUBRESOURCE. Anonymous requests are refused.
 * The API server itself, recognised by its certificate, skips the review, so logs and exec need no call back to it.
 */
import { createHash } from 'node:crypto';
import type { IncomingMessage } from 'node:http';
import type { PeerCertificate, TLSSocket } from 'node:tls';
import type { SubjectAccessReview, TokenReview } from '#api/types.ts';
import { subjectAccessReviews, tokenReviews } from '#client/refs.ts';
import type { Client } from '#client/client.ts';
import type { Clock } from '#stdx/clock.ts';
import { errorMessage, type Logger } from '#stdx/log.ts';
import { limitRepeats } from '#stdx/repeat-limit.ts';
import { Lru } from '#stdx/lru.ts';

interface Refusal {
  readonly status: 401 | 403 | 500;
  readonly text: string;
}

type User = NonNullable<NonNullable<TokenReview['status']>['user']>;

interface KubeletAccessOptions {
  readonly api: Pick<Client, 'create'>;
  readonly clock: Clock;
  readonly log: Logger;
  readonly nodeName: string;
  /** Common names of client certificates that are always authorized. */
  readonly clients: readonly string[];
}

type Peer = Pick<TLSSocket, 'authorized'> & { getPeerCertificate(): Partial<PeerCertificate> };

/** Upstream's defaults of the kubelet's caches. */
const AUTHENTICATED_MS = 120_000,
  ALLOWED_MS = 300_000,
  DENIED_MS = 30_000;
const REMEMBERED = 1024;
/** Longer tokens are rejected without a TokenReview. */
const LONGEST_TOKEN = 64 * 1024;

export class KubeletAccess {
  readonly #options: KubeletAccessOptions;
  /** Keyed by a digest: tokens themselves are not kept. */
  readonly #users: Lru<string, User>;
  readonly #decisions: Lru<string, boolean>;
  /** Log lines about failed reviews are rate-limited, because unauthenticated clients can cause them. */
  readonly #log: Logger;

  constructor(options: KubeletAccessOptions) {
    this.#options = options;
    const { clock } = options;
    this.#log = limitRepeats(options.log, { clock });
    this.#users = new Lru({ maximum: REMEMBERED, ttlMs: AUTHENTICATED_MS, clock });
    this.#decisions = new Lru({ maximum: REMEMBERED, clock });
  }

  /** undefined: allowed. */
  async refusal(request: IncomingMessage, path: string): Promise<Refusal | undefined> {
    const peer = request.socket as TLSSocket;
    // A connection may outlive its client certificate.
    const isTrusted =
      peer.authorized && Date.parse(peer.getPeerCertificate().valid_to ?? '') >= this.#options.clock.now();
    if (isTrusted && this.#options.clients.includes(commonNameOf(peer))) return undefined;
    try {
      const user = isTrusted ? userOf(peer) : await this.#userOfToken(request.headers.authorization);
      if (!user) return { status: 401, text: 'Unauthorized' };
      return await this.#refusalOf(user, {
        verb: verbOf(request.method ?? 'GET', path),
        subresources: subresourcesOf(path),
      });
    } catch (error) {
      this.#log.warn('error reviewing a client of the kubelet API', {
        error: errorMessage(error),
      });
      return { status: 500, text: 'Authorization error: the API server could not be asked' };
    }
  }

  async #userOfToken(header: string | undefined): Promise<User | undefined> {
    const token = /^Bearer +(\S+)$/i.exec(header ?? '')?.[1];
    if (token === undefined || token.length > LONGEST_TOKEN) return undefined;
    const digest = createHash('sha256').update(token).digest('base64');
    const known = this.#users.get(digest);
    if (known) return known;
    const { status } = await this.#options.api.create(tokenReviews, {
      metadata: {},
      spec: { token },
    } as TokenReview);
    if (!status?.authenticated || !status.user) return undefined;
    this.#users.set(digest, status.user);
    return status.user;
  }

  /** One authorized subresource is enough: the fine-grained one, or proxy, which is older. */
  async #refusalOf(
    user: User,
    { verb, subresources }: { readonly verb: string; readonly subresources: readonly string[] },
  ): Promise<Refusal | undefined> {
    for (const subresource of subresources)
      if (await this.#isAllowed(user, { verb, subresource })) return undefined;
    return {
      status: 403,
      text: `Forbidden (user=${user.username ?? ''}, verb=${verb}, resource=nodes, subresource(s)=[${subresources.join(' ')}])`,
    };
  }

  async #isAllowed(
    { username, uid, groups, extra }: User,
    { verb, subresource }: { readonly verb: string; readonly subresource: string },
  ): Promise<boolean> {
    const { api, nodeName } = this.#options;
    const spec = {
      user: username ?? '',
      groups: groups ?? [],
      ...(uid ? { uid } : {}),
      ...(extra ? { extra } : {}),
      resourceAttributes: { verb, version: 'v1', resource: 'nodes', subresource, name: nodeName },
    };
    const key = JSON.stringify(spec);
    const known = this.#decisions.get(key);
    if (known !== undefined) return known;
    const { status } = await api.create(subjectAccessReviews, { metadata: {}, spec } as SubjectAccessReview);
    const allowed = status?.allowed === true;
    this.#decisions.set(key, allowed, allowed ? ALLOWED_MS : DENIED_MS);
    return allowed;
  }
}

function commonNameOf(peer: Peer): string {
  return String(peer.getPeerCertificate().subject?.CN ?? '');
}

function userOf(peer: Peer): User | undefined {
  const { CN, O } = (peer.getPeerCertificate().subject ?? {}) as {
    readonly CN?: string | string[];
    readonly O?: string | string[];
  };
  // A certificate with several common names is not accepted.
  if (typeof CN !== 'string' || CN === '') return undefined;
  return { username: CN, groups: [...(O === undefined ? [] : [O].flat()), 'system:authenticated'] };
}

const STREAMS: ReadonlySet<string> = new Set(['exec', 'attach', 'portForward', 'run']);

/** exec, attach and port-forward are 'create', also when a WebSocket begins them with GET: read permission does not allow them. */
export function verbOf(method: string, path: string): string {
  if (STREAMS.has(firstOf(path))) return 'create';
  return (
    { GET: 'get', HEAD: 'get', POST: 'create', PUT: 'update', PATCH: 'patch', DELETE: 'delete' }[method] ??
    method.toLowerCase()
  );
}

/** Paths without an upstream subresource require nodes/proxy. */
export function subresourcesOf(path: string): readonly string[] {
  switch (firstOf(path)) {
    case 'stats':
      return ['stats'];
    case 'metrics':
      return ['metrics'];
    case 'logs':
      return ['log'];
    case 'healthz':
      return ['healthz', 'proxy'];
    case 'configz':
      return ['configz', 'proxy'];
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
