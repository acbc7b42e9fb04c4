/** Applies an object of the cluster by server-side apply, so that fields of other owners stay. */
import type { Client, ResourceRef } from '#client/client.ts';
import { formatApiVersion, type KubeObject } from '#machinery/object.ts';

const FIELD_MANAGER = 'capstan-init';

export async function applyObject<T extends KubeObject>(
  api: Client,
  ref: ResourceRef<T>,
  object: T,
): Promise<void> {
  const { name = '', namespace } = object.metadata ?? {};
  await api.patch(
    ref,
    { name, namespace },
    {
      type: 'apply',
      patch: { ...object, apiVersion: formatApiVersion(ref), kind: ref.kind },
      fieldManager: FIELD_MANAGER,
      force: true,
    },
  );
}
