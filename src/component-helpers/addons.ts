/**
 * Addons of a cluster file, as the cluster keeps them: one Secret each, with its manifests. `capstan fleet apply` writes it, the addon controller applies what it
 * holds. The Secret is the parent of an ApplySet (upstream's KEP-3659): members carry its ID as a label, so what left the manifests is found and pruned.
 */
import { createHash } from 'node:crypto';
import type { JsonObject } from '#machinery/json.ts';
import type { KubeObject } from '#machinery/object.ts';

export const ADDON_NAMESPACE = 'kube-system';
export const ADDON_TYPE = 'addons.capstan.dev/manifests';
export const ADDON_DATA_KEY = 'manifests.json';
/** JSON of AddonConditions. */
export const ADDON_STATUS = 'addons.capstan.dev/status';
/** Holds the Secret until its objects are deleted. */
export const ADDON_FINALIZER = 'addons.capstan.dev/prune';
const APPLYSET_ID = 'applyset.kubernetes.io/id';
export const APPLYSET_PART_OF = 'applyset.kubernetes.io/part-of';
export const APPLYSET_TOOLING = 'applyset.kubernetes.io/tooling';
export const APPLYSET_GROUP_KINDS = 'applyset.kubernetes.io/contains-group-kinds';
export const APPLYSET_NAMESPACES = 'applyset.kubernetes.io/additional-namespaces';
/** Other tools leave the set alone. */
export const ADDON_TOOLING = 'capstan-addons/v1';
const PREFIX = 'capstan-addon-';

export interface AddonCondition {
  readonly type: 'Ready';
  readonly status: 'True' | 'False';
  readonly reason: string;
  readonly message: string;
  readonly lastTransitionTime: string;
}

export function addonSecretName(addon: string): string {
  return `${PREFIX}${addon}`;
}

export function addonOfSecret(name: string): string {
  return name.slice(PREFIX.length);
}

/** base64url(sha256("name.namespace.kind.group")), as upstream's kubectl computes it. */
export function applySetId(secretName: string): string {
  const digest = createHash('sha256').update(`${secretName}.${ADDON_NAMESPACE}.Secret.`).digest('base64url');
  return `applyset-${digest}-v1`;
}

/** The Secret of an addon, as it is applied. */
export function addonSecret(addon: string, objects: readonly JsonObject[]): KubeObject {
  const name = addonSecretName(addon);
  return {
    metadata: {
      name,
      namespace: ADDON_NAMESPACE,
      labels: { [APPLYSET_ID]: applySetId(name) },
      annotations: { [APPLYSET_TOOLING]: ADDON_TOOLING },
    },
    type: ADDON_TYPE,
    data: { [ADDON_DATA_KEY]: Buffer.from(JSON.stringify(objects)).toString('base64') },
  } as KubeObject;
}

/** Undefined: none yet, or damaged. */
export function addonCondition(
  annotations: Readonly<Record<string, string>> = {},
): AddonCondition | undefined {
  try {
    const { conditions } = JSON.parse(annotations[ADDON_STATUS] ?? '') as { conditions: AddonCondition[] };
    return conditions.find(({ type }) => type === 'Ready');
  } catch {
    return undefined;
  }
}
