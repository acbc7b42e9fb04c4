/** Round trips of autoscaling/v1 annotations, in upstream's formats. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { behaviorFromV1, behaviorToV1, metricFromV1, metricToV1 } from './metrics-v1.ts';

const METRICS: readonly (readonly [sort: 'target' | 'current', v2: object, v1: object])[] = [
  [
    'target',
    {
      type: 'Resource',
      resource: { name: 'memory', target: { type: 'AverageValue', averageValue: '100Mi' } },
    },
    { type: 'Resource', resource: { name: 'memory', targetAverageValue: '100Mi' } },
  ],
  [
    'target',
    {
      type: 'ContainerResource',
      containerResource: {
        name: 'cpu',
        container: 'c',
        target: { type: 'Utilization', averageUtilization: 60 },
      },
    },
    {
      type: 'ContainerResource',
      containerResource: { name: 'cpu', targetAverageUtilization: 60, container: 'c' },
    },
  ],
  [
    'target',
    {
      type: 'Pods',
      pods: {
        metric: { name: 'p', selector: { matchLabels: { a: 'b' } } },
        target: { type: 'AverageValue', averageValue: '1' },
      },
    },
    {
      type: 'Pods',
      pods: { metricName: 'p', targetAverageValue: '1', selector: { matchLabels: { a: 'b' } } },
    },
  ],
  [
    'target',
    {
      type: 'Object',
      object: {
        describedObject: { kind: 'Service', name: 's' },
        target: { type: 'Value', value: '5' },
        metric: { name: 'o' },
      },
    },
    { type: 'Object', object: { target: { kind: 'Service', name: 's' }, metricName: 'o', targetValue: '5' } },
  ],
  [
    'target',
    {
      type: 'Object',
      object: {
        describedObject: { kind: 'Service', name: 's' },
        target: { type: 'AverageValue', averageValue: '5' },
        metric: { name: 'o' },
      },
    },
    {
      type: 'Object',
      object: {
        target: { kind: 'Service', name: 's' },
        metricName: 'o',
        targetValue: '0',
        averageValue: '5',
      },
    },
  ],
  [
    'target',
    { type: 'External', external: { metric: { name: 'e' }, target: { type: 'Value', value: '7' } } },
    { type: 'External', external: { metricName: 'e', targetValue: '7' } },
  ],
  [
    'current',
    { type: 'Resource', resource: { name: 'cpu', current: { averageValue: '0', averageUtilization: 5 } } },
    { type: 'Resource', resource: { name: 'cpu', currentAverageUtilization: 5, currentAverageValue: '0' } },
  ],
  [
    'current',
    { type: 'External', external: { metric: { name: 'e' }, current: { value: '0', averageValue: '7' } } },
    { type: 'External', external: { metricName: 'e', currentValue: '0', currentAverageValue: '7' } },
  ],
];

test('metrics are flat in v1', () => {
  for (const [sort, v2, v1] of METRICS) {
    assert.equal(JSON.stringify(metricToV1(v2, sort)), JSON.stringify(v1));
    assert.deepEqual(metricFromV1(v1, sort), v2);
  }
});

test('an invalid metric becomes an empty one, which validation rejects', () => {
  for (const junk of [1, 'x', [], { resource: 'x' }])
    assert.deepEqual(metricFromV1(junk, 'target'), { type: '' });
});

test("behavior has the names of upstream's own types, and is read in any case", () => {
  const behavior = {
    scaleUp: { stabilizationWindowSeconds: 10, policies: [{ type: 'Pods', value: 1, periodSeconds: 15 }] },
  };
  assert.equal(
    JSON.stringify(behaviorToV1(behavior)),
    '{"ScaleUp":{"StabilizationWindowSeconds":10,"SelectPolicy":null,"Policies":[{"Type":"Pods","Value":1,"PeriodSeconds":15}],"Tolerance":null},"ScaleDown":null}',
  );
  assert.deepEqual(behaviorFromV1(behaviorToV1(behavior)), behavior);
  assert.deepEqual(behaviorFromV1(behavior), behavior);
  assert.equal(behaviorFromV1({}), undefined);
});
