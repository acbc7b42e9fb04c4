/**
 * ServiceAccount: every pod runs as an existing service account and (unless disabled) mounts its token, the cluster's CA and its namespace's name
 * from one projected volume 'kube-api-access-…'.
 */
import { MIRROR_POD, secretNames } from '#component-helpers/static-pods.ts';
import type { Container, Pod, PodSpec, ServiceAccount, Volume } from '#api/types.ts';
import { randomSuffix } from '#stdx/random.ts';
import { forbid, isTarget } from '../forbid.ts';
import type { AdmissionAttributes, AdmissionPlugin } from '../plugin.ts';

export const TOKEN_MOUNT_PATH = '/var/run/secrets/kubernetes.io/serviceaccount';
const VOLUME_PREFIX = 'kube-api-access-';
const ENFORCE_SECRETS_ANNOTATION = 'kubernetes.io/enforce-mountable-secrets';
const DEFAULT_ACCOUNT = 'default';
/** The default account of a new namespace is made by a controller: a pod made right after the namespace waits a little for it. */
const DEFAULT_ACCOUNT_TRIES = 40;
const DEFAULT_ACCOUNT_WAIT_MS = 25;

export const serviceAccount: AdmissionPlugin = {
  name: 'ServiceAccount',
  handles: (operation, target) => operation === 'CREATE' && isTarget(target, '', 'pods'),
  admit(attributes) {
    const spec = (attributes.object as Pod).spec;
    if (!spec) return;
    if (isMirrorPod(attributes)) return checkMirrorPod(attributes, spec);
    spec.serviceAccountName ||= DEFAULT_ACCOUNT;
    const found = findAccount(attributes, spec.serviceAccountName);
    if (found) return admitWith(spec, found);
    if (spec.serviceAccountName !== DEFAULT_ACCOUNT) throw absent(attributes, spec.serviceAccountName);
    return waitForDefaultAccount(attributes).then((account) => admitWith(spec, account));
  },
  validate(attributes) {
    const spec = (attributes.object as Pod).spec;
    if (!spec) return;
    if (isMirrorPod(attributes)) return checkMirrorPod(attributes, spec);
    const account = findAccount(attributes, spec.serviceAccountName ?? '');
    if (!account) throw absent(attributes, spec.serviceAccountName ?? '');
    if (account.metadata?.annotations?.[ENFORCE_SECRETS_ANNOTATION] === 'true')
      checkSecrets(attributes, { spec, account });
  },
};

function isMirrorPod({ object }: AdmissionAttributes): boolean {
  return object?.metadata?.annotations?.[MIRROR_POD] !== undefined;
}

function findAccount({ internal, namespace }: AdmissionAttributes, name: string): ServiceAccount | undefined {
  return internal.get({ group: '', resource: 'serviceaccounts' }, { name, namespace }) as
    | ServiceAccount
    | undefined;
}

async function waitForDefaultAccount(attributes: AdmissionAttributes): Promise<ServiceAccount> {
  for (let attempt = 0; attempt < DEFAULT_ACCOUNT_TRIES; attempt++) {
    await new Promise((resolve) => setTimeout(resolve, DEFAULT_ACCOUNT_WAIT_MS));
    const found = findAccount(attributes, DEFAULT_ACCOUNT);
    if (found) return found;
  }
  throw absent(attributes, DEFAULT_ACCOUNT);
}

function absent(attributes: AdmissionAttributes, name: string): Error {
  return forbid(
    attributes,
    `error looking up service account ${attributes.namespace}/${name}: serviceaccount "${name}" not found`,
  );
}

function admitWith(spec: PodSpec, account: ServiceAccount): void {
  if (spec.automountServiceAccountToken ?? account.automountServiceAccountToken ?? true) mountToken(spec);
  const pullSecrets = account.imagePullSecrets ?? [];
  if (!spec.imagePullSecrets?.length && pullSecrets.length > 0)
    spec.imagePullSecrets = pullSecrets.map((secret) => ({ ...secret }));
}

/** Containers with a mount of their own at the path are unchanged. */
function mountToken(spec: PodSpec): void {
  const existing = spec.volumes?.find((volume) => volume.name.startsWith(VOLUME_PREFIX));
  const name = existing?.name ?? VOLUME_PREFIX + randomSuffix();
  const containers: Container[] = [...(spec.initContainers ?? []), ...(spec.containers ?? [])].filter(
    (container) => !container.volumeMounts?.some((mount) => mount.mountPath === TOKEN_MOUNT_PATH),
  );
  for (const container of containers)
    container.volumeMounts = [
      ...(container.volumeMounts ?? []),
      { name, readOnly: true, mountPath: TOKEN_MOUNT_PATH },
    ];
  if (containers.length > 0 && !existing) spec.volumes = [...(spec.volumes ?? []), tokenVolume(name)];
}

function tokenVolume(name: string): Volume {
  return {
    name,
    projected: {
      defaultMode: 0o644,
      sources: [
        { serviceAccountToken: { expirationSeconds: 3607, path: 'token' } },
        { configMap: { name: 'kube-root-ca.crt', items: [{ key: 'ca.crt', path: 'ca.crt' }] } },
        {
          downwardAPI: {
            items: [{ path: 'namespace', fieldRef: { apiVersion: 'v1', fieldPath: 'metadata.namespace' } }],
          },
        },
      ],
    },
  };
}

/** The copy of a static pod: its node wrote it, so it may use nothing of the API. */
function checkMirrorPod(attributes: AdmissionAttributes, spec: PodSpec): void {
  if (spec.serviceAccountName) throw forbid(attributes, 'a mirror pod may not reference service accounts');
  if (secretNames(spec).length > 0 || spec.imagePullSecrets?.length)
    throw forbid(attributes, 'a mirror pod may not reference secrets');
  const projectsToken = spec.volumes?.some((volume) =>
    volume.projected?.sources?.some((source) => source.serviceAccountToken),
  );
  if (projectsToken)
    throw forbid(attributes, 'a mirror pod may not use ServiceAccountToken volume projections');
}

/** The deprecated annotation enforce-mountable-secrets: only secrets the account lists may be used. */
function checkSecrets(
  attributes: AdmissionAttributes,
  { spec, account }: { readonly spec: PodSpec; readonly account: ServiceAccount },
): void {
  const mountable = new Set((account.secrets ?? []).map((secret) => secret.name));
  const name = account.metadata?.name ?? '';
  for (const { where, secret } of secretNames(spec)) {
    if (!mountable.has(secret))
      throw forbid(
        attributes,
        `${where} secret.secretName="${secret}" is not allowed because service account ${name} does not reference that secret`,
      );
  }
  const pullable = new Set((account.imagePullSecrets ?? []).map((secret) => secret.name));
  for (const [index, secret] of (spec.imagePullSecrets ?? []).entries()) {
    if (!pullable.has(secret.name))
      throw forbid(
        attributes,
        `imagePullSecrets[${index}].name="${secret.name ?? ''}" is not allowed because service account ${name} does not reference that imagePullSecret`,
      );
  }
}
