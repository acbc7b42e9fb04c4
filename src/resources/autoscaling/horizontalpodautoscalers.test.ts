import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { HorizontalPodAutoscaler } from '#api/types.ts';
import { create, update } from '../testing/write-case.ts';

const PATH = 'autoscaling/horizontalpodautoscalers';
const autoscaler = (spec: object): object => ({
  metadata: { name: 'h', namespace: 'default' },
  spec: { maxReplicas: 3, scaleTargetRef: { apiVersion: 'apps/v1', kind: 'Deployment', name: 'd' }, ...spec },
});
const metric = (...metrics: object[]): object => ({ metrics });
const TYPES = '"ContainerResource", "External", "Object", "Pods", "Resource"';

const refused: readonly (readonly [what: string, spec: object, ...errors: string[]])[] = [
  [
    'counts',
    { minReplicas: 0, maxReplicas: 0 },
    'spec.minReplicas: Invalid value: 0: must be greater than or equal to 1',
    'spec.maxReplicas: Required value: must be set and greater than 0',
    'spec.metrics: Forbidden: must specify at least one Object or External metric to support scaling to zero replicas',
  ],
  [
    'a target without a group',
    { scaleTargetRef: { apiVersion: 'v1', kind: 'Deployment', name: 'd' } },
    'spec.scaleTargetRef.apiVersion: Invalid value: "v1": apiVersion must specify API group',
  ],
  ['a replication controller has none', { scaleTargetRef: { kind: 'ReplicationController', name: 'd' } }],
  [
    'a target of no version',
    { scaleTargetRef: { apiVersion: 'a/b/c', kind: '..', name: 'a/b' } },
    'spec.scaleTargetRef.kind: Invalid value: "..": may not be \'..\'',
    'spec.scaleTargetRef.name: Invalid value: "a/b": may not contain \'/\'',
    'spec.scaleTargetRef.apiVersion: Invalid value: "a/b/c": unexpected GroupVersion string: a/b/c',
  ],
  [
    'a metric of no type',
    metric({}),
    'spec.metrics[0].type: Required value: must specify a metric source type',
    `spec.metrics[0].type: Unsupported value: "": supported values: ${TYPES}`,
    `spec.metrics[0].type: Unsupported value: "": supported values: ${TYPES}`,
  ],
  [
    'metrics of two sources',
    metric({
      type: 'Resource',
      resource: { name: 'cpu', target: { type: 'Utilization', averageUtilization: 50 } },
      pods: { metric: { name: 'm' }, target: { type: 'AverageValue', averageValue: '1' } },
    }),
    'spec.metrics[0].pods: Forbidden: must populate the given metric source only',
  ],
  [
    'resources',
    metric(
      { type: 'Resource', resource: { target: { type: 'Odd', averageUtilization: 0, averageValue: '0' } } },
      { type: 'ContainerResource', containerResource: { name: 'cpu', target: { type: 'Utilization' } } },
    ),
    'spec.metrics[0].resource.name: Required value: must specify a resource name',
    'spec.metrics[0].resource.target.type: Invalid value: "Odd": must be either Utilization, Value, or AverageValue',
    'spec.metrics[0].resource.target.averageValue: Invalid value: "0": must be positive',
    'spec.metrics[0].resource.target.averageUtilization: Invalid value: 0: must be greater than 0',
    'spec.metrics[0].resource.target.averageValue: Forbidden: may not set both a target raw value and a target utilization',
    'spec.metrics[1].containerResource.container: Required value: must specify a container',
    'spec.metrics[1].containerResource.target.averageUtilization: Required value: must set either a target raw value or a target utilization',
  ],
  [
    'from outside',
    metric(
      {
        type: 'External',
        external: { metric: {}, target: { type: 'Value', value: '1', averageValue: '1' } },
      },
      {
        type: 'Object',
        object: {
          describedObject: { kind: 'Service', name: 's' },
          metric: { name: 'm' },
          target: { type: 'Value' },
        },
      },
      { type: 'Pods', pods: { metric: { name: 'm' }, target: { type: 'Value', value: '1' } } },
    ),
    'spec.metrics[0].external.metric.name: Required value: must specify a metric name',
    'spec.metrics[0].external.target.value: Forbidden: may not set both a target value for metric and a per-pod target',
    'spec.metrics[1].object.target.averageValue: Required value: must set either a target value or averageValue',
    'spec.metrics[2].pods.target.averageValue: Required value: must specify a positive target averageValue',
  ],
  [
    'behaviour',
    {
      behavior: {
        scaleUp: {
          stabilizationWindowSeconds: 3601,
          selectPolicy: 'Odd',
          policies: [{ type: 'Odd', value: 0, periodSeconds: 1801 }],
        },
        scaleDown: { policies: [] },
      },
    },
    'spec.behavior.scaleUp.stabilizationWindowSeconds: Invalid value: 3601: must be less than or equal to 3600',
    'spec.behavior.scaleUp.selectPolicy: Unsupported value: "Odd": supported values: "Disabled", "Max", "Min"',
    'spec.behavior.scaleUp.policies[0].type: Unsupported value: "Odd": supported values: "Percent", "Pods"',
    'spec.behavior.scaleUp.policies[0].value: Invalid value: 0: must be greater than zero',
    'spec.behavior.scaleUp.policies[0].periodSeconds: Invalid value: 1801: must be less than or equal to 1800',
    'spec.behavior.scaleDown.policies: Required value: must specify at least one Policy',
  ],
];

for (const [what, spec, ...errors] of refused)
  test(`autoscaler: ${what}`, () => assert.deepEqual(create(PATH, autoscaler(spec)).errors, errors));

test('autoscaler: stored targets without a group are accepted', () => {
  const stored = { ...create<HorizontalPodAutoscaler>(PATH, autoscaler({})).object };
  stored.spec = { ...stored.spec!, scaleTargetRef: { kind: 'Deployment', name: 'd' } };
  assert.deepEqual(
    update<HorizontalPodAutoscaler>(PATH, stored, (next) => {
      next.spec!.maxReplicas = 5;
    }).errors,
    [],
  );
});
