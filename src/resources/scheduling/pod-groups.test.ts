/** The hooks of PodGroups, Workloads and spec.schedulingGroup of pods; the API server is in cmd/apiserver/pod-groups.test.ts. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { PodGroup, Workload } from '#api/generated/types/scheduling-v1alpha2.ts';
import type { CronJob, Deployment, Pod } from '#api/types.ts';
import { create, update } from '../testing/write-case.ts';

const ON = { features: new Set(['GenericWorkload']) };
const META = { name: 'g', namespace: 'default' };
const GANG = { gang: { minCount: 2 } };
const POD_SPEC = { containers: [{ name: 'c', image: 'i' }], schedulingGroup: { podGroupName: 'g' } };

const groupErrors = (spec: object): readonly string[] =>
  create<PodGroup>('scheduling.k8s.io/podgroups', { metadata: META, spec }).errors;
const workloadErrors = (spec: object): readonly string[] =>
  create<Workload>('scheduling.k8s.io/workloads', { metadata: META, spec }).errors;

test('schedulingGroup is dropped without the gate, and kept with it, in pods and templates', () => {
  const template = { metadata: { labels: { a: 'b' } }, spec: POD_SPEC };
  const written = (context: object) => [
    create<Pod>('pods', { metadata: META, spec: POD_SPEC }, context).object.spec,
    create<Deployment>(
      'apps/deployments',
      { metadata: META, spec: { selector: { matchLabels: { a: 'b' } }, template } },
      context,
    ).object.spec?.template.spec,
    create<CronJob>(
      'batch/cronjobs',
      { metadata: META, spec: { schedule: '* * * * *', jobTemplate: { spec: { template } } } },
      context,
    ).object.spec?.jobTemplate.spec?.template.spec,
  ];
  for (const spec of written({})) assert.equal(spec?.schedulingGroup, undefined);
  for (const spec of written(ON)) assert.deepEqual(spec?.schedulingGroup, { podGroupName: 'g' });
});

test('schedulingGroup of a pod is checked, and does not change', () => {
  const errors = (schedulingGroup: object) =>
    create('pods', { metadata: META, spec: { ...POD_SPEC, schedulingGroup } }, ON).errors;
  assert.deepEqual(errors({}), [
    'spec.schedulingGroup.podGroupName: Invalid value: null: must specify one of: `podGroupName`',
  ]);
  assert.match(
    errors({ podGroupName: 'A' }).join(),
    /spec\.schedulingGroup\.podGroupName: Invalid value: "A"/,
  );
  const stored = create<Pod>('pods', { metadata: META, spec: POD_SPEC }, ON).object;
  const changed = update<Pod>('pods', stored, (next) => {
    next.spec!.schedulingGroup = { podGroupName: 'other' };
  });
  assert.match(changed.errors.join(), /spec: Forbidden: pod updates may not change fields other than/);
});

test('a PodGroup is checked', () => {
  assert.deepEqual(groupErrors({ schedulingPolicy: GANG }), []);
  assert.deepEqual(groupErrors({ schedulingPolicy: { basic: {} } }), []);
  assert.deepEqual(groupErrors({}), [
    'spec.schedulingPolicy: Invalid value: "": must specify one of: `basic`, `gang`',
  ]);
  assert.deepEqual(groupErrors({ schedulingPolicy: { basic: {}, ...GANG } }), [
    'spec.schedulingPolicy: Invalid value: "{basic, gang}": must specify exactly one of: `basic`, `gang`',
  ]);
  assert.deepEqual(groupErrors({ schedulingPolicy: { gang: { minCount: 0 } } }), [
    'spec.schedulingPolicy.gang.minCount: Required value',
  ]);
  assert.deepEqual(groupErrors({ schedulingPolicy: { gang: { minCount: -1 } } }), [
    'spec.schedulingPolicy.gang.minCount: Invalid value: -1: must be greater than or equal to 1',
  ]);
  assert.deepEqual(groupErrors({ schedulingPolicy: GANG, podGroupTemplateRef: {} }), [
    'spec.podGroupTemplateRef: Invalid value: "": must specify one of: `workload`',
  ]);
  assert.deepEqual(
    groupErrors({ schedulingPolicy: GANG, podGroupTemplateRef: { workload: { workloadName: '' } } }),
    [
      'spec.podGroupTemplateRef.workload.workloadName: Required value',
      'spec.podGroupTemplateRef.workload.podGroupTemplateName: Required value',
    ],
  );
});

test('the spec of a PodGroup does not change; fields of other gates are dropped or have their default; the status is written by itself', () => {
  const stored = create<PodGroup>('scheduling.k8s.io/podgroups', {
    metadata: META,
    spec: {
      schedulingPolicy: GANG,
      disruptionMode: 'PodGroup',
      priority: 1,
      resourceClaims: [{ name: 'a' }],
    },
    status: { conditions: [] },
  }).object;
  assert.deepEqual(stored.spec, { schedulingPolicy: GANG, disruptionMode: 'Pod' });
  assert.deepEqual([stored.status, stored.metadata?.generation], [{}, undefined]);
  const changed = update<PodGroup>('scheduling.k8s.io/podgroups', stored, (next) => {
    next.spec.schedulingPolicy = { gang: { minCount: 3 } };
  });
  assert.deepEqual(changed.errors, ['spec.schedulingPolicy: Invalid value: null: field is immutable']);
});

test('a Workload is checked, and its spec does not change', () => {
  const template = { name: 't', schedulingPolicy: GANG };
  assert.deepEqual(workloadErrors({ podGroupTemplates: [template] }), []);
  assert.deepEqual(workloadErrors({}), ['spec.podGroupTemplates: Required value']);
  assert.deepEqual(workloadErrors({ podGroupTemplates: Array.from({ length: 9 }, () => template) }), [
    'spec.podGroupTemplates: Too many: 9: must have at most 8 items',
  ]);
  assert.match(workloadErrors({ podGroupTemplates: [template, template] }).join(), /\[1\]: Duplicate value/);
  assert.deepEqual(workloadErrors({ podGroupTemplates: [template], controllerRef: { name: 'a/b' } }), [
    'spec.controllerRef.kind: Required value',
    `spec.controllerRef.name: Invalid value: "a/b": may not contain '/'`,
  ]);
  const stored = create<Workload>('scheduling.k8s.io/workloads', {
    metadata: META,
    spec: { podGroupTemplates: [template] },
  }).object;
  const changed = update<Workload>('scheduling.k8s.io/workloads', stored, (next) => {
    next.spec.podGroupTemplates[0]!.name = 'u';
  });
  assert.deepEqual(changed.errors, ['spec.podGroupTemplates: Invalid value: null: field is immutable']);
});
