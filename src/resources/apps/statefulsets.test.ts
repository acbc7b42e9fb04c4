import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { ControllerRevision, StatefulSet } from '#api/types.ts';
import { create, update } from '../testing/write-case.ts';

const template = { metadata: { labels: { app: 'a' } }, spec: { containers: [{ name: 'c', image: 'c' }] } };
const set = (spec: object = {}): object => ({
  metadata: { name: 's', namespace: 'default' },
  spec: { serviceName: 's', selector: { matchLabels: { app: 'a' } }, template, ...spec },
});

const refused: readonly (readonly [spec: object, ...errors: string[]])[] = [
  [
    { podManagementPolicy: 'Random' },
    "spec.podManagementPolicy: Invalid value: \"Random\": must be 'OrderedReady' or 'Parallel'",
  ],
  [
    { updateStrategy: { type: 'OnDelete', rollingUpdate: { partition: 1 } } },
    'spec.updateStrategy.rollingUpdate: Invalid value: {"partition":1}: only allowed for updateStrategy \'RollingUpdate\'',
  ],
  [
    { updateStrategy: { rollingUpdate: { partition: -1, maxUnavailable: 0 } } },
    'spec.updateStrategy.rollingUpdate.partition: Invalid value: -1: must be greater than or equal to 0',
  ],
  [{ serviceName: 'a.b' }, 'spec.serviceName: Invalid value: "a.b": must not contain dots'],
  [
    { selector: { matchExpressions: [{ key: 'a', operator: 'Is' }] } },
    'spec.selector.matchExpressions[0].operator: Invalid value: "Is": not a valid selector operator',
    'spec.selector: Invalid value: {"matchExpressions":[{"key":"a","operator":"Is"}]}',
  ],
  [
    { volumeClaimTemplates: [{ metadata: { name: 'data' }, spec: {} }] },
    'spec.volumeClaimTemplates[0].spec.accessModes: Required value: at least 1 access mode is required',
    'spec.volumeClaimTemplates[0].spec.resources[storage]: Required value',
  ],
  [{ ordinals: { start: -1 } }, 'spec.ordinals.start: Invalid value: -1: must be greater than or equal to 0'],
];

for (const [spec, ...errors] of refused)
  test(`stateful set: ${errors[0]}`, () =>
    assert.deepEqual(create('apps/statefulsets', set(spec)).errors, errors));

test('stateful set: pods may mount volumes of claim templates', () => {
  const mounts = (...names: string[]): object => ({
    template: {
      ...template,
      spec: {
        containers: [
          { name: 'c', image: 'c', volumeMounts: names.map((name) => ({ name, mountPath: `/${name}` })) },
        ],
      },
    },
  });
  const claims = {
    volumeClaimTemplates: [
      {
        metadata: { name: 'data' },
        spec: { accessModes: ['ReadWriteOnce'], resources: { requests: { storage: '1Gi' } } },
      },
    ],
  };
  assert.deepEqual(create('apps/statefulsets', set({ ...mounts('data'), ...claims })).errors, []);
  assert.deepEqual(create('apps/statefulsets', set({ ...mounts('data', 'other'), ...claims })).errors, [
    'spec.template.spec.containers[0].volumeMounts[1].name: Not found: "other"',
  ]);
});

test('stateful set: an unlimited history causes a warning, not an error', () => {
  const { errors, warnings } = create<StatefulSet>(
    'apps/statefulsets',
    set({
      revisionHistoryLimit: -1,
      volumeClaimTemplates: [
        {
          metadata: { name: 'v' },
          spec: { accessModes: ['ReadWriteOnce'], resources: { requests: { storage: '1500m' } } },
        },
      ],
    }),
  );
  assert.deepEqual(errors, []);
  assert.deepEqual(warnings, [
    'spec.volumeClaimTemplates[0].resources.requests[storage]: fractional byte value "1500m" is invalid, must be an integer',
    'spec.revisionHistoryLimit: a negative value retains all historical revisions; a value >= 0 is recommended',
  ]);
});

test('stateful set: status counts', () => {
  const { object } = create<StatefulSet>('apps/statefulsets', set());
  const stored = { ...object, status: { replicas: 1, collisionCount: 2 } };
  assert.deepEqual(
    update<StatefulSet>(
      'apps/statefulsets',
      stored,
      (next) => {
        next.status = {
          replicas: 1,
          currentReplicas: 2,
          updatedReplicas: 2,
          readyReplicas: 0,
          availableReplicas: 1,
          collisionCount: 1,
        };
      },
      'status',
    ).errors,
    [
      'status.currentReplicas: Invalid value: 2: cannot be greater than status.replicas',
      'status.updatedReplicas: Invalid value: 2: cannot be greater than status.replicas',
      'status.availableReplicas: Invalid value: 1: cannot be greater than status.readyReplicas',
      'status.collisionCount: Invalid value: 1: cannot be decremented',
    ],
  );
});

test('controller revisions are immutable', () => {
  const { object, errors } = create<ControllerRevision>('apps/controllerrevisions', {
    metadata: { name: 'r', namespace: 'default' },
    data: { a: 1 },
    revision: 1,
  });
  assert.deepEqual(errors, []);
  assert.deepEqual(
    update<ControllerRevision>('apps/controllerrevisions', object, (next) => {
      next.data = { a: 2 };
      next.revision = -1;
    }).errors,
    [
      'revision: Invalid value: -1: must be greater than or equal to 0',
      'data: Invalid value: {"a":2}: field is immutable',
    ],
  );
  assert.deepEqual(create('apps/controllerrevisions', { metadata: { name: 'r' }, revision: 1 }).errors, [
    'data: Required value: data is mandatory',
  ]);
});
