/** The result of discovery: the cluster's address and authorities; from a file also this machine's credentials. */
import { readFile } from 'node:fs/promises';
import { resolve } from 'node:path';
import {
  parseKubeconfigs,
  type Kubeconfig,
  type KubeconfigUser,
  type Located,
} from '#machinery/config/kubeconfig.ts';
import { errorMessage } from '#stdx/log.ts';
import { UserError } from '../data-dir.ts';
import { certificatesIn } from '#pki/pem.ts';

export interface DiscoveredCluster {
  /** The control-plane endpoint: 'https://HOST:PORT'. */
  readonly server: string;
  readonly caPem: string;
  /** Of a discovery file that has credentials. */
  readonly user?: Located<KubeconfigUser> | undefined;
}

/** The kubeconfig of cluster-info: one cluster, its authorities inline, no credentials. UserError for anything else. */
export function parseClusterInfo(text: string): DiscoveredCluster {
  const file = 'kube-public/cluster-info';
  const config = read(text, file);
  const [located, ...more] = config.clusters.values();
  if (!located || more.length > 0)
    throw new UserError(`${file} should name one cluster; it names ${config.clusters.size}.`);
  const { server, 'certificate-authority-data': data } = located.value;
  return { server: requireServer(server, file), caPem: checkedPem(fromBase64(data), file) };
}

/** The cluster of a kubeconfig's current context, or its only one; with its user. */
export async function parseDiscoveryFile(text: string, file: string): Promise<DiscoveredCluster> {
  const config = read(text, file);
  const context = config.contexts.get(config.currentContext);
  const located =
    config.clusters.get(context?.cluster ?? '') ??
    (config.clusters.size === 1 ? [...config.clusters.values()][0] : undefined);
  if (!located)
    throw new UserError(`${file} should name one cluster, or a current context; it has ${describe(config)}.`);
  const { server, 'certificate-authority-data': data, 'certificate-authority': path } = located.value;
  const caPem = data ? fromBase64(data) : path ? await readPem(resolve(located.folder, path)) : '';
  return {
    server: requireServer(server, file),
    caPem: checkedPem(caPem, file),
    user: config.users.get(context?.user ?? ''),
  };
}

function read(text: string, file: string): Kubeconfig {
  try {
    return parseKubeconfigs([{ file, text }]);
  } catch (error) {
    throw new UserError(`${errorMessage(error)}.`, error);
  }
}

function requireServer(server: string | undefined, file: string): string {
  if (server === undefined || !server.startsWith('https://') || !URL.canParse(server))
    throw new UserError(`The server in ${file} is "${server ?? ''}"; it should be https://HOST:PORT.`);
  return server.replace(/\/+$/, '');
}

function checkedPem(pem: string, file: string): string {
  try {
    if (certificatesIn(pem).length > 0) return pem;
  } catch (error) {
    throw new UserError(`${file}: its certificate authority cannot be read (${errorMessage(error)}).`, error);
  }
  throw new UserError(
    `${file} names no certificate authority: it is needed to know the cluster's API server.`,
  );
}

async function readPem(path: string): Promise<string> {
  return readFile(path, 'utf8').catch((error: unknown) => {
    throw new UserError(`${path} cannot be read: ${errorMessage(error)}.`, error);
  });
}

function fromBase64(text = ''): string {
  return Buffer.from(text, 'base64').toString();
}

function describe({ clusters, currentContext }: Kubeconfig): string {
  return `${clusters.size} clusters and the current context "${currentContext}"`;
}
