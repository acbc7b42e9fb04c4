/**
 * Reads kubeconfig files and opens the transport that one of their contexts describes, with kubectl's rules: several files merge (the
 * first to say something wins), relative paths are relative to their file. What is not supported is refused by name.
 */
import { readFileSync } from 'node:fs';
import { homedir } from 'node:os';
import { delimiter, dirname, join, resolve } from 'node:path';
import { yaml } from '#machinery/yaml-package.ts';
import type { Clock } from '#stdx/clock.ts';
import { createHttpsTransport, type HttpsOptions, type HttpsTransport } from './https.ts';

/** A value, and the folder its relative paths start from. */
interface Located<T> {
  readonly value: T;
  readonly folder: string;
}

interface Cluster {
  readonly server?: string;
  readonly 'certificate-authority'?: string;
  readonly 'certificate-authority-data'?: string;
  readonly 'insecure-skip-tls-verify'?: boolean;
  readonly 'tls-server-name'?: string;
  readonly 'proxy-url'?: string;
}

interface User {
  readonly 'client-certificate'?: string;
  readonly 'client-certificate-data'?: string;
  readonly 'client-key'?: string;
  readonly 'client-key-data'?: string;
  readonly token?: string;
  readonly tokenFile?: string;
  readonly username?: string;
  readonly password?: string;
  readonly as?: string;
  readonly 'as-uid'?: string;
  readonly 'as-groups'?: readonly string[];
  readonly 'as-user-extra'?: Readonly<Record<string, readonly string[]>>;
  readonly exec?: { readonly command?: string };
  readonly 'auth-provider'?: { readonly name?: string };
}

interface Context {
  readonly cluster?: string;
  readonly user?: string;
  readonly namespace?: string;
}

export interface Kubeconfig {
  readonly currentContext: string;
  readonly contexts: ReadonlyMap<string, Context>;
  readonly clusters: ReadonlyMap<string, Located<Cluster>>;
  readonly users: ReadonlyMap<string, Located<User>>;
}

/** The files kubectl would read: `path`, else those of $KUBECONFIG, else ~/.kube/config. Files that are absent are passed over, unless it is `path`. */
export function loadKubeconfig({
  path,
  env = process.env,
}: { readonly path?: string | undefined; readonly env?: NodeJS.ProcessEnv } = {}): Kubeconfig {
  const listed = (env['KUBECONFIG'] ?? '').split(delimiter).filter((file) => file !== '');
  const paths =
    path !== undefined
      ? [path]
      : listed.length > 0
        ? listed
        : [join(env['HOME'] ?? homedir(), '.kube', 'config')];
  const texts = paths.flatMap((file) => {
    try {
      return [{ file, text: readFileSync(file, 'utf8') }];
    } catch (error) {
      if (path === undefined && (error as NodeJS.ErrnoException).code === 'ENOENT') return [];
      throw new Error(`Cannot read kubeconfig ${file}: ${(error as Error).message}`, { cause: error });
    }
  });
  if (texts.length === 0) throw new Error(`No kubeconfig found: ${paths.join(', ')}`);
  return mergeKubeconfigs(texts);
}

export function mergeKubeconfigs(
  texts: readonly { readonly file: string; readonly text: string }[],
): Kubeconfig {
  let currentContext = '';
  const contexts = new Map<string, Context>();
  const clusters = new Map<string, Located<Cluster>>();
  const users = new Map<string, Located<User>>();
  for (const { file, text } of texts) {
    const document = parseDocument(file, text);
    const folder = dirname(resolve(file));
    currentContext ||= typeof document['current-context'] === 'string' ? document['current-context'] : '';
    addMissing(contexts, entries<Context>(document['contexts'], 'context'));
    addMissing(
      clusters,
      entries<Cluster>(document['clusters'], 'cluster').map(([name, value]) => [name, { value, folder }]),
    );
    addMissing(
      users,
      entries<User>(document['users'], 'user').map(([name, value]) => [name, { value, folder }]),
    );
  }
  return { currentContext, contexts, clusters, users };
}

function parseDocument(file: string, text: string): Record<string, unknown> {
  let document: unknown;
  try {
    document = yaml().parse(text) ?? {};
  } catch (error) {
    throw new Error(`Kubeconfig ${file} is not valid YAML: ${(error as Error).message}`, { cause: error });
  }
  if (typeof document !== 'object' || document === null || Array.isArray(document))
    throw new Error(`Kubeconfig ${file} is not an object`);
  return document as Record<string, unknown>;
}

function entries<T>(list: unknown, field: string): [string, T][] {
  if (!Array.isArray(list)) return [];
  return (list as Record<string, unknown>[]).flatMap((entry) =>
    typeof entry?.['name'] === 'string' ? [[entry['name'], (entry[field] ?? {}) as T]] : [],
  );
}

function addMissing<T>(map: Map<string, T>, found: readonly (readonly [string, T])[]): void {
  for (const [name, value] of found) if (!map.has(name)) map.set(name, value);
}

export interface ResolvedContext {
  /** The context's namespace, 'default' without one. */
  readonly namespace: string;
  readonly options: HttpsOptions;
}

