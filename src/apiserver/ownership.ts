/** Who owns which fields of stored objects (metadata.managedFields): what machinery works out, for one endpoint's objects. */
import { managedFieldsAfterUpdate, managedFieldsOfNew } from '#machinery/apply/managed-fields.ts';
import { isStatusError } from '#machinery/errors.ts';
import type { ObjectSchema } from '#machinery/schema.ts';
import { apiVersionOf, type KubeObject } from '#machinery/object.ts';
import { schemaForKind } from '#api/schemas.ts';
import type { Endpoint } from './catalogue.ts';

export interface Writer {
  readonly manager: string;
  /** '' when none. */
  readonly subresource: string;
  readonly nowMs: number;
}

/** What this way in does not write, so that nobody comes to own it through it. */
export function resetFields({ schema, served, isBuiltin, resource }: Pick<Endpoint, 'schema' | 'served' | 'isBuiltin' | 'resource'>, subresource: string): (readonly string[])[] {
  if (subresource === 'status') return [['spec']];
  // Of what is not stored, nobody knows better than the writer.
  if (resource.virtual) return [];
  if (subresource === '' && resource.behaviour.resetFields) return resource.behaviour.resetFields.map((name) => [name]);
  // A custom resource without the subresource has its status written with the rest.
  return subresource === '' && schema?.byName.has('status') && (isBuiltin || served.subresources.has('status')) ? STATUS : [];
}

const STATUS: string[][] = [['status']];

/** The version of objects as the writer of objects sees them. */
function formOf(endpoint: Endpoint): { readonly schema: ObjectSchema | undefined; readonly apiVersion: string } {
  if (endpoint.isStorageVersion || endpoint.codec) return { schema: endpoint.schema, apiVersion: endpoint.apiVersion };
  return { schema: schemaForKind(endpoint.storageGvk), apiVersion: apiVersionOf(endpoint.storageGvk) };
}

/** The object is as its writer sent it, with defaults: what the server adds later is nobody's. */
export function ownNew(endpoint: Endpoint, object: KubeObject, { manager, nowMs }: Writer): void {
  const { schema, apiVersion } = formOf(endpoint);
  if (!schema) return;
  const request = { schema, manager, apiVersion, nowMs, resetFields: resetFields(endpoint, '') };
  const sent = object.metadata!.managedFields;
  const managedFields = unlessMalformed(() => (sent && sent.length > 0 ? managedFieldsAfterUpdate({ ...request, live: undefined, next: object }) : managedFieldsOfNew({ ...request, object })));
  if (managedFields && managedFields.length > 0) object.metadata!.managedFields = managedFields;
  else delete object.metadata!.managedFields;
}

/** Objects of which nobody owned anything stay so until they are applied. */
export function ownChanged(endpoint: Endpoint, { next, previous }: { readonly next: KubeObject; readonly previous: KubeObject }, { manager, subresource, nowMs }: Writer): void {
  if (previous.metadata!.managedFields === undefined) return;
  const { schema, apiVersion } = formOf(endpoint);
  if (!schema) return;
  const changed = unlessMalformed(() => managedFieldsAfterUpdate({ schema, live: previous, next, manager, apiVersion, nowMs, ...(subresource ? { subresource } : {}) }));
  const managedFields = changed ?? previous.metadata!.managedFields;
  if (managedFields.length > 0) next.metadata!.managedFields = managedFields;
  else delete next.metadata!.managedFields;
}

/** Items without their keys have no owner. Saying so is validation's business. */
function unlessMalformed<T>(work: () => T): T | undefined {
  try {
    return work();
  } catch (error) {
    if (!isStatusError(error)) throw error;
    return undefined;
  }
}
