/** Who owns which fields of stored objects (metadata.managedFields): what machinery works out, for one endpoint's objects. */
import type { KindVersions } from '#machinery/apply/kind-versions.ts';
import {
  managedFieldsAfterUpdate,
  managedFieldsOfNew,
  type WriteContext,
} from '#machinery/apply/managed-fields.ts';
import type { WrittenFields } from '#machinery/apply/written-fields.ts';
import { isGivenEmpty } from '#machinery/given-empty.ts';
import { isStatusError } from '#machinery/errors.ts';
import { parseApiVersion, type KubeObject, type ManagedFieldsEntry } from '#machinery/object.ts';
import { schemaForKind } from '#api/schemas.ts';
import type { Endpoint } from './endpoints.ts';
import { inVersion } from './transform.ts';

export interface Writer {
  readonly manager: string;
  /** '' when none. */
  readonly subresource: string;
  readonly nowMs: number;
}

const ALL_BUT_STATUS: WrittenFields = { without: ['status'] };
const ALL_BUT_SPEC: WrittenFields = { without: ['spec'] };
const ALL_BUT_SPEC_AND_METADATA: WrittenFields = { without: ['spec', 'metadata'] };

/** Fields written by this endpoint; undefined: all. */
function writtenFields(
  { schema, served, isBuiltin, resource }: Pick<Endpoint, 'schema' | 'served' | 'isBuiltin' | 'resource'>,
  subresource: string,
): WrittenFields | undefined {
  // A kind that is not stored takes the writer's managedFields.
  if (resource.virtual) return undefined;
  const own = resource.behaviour.written?.[subresource];
  if (own) return own;
  if (subresource === 'status') return isBuiltin ? ALL_BUT_SPEC : ALL_BUT_SPEC_AND_METADATA;
  // A custom resource without the subresource has its status written with the rest.
  return subresource === '' &&
    schema?.byName.has('status') &&
    (isBuiltin || served.subresources.has('status'))
    ? ALL_BUT_STATUS
    : undefined;
}

/** Fields that requests of this endpoint may own. */
export function kindVersions(endpoint: Endpoint): KindVersions {
  if (endpoint.kindVersions) return endpoint.kindVersions;
  const {
    resource,
    gvk: { kind },
  } = endpoint;
  return {
    schemaOf: (apiVersion) => {
      const gvk = { ...parseApiVersion(apiVersion), kind };
      // Objects that two groups share may have owners of both.
      return gvk.group === resource.group || resource.behaviour.storedAs !== undefined
        ? schemaForKind(gvk)
        : undefined;
    },
    convert: (object, apiVersion) => resource.convert(object, apiVersion),
  };
}

/** How a request through the endpoint writes its fields down, in the request's version. undefined: of this kind nothing is written down. */
export function ownershipContext(
  endpoint: Endpoint,
  { manager, subresource, nowMs }: Writer,
): WriteContext | undefined {
  const {
    schema,
    apiVersion,
    resource: {
      behaviour: { confidential },
    },
  } = endpoint;
  if (!schema) return undefined;
  return {
    schema,
    apiVersion,
    manager,
    nowMs,
    ...(confidential ? { confidential } : {}),
    written: writtenFields(endpoint, subresource),
    versions: kindVersions(endpoint),
    ...(subresource ? { subresource } : {}),
  };
}

/** The object as sent, with defaults: fields that the server sets later have no owner. May be asynchronous. */
export function ownNew(endpoint: Endpoint, object: KubeObject, writer: Writer): Promise<void> | undefined {
  const request = ownershipContext(endpoint, { ...writer, subresource: '' });
  if (!request) return undefined;
  const sent = object.metadata!.managedFields;
  const seen = inVersion(endpoint, object);
  if (!sent || sent.length === 0)
    return settle(
      object,
      unlessMalformed(() => managedFieldsOfNew({ ...request, object: seen })),
    );
  return settle(
    object,
    unlessMalformed(() => managedFieldsAfterUpdate({ ...request, live: undefined, next: seen })),
  );
}

/** Like ownNew, for a body that is not stored: its writer owns its fields, with defaults. */
export function ownBody(
  body: KubeObject,
  { schema, apiVersion, manager, subresource, nowMs }: Writer & Pick<WriteContext, 'schema' | 'apiVersion'>,
): void {
  void settle(
    body,
    unlessMalformed(() =>
      managedFieldsOfNew({ schema, apiVersion, manager, subresource, nowMs, object: body }),
    ),
  );
}

/** Objects without owners stay so until the first apply. next: as ownNew's object. May be asynchronous. */
export function ownChanged(
  endpoint: Endpoint,
  { next, previous }: { readonly next: KubeObject; readonly previous: KubeObject },
  writer: Writer,
): Promise<void> | undefined {
  if (previous.metadata!.managedFields === undefined && next.metadata!.managedFields === undefined)
    return undefined;
  // An empty list is left out when it is read, but means that owners be forgotten.
  if (writer.subresource === '' && isGivenEmpty(next.metadata, 'managedFields')) return undefined;
  const request = ownershipContext(endpoint, writer);
  if (!request) return undefined;
  const [live, seen] = [previous, next].map((object) => inVersion(endpoint, object)) as [
    KubeObject,
    KubeObject,
  ];
  return settle(
    next,
    unlessMalformed(() =>
      managedFieldsAfterUpdate({ ...request, live, next: seen, schemaChanges: !endpoint.isBuiltin }),
    ),
  );
}

type Entries = ManagedFieldsEntry[] | undefined;

/** undefined entries: ownership cannot be computed. */
function settle(object: KubeObject, entries: Entries | Promise<Entries>): Promise<void> | undefined {
  if (entries instanceof Promise) return entries.then((found) => void settle(object, found));
  if (entries && entries.length > 0) object.metadata!.managedFields = entries;
  else delete object.metadata!.managedFields;
  return undefined;
}

/** Items without their keys have no owner. Validation reports them. */
function unlessMalformed(
  work: () => ManagedFieldsEntry[] | Promise<ManagedFieldsEntry[]>,
): Entries | Promise<Entries> {
  const refused = (error: unknown): undefined => {
    if (!isStatusError(error)) throw error;
    return undefined;
  };
  try {
    const entries = work();
    return entries instanceof Promise ? entries.catch(refused) : entries;
  } catch (error) {
    return refused(error);
  }
}
