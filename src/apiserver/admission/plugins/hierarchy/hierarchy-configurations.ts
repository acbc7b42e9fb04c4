/** Writes of HierarchyConfigurations: parents, and who may change them. Deleting one makes a root, and needs the same authority. */
import {
  HIERARCHY,
  isExcluded,
  MANAGED_BY,
  type HierarchyConfiguration,
} from '#component-helpers/hierarchy/names.ts';
import { statusErrors } from '#machinery/errors.ts';
import { deepEqual } from '#machinery/json.ts';
import { forbid } from '../../forbid.ts';
import { validateManagedMetadata } from './managed-metadata.ts';
import { checkMove, conflict, type TreeRequest } from './new-parent.ts';

const EXCLUDED = 'excluded by the HNC administrator';

/** Throws StatusError. */
export async function checkHierarchy(request: TreeRequest): Promise<void> {
  const { attributes } = request;
  if (attributes.operation === 'DELETE') return checkDeletion(request);
  const { namespace, gvk, oldObject } = attributes;
  const { spec = {} } = attributes.object as HierarchyConfiguration;
  // Finalizers and owners of what is wrong already are changed freely, or it could not be deleted.
  if (oldObject && deepEqual(spec, (oldObject as HierarchyConfiguration).spec ?? {})) return;
  if (isExcluded(namespace))
    throw forbid(
      attributes,
      `namespace "${namespace}" is not managed by HNC (${EXCLUDED}) and cannot be set as a child of another namespace`,
    );
  const to = spec.parent || undefined;
  if (to !== undefined && isExcluded(to))
    throw forbid(
      attributes,
      `namespace "${to}" is not managed by HNC (${EXCLUDED}) and cannot be set as the parent of another namespace`,
    );
  const errors = validateManagedMetadata(spec);
  if (errors.length > 0) throw statusErrors.invalid({ ...gvk, name: HIERARCHY }, errors);
  await attributes.internal.caughtUp();
  refuseHalted(request);
  return checkParent(request, to);
}

/** Not where it is halted itself: the change may be the remedy. */
function refuseHalted({ attributes, forest }: TreeRequest): void {
  const { namespace } = attributes;
  const halted = forest.haltedRootOf(namespace);
  if (halted === undefined || halted === namespace) return;
  throw forbid(
    attributes,
    `ancestor "${halted}" of namespace "${namespace}" has a critical condition, which must be resolved before any changes can be made to the hierarchy configuration`,
  );
}

async function checkParent(request: TreeRequest, to: string | undefined): Promise<void> {
  const { attributes, forest, trees } = request;
  const { namespace } = attributes;
  const place = forest.get(namespace);
  const from = place?.parent;
  if (place?.isExternal && to !== undefined) {
    const manager = trees.namespace(namespace)?.metadata.annotations?.[MANAGED_BY];
    throw forbid(
      attributes,
      `namespace "${namespace}" is managed by "${manager}", not HNC, so it cannot have a parent in HNC`,
    );
  }
  if (from === to) return;
  if (place?.isSubnamespace)
    throw conflict(
      request,
      `illegal parent: Cannot set the parent of "${namespace}" to "${to ?? ''}" because it's a subnamespace of "${from}"`,
    );
  if (to !== undefined && !forest.get(to))
    throw forbid(attributes, `requested parent "${to}" does not exist`);
  await checkMove(request, { namespace, from, to });
}

async function checkDeletion(request: TreeRequest): Promise<void> {
  const { attributes, forest, trees } = request;
  const { namespace, name } = attributes;
  await attributes.internal.caughtUp();
  const place = forest.get(namespace);
  // With its namespace, or a subnamespace's, which is made again.
  if (!place || place.isSubnamespace || trees.namespace(namespace)?.metadata.deletionTimestamp) return;
  if (name === HIERARCHY) await checkMove(request, { namespace, from: place.parent, to: undefined });
}
