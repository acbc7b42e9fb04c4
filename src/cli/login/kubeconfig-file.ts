/** The kubeconfig that a login reads its cluster from and writes its context into. What else the file holds, comments too, stays. */
import { existsSync, mkdirSync, readFileSync } from 'node:fs';
import { homedir } from 'node:os';
import { delimiter, dirname, join, resolve } from 'node:path';
import type { Document } from 'yaml';
import { yaml } from '#machinery/yaml-package.ts';
import { readAuthority } from '#client/credentials.ts';
import { loadKubeconfig, resolveContext } from '#client/kubeconfig.ts';
import { readState } from '#deploy/daemon.ts';
import { dataDir, UserError, writeFileAtomic } from '#deploy/data-dir.ts';
import type { LoginCluster, LoginFlags, Method } from './methods.ts';

const PROGRAM = resolve(import.meta.dirname, '../../../capstan');

/** Of --data-dir, of --server, else of the kubeconfig's current context. */
export function clusterFor(flags: LoginFlags): LoginCluster {
  if (flags.dataDir !== undefined) return ofDataDir(flags, flags.dataDir);
  const caPem =
    flags.certificateAuthority === undefined
      ? undefined
      : readText('--certificate-authority', flags.certificateAuthority);
  const server = flags.server === undefined ? undefined : checkedUrl(flags.server);
  const known = knownCluster(flags, server);
  const found = server ?? known?.server;
  if (found === undefined)
    throw new UserError('--server URL is needed: the kubeconfig has no current context to take it from.');
  return {
    server: found,
    ...((caPem ?? known?.caPem) ? { caPem: caPem ?? known!.caPem! } : {}),
    ...(known?.serverName ? { serverName: known.serverName } : {}),
  };
}

function ofDataDir(flags: LoginFlags, path: string): LoginCluster {
  const dir = dataDir(path);
  const server = flags.server ?? readState(dir)?.server;
  if (server === undefined)
    throw new UserError(
      `The cluster in ${dir.path} does not run; start it with: capstan up --data-dir ${dir.path}`,
    );
  return { server: checkedUrl(server), caPem: readText('--data-dir', join(dir.pki, 'ca.crt')) };
}

/** The kubeconfig's current context, if it names this server. */
function knownCluster(flags: LoginFlags, server: string | undefined): LoginCluster | undefined {
  try {
    const config = loadKubeconfig({ path: flags.kubeconfig });
    const { cluster: name = '' } = config.contexts.get(config.currentContext) ?? {};
    // Only the cluster matters: its user may be a plugin.
    const { options } = resolveContext(
      { ...config, contexts: new Map([['login', { cluster: name }]]) },
      { context: 'login' },
    );
    const known = {
      server: options.server.replace(/\/$/, ''),
      caPem: readAuthority(options),
      serverName: options.serverName,
    };
    if (server !== undefined && known.server !== server) return undefined;
    return {
      server: known.server,
      caPem: known.caPem,
      serverName: known.serverName,
    };
  } catch {
    return undefined;
  }
}

function checkedUrl(text: string): string {
  const url = URL.parse(text);
  if (url?.protocol !== 'https:' || url.username !== '' || url.search !== '')
    throw new UserError(
      `--server is "${text}"; it should be https://HOST:PORT (a password is sent over TLS only).`,
    );
  return text.replace(/\/$/, '');
}

function readText(flag: string, path: string): string {
  try {
    return readFileSync(path, 'utf8');
  } catch (error) {
    throw new UserError(`${flag} ${path} cannot be read: ${(error as Error).message}`, error);
  }
}

