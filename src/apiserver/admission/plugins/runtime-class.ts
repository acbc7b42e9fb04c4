/** RuntimeClass: a pod that names one gets its overhead, node selector and tolerations. */
import type { Pod, RuntimeClass, Toleration } from '#api/types.ts';
import { validatePathSegmentName } from '#machinery/names.ts';
import { sameResourceList } from '#component-helpers/pod-resources.ts';
import { statusErrors } from '#machinery/errors.ts';
import { isGiven } from '#machinery/given-empty.ts';
import { forbid, isTarget } from '../forbid.ts';
import type { AdmissionAttributes, AdmissionPlugin } from '../plugin.ts';

export const runtimeClass: AdmissionPlugin = {
  name: 'RuntimeClass',
  handles: (operation, target) => operation === 'CREATE' && isTarget(target, '', 'pods'),
  admit(attributes) {
    const spec = (attributes.object as Pod).spec;
    const found = spec && classOf(attributes);
    if (!spec || !found) return;
    if (found.overhead?.podFixed && !isGiven(spec, 'overhead'))
      spec.overhead = { ...found.overhead.podFixed };
    const { nodeSelector, tolerations } = found.scheduling ?? {};
    for (const [key, value] of Object.entries(nodeSelector ?? {})) {
      const own = spec.nodeSelector?.[key];
      if (own !== undefined && own !== value)
        throw forbid(
          attributes,
          `conflict: runtimeClass.scheduling.nodeSelector[${key}] = ${value}; pod.spec.nodeSelector[${key}] = ${own}`,
        );
    }
    if (nodeSelector) spec.nodeSelector = { ...spec.nodeSelector, ...nodeSelector };
    const added = (tolerations ?? []).filter(
      (wanted) => !(spec.tolerations ?? []).some((own) => sameToleration(own, wanted)),
    );
    if (added.length > 0) spec.tolerations = [...(spec.tolerations ?? []), ...added];
  },
  validate(attributes) {
    const { spec } = attributes.object as Pod;
    const fixed = classOf(attributes)?.overhead?.podFixed;
    if (!fixed) {
      if (isGiven(spec, 'overhead'))
        throw forbid(
          attributes,
          'pod rejected: Pod Overhead set without corresponding RuntimeClass defined Overhead',
        );
      return;
    }
    if (!sameResourceList(spec?.overhead ?? {}, fixed))
      throw forbid(attributes, "pod rejected: Pod's Overhead doesn't match RuntimeClass's defined Overhead");
  },
};

function classOf(attributes: AdmissionAttributes): RuntimeClass | undefined {
  const name = (attributes.object as Pod).spec?.runtimeClassName;
  if (name === undefined) return undefined;
  // The name becomes a part of a path, whose validation rejects it first.
  if (name === '') throw statusErrors.badRequest('resource name may not be empty');
  const problems = validatePathSegmentName(name);
  if (problems.length > 0)
    throw statusErrors.badRequest(`invalid resource name ${JSON.stringify(name)}: [${problems.join(' ')}]`);
  const found = attributes.internal.get({ group: 'node.k8s.io', resource: 'runtimeclasses' }, { name });
  if (!found) throw forbid(attributes, `pod rejected: RuntimeClass "${name}" not found`);
  return found as RuntimeClass;
}

function sameToleration(left: Toleration, right: Toleration): boolean {
  return (
    left.key === right.key &&
    left.operator === right.operator &&
    left.value === right.value &&
    left.effect === right.effect &&
    left.tolerationSeconds === right.tolerationSeconds
  );
}
