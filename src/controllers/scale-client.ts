/** The scale subresource of any kind: found by discovery, read and written as autoscaling/v1 Scale. */
import type { Scale } from '#api/types.ts';
import type { Client, ResourceRef } from '#client/client.ts';
import { isStatusError } from '#machinery/errors.ts';
import { groupResourceString, type Stored } from '#machinery/object.ts';
import { findResourceOfKind } from '#client/discovery.ts';

export interface ScaleTarget {
  readonly resource: ResourceRef<Scale>;
  readonly scale: Stored<Scale>;
}

interface Target {
  readonly apiVersion: string;
  readonly kind: string;
  readonly name: string;
  readonly namespace: string;
}

/** Undefined for a kind that is not served. Throws for an object that does not exist, and for a kind without scale. */
export async function getScale(
  { api, shared }: { readonly api: Client; readonly shared: Client },
  { apiVersion, kind, name, namespace }: Target,
): Promise<ScaleTarget | undefined> {
  const resource = await findResourceOfKind(shared, { apiVersion, kind });
  if (!resource) return undefined;
  try {
    const scale = await api.getSubresource<Scale>(resource, { name, namespace }, 'scale');
    return { resource: resource as ResourceRef<Scale>, scale };
  } catch (error) {
    // The path is unknown, not the object.
    if (isStatusError(error, 'NotFound') && error.status.details?.name === undefined)
      throw new Error(
        `${groupResourceString(resource.plural, resource.group)} does not implement the scale subresource`,
        { cause: error },
      );
    throw error;
  }
}

export function updateScale(
  api: Client,
  { resource, scale }: ScaleTarget,
  replicas: number,
): Promise<Stored<Scale>> {
  return api.updateSubresource(resource, { ...scale, spec: { ...scale.spec, replicas } }, 'scale');
}
