/** Bootstrap tokens as Secrets of the cluster: made, listed, deleted; as kubeadm writes them. */
import type { Secret } from '#api/types.ts';
import type { Client } from '#client/client.ts';
import { secrets } from '#client/refs.ts';
import { goDurationMs } from '#machinery/go-duration.ts';
import { formatTime } from '#machinery/time.ts';
import type { DefaultedToken } from '../config/defaults.ts';
import { tokenParts } from '../config/token.ts';
import { UserError } from '../data-dir.ts';
import { applyObject } from './apply-object.ts';

const NAMESPACE = 'kube-system';
const TYPE = 'bootstrap.kubernetes.io/token';
const NAME_PREFIX = 'bootstrap-token-';
const USAGE_PREFIX = 'usage-bootstrap-';

interface ListedToken {
  /** 'abcdef.0123456789abcdef' */
  readonly token: string;
  /** RFC 3339; absent: never. */
  readonly expires?: string | undefined;
  readonly usages: readonly string[];
  readonly description?: string | undefined;
  readonly groups: readonly string[];
}

/** Replaces an existing one with the same id. */
export async function writeToken(
  api: Client,
  token: DefaultedToken,
  { nowMs }: { readonly nowMs: number },
): Promise<void> {
  await applyObject(api, secrets, tokenSecret(token, nowMs));
}

function tokenSecret(
  { token, description, expires, ttl, usages, groups }: DefaultedToken,
  nowMs: number,
): Secret {
  const parts = tokenParts(token);
  if (!parts) throw new UserError(`the token should be like abcdef.0123456789abcdef`);
  const ttlMs = ttl === undefined ? 0 : goDurationMs(ttl);
  const expiration = expires ?? (ttlMs > 0 ? formatTime(nowMs + ttlMs) : undefined);
  const data: Record<string, string | undefined> = {
    'token-id': parts.id,
    'token-secret': parts.secret,
    description,
    expiration,
    'auth-extra-groups': groups.length > 0 ? groups.join() : undefined,
    ...Object.fromEntries(usages.map((usage) => [`${USAGE_PREFIX}${usage}`, 'true'])),
  };
  return {
    metadata: { name: `${NAME_PREFIX}${parts.id}`, namespace: NAMESPACE },
    type: TYPE,
    data: Object.fromEntries(
      Object.entries(data).flatMap(([name, text]) =>
        text === undefined ? [] : [[name, Buffer.from(text).toString('base64')]],
      ),
    ),
  };
}

/** Damaged Secrets are left out. */
export async function listTokens(api: Client): Promise<ListedToken[]> {
  const { items } = await api.list(secrets, { namespace: NAMESPACE, fieldSelector: `type=${TYPE}` });
  return items.flatMap((secret) => listed(secret) ?? []);
}

function listed({ data = {} }: Secret): ListedToken | undefined {
  const value = (name: string): string | undefined =>
    data[name] === undefined ? undefined : Buffer.from(data[name], 'base64').toString();
  const token = `${value('token-id')}.${value('token-secret')}`;
  if (!tokenParts(token)) return undefined;
  return {
    token,
    expires: value('expiration'),
    description: value('description'),
    groups: value('auth-extra-groups')?.split(',') ?? [],
    usages: Object.keys(data)
      .filter((name) => name.startsWith(USAGE_PREFIX) && value(name) === 'true')
      .map((name) => name.slice(USAGE_PREFIX.length))
      .toSorted(),
  };
}

/** idOrToken: the first half is enough. Throws a UserError for anything else. */
export async function deleteToken(api: Client, idOrToken: string): Promise<void> {
  const id = tokenParts(idOrToken)?.id ?? idOrToken;
  if (!/^[a-z0-9]{6}$/.test(id))
    throw new UserError(`"${idOrToken}" should be a token or its first half, like abcdef.`);
  await api.delete(secrets, { name: `${NAME_PREFIX}${id}`, namespace: NAMESPACE });
}
