/** ReplicationController, the predecessor of ReplicaSet. */
import type { ReplicationController } from '#api/types.ts';
import { checkNonNegative, mapSelectorMatches } from '../checks.ts';
import { defineResource } from '../define.ts';
import { prepareCreate, prepareUpdate } from '../apps/pod-owner.ts';
import { checkReplicaStatus } from '../apps/replica-status.ts';
import { Errors, SPEC } from '../field-path.ts';
import { keepAllButStatus } from '../strategy.ts';
import { formatAge, columns, containerImages, containerNames, formatLabels, nameOf } from '../tables.ts';
import { defaultPodTemplate } from './pod/defaults.ts';
import { checkPodTemplate } from './pod/spec.ts';
import { workloadWarnings } from './pod/warnings.ts';

export const replicationcontrollers = defineResource<ReplicationController>({
  group: '',
  plural: 'replicationcontrollers',
  defaultPropagation: 'orphan',
  applyDefaults: (controller) => {
    const spec = (controller.spec ??= {});
    const labels = spec.template?.metadata?.labels;
    if (labels && Object.keys(labels).length > 0) {
      if (Object.keys(spec.selector ?? {}).length === 0) spec.selector = { ...labels };
      const meta = (controller.metadata ??= {});
      if (Object.keys(meta.labels ?? {}).length === 0) meta.labels = { ...labels };
    }
    spec.replicas ??= 1;
    defaultPodTemplate(spec.template);
  },
  prepareForCreate: (controller, context) => {
    prepareCreate(controller, context);
    controller.status = { replicas: 0 };
  },
  prepareForUpdate: prepareUpdate,
  validate,
  validateUpdate: (next, _previous, context) => validate(next, context),
  status: {
    prepareForUpdate: keepAllButStatus,
    validateUpdate: (next) => checkReplicaStatus(next.status ?? { replicas: 0 }),
  },
  warnings: (controller, previous) =>
    workloadWarnings(controller, previous, {
      template: controller.spec?.template,
      path: 'spec.template',
      namesPods: true,
    }),
  fieldSelectors: { 'status.replicas': (controller) => String(controller.status?.replicas ?? 0) },
  scale: {
    get: ({ spec, status }) => ({
      specReplicas: spec?.replicas ?? 0,
      statusReplicas: status?.replicas ?? 0,
      selector: Object.entries(spec?.selector ?? {})
        .sort()
        .map(([key, value]) => `${key}=${value}`)
        .join(','),
    }),
    setReplicas: (controller, replicas) => {
      (controller.spec ??= {}).replicas = replicas;
    },
  },
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
    row: (controller, context) => {
      const { spec, status } = controller;
      return [
        nameOf(controller),
        spec?.replicas ?? 0,
        status?.replicas ?? 0,
        status?.readyReplicas ?? 0,
        formatAge(controller, context),
        containerNames(spec?.template?.spec),
        containerImages(spec?.template?.spec),
        formatLabels(spec?.selector),
      ];
    },
  },
});

function validate(controller: ReplicationController, _context: unknown): Errors['list'] {
  const errors = new Errors(),
    spec = controller.spec ?? {},
    path = SPEC.child('template'),
    template = spec.template;
  checkNonNegative(spec.minReadySeconds, SPEC, 'minReadySeconds', errors);
  if (Object.keys(spec.selector ?? {}).length === 0) errors.required(SPEC.child('selector'));
  checkNonNegative(spec.replicas, SPEC, 'replicas', errors);
  if (!template) {
    errors.required(path);
    return errors.list;
  }
  const labels = template.metadata?.labels;
  if (!mapSelectorMatches(spec.selector, labels))
    errors.invalid(
      path.child('metadata').child('labels'),
      labels,
      '`selector` does not match template `labels`',
    );
  checkPodTemplate(template, path, errors);
  const restartPolicy = template.spec?.restartPolicy;
  if (restartPolicy !== 'Always')
    errors.notSupported(path.child('spec').child('restartPolicy'), restartPolicy, ['Always']);
  if (template.spec?.activeDeadlineSeconds !== undefined)
    errors.forbidden(
      path.child('spec').child('activeDeadlineSeconds'),
      'activeDeadlineSeconds in ReplicationController is not Supported',
    );
  return errors.list;
}
