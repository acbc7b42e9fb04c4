/** ReplicaSet. */
import type { ReplicaSet, ReplicaSetSpec } from '#api/types.ts';
import { defaultPodTemplate } from '../core/pod/defaults.ts';
import { workloadWarnings } from '../core/pod/warnings.ts';
import { defineResource } from '../define.ts';
import { Errors } from '../field-path.ts';
import { keepAllButStatus } from '../strategy.ts';
import { formatAge, columns, containerImages, containerNames, formatSelector, nameOf } from '../tables.ts';
import {
  checkCounts,
  checkPodOwner,
  checkSelectorKept,
  prepareCreate,
  prepareUpdate,
  replicasScale,
} from './pod-owner.ts';
import { checkReplicaStatus } from './replica-status.ts';

const NAMES = { kind: 'deployment', title: 'ReplicaSet' };

export const replicasets = defineResource<ReplicaSet>({
  group: 'apps',
  plural: 'replicasets',
  applyDefaults: (set) => {
    const spec = (set.spec ??= {} as ReplicaSetSpec);
    spec.replicas ??= 1;
    defaultPodTemplate(spec.template);
  },
  prepareForCreate: (set, context) => {
    prepareCreate(set, context);
    set.status = { replicas: 0 };
  },
  prepareForUpdate: prepareUpdate,
  validate: (set) => {
    const errors = new Errors();
    checkSpec(set.spec, errors);
    return errors.list;
  },
  validateUpdate: (next, previous) => {
    const errors = new Errors();
    checkSpec(next.spec, errors);
    checkSelectorKept(next.spec?.selector, previous.spec?.selector, errors);
    return errors.list;
  },
  status: {
    prepareForUpdate: keepAllButStatus,
    validateUpdate: (next) => checkReplicaStatus(next.status ?? {}),
  },
  warnings: (set, previous) =>
    workloadWarnings(set, previous, { template: set.spec?.template, path: 'spec.template', namesPods: true }),
  scale: replicasScale,
  table: {
    columns: columns(
      'Name',
      'Desired:integer',
      'Current:integer',
      'Ready:integer',
      'Age',
      'Containers:wide',
      'Images:wide',
      'Selector:wide',
    ),
    row: (set, context) => [
      nameOf(set),
      set.spec?.replicas ?? 0,
      set.status?.replicas ?? 0,
      set.status?.readyReplicas ?? 0,
      formatAge(set, context),
      containerNames(set.spec?.template?.spec),
      containerImages(set.spec?.template?.spec),
      formatSelector(set.spec?.selector),
    ],
  },
});

function checkSpec(given: ReplicaSetSpec | undefined, errors: Errors): void {
  const spec = given ?? ({} as ReplicaSetSpec);
  checkCounts(spec, errors);
  checkPodOwner(spec, NAMES, errors);
}
