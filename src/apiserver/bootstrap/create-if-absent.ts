/** Creates a system object if it does not exist; an existing one is left unchanged. */
import { isStatusError } from '#machinery/errors.ts';
import type { KubeObject } from '#machinery/object.ts';
import type { GroupResource, InternalApi } from '../registry/loopback-client.ts';

export async function createIfAbsent(
  internal: InternalApi,
  resource: GroupResource,
  object: KubeObject,
): Promise<void> {
  const { name = '', namespace } = object.metadata ?? {};
  if (internal.get(resource, { name, namespace })) return;
  try {
    await internal.create(resource, object);
  } catch (error) {
    // Another server was faster.
    if (!isStatusError(error, 'AlreadyExists')) throw error;
  }
}
