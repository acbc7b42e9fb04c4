/** Addons of a cluster file as Secrets of the cluster, which its addon controller keeps applied. Whether it could is not waited for. */
import type { Secret } from '#api/types.ts';
import type { Client } from '#client/client.ts';
import { clusterRoleBindings, secrets } from '#client/refs.ts';
import {
  ADDON_DATA_KEY,
  ADDON_NAMESPACE,
  ADDON_TYPE,
  addonCondition,
  addonOfSecret,
  addonSecret,
  addonSecretName,
} from '#component-helpers/addons.ts';
import type { KubeObject, Stored } from '#machinery/object.ts';
import { UserError } from '../data-dir.ts';
import { applyObject } from '../phases/apply-object.ts';
import type { Addon } from './addon-files.ts';

/** Of the Secrets, whichever command writes them. */
const FIELD_MANAGER = 'capstan-fleet';

export interface AddonStatus {
  readonly name: string;
  readonly ready: boolean;
  readonly message: string;
}

interface AddonChange {
  /** 'addon ingress' */
  readonly object: string;
  readonly change: string;
}

/** An addon that left the list is deleted; the controller then prunes its objects. */
export async function configureAddons(
  api: Client,
  addons: readonly Addon[],
  { dryRun }: { readonly dryRun: boolean },
): Promise<readonly AddonChange[]> {
  const items = await listSecrets(api);
  const present = new Map(items.map((secret) => [secret.metadata.name, secret]));
  const changes: AddonChange[] = [];
  for (const { name, objects } of addons) {
    const found = present.get(addonSecretName(name));
    const secret = addonSecret(name, objects) as Secret;
    present.delete(addonSecretName(name));
    if (found?.metadata.deletionTimestamp)
      throw new UserError(`addon ${name} is being removed: run this again when it is gone`);
    if (found?.data?.[ADDON_DATA_KEY] === secret.data?.[ADDON_DATA_KEY]) continue;
    changes.push({
      object: `addon ${name}`,
      change: `${found ? 'changed' : 'added'}: ${objects.length} objects`,
    });
    if (!dryRun) await applySecret(api, secret);
  }
  if (addons.length > 0 && !dryRun) await empowerController(api);
  for (const { metadata } of present.values()) {
    if (metadata.deletionTimestamp) continue;
    changes.push({ object: `addon ${addonOfSecret(metadata.name)}`, change: 'removed' });
    if (!dryRun) await api.delete(secrets, { name: metadata.name, namespace: ADDON_NAMESPACE });
  }
  return changes;
}

/** An addon may hold anything, roles and their bindings too. A cluster without addons has no controller that may do that. */
async function empowerController(api: Client): Promise<void> {
  await applyObject(api, clusterRoleBindings, {
    metadata: { name: 'capstan:addon-controller' },
    roleRef: { apiGroup: 'rbac.authorization.k8s.io', kind: 'ClusterRole', name: 'cluster-admin' },
    subjects: [{ kind: 'ServiceAccount', name: 'addon-controller', namespace: ADDON_NAMESPACE }],
  });
}

async function applySecret(api: Client, secret: KubeObject): Promise<void> {
  const { name = '', namespace } = secret.metadata ?? {};
  await api.patch(
    secrets,
    { name, namespace },
    {
      type: 'apply',
      patch: { apiVersion: 'v1', kind: 'Secret', ...secret },
      fieldManager: FIELD_MANAGER,
      force: true,
    },
  );
}

export async function listAddons(api: Client): Promise<readonly AddonStatus[]> {
  return (await listSecrets(api)).map(({ metadata }) => {
    const condition = addonCondition(metadata.annotations);
    return {
      name: addonOfSecret(metadata.name),
      ready: condition?.status === 'True',
      message: condition?.message ?? 'not yet applied',
    };
  });
}

async function listSecrets(api: Client): Promise<readonly Stored<Secret>[]> {
  const options = { namespace: ADDON_NAMESPACE, fieldSelector: `type=${ADDON_TYPE}` };
  return (await api.list(secrets, options)).items;
}
