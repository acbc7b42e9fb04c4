/** Workloads: apps, batch, autoscaling, policy. */
import { selector, smallPodSpec, template } from './pods.ts';
import type { Bases } from './base-table.ts';

const jobTemplate = { metadata: { labels: { app: 'a' } }, spec: { ...smallPodSpec, restartPolicy: 'Never' } };
const jobSpec = {
  template: jobTemplate,
  parallelism: 2,
  completions: 4,
  completionMode: 'Indexed',
  backoffLimitPerIndex: 1,
  maxFailedIndexes: 2,
  activeDeadlineSeconds: 100,
  ttlSecondsAfterFinished: 10,
  suspend: true,
  podReplacementPolicy: 'Failed',
  managedBy: 'example.com/m',
  podFailurePolicy: {
    rules: [
      { action: 'FailIndex', onExitCodes: { containerName: 'c', operator: 'In', values: [1, 42] } },
      { action: 'Ignore', onPodConditions: [{ type: 'DisruptionTarget', status: 'True' }] },
    ],
  },
  successPolicy: { rules: [{ succeededIndexes: '0-1', succeededCount: 1 }] },
};
const target = { kind: 'Deployment', name: 'd', apiVersion: 'apps/v1' };
const claim = {
  metadata: { name: 'd' },
  spec: { accessModes: ['ReadWriteOnce'], resources: { requests: { storage: '1Gi' } } },
};

export const appsBases: Bases = {
  'apps/v1/ControllerRevision': { small: { revision: 1, data: { a: [1, { b: null }] } } },
  'apps/v1/DaemonSet': {
    small: { spec: { selector, template } },
    rich: {
      spec: {
        selector,
        template,
        minReadySeconds: 5,
        revisionHistoryLimit: 3,
        updateStrategy: { type: 'RollingUpdate', rollingUpdate: { maxUnavailable: '10%', maxSurge: 0 } },
      },
    },
  },
  'apps/v1/Deployment': {
    small: { spec: { selector, template } },
    rich: {
      spec: {
        replicas: 3,
        selector: {
          matchLabels: { app: 'a' },
          matchExpressions: [{ key: 'app', operator: 'In', values: ['a'] }],
        },
        template,
        strategy: { type: 'RollingUpdate', rollingUpdate: { maxSurge: 1, maxUnavailable: '50%' } },
        minReadySeconds: 5,
        revisionHistoryLimit: 3,
        progressDeadlineSeconds: 60,
        paused: true,
      },
    },
    recreate: { spec: { selector, template, strategy: { type: 'Recreate' } } },
  },
  'apps/v1/ReplicaSet': {
    small: { spec: { selector, template } },
    rich: { spec: { replicas: 2, minReadySeconds: 3, selector, template } },
  },
  'apps/v1/StatefulSet': {
    small: { spec: { serviceName: 's', selector, template } },
    rich: {
      spec: {
        replicas: 2,
        serviceName: 's',
        selector,
        template,
        podManagementPolicy: 'Parallel',
        updateStrategy: { type: 'RollingUpdate', rollingUpdate: { partition: 1, maxUnavailable: 2 } },
        revisionHistoryLimit: 3,
        minReadySeconds: 1,
        persistentVolumeClaimRetentionPolicy: { whenDeleted: 'Delete', whenScaled: 'Retain' },
        ordinals: { start: 5 },
        volumeClaimTemplates: [claim],
      },
    },
  },
  'batch/v1/Job': {
    small: { spec: { template: jobTemplate } },
    rich: { spec: jobSpec },
    manual: { spec: { manualSelector: true, selector, template: jobTemplate, backoffLimit: 3 } },
  },
  'batch/v1/CronJob': {
    small: { spec: { schedule: '*/5 * * * *', jobTemplate: { spec: { template: jobTemplate } } } },
    rich: {
      spec: {
        schedule: '0 1 * * 1-5',
        timeZone: 'Etc/UTC',
        startingDeadlineSeconds: 60,
        concurrencyPolicy: 'Forbid',
        suspend: true,
        successfulJobsHistoryLimit: 2,
        failedJobsHistoryLimit: 1,
        jobTemplate: { metadata: { labels: { a: 'b' } }, spec: { template: jobTemplate } },
      },
    },
  },
  'autoscaling/v1/HorizontalPodAutoscaler': {
    small: { spec: { scaleTargetRef: target, maxReplicas: 3 } },
    rich: {
      spec: { scaleTargetRef: target, minReplicas: 2, maxReplicas: 5, targetCPUUtilizationPercentage: 50 },
    },
  },
  'autoscaling/v2/HorizontalPodAutoscaler': {
    small: { spec: { scaleTargetRef: target, maxReplicas: 3 } },
    rich: {
      spec: {
        scaleTargetRef: target,
        minReplicas: 2,
        maxReplicas: 5,
        metrics: [
          {
            type: 'Resource',
            resource: { name: 'cpu', target: { type: 'Utilization', averageUtilization: 50 } },
          },
          {
            type: 'ContainerResource',
            containerResource: {
              name: 'memory',
              container: 'c',
              target: { type: 'AverageValue', averageValue: '1Gi' },
            },
          },
          {
            type: 'Pods',
            pods: { metric: { name: 'm', selector }, target: { type: 'AverageValue', averageValue: '5' } },
          },
          {
            type: 'Object',
            object: {
              describedObject: { kind: 'Service', name: 's', apiVersion: 'v1' },
              metric: { name: 'm' },
              target: { type: 'Value', value: '3' },
            },
          },
          {
            type: 'External',
            external: { metric: { name: 'm', selector }, target: { type: 'Value', value: '3' } },
          },
        ],
        behavior: {
          scaleUp: {
            stabilizationWindowSeconds: 30,
            selectPolicy: 'Max',
            policies: [
              { type: 'Pods', value: 2, periodSeconds: 15 },
              { type: 'Percent', value: 50, periodSeconds: 30 },
            ],
          },
          scaleDown: { selectPolicy: 'Disabled', policies: [{ type: 'Pods', value: 2, periodSeconds: 15 }] },
        },
      },
    },
  },
  'policy/v1/PodDisruptionBudget': {
    small: { spec: { minAvailable: 1, selector } },
    rich: {
      spec: {
        maxUnavailable: '50%',
        selector: { matchExpressions: [{ key: 'a', operator: 'NotIn', values: ['b'] }] },
        unhealthyPodEvictionPolicy: 'AlwaysAllow',
      },
    },
    nothing: { spec: {} },
  },
};
