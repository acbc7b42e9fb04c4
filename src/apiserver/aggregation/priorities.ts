/** In which order discovery lists groups and versions: what upstream's APIServices of the built-in API say. Higher comes first. */

export interface Priority {
  readonly group: number;
  readonly version: number;
}

const GROUPS: Readonly<Record<string, number>> = {
  '': 18_000,
  apps: 17_800,
  'events.k8s.io': 17_750,
  'authentication.k8s.io': 17_700,
  'authorization.k8s.io': 17_600,
  autoscaling: 17_500,
  batch: 17_400,
  'certificates.k8s.io': 17_300,
  'networking.k8s.io': 17_200,
  policy: 17_100,
  'rbac.authorization.k8s.io': 17_000,
  'storage.k8s.io': 16_800,
  'apiextensions.k8s.io': 16_700,
  'admissionregistration.k8s.io': 16_700,
  'scheduling.k8s.io': 16_600,
  'coordination.k8s.io': 16_500,
  'node.k8s.io': 16_300,
  'discovery.k8s.io': 16_200,
  'resource.k8s.io': 16_200,
  'flowcontrol.apiserver.k8s.io': 16_100,
  'internal.apiserver.k8s.io': 16_000,
  'storagemigration.k8s.io': 15_800,
};

const VERSIONS: Readonly<Record<string, number>> = {
  '/v1': 1,
  'autoscaling/v2': 30,
  'autoscaling/v1': 15,
  'flowcontrol.apiserver.k8s.io/v1': 21,
  'resource.k8s.io/v1': 21,
  'resource.k8s.io/v1beta2': 15,
};

/** Of every version of a group that CustomResourceDefinitions define. */
export const CUSTOM_PRIORITY: Priority = { group: 1000, version: 100 };

/** The aggregator's own group, which has no APIService and comes before all others. */
export const AGGREGATOR_GROUP = 'apiregistration.k8s.io';

export function builtinPriority({
  group,
  version,
}: {
  readonly group: string;
  readonly version: string;
}): Priority {
  if (group === AGGREGATOR_GROUP) return { group: 20_001, version: 15 };
  const known = VERSIONS[`${group}/${version}`];
  return {
    group: GROUPS[group] ?? CUSTOM_PRIORITY.group,
    version: known ?? (version.includes('alpha') ? 9 : version.includes('beta') ? 12 : 15),
  };
}
