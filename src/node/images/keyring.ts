/**
 * Registry credentials from pull secrets (types kubernetes.io/dockerconfigjson and kubernetes.io/dockercfg), matched to an image as
 * upstream's credential provider does: by host, port and path prefix, with '*' for parts of the host; the most specific first.
 */
import type { AuthConfig, CriInput } from '../cri/types.ts';
import { parseReference } from './reference.ts';

export interface RegistryCredential {
  /** 'registry.example.com:5000/team', '*.example.com'; a scheme and '/v1/', '/v2/' are dropped. */
  readonly registry: string;
  readonly auth: CriInput<AuthConfig>;
}

interface DockerEntry {
  username?: string;
  password?: string;
  auth?: string;
  email?: string;
  identitytoken?: string;
  registrytoken?: string;
}

/** A secret's stored data (base64). Throws an Error in a sentence for a malformed secret or one of another type. */
export function credentialsOfSecret(secret: {
  readonly type?: string | undefined;
  readonly data?: Readonly<Record<string, string>> | undefined;
}): RegistryCredential[] {
  const key =
    secret.type === 'kubernetes.io/dockerconfigjson'
      ? '.dockerconfigjson'
      : secret.type === 'kubernetes.io/dockercfg'
        ? '.dockercfg'
        : undefined;
  const encoded = key === undefined ? undefined : secret.data?.[key];
  if (encoded === undefined)
    throw new Error(
      `a secret of type "${secret.type ?? ''}" is no pull secret: it should be kubernetes.io/dockerconfigjson or kubernetes.io/dockercfg`,
    );
  const parsed = JSON.parse(Buffer.from(encoded, 'base64').toString()) as {
    auths?: Record<string, DockerEntry>;
  };
  const entries =
    key === '.dockerconfigjson' ? (parsed.auths ?? {}) : (parsed as Record<string, DockerEntry>);
  return Object.entries(entries).map(([registry, entry]) => ({
    registry: registryOf(registry),
    auth: authOf(entry),
  }));
}

/** To be tried in this order; empty when none fits. */
export function credentialsFor(
  image: string,
  credentials: readonly RegistryCredential[],
): CriInput<AuthConfig>[] {
  const reference = parseReference(image);
  if (!reference) return [];
  const name = `${reference.domain}/${reference.repository}`;
  return credentials
    .filter(({ registry }) => isImageOf(registry, name))
    .sort((one, other) => other.registry.length - one.registry.length)
    .map(({ auth }) => auth);
}

function authOf({
  username,
  password,
  auth,
  identitytoken,
  registrytoken,
}: DockerEntry): CriInput<AuthConfig> {
  const tokens = {
    ...(identitytoken ? { identityToken: identitytoken } : {}),
    ...(registrytoken ? { registryToken: registrytoken } : {}),
  };
  if (!auth) return { username: username ?? '', password: password ?? '', ...tokens };
  const text = Buffer.from(auth, 'base64').toString();
  const colon = text.indexOf(':');
  if (colon < 0)
    throw new Error('the auth of a pull secret is malformed: it should be base64 of "user:password"');
  return { username: text.slice(0, colon), password: text.slice(colon + 1), ...tokens };
}

/** As credentials have it. */
export function registryOf(registry: string): string {
  const host = registry.replace(/^https?:\/\//, '').replace(/\/(v1|v2)?\/?$/, '');
  return /^(index\.docker\.io|registry-1\.docker\.io)$/.test(host) ? 'docker.io' : host;
}

/** name: 'registry.example.com:5000/team/app'. pattern: a host with '*' in its parts, and the beginning of a path, as upstream's matchImages. */
export function isImageOf(pattern: string, name: string): boolean {
  const host = (text: string): string => text.split('/', 1)[0] ?? '';
  const path = (text: string): string => text.slice(host(text).length);
  return hostMatches(host(pattern), host(name)) && path(name).startsWith(path(pattern));
}

/** '*' matches characters of one part of the host's name; ports must be equal. */
function hostMatches(pattern: string, host: string): boolean {
  const [patternName = '', patternPort = ''] = splitPort(pattern);
  const [hostName = '', hostPort = ''] = splitPort(host);
  const patternParts = patternName.split('.');
  const hostParts = hostName.split('.');
  if (patternPort !== hostPort || patternParts.length !== hostParts.length) return false;
  return patternParts.every((part, index) =>
    new RegExp(`^${part.replace(/[.+?^${}()|[\]\\]/g, '\\$&').replaceAll('*', '[^.]*')}$`).test(
      hostParts[index] ?? '',
    ),
  );
}

function splitPort(host: string): readonly string[] {
  const found = /^(.*):(\d+)$/.exec(host);
  return found ? [found[1] ?? '', found[2] ?? ''] : [host, ''];
}
