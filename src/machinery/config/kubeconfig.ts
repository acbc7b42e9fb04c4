/**
 * Parses kubeconfig files: clusters, users and contexts by name, several files merged by kubectl's rule (the first value wins),
 * relative paths kept with their directory. As in upstream's clientcmd, unknown fields are ignored here. The caller
 * checks which settings of a user or cluster it supports.
 */
import { dirname, resolve } from 'node:path';
import { errorMessage } from '#stdx/log.ts';
import { decodeObject, whyUndecodable } from '../decode.ts';
import { ConfigError, parseConfig } from './read.ts';
import { flag, listOf, mapOf, objectSchema, opaque, struct, text } from './schema.ts';

/** A value, and the directory for its relative paths. */
export interface Located<T> {
  readonly value: T;
  readonly folder: string;
}

export interface KubeconfigCluster {
  readonly server?: string;
  readonly 'certificate-authority'?: string;
  readonly 'certificate-authority-data'?: string;
  readonly 'insecure-skip-tls-verify'?: boolean;
  readonly 'tls-server-name'?: string;
  readonly 'proxy-url'?: string;
}

export interface KubeconfigUser {
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

interface KubeconfigContext {
  readonly cluster?: string;
  readonly user?: string;
  readonly namespace?: string;
}

export interface Kubeconfig {
  readonly currentContext: string;
  readonly contexts: ReadonlyMap<string, KubeconfigContext>;
  readonly clusters: ReadonlyMap<string, Located<KubeconfigCluster>>;
  readonly users: ReadonlyMap<string, Located<KubeconfigUser>>;
}

const KUBECONFIG = objectSchema('Config', {
  'current-context': text,
  clusters: listOf(
    struct('NamedCluster', {
      name: text,
      cluster: struct('Cluster', {
        server: text,
        'certificate-authority': text,
        'certificate-authority-data': text,
        'insecure-skip-tls-verify': flag,
        'tls-server-name': text,
        'proxy-url': text,
      }),
    }),
  ),
  users: listOf(
    struct('NamedAuthInfo', {
      name: text,
      user: struct('AuthInfo', {
        'client-certificate': text,
        'client-certificate-data': text,
        'client-key': text,
        'client-key-data': text,
        token: text,
        tokenFile: text,
        username: text,
        password: text,
        as: text,
        'as-uid': text,
        'as-groups': listOf(text),
        'as-user-extra': mapOf(listOf(text)),
        exec: opaque,
        'auth-provider': opaque,
      }),
    }),
  ),
  contexts: listOf(
    struct('NamedContext', {
      name: text,
      context: struct('Context', { cluster: text, user: text, namespace: text }),
    }),
  ),
});

interface WireKubeconfig {
  readonly 'current-context'?: string;
  readonly contexts?: readonly { readonly name?: string; readonly context?: KubeconfigContext }[];
  readonly clusters?: readonly { readonly name?: string; readonly cluster?: KubeconfigCluster }[];
  readonly users?: readonly { readonly name?: string; readonly user?: KubeconfigUser }[];
}

interface KubeconfigText {
  readonly file: string;
  readonly text: string;
}

/** Throws a ConfigError with the file name. */
export function parseKubeconfigs(files: readonly KubeconfigText[]): Kubeconfig {
  let currentContext = '';
  const contexts = new Map<string, KubeconfigContext>();
  const clusters = new Map<string, Located<KubeconfigCluster>>();
  const users = new Map<string, Located<KubeconfigUser>>();
  for (const one of files) {
    const wire = decode(one);
    const folder = dirname(resolve(one.file));
    currentContext ||= wire['current-context'] ?? '';
    for (const { name = '', context = {} } of wire.contexts ?? []) addMissing(contexts, name, context);
    for (const { name = '', cluster = {} } of wire.clusters ?? [])
      addMissing(clusters, name, { value: cluster, folder });
    for (const { name = '', user = {} } of wire.users ?? []) addMissing(users, name, { value: user, folder });
  }
  return { currentContext, contexts, clusters, users };
}

function addMissing<T>(map: Map<string, T>, name: string, value: T): void {
  if (!map.has(name)) map.set(name, value);
}

function decode({ file, text: content }: KubeconfigText): WireKubeconfig {
  try {
    // An empty file has no settings.
    if (content.trim() === '') return {};
    return decodeObject(KUBECONFIG, parseConfig(content).value ?? {}, 'ignore').object as WireKubeconfig;
  } catch (error) {
    throw new ConfigError(`kubeconfig ${file}: ${whyUndecodable(error) ?? errorMessage(error)}`, {
      cause: error,
    });
  }
}
