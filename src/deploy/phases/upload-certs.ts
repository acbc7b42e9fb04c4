/**
 * Shares the authorities of a control plane with those that will join: into the Secret kubeadm-certs, encrypted under the certificate key, which is
 * kept nowhere. The Secret belongs to a bootstrap token of two hours; it is collected with it. After kubeadm's phases/copycerts.
 */
import { randomInt } from 'node:crypto';
import type { Secret } from '#api/types.ts';
import type { Client, ResourceRef } from '#client/client.ts';
import { roleBindings, roles, secrets } from '#client/refs.ts';
import { isStatusError } from '#machinery/errors.ts';
import type { KubeObject } from '#machinery/object.ts';
import { formatTime } from '#machinery/time.ts';
import { readFile } from 'node:fs/promises';
import { describeDiskError } from '../data-dir.ts';
import { CERTS_SECRET, encryptFile, parseCertificateKey, type SharedFile } from './kubeadm-certs.ts';

const CERTS_TTL_MS = 2 * 3_600_000;
const TOKEN_CHARACTERS = 'abcdefghijklmnopqrstuvwxyz0123456789';
const RBAC_NAME = 'kubeadm:kubeadm-certs';
const JOINING = 'system:bootstrappers:kubeadm:default-node-token';
/** Against another upload at the same moment. */
const MAX_ATTEMPTS = 5;

interface UploadCertificates {
  readonly api: Client;
  readonly files: readonly SharedFile[];
  /** Of createCertificateKey(). */
  readonly certificateKey: string;
  readonly nowMs: number;
}

/** Again is harmless: the Secret is replaced, with the new key. */
export async function uploadCertificates(options: UploadCertificates): Promise<void> {
  const { api, files, certificateKey, nowMs } = options;
  const key = parseCertificateKey(certificateKey);
  const data: Record<string, string> = {};
  for (const { name, path } of files) data[name] = (await encrypted(path, key)).toString('base64');
  const owner = await createOwner(api, nowMs);
  await createOrReplace(api, secrets, {
    metadata: {
      ...CERTS_SECRET,
      ownerReferences: [
        {
          apiVersion: 'v1',
          kind: 'Secret',
          name: owner.metadata!.name!,
          uid: owner.metadata!.uid!,
          blockOwnerDeletion: true,
          controller: true,
        },
      ],
    },
    type: 'Opaque',
    data,
  } as Secret);
  await letJoiningRead(api);
}

/** Control planes that join with what was uploaded before would have other keys than the cluster. False: nothing was uploaded. */
export async function removeUploadedCertificates(api: Client): Promise<boolean> {
  try {
    await api.delete(secrets, CERTS_SECRET);
    return true;
  } catch (error) {
    if (isStatusError(error, 'NotFound')) return false;
    throw error;
  }
}

async function encrypted(path: string, key: Buffer): Promise<Buffer> {
  try {
    return encryptFile(await readFile(path), key);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return Buffer.alloc(0);
    throw describeDiskError(path, error);
  }
}

/** A token that may nothing: its end is that of the certificates. */
async function createOwner(api: Client, nowMs: number): Promise<Secret> {
  const [id, secret] = [randomToken(6), randomToken(16)];
  return api.create(secrets, {
    metadata: { name: `bootstrap-token-${id}`, namespace: 'kube-system' },
    type: 'bootstrap.kubernetes.io/token',
    data: Object.fromEntries(
      Object.entries({
        'token-id': id,
        'token-secret': secret,
        description: 'Proxy for managing TTL for the kubeadm-certs secret',
        expiration: formatTime(nowMs + CERTS_TTL_MS),
      }).map(([name, value]) => [name, Buffer.from(value).toString('base64')]),
    ),
  } as Secret);
}

function randomToken(length: number): string {
  return Array.from({ length }, () => TOKEN_CHARACTERS[randomInt(TOKEN_CHARACTERS.length)]).join('');
}

async function letJoiningRead(api: Client): Promise<void> {
  const metadata = { name: RBAC_NAME, namespace: CERTS_SECRET.namespace };
  await createOrReplace(api, roles, {
    metadata,
    rules: [{ apiGroups: [''], resources: ['secrets'], resourceNames: [CERTS_SECRET.name], verbs: ['get'] }],
  });
  await createOrReplace(api, roleBindings, {
    metadata,
    roleRef: { apiGroup: 'rbac.authorization.k8s.io', kind: 'Role', name: RBAC_NAME },
    subjects: [{ apiGroup: 'rbac.authorization.k8s.io', kind: 'Group', name: JOINING }],
  });
}

async function createOrReplace<T extends KubeObject>(
  api: Client,
  ref: ResourceRef<T>,
  object: T,
): Promise<void> {
  const { name, namespace } = object.metadata!;
  for (let attempt = 1; ; attempt++) {
    try {
      const found = await api.get(ref, { name: name!, namespace });
      const { resourceVersion, uid } = found.metadata;
      await api.update(ref, { ...object, metadata: { ...object.metadata, resourceVersion, uid } });
      return;
    } catch (error) {
      if (!isStatusError(error, 'NotFound') && !(isStatusError(error, 'Conflict') && attempt < MAX_ATTEMPTS))
        throw error;
      if (isStatusError(error, 'Conflict')) continue;
    }
    try {
      await api.create(ref, object);
      return;
    } catch (error) {
      if (!isStatusError(error, 'AlreadyExists') || attempt >= MAX_ATTEMPTS) throw error;
    }
  }
}