/** Adds or replaces cluster, user and context, and makes the context current. */
export function writeLogin(
  flags: LoginFlags,
  { method, cluster }: { readonly method: Method; readonly cluster: LoginCluster },
): { readonly path: string; readonly context: string } {
  const path = resolve(
    flags.kubeconfig ??
      (process.env['KUBECONFIG'] ?? '').split(delimiter).find((file) => file !== '') ??
      join(homedir(), '.kube', 'config'),
  );
  const { host } = new URL(cluster.server);
  const userName = `${method}:${flags.user ?? flags.oidcClientId ?? ''}@${host}`;
  const context = flags.context ?? `${flags.user ?? method}@${host}`;
  const document = openDocument(path);
  upsert(document, 'clusters', {
    name: host,
    cluster: {
      server: cluster.server,
      ...(cluster.caPem === undefined
        ? {}
        : { 'certificate-authority-data': Buffer.from(cluster.caPem).toString('base64') }),
      ...(cluster.serverName === undefined ? {} : { 'tls-server-name': cluster.serverName }),
    },
  });
  upsert(document, 'users', {
    name: userName,
    user: {
      exec: {
        apiVersion: 'client.authentication.k8s.io/v1',
        command: PROGRAM,
        args: pluginArgs(flags, { method, cluster }),
        interactiveMode: 'IfAvailable',
        provideClusterInfo: true,
        installHint: 'capstan login was not found',
      },
    },
  });
  upsert(document, 'contexts', {
    name: context,
    context: {
      cluster: host,
      user: userName,
      ...(flags.namespace === undefined ? {} : { namespace: flags.namespace }),
    },
  });
  document.set('current-context', context);
  mkdirSync(dirname(path), { recursive: true, mode: 0o700 });
  writeFileAtomic(path, document.toString({ lineWidth: 0 }));
  return { path, context };
}

function pluginArgs(
  flags: LoginFlags,
  { method, cluster }: { readonly method: Method; readonly cluster: LoginCluster },
): string[] {
  const {
    user,
    expires,
    kerberosService,
    oidcIssuerUrl,
    oidcClientId,
    oidcClientSecret,
    oidcScope,
    oidcCaFile,
    oidcDevice,
    oidcListenPort,
  } = flags;
  const texts: Readonly<Record<string, string | undefined>> = {
    user,
    expires,
    'kerberos-service': kerberosService,
    'oidc-issuer-url': oidcIssuerUrl,
    'oidc-client-id': oidcClientId,
    'oidc-client-secret': oidcClientSecret,
    'oidc-scope': oidcScope?.join(','),
    'oidc-ca-file': oidcCaFile === undefined ? undefined : resolve(oidcCaFile),
    'oidc-listen-port': oidcListenPort?.toString(),
  };
  const given = Object.entries(texts).flatMap(([name, value]) =>
    value === undefined || value === '' ? [] : [`--${name}=${value}`],
  );
  return [
    'login',
    '--exec-credential',
    `--${method}`,
    `--server=${cluster.server}`,
    ...given,
    ...(oidcDevice ? ['--oidc-device'] : []),
    ...(flags.browser === false ? ['--no-browser'] : []),
  ];
}

function openDocument(path: string): Document {
  if (!existsSync(path))
    return new (yaml().Document)({ apiVersion: 'v1', kind: 'Config', clusters: [], contexts: [], users: [] });
  const document = yaml().parseDocument(readText('--kubeconfig', path));
  if (document.errors.length > 0 || (document.contents !== null && !yaml().isMap(document.contents)))
    throw new UserError(
      `${path} is not a kubeconfig: it was left as it is; choose another with --kubeconfig.`,
    );
  return document.contents === null
    ? new (yaml().Document)({ apiVersion: 'v1', kind: 'Config' })
    : (document as unknown as Document);
}

function upsert(
  document: Document,
  list: string,
  item: { readonly name: string; readonly [field: string]: unknown },
): void {
  const present = document.get(list);
  const { isMap, YAMLSeq } = yaml();
  const sequence = present instanceof YAMLSeq ? present : new YAMLSeq();
  const at = sequence.items.findIndex((entry) => isMap(entry) && entry.get('name') === item.name);
  const node = document.createNode(item);
  if (at < 0) sequence.items.push(node);
  else sequence.items[at] = node;
  sequence.flow = false;
  document.set(list, sequence);
}
