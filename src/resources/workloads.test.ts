import assert from 'node:assert/strict';
import { test } from 'node:test';
import type {
  CronJob,
  DaemonSet,
  Deployment,
  HorizontalPodAutoscaler,
  Job,
  ReplicaSet,
  StatefulSet,
} from '#api/types.ts';
import type { KubeObject } from '#machinery/object.ts';
import { resourceByPath } from './registry.ts';
import { create, row, update } from './testing/write-case.ts';

const template = (labels: object = { app: 'a' }, spec: object = {}): object => ({
  metadata: { labels },
  spec: { containers: [{ name: 'c', image: 'c' }], ...spec },
});
const workload = (spec: object = {}, metadata: object = {}): object => ({
  metadata: { name: 'w', namespace: 'default', ...metadata },
  spec: { selector: { matchLabels: { app: 'a' } }, template: template(), ...spec },
});

test('deployments', () => {
  const { object, errors } = create<Deployment>('apps/deployments', workload());
  const { replicas, strategy, revisionHistoryLimit, progressDeadlineSeconds } = object.spec!;
  assert.deepEqual(errors, []);
  assert.deepEqual(
    { replicas, strategy, revisionHistoryLimit, progressDeadlineSeconds },
    {
      replicas: 1,
      strategy: { type: 'RollingUpdate', rollingUpdate: { maxUnavailable: '25%', maxSurge: '25%' } },
      revisionHistoryLimit: 10,
      progressDeadlineSeconds: 600,
    },
  );
  assert.equal(object.metadata?.generation, 1);
  assert.deepEqual(
    create(
      'apps/deployments',
      workload({
        replicas: -1,
        selector: {},
        template: template({ app: 'b' }, { restartPolicy: 'Never' }),
        progressDeadlineSeconds: 5,
        minReadySeconds: 5,
        strategy: { rollingUpdate: { maxUnavailable: 0, maxSurge: 0 } },
      }),
    ).errors,
    [
      'spec.replicas: Invalid value: -1: must be greater than or equal to 0',
      'spec.selector: Invalid value: {}: empty selector is invalid for deployment',
      'spec.template.spec.restartPolicy: Unsupported value: "Never": supported values: "Always"',
      'spec.strategy.rollingUpdate.maxUnavailable: Invalid value: 0: may not be 0 when `maxSurge` is 0',
      'spec.progressDeadlineSeconds: Invalid value: 5: must be greater than minReadySeconds',
    ],
  );
  assert.deepEqual(create('apps/deployments', workload({ template: template({ app: 'b' }) })).errors, [
    'spec.template.metadata.labels: Invalid value: {"app":"b"}: `selector` does not match template `labels`',
  ]);
  assert.deepEqual(
    update<Deployment>('apps/deployments', object, (next) => {
      next.spec!.selector = { matchLabels: { app: 'a', x: 'y' } };
      next.spec!.template.metadata!.labels!['x'] = 'y';
    }).errors,
    ['spec.selector: Invalid value: {"matchLabels":{"app":"a","x":"y"}}: field is immutable'],
  );
  assert.equal(
    update<Deployment>('apps/deployments', object, (next) => {
      next.metadata!.labels = { z: '1' };
    }).object.metadata?.generation,
    1,
  );
  assert.equal(
    update<Deployment>('apps/deployments', object, (next) => {
      next.spec!.replicas = 2;
    }).object.metadata?.generation,
    2,
  );
  const scale = resourceByPath('apps', 'v1', 'deployments')!.scale!;
  assert.deepEqual(scale.get(object), { specReplicas: 1, statusReplicas: 0, selector: 'app=a' });
  assert.deepEqual(
    Object.values(
      row('apps/deployments', { ...object, status: { readyReplicas: 1, updatedReplicas: 1 } }),
    ).slice(0, 4),
    ['w', '1/1', 1, 0],
  );
});

