/** The manifests of an addon, and the order in which its objects are applied. */
import { isJsonObject } from '#machinery/json.ts';
import type { KubeObject } from '#machinery/object.ts';

/** Definitions first, then what others are in or refer to; webhooks last, which would refuse what they serve. Unknown kinds are between. */
const FIRST = [
  'CustomResourceDefinition',
  'Namespace',
  'PriorityClass',
  'StorageClass',
  'ServiceAccount',
  'ClusterRole',
  'ClusterRoleBinding',
  'Role',
  'RoleBinding',
  'ConfigMap',
  'Secret',
  'PersistentVolume',
  'PersistentVolumeClaim',
  'Service',
];
const LAST = [
  'APIService',
  'ValidatingAdmissionPolicy',
  'ValidatingAdmissionPolicyBinding',
  'MutatingWebhookConfiguration',
  'ValidatingWebhookConfiguration',
];

/** Throws an Error for anything but a list of objects with names. */
export function parseManifests(text: string): readonly KubeObject[] {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (error) {
    throw new Error(`its manifests are no JSON: ${(error as Error).message}`, { cause: error });
  }
  if (!Array.isArray(value)) throw new Error('its manifests are no list');
  for (const [index, item] of value.entries()) {
    const named = isJsonObject(item) && isJsonObject(item['metadata']) && item['metadata']['name'];
    if (!named || typeof item['apiVersion'] !== 'string' || typeof item['kind'] !== 'string')
      throw new Error(`object ${index + 1} of its manifests has no apiVersion, kind or metadata.name`);
  }
  return value as readonly KubeObject[];
}

/** Stable: objects of one kind keep their order. */
export function inApplyOrder(objects: readonly KubeObject[]): readonly KubeObject[] {
  return objects.toSorted((one, other) => rankOf(one) - rankOf(other));
}

function rankOf({ kind = '' }: KubeObject): number {
  const first = FIRST.indexOf(kind);
  if (first >= 0) return first - FIRST.length;
  return LAST.indexOf(kind) + 1;
}
