/**
 * ConfigMap kube-system/extension-apiserver-authentication, which tells extension API servers the client CAs and the front proxy's CA and headers.
 * After upstream's cluster authentication trust controller: existing and own certificates are merged, so that servers with different authorities
 * (during a rotation) do not remove each other's; expired certificates are dropped.
 */
import { isStatusError } from '#machinery/errors.ts';
import { certificatesIn } from '#pki/pem.ts';
import type { GroupResource, InternalApi } from '../registry/loopback-client.ts';

const CONFIG_MAPS: GroupResource = { group: '', resource: 'configmaps' };
const NAME = { namespace: 'kube-system', name: 'extension-apiserver-authentication' };
/** Upstream's, for clocks that differ. */
const SLACK_MS = 5 * 60_000;

/** What extension API servers must know to believe this server's X-Remote-* headers. */
export interface PublishedRequestHeader {
  /** PEM. */
  readonly ca: string;
  readonly allowedNames: readonly string[];
  /** As configured, in the proxy's spelling. */
  readonly usernameHeaders: readonly string[];
  readonly uidHeaders: readonly string[];
  readonly groupHeaders: readonly string[];
  readonly extraHeaderPrefixes: readonly string[];
}

export interface PublishedAuthentication {
  /** PEM. */
  readonly clientCa?: string | undefined;
  readonly requestHeader?: (Pick<PublishedRequestHeader, 'ca'> & Partial<PublishedRequestHeader>) | undefined;
  readonly nowMs: number;
}

const CLIENT_CA = 'client-ca-file',
  PROXY_CA = 'requestheader-client-ca-file';
const LISTS = {
  allowedNames: 'requestheader-allowed-names',
  usernameHeaders: 'requestheader-username-headers',
  uidHeaders: 'requestheader-uid-headers',
  groupHeaders: 'requestheader-group-headers',
  extraHeaderPrefixes: 'requestheader-extra-headers-prefix',
} as const;

type Data = Readonly<Record<string, string>>;

/** Idempotent. */
export async function publishAuthentication(
  internal: InternalApi,
  published: PublishedAuthentication,
): Promise<void> {
  const { clientCa, requestHeader } = published;
  if (clientCa === undefined && requestHeader === undefined) return;
  if (!internal.get(CONFIG_MAPS, NAME)) {
    try {
      const data = combined({}, published);
      await internal.create(CONFIG_MAPS, { apiVersion: 'v1', kind: 'ConfigMap', metadata: NAME, data });
      return;
    } catch (error) {
      // Another server created it first, with its own authorities.
      if (!isStatusError(error, 'AlreadyExists')) throw error;
    }
  }
  await internal.modify(CONFIG_MAPS, NAME, (stored) => {
    const before = (stored['data'] ?? {}) as Data;
    const after = combined(before, published);
    if (Object.entries(after).every(([key, value]) => before[key] === value)) return false;
    stored['data'] = after;
    return true;
  });
}

function combined(before: Data, { clientCa, requestHeader, nowMs }: PublishedAuthentication): Data {
  const data: Record<string, string> = { ...before };
  if (clientCa !== undefined) data[CLIENT_CA] = union([before[CLIENT_CA] ?? '', clientCa], nowMs);
  if (!requestHeader) return data;
  data[PROXY_CA] = union([before[PROXY_CA] ?? '', requestHeader.ca], nowMs);
  for (const [field, key] of Object.entries(LISTS)) {
    const own = requestHeader[field as keyof typeof LISTS];
    if (own) data[key] = JSON.stringify([...new Set([...listIn(before[key]), ...own])]);
  }
  return data;
}

/** What somebody wrote there that cannot be read is replaced: no server would start otherwise. */
function orElse<T>(read: () => T, otherwise: T): T {
  try {
    return read();
  } catch {
    return otherwise;
  }
}

function listIn(text = '[]'): string[] {
  const list = orElse((): unknown => JSON.parse(text), []);
  return Array.isArray(list) ? list.map(String) : [];
}

/** Each certificate once, in the order of the bundles. */
function union(bundles: readonly string[], nowMs: number): string {
  const certificates = bundles.flatMap((bundle) => orElse(() => certificatesIn(bundle), []));
  const valid = certificates.filter(({ validTo }) => Date.parse(validTo) > nowMs - SLACK_MS);
  return [...new Set(valid.map((certificate) => certificate.toString()))].join('');
}
