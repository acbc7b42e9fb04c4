/** Priority: resolves a pod's priority class to a number, and allows one default class only. */
import type { Pod, PriorityClass } from '#api/types.ts';
import type { InternalApi } from '../../registry/loopback-client.ts';
import { forbid, isTarget } from '../forbid.ts';
import type { AdmissionAttributes, AdmissionPlugin } from '../plugin.ts';

const PRIORITY_CLASSES = { group: 'scheduling.k8s.io', resource: 'priorityclasses' } as const;
const DEFAULT_PREEMPTION_POLICY = 'PreemptLowerPriority';

/** Classes that every cluster has: the server's bootstrap makes them, and pods may come before it is done. */
const SYSTEM_PRIORITY_CLASSES: readonly PriorityClass[] = [
  { metadata: { name: 'system-node-critical' }, value: 2_000_001_000 },
  { metadata: { name: 'system-cluster-critical' }, value: 2_000_000_000 },
];

export const priority: AdmissionPlugin = {
  name: 'Priority',
  handles: (operation, target) =>
    (isTarget(target, '', 'pods') && (operation === 'CREATE' || operation === 'UPDATE')) ||
    (isTarget(target, 'scheduling.k8s.io', 'priorityclasses') && operation !== 'CONNECT'),
  admit(attributes) {
    if (attributes.gvr.resource === 'pods') admitPod(attributes);
  },
  validate(attributes) {
    if (attributes.gvr.resource !== 'priorityclasses') return;
    if (attributes.operation === 'DELETE') refuseSystemClass(attributes);
    else checkSingleDefault(attributes);
  },
};

function admitPod(attributes: AdmissionAttributes): void {
  const spec = (attributes.object as Pod).spec;
  if (!spec) return;
  if (attributes.operation === 'UPDATE') {
    const previous = (attributes.oldObject as Pod | undefined)?.spec;
    // Old clients that do not know the fields must not clear them.
    if (spec.priority === undefined && previous?.priority !== undefined) spec.priority = previous.priority;
    if (spec.preemptionPolicy === undefined && previous?.preemptionPolicy !== undefined)
      spec.preemptionPolicy = previous.preemptionPolicy;
    return;
  }
  const found = classFor(spec.priorityClassName, attributes);
  const value = found?.value ?? 0;
  const policy = found?.preemptionPolicy ?? DEFAULT_PREEMPTION_POLICY;
  if (spec.priority !== undefined && spec.priority !== value)
    throw forbid(
      attributes,
      `the integer value of priority (${spec.priority}) must not be provided in pod spec; priority admission controller computed ${value} from the given PriorityClass name`,
    );
  if (spec.preemptionPolicy !== undefined && spec.preemptionPolicy !== policy)
    throw forbid(
      attributes,
      `the string value of PreemptionPolicy (${spec.preemptionPolicy}) must not be provided in pod spec; priority admission controller computed ${policy} from the given PriorityClass name`,
    );
  if (found?.metadata?.name) spec.priorityClassName = found.metadata.name;
  spec.priority = value;
  spec.preemptionPolicy = policy;
}

function classFor(name: string | undefined, attributes: AdmissionAttributes): PriorityClass | undefined {
  if (!name) return defaultClass(attributes.internal);
  const found =
    attributes.internal.get(PRIORITY_CLASSES, { name }) ??
    SYSTEM_PRIORITY_CLASSES.find((known) => known.metadata?.name === name);
  if (!found) throw forbid(attributes, `no PriorityClass with name ${name} was found`);
  return found as PriorityClass;
}

/** There may be several by a race of two servers: the lowest value counts. */
function defaultClass(internal: InternalApi): PriorityClass | undefined {
  const defaults = (internal.list(PRIORITY_CLASSES) as PriorityClass[]).filter(
    (item) => item.globalDefault === true,
  );
  return defaults.toSorted((left, right) => (left.value ?? 0) - (right.value ?? 0))[0];
}

/** Upstream's storage refuses it. */
function refuseSystemClass(attributes: AdmissionAttributes): void {
  if (SYSTEM_PRIORITY_CLASSES.some(({ metadata }) => metadata?.name === attributes.name))
    throw forbid(attributes, 'this is a system priority class and cannot be deleted');
}

function checkSingleDefault(attributes: AdmissionAttributes): void {
  const wanted = attributes.object as PriorityClass;
  if (wanted.globalDefault !== true) return;
  const current = defaultClass(attributes.internal);
  if (current && current.metadata?.name !== wanted.metadata?.name)
    throw forbid(
      attributes,
      `PriorityClass ${current.metadata?.name ?? ''} is already marked as default. Only one default can exist`,
    );
}
