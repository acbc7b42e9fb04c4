/** Writes of SubnamespaceAnchors: which names they may have, and that only leaves, or trees that allow it, are deleted. */
import { isExcluded, type SubnamespaceAnchor } from '#component-helpers/hierarchy/names.ts';
import { fieldErrors, statusErrors } from '#machinery/errors.ts';
import { validateDNS1123Label } from '#machinery/names.ts';
import { forbid } from '../../forbid.ts';
import { requestName } from '../../plugin.ts';
import { validateManagedMetadata } from './managed-metadata.ts';
import { conflict, type TreeRequest } from './new-parent.ts';

const EXCLUDED = 'excluded by the HNC administrator';

/** Throws StatusError. */
export async function checkAnchor(request: TreeRequest): Promise<void> {
  const { operation, internal } = request.attributes;
  if (operation !== 'DELETE') validate(request);
  if (operation === 'UPDATE') return;
  await internal.caughtUp();
  if (operation === 'CREATE') checkCreation(request);
  else checkDeletion(request);
}

function validate({ attributes }: TreeRequest): void {
  const name = requestName(attributes);
  const problems = validateDNS1123Label(name);
  const why = `not a valid namespace name: ${problems.join('; ')}`;
  const errors =
    problems.length > 0
      ? [fieldErrors.invalid('metadata.name', name, why)]
      : validateManagedMetadata((attributes.object as SubnamespaceAnchor).spec);
  if (errors.length > 0) throw statusErrors.invalid({ ...attributes.gvk, name }, errors);
}

function checkCreation(request: TreeRequest): void {
  const { attributes, forest, trees } = request;
  const { namespace } = attributes;
  const name = requestName(attributes);
  if (isExcluded(namespace))
    throw forbid(
      attributes,
      `cannot create a subnamespace in the unmanaged namespace "${namespace}" (${EXCLUDED})`,
    );
  if (isExcluded(name))
    throw forbid(
      attributes,
      `cannot create a subnamespace using the unmanaged namespace name "${name}" (${EXCLUDED})`,
    );
  if (!trees.namespace(name)) return;
  const place = forest.get(name);
  if (!place?.isSubnamespace || place.parent !== namespace)
    throw conflict(request, 'cannot create a subnamespace using an existing namespace');
}

function checkDeletion({ attributes, forest }: TreeRequest): void {
  const { name, oldObject } = attributes;
  if ((oldObject as SubnamespaceAnchor).status?.status !== 'Ok') return;
  if (forest.childrenOf(name).length === 0 || forest.allowsCascadingDeletion(name)) return;
  throw forbid(
    attributes,
    `subnamespace ${name} is not a leaf and doesn't allow cascading deletion. Please set allowCascadingDeletion flag or make it a leaf first`,
  );
}
