/** The volume plugins, each by itself, with upstream's reasons. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { PersistentVolume, PersistentVolumeClaim, Pod, StorageClass } from '#api/types.ts';
import { seededRandom } from '#stdx/random.ts';
import type { SchedulerPlugin } from '../plugin.ts';
import { failureMessage, schedule } from '../schedule.ts';
import { node, pod, podInfo, storage, world, type WorldOptions } from '../testing/snapshot.ts';
import { concernsClaimOf } from './claims-of-pod.ts';
import { nodeVolumeLimits } from './node-volume-limits.ts';
import { plannedVolumes, volumeBinding } from './volume-binding.ts';
import { volumeRestrictions } from './volume-restrictions.ts';
import { volumeZone } from './volume-zone.ts';

const BOUND = { 'pv.kubernetes.io/bind-completed': 'yes' };

function decide(plugin: SchedulerPlugin, incoming: Pod, options: WorldOptions) {
  return schedule({
    pod: podInfo(incoming),
    snapshot: world(options).snapshot,
    profile: { schedulerName: 'default-scheduler', plugins: [plugin] },
    random: seededRandom(1),
  });
}

/** The selected node, or the reason why there is none. */
function outcome(plugin: SchedulerPlugin, incoming: Pod, options: WorldOptions): string {
  const decision = decide(plugin, incoming, options);
  if (decision.kind === 'fits') return decision.node;
  return failureMessage(decision.failure).replace(/^0\/\d+ nodes are available: /, '');
}

function using(...claims: string[]): Pod {
  return pod('p', {
    spec: {
      volumes: claims.map((claimName) => ({ name: claimName, persistentVolumeClaim: { claimName } })),
    },
  });
}

function claim(
  name: string,
  {
    volumeName,
    size = '1Gi',
    of = 'patient',
    ...more
  }: {
    readonly volumeName?: string;
    readonly size?: string;
    readonly of?: string;
    readonly modes?: string[];
    readonly annotations?: Record<string, string>;
    readonly metadata?: object;
    readonly phase?: string;
  } = {},
): PersistentVolumeClaim {
  return {
    metadata: {
      name,
      namespace: 'default',
      uid: name,
      annotations: { ...(volumeName ? BOUND : {}), ...more.annotations },
      ...more.metadata,
    },
    spec: {
      accessModes: more.modes ?? ['ReadWriteOnce'],
      storageClassName: of,
      resources: { requests: { storage: size } },
      ...(volumeName ? { volumeName } : {}),
    },
    status: { phase: more.phase ?? (volumeName ? 'Bound' : 'Pending') },
  };
}

function volume(
  name: string,
  {
    on,
    size = '1Gi',
    labels = {},
    csi,
    of = 'patient',
  }: {
    readonly on?: string;
    readonly size?: string;
    readonly labels?: Record<string, string>;
    readonly csi?: string;
    readonly of?: string;
  } = {},
): PersistentVolume {
  const terms = [
    { matchExpressions: [{ key: 'kubernetes.io/hostname', operator: 'In', values: [on ?? ''] }] },
  ];
  return {
    metadata: { name, labels },
    spec: {
      capacity: { storage: size },
      accessModes: ['ReadWriteOnce'],
      storageClassName: of,
      ...(on ? { nodeAffinity: { required: { nodeSelectorTerms: terms } } } : {}),
      ...(csi ? { csi: { driver: csi, volumeHandle: name } } : {}),
    },
    status: { phase: 'Available' },
  };
}

const patient = (more: Partial<StorageClass> = {}): StorageClass => ({
  metadata: { name: 'patient' },
  provisioner: 'example.org/disks',
  volumeBindingMode: 'WaitForFirstConsumer',
  ...more,
});
const nodes = [node('x'), node('y')];

