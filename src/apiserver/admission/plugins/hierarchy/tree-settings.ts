/** Writes of the HNCConfiguration: kinds that exist, once each, and no object that a new mode would overwrite. */
import type { Forest } from '#component-helpers/hierarchy/forest.ts';
import { CONFIG, type HNCConfiguration, type ResourceSpec } from '#component-helpers/hierarchy/names.ts';
import { isPropagatedTo } from '#component-helpers/hierarchy/selectors.ts';
import { fieldErrors, statusErrors, type FieldError } from '#machinery/errors.ts';
import { groupResourceString, type Stored } from '#machinery/object.ts';
import { forbid } from '../../forbid.ts';
import type { AdmissionKinds } from '../../kinds.ts';
import { ENFORCED, isPropagating, type PropagatingType } from './live-trees.ts';
import { conflict, gvkString, isSource, type TreeRequest } from './new-parent.ts';

/** Throws StatusError. */
export async function checkSettings(request: TreeRequest, kinds: AdmissionKinds): Promise<void> {
  const { attributes } = request;
  const { operation, name, object, gvk, internal } = attributes;
  if (operation === 'DELETE') {
    if (name === CONFIG) throw forbid(attributes, `deleting the '${CONFIG}' object is forbidden`);
    return;
  }
  const asked = (object as HNCConfiguration).spec?.resources ?? [];
  const errors = asked.flatMap((spec, index) => resourceErrors(spec, { asked, index, kinds }));
  if (errors.length > 0) throw statusErrors.invalid({ ...gvk, name: CONFIG }, errors);
  await internal.caughtUp();
  for (const type of newTypes(request, { asked, kinds })) refuseOverwriting(request, type);
}

function resourceErrors(
  { group = '', resource }: ResourceSpec,
  {
    asked,
    index,
    kinds,
  }: { readonly asked: readonly ResourceSpec[]; readonly index: number; readonly kinds: AdmissionKinds },
): FieldError[] {
  const field = `spec.resources[${index}]`;
  const name = groupResourceString(resource, group);
  const isSame = (other: ResourceSpec): boolean =>
    (other.group ?? '') === group && other.resource === resource;
  const found = kinds.storedKindOf({ group, resource });
  const errors: FieldError[] = [];
  if (!found) errors.push(fieldErrors.invalid(field, name, `no matches for ${group}/, Resource=${resource}`));
  else if (!found.namespaced)
    errors.push(fieldErrors.invalid(field, name, `resource "${name}" is not namespaced`));
  if (ENFORCED.some(isSame))
    errors.push(
      fieldErrors.invalid(field, name, "always uses the 'Propagate' mode and cannot be configured"),
    );
  if (asked.slice(0, index).some(isSame)) errors.push(fieldErrors.duplicate(field, name));
  return errors;
}

/** Those that did not propagate before. */
function newTypes(
  { trees }: TreeRequest,
  { asked, kinds }: { readonly asked: readonly ResourceSpec[]; readonly kinds: AdmissionKinds },
): PropagatingType[] {
  return asked.flatMap(({ group = '', resource, mode = 'Propagate' }) => {
    if (!isPropagating(mode) || trees.typeOf({ group, resource })) return [];
    return [{ group, resource, mode, gvk: kinds.storedKindOf({ group, resource })!.gvk }];
  });
}

function refuseOverwriting(request: TreeRequest, type: PropagatingType): void {
  const found = overwritten(request, type);
  if (found.length === 0) return;
  throw conflict(
    request,
    `Cannot update configuration because setting type "${gvkString(type.gvk)}" to 'Propagate' mode or 'AllowPropagate' mode would overwrite user-created object(s):\n${found.join('\n')}\nTo fix this, please rename or remove the conflicting objects first.`,
  );
}

function overwritten({ attributes, forest, trees }: TreeRequest, type: PropagatingType): string[] {
  const sources = Map.groupBy(
    attributes.internal.list(type).filter(isSource),
    ({ metadata }) => metadata.name,
  );
  const found: string[] = [];
  for (const [name, objects] of sources) {
    if (objects.length < 2) continue;
    for (const { upper, lower } of pairs(objects, forest)) {
      const labels = { ...trees.namespace(lower)?.metadata.labels, ...forest.treeLabelsOf(lower) };
      if (isPropagatedTo(upper, { ref: type.gvk, mode: type.mode, labels }))
        found.push(
          `  Object "${name}" in namespace "${upper.metadata.namespace}" would overwrite the one in "${lower}"`,
        );
    }
  }
  return found;
}

interface Pair {
  readonly upper: Stored;
  /** The namespace of the other. */
  readonly lower: string;
}

/** Of namesakes, those of which one is in an ancestor of the other's namespace. */
function pairs(objects: readonly Stored[], forest: Forest): Pair[] {
  return objects.flatMap(({ metadata: { namespace: lower = '' } }) => {
    const ancestors = forest.ancestorsOf(lower);
    return objects
      .filter(({ metadata }) => ancestors.includes(metadata.namespace ?? ''))
      .map((upper) => ({ upper, lower }));
  });
}
