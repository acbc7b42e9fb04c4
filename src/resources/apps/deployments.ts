/** Deployment. */
import type { Deployment, DeploymentSpec, DeploymentStatus } from '#api/types.ts';
import type { FieldError } from '#machinery/errors.ts';
import {
  checkAtMost100Percent,
  checkNonNegative,
  checkPositiveIntOrPercent,
  intOrPercentValue,
} from '../checks.ts';
import { defaultPodTemplate } from '../core/pod/defaults.ts';
import { workloadWarnings } from '../core/pod/warnings.ts';
import { defineResource } from '../define.ts';
import { Errors, SPEC, STATUS } from '../field-path.ts';
import { keepAllButStatus, metaOf, semanticEqual } from '../strategy.ts';
import { formatAge, columns, containerImages, containerNames, formatSelector, nameOf } from '../tables.ts';
import {
  checkPodOwner,
  checkSelectorKept,
  prepareCreate,
  prepareUpdate,
  replicasScale,
} from './pod-owner.ts';

const NAMES = { kind: 'deployment', title: 'ReplicaSet' };

export const deployments = defineResource<Deployment>({
  group: 'apps',
  plural: 'deployments',
  written: { status: { without: ['spec', 'metadata.labels'] } },
  applyDefaults: (deployment) => {
    const spec = (deployment.spec ??= {} as DeploymentSpec);
    spec.replicas ??= 1;
    const strategy = (spec.strategy ??= {});
    strategy.type ||= 'RollingUpdate';
    if (strategy.type === 'RollingUpdate') {
      const rolling = (strategy.rollingUpdate ??= {});
      rolling.maxUnavailable ??= '25%';
      rolling.maxSurge ??= '25%';
    }
    spec.revisionHistoryLimit ??= 10;
    spec.progressDeadlineSeconds ??= 600;
    defaultPodTemplate(spec.template);
  },
  prepareForCreate: prepareCreate,
  prepareForUpdate: (next, previous, context) => {
    prepareUpdate(next, previous, context);
    // Annotation changes count too, because the controller copies them to replica sets.
    if (
      next.metadata?.generation === previous.metadata?.generation &&
      !semanticEqual(next.metadata?.annotations, previous.metadata?.annotations)
    ) {
      metaOf(next).generation = (previous.metadata?.generation ?? 0) + 1;
    }
  },
  validate: (deployment) => {
    const errors = new Errors();
    checkSpec(deployment.spec ?? ({} as DeploymentSpec), errors);
    return errors.list;
  },
  validateUpdate: (next, previous) => {
    const errors = new Errors();
    checkSpec(next.spec ?? ({} as DeploymentSpec), errors);
    checkSelectorKept(next.spec?.selector, previous.spec?.selector, errors);
    return errors.list;
  },
  status: {
    prepareForUpdate: (next, previous) => {
      keepAllButStatus(next, previous);
      const labels = previous.metadata?.labels;
      if (labels) metaOf(next).labels = labels;
      else delete metaOf(next).labels;
    },
    validateUpdate: (next, previous) => checkStatus(next.status ?? {}, previous.status ?? {}),
  },
  warnings: (deployment, previous) =>
    workloadWarnings(deployment, previous, {
      template: deployment.spec?.template,
      path: 'spec.template',
      namesPods: true,
    }),
  scale: replicasScale,
  table: {
    columns: columns(
      'Name',
      'Ready',
      'Up-to-date',
      'Available',
      'Age',
      'Containers:wide',
      'Images:wide',
      'Selector:wide',
    ),
    row: (deployment, context) => {
      const { spec, status } = deployment;
      return [
        nameOf(deployment),
        `${status?.readyReplicas ?? 0}/${spec?.replicas ?? 0}`,
        status?.updatedReplicas ?? 0,
        status?.availableReplicas ?? 0,
        formatAge(deployment, context),
        containerNames(spec?.template?.spec),
        containerImages(spec?.template?.spec),
        formatSelector(spec?.selector),
      ];
    },
  },
});

function checkSpec(spec: DeploymentSpec, errors: Errors): void {
  checkNonNegative(spec.replicas, SPEC, 'replicas', errors);
  checkPodOwner(spec, NAMES, errors);
  checkStrategy(spec, errors);
  checkNonNegative(spec.minReadySeconds, SPEC, 'minReadySeconds', errors);
  checkNonNegative(spec.revisionHistoryLimit, SPEC, 'revisionHistoryLimit', errors);
  const deadline = spec.progressDeadlineSeconds,
    path = SPEC.child('progressDeadlineSeconds');
  if (deadline === undefined) return;
  checkNonNegative(deadline, SPEC, 'progressDeadlineSeconds', errors);
  if (deadline <= (spec.minReadySeconds ?? 0))
    errors.invalid(path, deadline, 'must be greater than minReadySeconds');
}

function checkStrategy(spec: DeploymentSpec, errors: Errors): void {
  const path = SPEC.child('strategy'),
    { type, rollingUpdate } = spec.strategy ?? {};
  if (type === 'Recreate') {
    if (rollingUpdate)
      errors.forbidden(
        path.child('rollingUpdate'),
        "may not be specified when strategy `type` is 'Recreate'",
      );
    return;
  }
  if (type !== 'RollingUpdate') {
    errors.notSupported(path, spec.strategy ?? {}, ['Recreate', 'RollingUpdate']);
    return;
  }
  const at = path.child('rollingUpdate');
  if (!rollingUpdate) {
    errors.required(at, 'this should be defaulted and never be nil');
    return;
  }
  checkPositiveIntOrPercent(rollingUpdate.maxUnavailable, at.child('maxUnavailable'), errors);
  checkPositiveIntOrPercent(rollingUpdate.maxSurge, at.child('maxSurge'), errors);
  if (
    intOrPercentValue(rollingUpdate.maxUnavailable) === 0 &&
    intOrPercentValue(rollingUpdate.maxSurge) === 0
  )
    errors.invalid(
      at.child('maxUnavailable'),
      rollingUpdate.maxUnavailable,
      'may not be 0 when `maxSurge` is 0',
    );
  checkAtMost100Percent(rollingUpdate.maxUnavailable, at.child('maxUnavailable'), errors);
}

const COUNTS = [
  'observedGeneration',
  'replicas',
  'updatedReplicas',
  'readyReplicas',
  'availableReplicas',
  'unavailableReplicas',
  'terminatingReplicas',
  'collisionCount',
] as const;

function checkStatus(status: DeploymentStatus, stored: DeploymentStatus): FieldError[] {
  const errors = new Errors();
  for (const field of COUNTS) checkNonNegative(status[field], STATUS, field, errors);
  const { replicas = 0, readyReplicas = 0, availableReplicas = 0 } = status;
  for (const field of ['updatedReplicas', 'readyReplicas', 'availableReplicas'] as const)
    if ((status[field] ?? 0) > replicas)
      errors.invalid(STATUS.child(field), status[field] ?? 0, 'cannot be greater than status.replicas');
  if (availableReplicas > readyReplicas)
    errors.invalid(
      STATUS.child('availableReplicas'),
      availableReplicas,
      'cannot be greater than readyReplicas',
    );
  if (stored.collisionCount !== undefined && (status.collisionCount ?? -1) < stored.collisionCount)
    errors.invalid(STATUS.child('collisionCount'), status.collisionCount, 'cannot be decremented');
  return errors.list;
}
