/**
 * Writes of Namespaces in a cluster with trees: the tree's labels are the controller's alone, a parent is not forged by annotation, and what has subnamespaces, or is one, is
 * deleted as its tree says.
 */
import {
  DEPTH_SUFFIX,
  INCLUDED_NAMESPACE,
  isExcluded,
  MANAGED_BY,
  MANAGER,
  SUBNAMESPACE_OF,
} from '#component-helpers/hierarchy/names.ts';
import type { KubeObject } from '#machinery/object.ts';
import { forbid } from '../../forbid.ts';
import type { AdmissionAttributes } from '../../plugin.ts';
import { checkMove, conflict, type TreeRequest } from './new-parent.ts';

/** Managed namespaces have the label that selects them, also before the controller sees them. */
export function includeNamespace({ object, operation }: AdmissionAttributes): void {
  if (operation === 'DELETE' || !object?.metadata || isExcluded(object.metadata.name ?? '')) return;
  const labels = (object.metadata.labels ??= {});
  labels[INCLUDED_NAMESPACE] ??= 'true';
}

/** Throws StatusError. */
export async function checkNamespace(request: TreeRequest): Promise<void> {
  const { attributes } = request;
  if (attributes.operation === 'DELETE') return checkDeletion(request);
  refuseIncludedLabel(attributes);
  refuseTreeLabels(attributes);
  const { operation, internal } = attributes;
  if (operation === 'CREATE') {
    await internal.caughtUp();
    refuseReserved(request);
  } else await refuseSecondManager(request);
  return checkAnnotatedParent(request);
}

function labelsOf(object: KubeObject | undefined): Readonly<Record<string, string>> {
  return object?.metadata?.labels ?? {};
}

function refuseIncludedLabel(attributes: AdmissionAttributes): void {
  const { object, oldObject } = attributes;
  const value = labelsOf(object)[INCLUDED_NAMESPACE];
  if (oldObject && labelsOf(oldObject)[INCLUDED_NAMESPACE] === value) return;
  if (isExcluded(object?.metadata?.name ?? '')) {
    if (value !== undefined)
      throw forbid(
        attributes,
        `you cannot enforce webhook rules on this unmanaged namespace using the "${INCLUDED_NAMESPACE}" label`,
      );
  } else if (value !== 'true')
    throw forbid(
      attributes,
      `you cannot change the value of the "${INCLUDED_NAMESPACE}" label. It has to be set as true on all managed namespaces`,
    );
}

function refuseTreeLabels(attributes: AdmissionAttributes): void {
  const { object, oldObject } = attributes;
  const [before, after] = [labelsOf(oldObject), labelsOf(object)];
  const why = (verb: string, key: string): string =>
    `cannot ${verb} tree label "${key}" in namespace "${object?.metadata?.name}"; these can only be managed by HNC`;
  for (const [key, value] of Object.entries(after))
    if (key.includes(DEPTH_SUFFIX) && before[key] !== value)
      throw forbid(attributes, why('set or modify', key));
  for (const key of Object.keys(before))
    if (key.includes(DEPTH_SUFFIX) && !(key in after)) throw forbid(attributes, why('remove', key));
}

/** A name in the tree of another manager, which will make it. */
function refuseReserved(request: TreeRequest): void {
  const name = request.attributes.object?.metadata?.name ?? '';
  for (const one of request.forest.names) {
    const place = request.forest.get(one);
    if (!place?.isExternal || !(`${name}${DEPTH_SUFFIX}` in place.labels)) continue;
    const manager = request.trees.namespace(one)?.metadata.annotations?.[MANAGED_BY];
    throw conflict(request, `is reserved by the external hierarchy manager "${manager}"`);
  }
}

async function refuseSecondManager({ attributes, forest }: TreeRequest): Promise<void> {
  const { object, internal } = attributes;
  const manager = object?.metadata?.annotations?.[MANAGED_BY] ?? '';
  if (manager === '' || manager === MANAGER) return;
  await internal.caughtUp();
  const parent = forest.get(object?.metadata?.name ?? '')?.parent;
  if (parent !== undefined)
    throw forbid(
      attributes,
      `is a child of "${parent}". Namespaces with parents defined by HNC cannot also be managed externally. To manage this namespace with "${manager}", first make it a root in HNC`,
    );
}

/** The annotation makes it a child as a HierarchyConfiguration does, and needs the same authority. */
async function checkAnnotatedParent(request: TreeRequest): Promise<void> {
  const { object, oldObject, internal } = request.attributes;
  const to = object?.metadata?.annotations?.[SUBNAMESPACE_OF] ?? '';
  if (to === '' || to === oldObject?.metadata?.annotations?.[SUBNAMESPACE_OF]) return;
  await internal.caughtUp();
  const namespace = object?.metadata?.name ?? '';
  await checkMove(request, { namespace, from: request.forest.get(namespace)?.parent, to });
}

async function checkDeletion(request: TreeRequest): Promise<void> {
  const { attributes, forest, trees } = request;
  const { name, oldObject, internal } = attributes;
  await internal.caughtUp();
  const parent = oldObject?.metadata?.annotations?.[SUBNAMESPACE_OF] ?? '';
  if (parent !== '' && trees.anchor(parent, name))
    throw forbid(
      attributes,
      `is a subnamespace. Please delete the anchor from the parent namespace ${parent} to delete the subnamespace`,
    );
  if (forest.allowsCascadingDeletion(name)) return;
  if (forest.childrenOf(name).some((child) => forest.get(child)?.isSubnamespace))
    throw forbid(
      attributes,
      "contains subnamespaces. Please remove all subnamespaces before deleting this namespace, or set 'allowCascadingDeletion' to delete them automatically",
    );
}