test('replica sets, daemon sets, stateful sets', () => {
  const set = create<ReplicaSet>('apps/replicasets', workload());
  assert.deepEqual([set.errors, set.object.status], [[], { replicas: 0 }]);
  assert.deepEqual(
    update<ReplicaSet>(
      'apps/replicasets',
      set.object,
      (next) => {
        next.status = { replicas: 1, readyReplicas: 2 };
      },
      'status',
    ).errors,
    ['status.readyReplicas: Invalid value: 2: cannot be greater than status.replicas'],
  );
  const daemons = create<DaemonSet>('apps/daemonsets', workload());
  assert.deepEqual(
    [daemons.errors, daemons.object.spec?.updateStrategy, daemons.object.metadata?.annotations],
    [
      [],
      { type: 'RollingUpdate', rollingUpdate: { maxUnavailable: 1, maxSurge: 0 } },
      { 'deprecated.daemonset.template.generation': '1' },
    ],
  );
  const stateful = create<StatefulSet>('apps/statefulsets', workload({ serviceName: 's' }));
  assert.deepEqual(
    [stateful.errors, stateful.object.spec?.podManagementPolicy, stateful.object.spec?.updateStrategy],
    [[], 'OrderedReady', { type: 'RollingUpdate', rollingUpdate: { partition: 0 } }],
  );
  assert.deepEqual(
    update<StatefulSet>('apps/statefulsets', stateful.object, (next) => {
      next.spec!.serviceName = 't';
    }).errors,
    [
      "spec: Forbidden: updates to statefulset spec for fields other than 'replicas', 'ordinals', 'template', 'updateStrategy', 'revisionHistoryLimit', 'persistentVolumeClaimRetentionPolicy' and 'minReadySeconds' are forbidden",
    ],
  );
});

test('jobs get a generated selector', () => {
  const { object, errors } = create<Job>('batch/jobs', {
    metadata: { name: 'j', namespace: 'default', uid: 'u-1' },
    spec: { template: { spec: { restartPolicy: 'Never', containers: [{ name: 'c', image: 'c' }] } } },
  });
  assert.deepEqual(errors, []);
  assert.deepEqual(object.spec?.selector, { matchLabels: { 'batch.kubernetes.io/controller-uid': 'u-1' } });
  assert.deepEqual(object.spec?.template.metadata?.labels, {
    'batch.kubernetes.io/job-name': 'j',
    'job-name': 'j',
    'batch.kubernetes.io/controller-uid': 'u-1',
    'controller-uid': 'u-1',
  });
  const { completions, parallelism, backoffLimit, completionMode, suspend, podReplacementPolicy } =
    object.spec!;
  assert.deepEqual(
    { completions, parallelism, backoffLimit, completionMode, suspend, podReplacementPolicy },
    {
      completions: 1,
      parallelism: 1,
      backoffLimit: 6,
      completionMode: 'NonIndexed',
      suspend: false,
      podReplacementPolicy: 'TerminatingOrFailed',
    },
  );
  assert.deepEqual(
    create('batch/jobs', {
      metadata: { name: 'j', uid: 'u' },
      spec: { completionMode: 'Indexed', parallelism: 1, template: template() },
    }).errors,
    [
      'spec.completions: Required value: when completion mode is Indexed',
      'spec.template.spec.restartPolicy: Required value: valid values: "OnFailure", "Never"',
    ],
  );
  assert.match(
    update<Job>('batch/jobs', object, (next) => {
      next.spec!.template.spec!.containers[0]!.image = 'x';
    }).errors[0]!,
    /^spec.template: Invalid value: .*: field is immutable$/,
  );
  const cells = row('batch/jobs', {
    ...object,
    status: {
      succeeded: 1,
      startTime: '2026-01-02T03:00:00Z',
      completionTime: '2026-01-02T03:01:05Z',
      conditions: [{ type: 'Complete', status: 'True' }],
    },
  });
  assert.deepEqual([cells['Status'], cells['Completions'], cells['Duration']], ['Complete', '1/1', '65s']);
});

