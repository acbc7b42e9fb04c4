/** Bootstrap tokens for joining machines: 'id.secret', kept in Secrets kube-system/bootstrap-token-ID. After upstream's bootstrap token authenticator. */
import { timingSafeEqual } from 'node:crypto';
import type { InternalApi } from '../registry/loopback-client.ts';
import type { Authenticated } from './authenticator.ts';
import type { TokenAuthenticator } from './token.ts';

const FORM = /^([a-z0-9]{6})\.([a-z0-9]{16})$/;
const GROUP_FORM = /^system:bootstrappers:[a-z0-9:-]{0,255}[a-z0-9]$/;
const SECRET_TYPE = 'bootstrap.kubernetes.io/token';
const BOOTSTRAPPERS = 'system:bootstrappers';

export class BootstrapTokens implements TokenAuthenticator {
  readonly #internal: InternalApi;
  readonly #apiAudiences: readonly string[];
  readonly #nowMs: () => number;

  constructor(options: {
    readonly internal: InternalApi;
    readonly apiAudiences: readonly string[];
    readonly nowMs: () => number;
  }) {
    this.#internal = options.internal;
    this.#apiAudiences = options.apiAudiences;
    this.#nowMs = options.nowMs;
  }

  /** An unknown, expired or non-authentication token of this form is ignored: the union then responds with 401. */
  authenticateToken(token: string, audiences: readonly string[]): Authenticated | undefined {
    const [, id, secretPart] = FORM.exec(token) ?? [];
    if (id === undefined || secretPart === undefined) return undefined;
    const accepted = this.#apiAudiences.filter((audience) => audiences.includes(audience));
    const secret = this.#internal.get(
      { group: '', resource: 'secrets' },
      { namespace: 'kube-system', name: `bootstrap-token-${id}` },
    );
    if (
      accepted.length === 0 ||
      !secret ||
      secret['type'] !== SECRET_TYPE ||
      secret.metadata?.deletionTimestamp !== undefined
    )
      return undefined;
    const data = (name: string): string =>
      Buffer.from((secret['data'] as Record<string, string> | undefined)?.[name] ?? '', 'base64').toString(
        'utf8',
      );
    const kept = Buffer.from(data('token-secret'));
    const given = Buffer.from(secretPart);
    if (kept.length !== given.length || !timingSafeEqual(kept, given) || data('token-id') !== id)
      return undefined;
    if (this.#isExpired(data('expiration')) || data('usage-bootstrap-authentication') !== 'true')
      return undefined;
    const groups = extraGroups(data('auth-extra-groups'));
    return groups && { user: { name: `system:bootstrap:${id}`, groups }, audiences: accepted };
  }

  /** One that cannot be read counts as expired. */
  #isExpired(expiration: string): boolean {
    return expiration !== '' && !(Date.parse(expiration) > this.#nowMs());
  }
}

/** undefined when one of them is not a bootstrappers' group. */
function extraGroups(text: string): string[] | undefined {
  const extra = text
    .split(',')
    .map((group) => group.trim())
    .filter((group) => group !== '');
  return extra.every((group) => GROUP_FORM.test(group)) ? [BOOTSTRAPPERS, ...new Set(extra)] : undefined;
}
