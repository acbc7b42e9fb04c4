/**
 * The rotation as the cluster sees it: ConfigMap kube-system/capstan-ca-rotation, readable to nodes, with the phase, who leads, what is trusted, and how far each
 * control plane is (machine.NAME); and the Secret of the same name with the new keys for the other control planes, encrypted under a certificate key.
 */
import type { ConfigMap, Secret } from '#api/types.ts';
import type { Client, ResourceRef } from '#client/client.ts';
import { configMaps, roleBindings, roles, secrets } from '#client/refs.ts';
import { ROTATION_CONFIG_MAP } from '#component-helpers/authority-report.ts';
import { isStatusError } from '#machinery/errors.ts';
import type { KubeObject } from '#machinery/object.ts';
import { UserError } from '../../data-dir.ts';
import { decryptFile, encryptFile, parseCertificateKey } from '../kubeadm-certs.ts';
import { ROTATION_PHASES, type RotationPhase } from './record.ts';

export interface ClusterRotation {
  readonly id: string;
  /** 'aborted': every machine goes back to what was before. */
  readonly phase: RotationPhase | 'done' | 'aborted';
  readonly leader: string;
  readonly authorities: readonly string[];
  /** By control plane. */
  readonly machines: Readonly<Record<string, string>>;
}

const MACHINE = 'machine.';
const RBAC_NAME = 'capstan:ca-rotation';
/** Against other control planes at the same moment. */
const MAX_ATTEMPTS = 10;

export async function readClusterRotation(api: Client): Promise<ClusterRotation | undefined> {
  const map = await absentAs(undefined, api.get(configMaps, ROTATION_CONFIG_MAP));
  const { id, phase, leader, authorities, ...rest } = map?.data ?? {};
  if (!id || !leader || !authorities || !isPhase(phase)) return undefined;
  const machines = Object.entries(rest)
    .filter(([key]) => key.startsWith(MACHINE))
    .map(([key, value]) => [key.slice(MACHINE.length), value]);
  return { id, phase, leader, authorities: authorities.split(','), machines: Object.fromEntries(machines) };
}

function isPhase(phase: string | undefined): phase is ClusterRotation['phase'] {
  return phase === 'done' || phase === 'aborted' || ROTATION_PHASES.some((known) => known === phase);
}

/** Of the leader. caPem: what everyone trusts from now on. Reports of machines stay, but those of an earlier rotation. UserError where another control plane leads. */
export async function writeClusterRotation(
  api: Client,
  {
    rotation: { id, phase, leader, authorities },
    caPem,
    mayTakeLead = false,
  }: {
    readonly rotation: Omit<ClusterRotation, 'machines'>;
    readonly caPem: string;
    readonly mayTakeLead?: boolean | undefined;
  },
): Promise<void> {
  await letNodesRead(api);
  await change(api, (data) => {
    const isOver = data['phase'] === 'done' || data['phase'] === 'aborted';
    const other = data['leader'] === leader ? undefined : data['leader'];
    if (other !== undefined && !isOver && !(mayTakeLead && data['id'] === id))
      throw new UserError(
        `${other} leads a rotation of this cluster: run it there, or again here to follow.`,
      );
    const others = data['id'] === id ? data : {};
    return { ...others, id, phase, leader, authorities: authorities.join(), 'ca.crt': caPem };
  });
}

export async function reportMachine(
  api: Client,
  { machine, phase }: { readonly machine: string; readonly phase: string },
): Promise<void> {
  await change(api, (data) => ({ ...data, [`${MACHINE}${machine}`]: phase }));
}

type Data = Readonly<Record<string, string>>;

async function change(api: Client, next: (data: Data) => Data): Promise<void> {
  for (let attempt = 1; ; attempt++) {
    const map = await absentAs(undefined, api.get(configMaps, ROTATION_CONFIG_MAP));
    const changed: ConfigMap = {
      ...map,
      metadata: map?.metadata ?? ROTATION_CONFIG_MAP,
      data: next(map?.data ?? {}),
    };
    try {
      await (map ? api.update(configMaps, changed) : api.create(configMaps, changed));
      return;
    } catch (error) {
      const again = isStatusError(error, 'Conflict') || isStatusError(error, 'AlreadyExists');
      if (!again || attempt >= MAX_ATTEMPTS) throw error;
    }
  }
}

async function letNodesRead(api: Client): Promise<void> {
  const { name, namespace } = ROTATION_CONFIG_MAP;
  const metadata = { name: RBAC_NAME, namespace };
  await createIfAbsent(api, roles, {
    metadata,
    rules: [{ apiGroups: [''], resources: ['configmaps'], resourceNames: [name], verbs: ['get'] }],
  });
  await createIfAbsent(api, roleBindings, {
    metadata,
    roleRef: { apiGroup: 'rbac.authorization.k8s.io', kind: 'Role', name: RBAC_NAME },
    subjects: [{ apiGroup: 'rbac.authorization.k8s.io', kind: 'Group', name: 'system:nodes' }],
  });
}

async function createIfAbsent<T extends KubeObject>(
  api: Client,
  ref: ResourceRef<T>,
  object: T,
): Promise<void> {
  try {
    await api.create(ref, object);
  } catch (error) {
    if (!isStatusError(error, 'AlreadyExists')) throw error;
  }
}

/** files: by their names in PKI/rotation. */
export async function uploadKeys(
  api: Client,
  {
    files,
    certificateKey,
  }: { readonly files: Readonly<Record<string, string>>; readonly certificateKey: string },
): Promise<void> {
  const key = parseCertificateKey(certificateKey);
  const data = Object.fromEntries(
    Object.entries(files).map(([name, text]) => [
      name,
      encryptFile(Buffer.from(text), key).toString('base64'),
    ]),
  );
  await removeKeys(api);
  await api.create(secrets, { metadata: ROTATION_CONFIG_MAP, type: 'Opaque', data } as Secret);
}

export async function downloadKeys(
  api: Client,
  certificateKey: string,
): Promise<Readonly<Record<string, string>>> {
  const key = parseCertificateKey(certificateKey);
  const secret = await absentAs(undefined, api.get(secrets, ROTATION_CONFIG_MAP));
  if (!secret?.data)
    throw new UserError(
      'The Secret kube-system/capstan-ca-rotation with the new keys is not there: run `capstan certs rotate-ca` on the leading control plane.',
    );
  return Object.fromEntries(
    Object.entries(secret.data).map(([name, text]) => [
      name,
      decryptFile(Buffer.from(text, 'base64'), { key, name }).toString(),
    ]),
  );
}

export async function removeKeys(api: Client): Promise<void> {
  await absentAs(undefined, api.delete(secrets, ROTATION_CONFIG_MAP));
}

async function absentAs<T, U>(value: U, work: Promise<T>): Promise<T | U> {
  try {
    return await work;
  } catch (error) {
    if (isStatusError(error, 'NotFound')) return value;
    throw error;
  }
}
