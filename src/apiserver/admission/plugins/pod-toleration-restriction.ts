/**
 * PodTolerationRestriction: adds the tolerations of the namespace's annotation (else the cluster's default) to pods, and refuses tolerations that the
 * namespace's list (else the cluster's) does not imply. Pods other than best-effort ones tolerate memory pressure.
 */
import { plainError } from '../../handlers/connect/errors.ts';
import type { Pod, Toleration } from '#api/types.ts';
import { computePodQOS } from '#component-helpers/pod-qos.ts';
import { forbid, isTarget } from '../forbid.ts';
import type { AdmissionAttributes, AdmissionPlugin } from '../plugin.ts';
import { impliesToleration, mergeTolerations } from './tolerations.ts';

const DEFAULTS = 'scheduler.alpha.kubernetes.io/defaultTolerations';
const ALLOWED = 'scheduler.alpha.kubernetes.io/tolerationsWhitelist';
const MEMORY_PRESSURE: Toleration = {
  key: 'node.kubernetes.io/memory-pressure',
  operator: 'Exists',
  effect: 'NoSchedule',
};

export interface PodTolerationRestrictionOptions {
  readonly default?: readonly Toleration[];
  readonly whitelist?: readonly Toleration[];
}

export function podTolerationRestriction(options: PodTolerationRestrictionOptions = {}): AdmissionPlugin {
  return {
    name: 'PodTolerationRestriction',
    handles: (operation, target) =>
      (operation === 'CREATE' || operation === 'UPDATE') && isTarget(target, '', 'pods'),
    admit(attributes) {
      const { spec } = attributes.object as Pod;
      if (!spec) return;
      const added =
        attributes.operation === 'CREATE'
          ? [...(annotated(attributes, DEFAULTS) ?? options.default ?? [])]
          : [];
      if (computePodQOS(spec) !== 'BestEffort') added.push(MEMORY_PRESSURE);
      if (added.length > 0) spec.tolerations = mergeTolerations(spec.tolerations ?? [], added);
    },
    validate(attributes) {
      const tolerations = (attributes.object as Pod).spec?.tolerations ?? [];
      if (tolerations.length === 0) return;
      const own = annotated(attributes, ALLOWED);
      const allowed = own ?? options.whitelist ?? [];
      if (
        allowed.length === 0 ||
        tolerations.every((toleration) => allowed.some((wider) => impliesToleration(wider, toleration)))
      )
        return;
      throw plainError(
        `pod tolerations (possibly merged with namespace default tolerations) conflict with its ${own ? 'namespace' : 'cluster'} whitelist`,
      );
    },
  };
}

/** Undefined: the namespace has no such annotation. */
function annotated(attributes: AdmissionAttributes, name: string): readonly Toleration[] | undefined {
  const text = attributes.internal.get({ group: '', resource: 'namespaces' }, { name: attributes.namespace })
    ?.metadata?.annotations?.[name];
  if (text === undefined || text === '') return undefined;
  try {
    const value = JSON.parse(text) as unknown;
    if (Array.isArray(value)) return value as Toleration[];
  } catch {
    // Refused below.
  }
  throw forbid(
    attributes,
    `the annotation ${name} of namespace ${attributes.namespace} is no JSON list of tolerations`,
  );
}
