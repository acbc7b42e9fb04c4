/**
 * Finds kubeconfig files where kubectl does and opens the transport of one of their contexts. Unsupported settings are
 * rejected by name. machinery/config/kubeconfig.ts parses the files.
 */
import { readFileSync } from 'node:fs';
import { homedir } from 'node:os';
import { delimiter, join, resolve } from 'node:path';
import {
  parseKubeconfigs,
  type Kubeconfig,
  type KubeconfigCluster,
  type KubeconfigUser,
  type Located,
} from '#machinery/config/kubeconfig.ts';
import type { Clock } from '#stdx/clock.ts';
import { formatHostPort } from '#stdx/host-port.ts';
import { createHttpsTransport, type HttpsOptions, type HttpsTransport } from './https.ts';

/** The files that kubectl reads: `path`, else those of $KUBECONFIG, else ~/.kube/config. Missing files are skipped, unless it is `path`. */
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
  return parseKubeconfigs(texts);
}

export interface ResolvedContext {
  /** The context's namespace; default: 'default'. */
  readonly namespace: string;
  readonly options: HttpsOptions;
}

/** The connection settings of a context; default: the current one. */
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

function clusterOptions(name: string, { value: cluster, folder }: Located<KubeconfigCluster>): HttpsOptions {
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

function userOptions(
  name: string,
  { value: user, folder }: Located<KubeconfigUser>,
): Omit<HttpsOptions, 'server'> {
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

function impersonationHeaders(user: KubeconfigUser): Record<string, string | readonly string[]> {
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

/** The in-cluster configuration: environment variables and the service account volume of a pod. */
export function inClusterOptions(env: NodeJS.ProcessEnv = process.env): HttpsOptions {
  const host = env['KUBERNETES_SERVICE_HOST'];
  const port = env['KUBERNETES_SERVICE_PORT'];
  if (!host || !port)
    throw new Error('Not in a pod: KUBERNETES_SERVICE_HOST and KUBERNETES_SERVICE_PORT are not set');
  return {
    server: `https://${formatHostPort(host, port)}`,
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