test('cron jobs', () => {
  const job = (spec: object): object => ({
    metadata: { name: 'c', namespace: 'default' },
    spec: {
      schedule: '*/5 * * * *',
      jobTemplate: { spec: { template: template({}, { restartPolicy: 'OnFailure' }) } },
      ...spec,
    },
  });
  const { object, errors } = create<CronJob>('batch/cronjobs', job({}));
  assert.deepEqual(
    [
      errors,
      object.spec?.concurrencyPolicy,
      object.spec?.suspend,
      object.spec?.successfulJobsHistoryLimit,
      object.spec?.failedJobsHistoryLimit,
    ],
    [[], 'Allow', false, 3, 1],
  );
  const schedules: readonly (readonly [schedule: string, ...errors: string[]])[] = [
    ['@daily'],
    ['0 0 1-15/2 jan-mar sun'],
    ['@sometimes', 'spec.schedule: Invalid value: "@sometimes": unrecognized descriptor: @sometimes'],
    ['* * *', 'spec.schedule: Invalid value: "* * *": expected exactly 5 fields, found 3: [* * *]'],
    ['61 * * * *', 'spec.schedule: Invalid value: "61 * * * *": end of range (61) above maximum (59): 61'],
  ];
  for (const [schedule, ...expected] of schedules)
    assert.deepEqual(create('batch/cronjobs', job({ schedule })).errors, expected);
  assert.deepEqual(create('batch/cronjobs', job({ timeZone: 'Mars/Olympus' })).errors, [
    'spec.timeZone: Invalid value: "Mars/Olympus": unknown time zone Mars/Olympus',
  ]);
});

test('autoscalers in both versions', () => {
  const resource = resourceByPath('autoscaling', 'v1', 'horizontalpodautoscalers')!;
  const old: KubeObject = {
    apiVersion: 'autoscaling/v1',
    kind: 'HorizontalPodAutoscaler',
    metadata: { name: 'h' },
    spec: {
      maxReplicas: 3,
      scaleTargetRef: { kind: 'Deployment', name: 'd' },
      targetCPUUtilizationPercentage: 50,
    },
  };
  const stored = resource.convert(old, 'autoscaling/v2') as HorizontalPodAutoscaler;
  assert.deepEqual(stored.spec?.metrics, [
    { type: 'Resource', resource: { name: 'cpu', target: { type: 'Utilization', averageUtilization: 50 } } },
  ]);
  assert.deepEqual(
    (resource.convert(stored, 'autoscaling/v1')['spec'] as Record<string, unknown>)[
      'targetCPUUtilizationPercentage'
    ],
    50,
  );
  assert.equal(row('autoscaling/horizontalpodautoscalers', stored)['Targets'], 'cpu: <unknown>/50%');
  assert.deepEqual(
    create('autoscaling/horizontalpodautoscalers', {
      metadata: { name: 'h' },
      spec: {
        minReplicas: 5,
        maxReplicas: 2,
        scaleTargetRef: { apiVersion: 'apps/v1', kind: 'D' },
        metrics: [{ type: 'Pods' }],
      },
    }).errors,
    [
      'spec.maxReplicas: Invalid value: 2: must be greater than or equal to `minReplicas`',
      'spec.scaleTargetRef.name: Required value',
      'spec.metrics[0].pods: Required value: must populate information for the given metric source',
    ],
  );
  const memory: KubeObject = {
    ...stored,
    spec: {
      ...stored.spec,
      metrics: [
        {
          type: 'Resource',
          resource: { name: 'memory', target: { type: 'AverageValue', averageValue: '1Gi' } },
        },
      ],
    },
  };
  assert.deepEqual(
    resource.convert(resource.convert(memory, 'autoscaling/v1'), 'autoscaling/v2')['spec'],
    memory['spec'],
  );
});