/** What a context means for a transport; the current one without `context`. */
export function resolveContext(
  config: Kubeconfig,
  { context: name = config.currentContext }: { readonly context?: string | undefined } = {},
): ResolvedContext {
  if (name === '') throw new Error('The kubeconfig names no current context: choose one');
  const context = config.contexts.get(name);
  if (!context) throw new Error(`The kubeconfig has no context "${name}"; it has ${list(config.contexts)}`);
  const cluster = config.clusters.get(context.cluster ?? '');
  if (!cluster)
    throw new Error(
      `Context "${name}" names cluster "${context.cluster ?? ''}", which the kubeconfig does not have`,
    );
  const user = context.user ? config.users.get(context.user) : undefined;
  if (context.user && !user)
    throw new Error(`Context "${name}" names user "${context.user}", which the kubeconfig does not have`);
  return {
    namespace: context.namespace || 'default',
    options: {
      ...clusterOptions(context.cluster ?? '', cluster),
      ...(user ? userOptions(context.user ?? '', user) : {}),
    },
  };
}

function clusterOptions(name: string, { value: cluster, folder }: Located<Cluster>): HttpsOptions {
  if (!cluster.server) throw new Error(`Cluster "${name}" of the kubeconfig has no server`);
  if (cluster['proxy-url'])
    throw new Error(`Cluster "${name}" of the kubeconfig: proxy-url is not supported`);
  const ca = cluster['certificate-authority-data'];
  const caFile = cluster['certificate-authority'];
  return {
    server: cluster.server,
    ...(ca ? { ca: fromBase64(ca) } : caFile ? { caFile: resolve(folder, caFile) } : {}),
    ...(cluster['insecure-skip-tls-verify'] ? { insecureSkipVerify: true } : {}),
    ...(cluster['tls-server-name'] ? { serverName: cluster['tls-server-name'] } : {}),
  };
}

function userOptions(name: string, { value: user, folder }: Located<User>): Omit<HttpsOptions, 'server'> {
  if (user.exec)
    throw new Error(
      `User "${name}" of the kubeconfig: exec plugin "${user.exec.command ?? ''}" is not supported`,
    );
  if (user['auth-provider'])
    throw new Error(
      `User "${name}" of the kubeconfig: auth-provider "${user['auth-provider'].name ?? ''}" is not supported`,
    );
  const { token, tokenFile, username, password } = user;
  const [cert, key] = [user['client-certificate-data'], user['client-key-data']];
  const [certFile, keyFile] = [user['client-certificate'], user['client-key']];
  const impersonation = impersonationHeaders(user);
  return {
    ...(cert ? { cert: fromBase64(cert) } : certFile ? { certFile: resolve(folder, certFile) } : {}),
    ...(key ? { key: fromBase64(key) } : keyFile ? { keyFile: resolve(folder, keyFile) } : {}),
    ...(token ? { token } : {}),
    ...(tokenFile ? { tokenFile: resolve(folder, tokenFile) } : {}),
    ...(username ? { basic: { username, password: password ?? '' } } : {}),
    ...(Object.keys(impersonation).length > 0 ? { headers: impersonation } : {}),
  };
}

function impersonationHeaders(user: User): Record<string, string | readonly string[]> {
  const extra = Object.entries(user['as-user-extra'] ?? {}).map(
    ([key, values]) => [`impersonate-extra-${encodeURIComponent(key).toLowerCase()}`, values] as const,
  );
  return {
    ...(user.as ? { 'impersonate-user': user.as } : {}),
    ...(user['as-uid'] ? { 'impersonate-uid': user['as-uid'] } : {}),
    ...(user['as-groups']?.length ? { 'impersonate-group': user['as-groups'] } : {}),
    ...Object.fromEntries(extra),
  };
}

/** The transport of a kubeconfig's context. */
export function createKubeconfigTransport(
  options: {
    readonly path?: string | undefined;
    readonly context?: string | undefined;
    readonly clock?: Clock;
    /** As in HttpsOptions. */
    readonly timeoutMs?: number;
  } = {},
): HttpsTransport {
  const { path, context, ...more } = options;
  const { options: https } = resolveContext(loadKubeconfig({ path }), { context });
  return createHttpsTransport({ ...https, ...more });
}

const SERVICE_ACCOUNT = '/var/run/secrets/kubernetes.io/serviceaccount';

/** What a pod finds about its cluster in its environment and its service account volume. */
export function inClusterOptions(env: NodeJS.ProcessEnv = process.env): HttpsOptions {
  const host = env['KUBERNETES_SERVICE_HOST'];
  const port = env['KUBERNETES_SERVICE_PORT'];
  if (!host || !port)
    throw new Error('Not in a pod: KUBERNETES_SERVICE_HOST and KUBERNETES_SERVICE_PORT are not set');
  return {
    server: `https://${host.includes(':') ? `[${host}]` : host}:${port}`,
    caFile: join(SERVICE_ACCOUNT, 'ca.crt'),
    tokenFile: join(SERVICE_ACCOUNT, 'token'),
  };
}

function fromBase64(text: string): Buffer {
  return Buffer.from(text, 'base64');
}

function list(map: ReadonlyMap<string, unknown>): string {
  return map.size === 0 ? 'none' : [...map.keys()].map((name) => `"${name}"`).join(', ');
}
