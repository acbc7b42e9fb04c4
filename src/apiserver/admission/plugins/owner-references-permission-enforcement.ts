/**
 * OwnerReferencesPermissionEnforcement: changing the owners of an existing object requires permission to delete the object; blocking an owner's
 * deletion (blockOwnerDeletion) requires permission to set finalizers on the owner.
 */
import { assert } from '#stdx/assert.ts';
import { deepEqual } from '#machinery/json.ts';
import { parseApiVersion, type KubeObject, type OwnerReference } from '#machinery/object.ts';
import type { AuthorizationAttributes } from '#machinery/authorization.ts';
import type { Authorizer } from '../../authz/authorizer.ts';
import { forbid } from '../forbid.ts';
import type { AdmissionKinds } from '../kinds.ts';
import type { AdmissionAttributes, AdmissionPlugin } from '../plugin.ts';

export function ownerReferencesPermissionEnforcement(): AdmissionPlugin {
  let context: { readonly kinds: AdmissionKinds; readonly authorizer: Authorizer } | undefined;
  return {
    name: 'OwnerReferencesPermissionEnforcement',
    start: (given) => void (context = given),
    // Old kubelets garble pods' owners in status updates, which cannot change them anyhow.
    handles: (operation, { group, resource, subresource }) =>
      (operation === 'CREATE' || operation === 'UPDATE') &&
      !(group === '' && resource === 'pods' && subresource === 'status'),
    validate(attributes) {
      if (deepEqual(ownersOf(attributes.object), ownersOf(attributes.oldObject))) return undefined;
      assert(context, 'started');
      return check(attributes, context);
    },
  };
}

function ownersOf(object: KubeObject | undefined): readonly OwnerReference[] {
  return object?.metadata?.ownerReferences ?? [];
}

async function check(
  attributes: AdmissionAttributes,
  { kinds, authorizer }: { readonly kinds: AdmissionKinds; readonly authorizer: Authorizer },
): Promise<void> {
  const { operation, user, namespace, name, gvr, subresource } = attributes;
  const about = { user, isResourceRequest: true, path: '' };
  const whyNot = async (question: AuthorizationAttributes): Promise<string | undefined> => {
    const { decision, reason } = await authorizer.authorize(question);
    return decision === 'allow' ? undefined : reason;
  };
  // The creator of an object may delete it anyway: only references added to existing objects need the permission.
  const refused =
    operation === 'CREATE'
      ? undefined
      : await whyNot({
          ...about,
          verb: 'delete',
          group: gvr.group,
          version: gvr.version,
          resource: gvr.resource,
          subresource,
          namespace,
          name,
        });
  if (refused !== undefined)
    throw forbid(attributes, `cannot set an ownerRef on a resource you can't delete: ${refused}, <nil>`);
  for (const reference of newlyBlocking(attributes)) {
    const { group, version } = parseApiVersion(reference.apiVersion);
    const resources = kinds.resourcesOf({ group, version, kind: reference.kind });
    if (resources.length === 0)
      throw forbid(
        attributes,
        `cannot set blockOwnerDeletion in this case because cannot find RESTMapping for APIVersion ${reference.apiVersion} Kind ${reference.kind}: no matches for kind ${JSON.stringify(reference.kind)} in version ${JSON.stringify(reference.apiVersion)}`,
      );
    for (const { resource, namespaced } of resources) {
      const why = await whyNot({
        ...about,
        verb: 'update',
        group,
        version,
        resource,
        subresource: 'finalizers',
        namespace: namespaced ? namespace : '',
        name: reference.name,
      });
      if (why !== undefined)
        throw forbid(
          attributes,
          `cannot set blockOwnerDeletion if an ownerReference refers to a resource you can't set finalizers on: ${why}, <nil>`,
        );
    }
  }
}

function newlyBlocking({ object, oldObject }: AdmissionAttributes): OwnerReference[] {
  const before = new Map(ownersOf(oldObject).map((reference) => [reference.uid, reference]));
  return ownersOf(object).filter(
    ({ blockOwnerDeletion, uid }) =>
      blockOwnerDeletion === true && before.get(uid)?.blockOwnerDeletion !== true,
  );
}