test('VolumeBinding: claims that keep a pod from every node', () => {
  const cases: [PersistentVolumeClaim[], string][] = [
    [[], 'persistentvolumeclaim "c" not found.'],
    [[claim('c', { of: 'immediate' })], 'pod has unbound immediate PersistentVolumeClaims.'],
    [
      [claim('c', { volumeName: 'v', phase: 'Lost' })],
      'persistentvolumeclaim "c" bound to non-existent persistentvolume "v".',
    ],
    [
      [claim('c', { metadata: { deletionTimestamp: '2026-01-01T00:00:00Z' } })],
      'persistentvolumeclaim "c" is being deleted.',
    ],
    [
      [claim('c', { volumeName: 'v' })],
      '2 node(s) unavailable due to one or more pvc(s) bound to non-existent pv(s).',
    ],
  ];
  for (const [claims, expected] of cases)
    assert.equal(
      outcome(volumeBinding, using('c'), { nodes, volumes: storage({ claims, classes: [patient()] }) }),
      expected,
    );
});

test('VolumeBinding: ephemeral claims must exist and be of the pod', () => {
  const incoming = pod('p', { spec: { volumes: [{ name: 'e', ephemeral: {} }] } });
  assert.equal(
    outcome(volumeBinding, incoming, { nodes }),
    'waiting for ephemeral volume controller to create the persistentvolumeclaim "p-e".',
  );
  const volumes = storage({ claims: [claim('p-e')], classes: [patient()] });
  assert.equal(
    outcome(volumeBinding, incoming, { nodes, volumes }),
    'PVC default/p-e was not created for pod default/p (pod is not owner).',
  );
});

test('VolumeBinding: bound volumes are followed', () => {
  const claims = [claim('c', { volumeName: 'v' })];
  const at = (on: string) => ({ nodes, volumes: storage({ claims, volumes: [volume('v', { on })] }) });
  assert.equal(outcome(volumeBinding, using('c'), at('y')), 'y');
  assert.equal(
    outcome(volumeBinding, using('c'), at('z')),
    "2 node(s) didn't match PersistentVolume's node affinity.",
  );
});

test('VolumeBinding: each waiting claim finds its own volume, the smallest that fits', () => {
  const claims = [claim('big', { size: '5Gi' }), claim('small')];
  const classes = [patient({ provisioner: 'kubernetes.io/no-provisioner' })];
  const available = [volume('v5', { on: 'y', size: '5Gi' }), volume('v9', { on: 'x', size: '9Gi' })];
  const run = (more: PersistentVolume[]) =>
    decide(volumeBinding, using('big', 'small'), {
      nodes,
      volumes: storage({ claims, classes, volumes: [...available, ...more] }),
    });
  const none = run([]);
  assert.equal(
    none.kind === 'none' && failureMessage(none.failure),
    "0/2 nodes are available: 2 node(s) didn't find available persistent volumes to bind.",
  );
  const found = run([volume('v1', { on: 'y' })]);
  assert.ok(found.kind === 'fits');
  assert.equal(found.node, 'y');
  assert.deepEqual(
    plannedVolumes(found.cycle, 'y')?.bindings.map((one) => [
      one.claim.metadata?.name,
      one.volume.metadata?.name,
    ]),
    [
      ['small', 'v1'],
      ['big', 'v5'],
    ],
  );
});

test('VolumeBinding: provisioning follows topology, the selected node and published capacity', () => {
  const claims = [claim('c')];
  const zoned = [node('x', { labels: { zone: 'a' } }), node('y', { labels: { zone: 'b' } })];
  const run = (options: Parameters<typeof storage>[0]) =>
    outcome(volumeBinding, using('c'), { nodes: zoned, volumes: storage({ claims, ...options }) });
  const allowedTopologies = [{ matchLabelExpressions: [{ key: 'zone', values: ['b'] }] }];
  assert.equal(run({ classes: [patient({ allowedTopologies })] }), 'y');
  const annotations = { 'volume.kubernetes.io/selected-node': 'x' };
  assert.equal(run({ classes: [patient()], claims: [claim('c', { annotations })] }), 'x');
  const csiDrivers = [{ metadata: { name: 'example.org/disks' }, spec: { storageCapacity: true } }];
  const capacity = (zone: string, size: string) => ({
    metadata: { name: zone },
    storageClassName: 'patient',
    capacity: size,
    nodeTopology: { matchLabels: { zone } },
  });
  const capacities = [capacity('a', '100Mi'), capacity('b', '2Gi')];
  assert.equal(run({ classes: [patient()], csiDrivers, capacities }), 'y');
  assert.equal(
    run({ classes: [patient()], csiDrivers, capacities: [] }),
    '2 node(s) did not have enough free storage.',
  );
});

