/**
 * Shared by the user commands: the administrator's connection, and the record of users. Kubernetes does not store certificates; the record (ConfigMap
 * kube-system/capstan-users, one JSON text a user) only serves `user list` and `user delete`. Permissions are in role bindings, which carry a label
 * and the user's name.
 */
import { createHash } from 'node:crypto';
import { existsSync } from 'node:fs';
import type { Client, ResourceRef } from '#client/client.ts';
import { createClient } from '#client/create.ts';
import { createHttpsTransport, type HttpsOptions } from '#client/https.ts';
import { loadKubeconfig, resolveContext } from '#client/kubeconfig.ts';
import { CAPSTAN_VERSION } from '#cmd/version.ts';
import { dataDir, readSettings, UserError } from '#deploy/data-dir.ts';
import { isStatusError } from '#machinery/errors.ts';
import type { KubeObject } from '#machinery/object.ts';

const RBAC = { group: 'rbac.authorization.k8s.io', version: 'v1' } as const;
export const CLUSTER_ROLES: ResourceRef = {
  ...RBAC,
  plural: 'clusterroles',
  kind: 'ClusterRole',
  namespaced: false,
};
export const ROLES: ResourceRef = { ...RBAC, plural: 'roles', kind: 'Role', namespaced: true };
export const CLUSTER_ROLE_BINDINGS: ResourceRef = {
  ...RBAC,
  plural: 'clusterrolebindings',
  kind: 'ClusterRoleBinding',
  namespaced: false,
};
export const ROLE_BINDINGS: ResourceRef = {
  ...RBAC,
  plural: 'rolebindings',
  kind: 'RoleBinding',
  namespaced: true,
};
const CONFIG_MAPS: ResourceRef = {
  group: '',
  version: 'v1',
  plural: 'configmaps',
  kind: 'ConfigMap',
  namespaced: true,
};

const RECORD = { namespace: 'kube-system', name: 'capstan-users' } as const;
/** Value: a hash of the user's name, which itself may be no label value. */
export const USER_LABEL = 'authentication.capstan.dev/user';
export const USER_ANNOTATION = 'authentication.capstan.dev/user-name';

export interface AdminOptions {
  readonly dataDir?: string;
  readonly kubeconfig?: string;
  readonly context?: string;
}

export interface Admin {
  readonly client: Client;
  readonly https: HttpsOptions;
  /** Paths of the cluster's own keys, when its data directory is on this machine. */
  readonly pkiDir: string | undefined;
}

/** Runs work as the administrator of --kubeconfig, else of the data directory. */
export async function asAdmin<T>(options: AdminOptions, work: (admin: Admin) => Promise<T>): Promise<T> {
  const { path, pkiDir } = whereIs(options);
  let https: HttpsOptions;
  try {
    https = resolveContext(loadKubeconfig({ path }), { context: options.context }).options;
  } catch (error) {
    throw new UserError((error as Error).message, error);
  }
  const client = createClient(createHttpsTransport(https), { userAgent: `capstan/${CAPSTAN_VERSION}` });
  try {
    return await work({ client, https, pkiDir });
  } catch (error) {
    if ((error as Error).name === 'TransportError')
      throw new UserError(
        `The API server at ${https.server} does not answer: ${(error as Error).message}`,
        error,
      );
    throw error;
  } finally {
    await client.close();
  }
}

function whereIs({ dataDir: dir, kubeconfig }: AdminOptions): {
  readonly path: string;
  readonly pkiDir: string | undefined;
} {
  if (kubeconfig !== undefined) return { path: kubeconfig, pkiDir: undefined };
  const found = dataDir(dir);
  if (!readSettings(found) || !existsSync(found.kubeconfig))
    throw new UserError(
      `There is no cluster in ${found.path}; start one with: capstan up --data-dir ${found.path}, or name another by --kubeconfig FILE`,
    );
  return { path: found.kubeconfig, pkiDir: found.pki };
}

/** A name valid in certificates and in the names of bindings. */
export function requireUserName(name: string): void {
  if (name.startsWith('system:'))
    throw new UserError(
      `"${name}" cannot be a user's name: names that begin with system: are the cluster's own.`,
    );
  // oxlint-disable-next-line no-control-regex
  if (
    name === '' ||
    name === '.' ||
    name === '..' ||
    name.length > 64 ||
    /[/%\u0000-\u001f\u007f]/.test(name)
  )
    throw new UserError(
      `"${name}" cannot be a user's name: it should have 1 to 64 characters, none of them /, % or a control character.`,
    );
}

export function formatUserLabel(name: string): string {
  return createHash('sha256').update(name).digest('hex').slice(0, 40);
}

interface UserRecord {
  readonly name: string;
  readonly groups: readonly string[];
  readonly issuedAt: string;
  readonly expiresAt: string;
}

export async function readRecords(client: Client): Promise<UserRecord[]> {
  const map = await client.get(CONFIG_MAPS, RECORD).catch((error: unknown) => {
    if (isStatusError(error, 'NotFound')) return undefined;
    throw error;
  });
  return Object.values((map?.['data'] ?? {}) as Record<string, string>).map(
    (text) => JSON.parse(text) as UserRecord,
  );
}

/** record undefined: forgets the user. */
export async function writeRecord(
  client: Client,
  { name, record }: { readonly name: string; readonly record: UserRecord | undefined },
): Promise<void> {
  const data = { [formatUserLabel(name)]: record ? JSON.stringify(record) : null };
  try {
    await client.patch(CONFIG_MAPS, RECORD, { type: 'merge', patch: { data } });
  } catch (error) {
    if (!isStatusError(error, 'NotFound')) throw error;
    if (!record) return;
    await client
      .create(CONFIG_MAPS, { metadata: { ...RECORD }, data } as KubeObject)
      .catch(async (conflict: unknown) => {
        if (!isStatusError(conflict, 'AlreadyExists')) throw conflict;
        await client.patch(CONFIG_MAPS, RECORD, { type: 'merge', patch: { data } });
      });
  }
}

/** Bindings that `user create` made: of one user, or of all. */
export async function listBindings(client: Client, name?: string): Promise<KubeObject[]> {
  const labelSelector = name === undefined ? USER_LABEL : `${USER_LABEL}=${formatUserLabel(name)}`;
  const [cluster, namespaced] = await Promise.all([
    client.list(CLUSTER_ROLE_BINDINGS, { labelSelector }),
    client.list(ROLE_BINDINGS, { labelSelector }),
  ]);
  return [...cluster.items, ...namespaced.items];
}
