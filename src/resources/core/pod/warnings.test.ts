import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Pod } from '#api/types.ts';
import { create, update } from '../../testing/write-case.ts';

const container = { name: 'c', image: 'c' };
const pod = (spec: object = {}, metadata: object = {}): object => ({
  metadata: { name: 'p', namespace: 'default', ...metadata },
  spec: { containers: [container], ...spec },
});
const OLD = 'beta.kubernetes.io/arch',
  WHY = 'deprecated since v1.14; use "kubernetes.io/arch" instead',
  NOTHING = 'a null labelSelector results in matching no pod';
const term = { matchExpressions: [{ key: OLD, operator: 'Exists' }] };

const cases: readonly (readonly [what: string, path: string, object: object, ...warnings: string[]])[] = [
  ['a good pod', 'pods', pod()],
  [
    'old labels of nodes',
    'pods',
    pod({
      nodeSelector: { [OLD]: 'x' },
      affinity: {
        nodeAffinity: {
          requiredDuringSchedulingIgnoredDuringExecution: { nodeSelectorTerms: [term] },
          preferredDuringSchedulingIgnoredDuringExecution: [{ weight: 1, preference: term }],
        },
      },
    }),
    `spec.nodeSelector[${OLD}]: ${WHY}`,
    `spec.affinity.nodeAffinity.requiredDuringSchedulingIgnoredDuringExecution.nodeSelectorTerms[0].matchExpressions[0].key: ${OLD} is ${WHY}`,
    `spec.affinity.nodeAffinity.preferredDuringSchedulingIgnoredDuringExecution[0].preference.matchExpressions[0].key: ${OLD} is ${WHY}`,
  ],
  [
    'selectors of nothing',
    'pods',
    pod({
      affinity: {
        podAffinity: { requiredDuringSchedulingIgnoredDuringExecution: [{ topologyKey: 'k' }] },
        podAntiAffinity: {
          preferredDuringSchedulingIgnoredDuringExecution: [
            { weight: 1, podAffinityTerm: { topologyKey: 'k' } },
          ],
        },
      },
    }),
    `spec.affinity.podAffinity.requiredDuringSchedulingIgnoredDuringExecution[0].labelSelector: ${NOTHING}`,
    `spec.affinity.podAntiAffinity.preferredDuringSchedulingIgnoredDuringExecution[0].podAffinityTerm.labelSelector: ${NOTHING}`,
  ],
  [
    'parts of bytes',
    'pods',
    pod({
      containers: [
        {
          ...container,
          resources: {
            requests: { memory: '100m', 'ephemeral-storage': '2000m' },
            limits: { 'ephemeral-storage': '2500m' },
          },
        },
      ],
    }),
    'spec.containers[0].resources.limits[ephemeral-storage]: fractional byte value "2500m" is invalid, must be an integer',
    'spec.containers[0].resources.requests[memory]: fractional byte value "100m" is invalid, must be an integer',
  ],
  [
    'values that no label has',
    'pods',
    pod({
      affinity: {
        nodeAffinity: {
          preferredDuringSchedulingIgnoredDuringExecution: [
            {
              weight: 1,
              preference: { matchExpressions: [{ key: 'a', operator: 'In', values: ['b', 'a'.repeat(64)] }] },
            },
          ],
        },
      },
    }),
    `spec.affinity.nodeAffinity.preferredDuringSchedulingIgnoredDuringExecution[0].preference.matchExpressions[0].values[1]: ${'a'.repeat(64)} is invalid, must be no more than 63 bytes`,
  ],
  [
    'old annotations',
    'pods',
    pod(
      {},
      {
        annotations: {
          'scheduler.alpha.kubernetes.io/critical-pod': '',
          'seccomp.security.alpha.kubernetes.io/pod': 'unconfined',
        },
      },
    ),
    'metadata.annotations[scheduler.alpha.kubernetes.io/critical-pod]: non-functional in v1.16+; use the "priorityClassName" field instead',
    'metadata.annotations[seccomp.security.alpha.kubernetes.io/pod]: non-functional in v1.27+; use the "seccompProfile" field instead',
  ],
  [
    'fields beside annotations',
    'pods',
    pod(
      {
        securityContext: { seccompProfile: { type: 'Unconfined' }, appArmorProfile: { type: 'Unconfined' } },
      },
      {
        annotations: {
          'seccomp.security.alpha.kubernetes.io/pod': 'unconfined',
          'container.apparmor.security.beta.kubernetes.io/c': 'unconfined',
        },
      },
    ),
  ],
  [
    'variables',
    'pods',
    pod({
      containers: [
        {
          ...container,
          env: [
            { name: 'A', value: 'x' },
            { name: 'A', value: '$(A)y' },
            { name: 'A', value: 'z' },
          ],
        },
      ],
    }),
    'spec.containers[0].env[2]: hides previous definition of "A", which may be dropped when using apply',
  ],
  [
    'ports',
    'pods',
    pod({
      containers: [
        {
          ...container,
          ports: [
            { containerPort: 1, hostIP: '1.2.3.4', name: 'a' },
            { containerPort: 1, hostPort: 1 },
            { containerPort: 1, hostPort: 1, hostIP: '1.2.3.4' },
          ],
        },
        {
          name: 'd',
          image: 'd',
          ports: [
            { containerPort: 2, name: 'a' },
            { containerPort: 1, hostIP: '1.2.3.4' },
          ],
        },
      ],
    }),
    'spec.containers[0].ports[0]: hostIP set without hostPort: {Name:a HostPort:0 ContainerPort:1 Protocol:TCP HostIP:1.2.3.4}',
    'spec.containers[1].ports[1]: hostIP set without hostPort: {Name: HostPort:0 ContainerPort:1 Protocol:TCP HostIP:1.2.3.4}',
    'spec.containers[0].ports[1]: overlapping port definition with spec.containers[0].ports[0]',
    'spec.containers[0].ports[2]: overlapping port definition with spec.containers[0].ports[0]',
    'spec.containers[0].ports[2]: dangerously ambiguous port definition with spec.containers[0].ports[1]',
    'spec.containers[1].ports[1]: duplicate port definition with spec.containers[0].ports[0]',
    'spec.containers[1].ports[1]: overlapping port definition with spec.containers[0].ports[1]',
    'spec.containers[1].ports[1]: overlapping port definition with spec.containers[0].ports[2]',
    'spec.containers[1].ports[0]: duplicate port name "a" with spec.containers[0].ports[0], services and probes that select ports by name will use spec.containers[0].ports[0]',
  ],
  [
    'files over files',
    'pods',
    pod({
      volumes: [
        {
          name: 'v',
          configMap: {
            name: 'm',
            items: [
              { key: 'a', path: 'x' },
              { key: 'b', path: 'x/y' },
            ],
          },
        },
        {
          name: 'w',
          projected: {
            sources: [
              { secret: { name: 's', items: [{ key: 'a', path: 'f' }] } },
              { downwardAPI: { items: [{ path: 'f/g', fieldRef: { fieldPath: 'metadata.name' } }] } },
            ],
          },
        },
      ],
    }),
    'volume "v" (ConfigMap "m"): overlapping paths: "x/y" with "x"',
    'volume "w" (Projected): overlapping paths: "f/g" (DownwardAPI) with "f" (Secret "s")',
  ],
  [
    'templates',
    'podtemplates',
    { metadata: { name: 't' }, template: pod({ nodeSelector: { [OLD]: 'x' } }) },
    `template.spec.nodeSelector[${OLD}]: ${WHY}`,
  ],
  [
    'volumes',
    'persistentvolumes',
    {
      metadata: { name: 'v', annotations: { 'volume.beta.kubernetes.io/storage-class': 'c' } },
      spec: {
        persistentVolumeReclaimPolicy: 'Recycle',
        rbd: {},
        capacity: { storage: '1500m' },
        nodeAffinity: { required: { nodeSelectorTerms: [term] } },
      },
    },
    'metadata.annotations[volume.beta.kubernetes.io/storage-class]: deprecated since v1.8; use "storageClassName" attribute instead',
    'spec.persistentVolumeReclaimPolicy: The Recycle reclaim policy is deprecated. Instead, the recommended approach is to use dynamic provisioning.',
    `spec.nodeAffinity.required.nodeSelectorTerms[0].matchExpressions[0].key: ${OLD} is ${WHY}`,
    'spec.rbd: deprecated in v1.28, non-functional in v1.31+',
  ],
  [
    'runtime classes',
    'node.k8s.io/runtimeclasses',
    { metadata: { name: 'r' }, handler: 'h', scheduling: { nodeSelector: { [OLD]: 'x' } } },
    `scheduling.nodeSelector[${OLD}]: ${WHY}`,
  ],
  [
    'storage classes',
    'storage.k8s.io/storageclasses',
    {
      metadata: { name: 's' },
      provisioner: 'p',
      allowedTopologies: [{ matchLabelExpressions: [{ key: OLD, values: ['x'] }] }],
    },
    `allowedTopologies[0].matchLabelExpressions[0].key: ${OLD} is ${WHY}`,
  ],
  [
    'endpoint slices',
    'discovery.k8s.io/endpointslices',
    { metadata: { name: 'e' }, addressType: 'FQDN' },
    'spec.addressType: FQDN endpoints are deprecated',
  ],
];

for (const [what, path, object, ...warnings] of cases)
  test(`warnings: ${what}`, () => assert.deepEqual(create(path, object).warnings, warnings));

test('warnings: only for new pods', () => {
  const { object, warnings } = create<Pod>('pods', pod({}, { name: 'a.b' }));
  assert.match(
    warnings[0] ?? '',
    /^metadata\.name: this is used in the Pod's hostname, which can result in surprising behavior; a DNS label is recommended: \[/,
  );
  assert.deepEqual(
    update<Pod>('pods', object, (next) => {
      next.metadata!.labels = { a: 'b' };
    }).warnings,
    [],
  );
});