test('VolumeRestrictions: one pod for a ReadWriteOncePod claim, one for a disk of a node', () => {
  const claims = [claim('c', { modes: ['ReadWriteOncePod'] })];
  const volumes = storage({ claims });
  const user = pod('user', { on: 'x', spec: using('c').spec! });
  user.spec!.nodeName = 'x';
  assert.ok(['x', 'y'].includes(outcome(volumeRestrictions, using('c'), { nodes, volumes })));
  assert.equal(
    outcome(volumeRestrictions, using('c'), { nodes, volumes, pods: [user] }),
    '2 node has pod using PersistentVolumeClaim with the same name and ReadWriteOncePod access mode.',
  );
  const disk = (readOnly: boolean) => ({
    volumes: [{ name: 'd', iscsi: { targetPortal: 't', iqn: 'iqn', lun: 0, readOnly } }],
  });
  const writer = pod('w', { on: 'x', spec: disk(false) });
  assert.equal(outcome(volumeRestrictions, pod('p', { spec: disk(true) }), { nodes, pods: [writer] }), 'y');
  const one = [node('x')];
  assert.equal(
    outcome(volumeRestrictions, pod('p', { spec: disk(true) }), { nodes: one, pods: [writer] }),
    '1 node(s) had no available disk.',
  );
  const reader = pod('r', { on: 'x', spec: disk(true) });
  assert.equal(
    outcome(volumeRestrictions, pod('p', { spec: disk(true) }), { nodes: one, pods: [reader] }),
    'x',
  );
});

test('NodeVolumeLimits: no more volumes of a driver than the CSINode says', () => {
  const claims = ['a', 'b'].map((name) => claim(name, { volumeName: `v-${name}` }));
  const objects: Parameters<typeof storage>[0] = {
    claims: [...claims, claim('new')],
    volumes: ['a', 'b'].map((name) => volume(`v-${name}`, { csi: 'example.org/disks' })),
    classes: [patient()],
    csiNodes: [
      {
        metadata: { name: 'x' },
        spec: { drivers: [{ name: 'example.org/disks', nodeID: 'x', allocatable: { count: 1 } }] },
      },
    ],
  };
  const volumes = storage(objects);
  const user = pod('user', { on: 'x', spec: using('a').spec! });
  user.spec!.nodeName = 'x';
  const run = (name: string) =>
    outcome(nodeVolumeLimits, using(name), { nodes: [node('x')], volumes, pods: [user] });
  assert.equal(run('a'), 'x', 'the volume is there already');
  assert.equal(run('b'), '1 node(s) exceed max volume count.');
  assert.equal(run('new'), '1 node(s) exceed max volume count.', 'it will be made by the driver');
  const source = { persistentVolumeName: 'v-a' };
  const attachments = [
    { metadata: { name: 'at' }, spec: { attacher: 'example.org/disks', nodeName: 'x', source } },
  ];
  const detaching = { nodes: [node('x')], volumes: storage({ ...objects, attachments }) };
  assert.equal(outcome(nodeVolumeLimits, using('a'), detaching), 'x');
  assert.equal(
    outcome(nodeVolumeLimits, using('b'), detaching),
    '1 node(s) exceed max volume count.',
    'the volume of a pod that is gone is attached yet',
  );
});

test('VolumeZone: labels of volumes', () => {
  const ZONE = 'topology.kubernetes.io/zone';
  const zoned = [node('x', { labels: { [ZONE]: 'a' } }), node('y', { labels: { [ZONE]: 'b' } })];
  const at = (zones: string) => ({
    nodes: zoned,
    volumes: storage({
      claims: [claim('c', { volumeName: 'v' })],
      volumes: [volume('v', { labels: { [ZONE]: zones } })],
    }),
  });
  assert.equal(outcome(volumeZone, using('c'), at('b__c')), 'y');
  assert.equal(outcome(volumeZone, using('c'), at('d')), '2 node(s) had no available volume zone.');
});

test("queueing hints: another pod's claim does not wake a pod", () => {
  const event = (name: string) => ({ kind: 'claim-updated', object: claim(name) }) as const;
  assert.equal(concernsClaimOf(using('c'), event('c')), true);
  assert.equal(concernsClaimOf(using('c'), event('other')), false);
});
