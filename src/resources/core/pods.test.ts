import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Pod, PodSpec } from '#api/types.ts';
import { create, row, update } from '../testing/write-case.ts';

const CONTAINER = { name: 'web', image: 'nginx:1.27' };

function pod(spec: object = {}, metadata: object = {}): object {
  return {
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: { name: 'web', namespace: 'default', ...metadata },
    spec: { containers: [CONTAINER], ...spec },
  };
}

test('defaults and what create fills in', () => {
  const { object, errors } = create<Pod>(
    'pods',
    pod({
      containers: [
        {
          ...CONTAINER,
          ports: [{ containerPort: 80 }],
          resources: { limits: { cpu: '1' } },
          livenessProbe: { httpGet: { port: 80 } },
          env: [{ name: 'NODE', valueFrom: { fieldRef: { fieldPath: 'spec.nodeName' } } }],
        },
      ],
      volumes: [{ name: 'a' }, { name: 'b', configMap: { name: 'c' } }],
    }),
  );
  assert.deepEqual(errors, []);
  assert.deepEqual(object.spec, {
    containers: [
      {
        name: 'web',
        image: 'nginx:1.27',
        ports: [{ containerPort: 80, protocol: 'TCP' }],
        resources: { limits: { cpu: '1' }, requests: { cpu: '1' } },
        livenessProbe: {
          httpGet: { port: 80, path: '/', scheme: 'HTTP' },
          timeoutSeconds: 1,
          periodSeconds: 10,
          successThreshold: 1,
          failureThreshold: 3,
        },
        env: [{ name: 'NODE', valueFrom: { fieldRef: { fieldPath: 'spec.nodeName', apiVersion: 'v1' } } }],
        imagePullPolicy: 'IfNotPresent',
        terminationMessagePath: '/dev/termination-log',
        terminationMessagePolicy: 'File',
      },
    ],
    volumes: [
      { name: 'a', emptyDir: {} },
      { name: 'b', configMap: { name: 'c', defaultMode: 420 } },
    ],
    dnsPolicy: 'ClusterFirst',
    restartPolicy: 'Always',
    securityContext: {},
    terminationGracePeriodSeconds: 30,
    schedulerName: 'default-scheduler',
    enableServiceLinks: true,
  });
  assert.deepEqual(object.status, { phase: 'Pending', qosClass: 'Burstable' });
  assert.equal(object.metadata?.generation, 1);
});

const cases: readonly (readonly [what: string, spec: object, ...errors: string[]])[] = [
  ['no containers', { containers: [] }, 'spec.containers: Required value'],
  [
    'bad names and images',
    { containers: [{ name: 'Web', image: ' a' }, { name: 'b' }, { name: 'b', image: 'c' }] },
    "spec.containers[0].name: Invalid value: \"Web\": a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end with an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?')",
    'spec.containers[1].image: Required value',
    'spec.containers[2].name: Duplicate value: "b"',
    'spec.containers[0].image: Invalid value: " a": must not have leading or trailing whitespace',
  ],
  [
    'policies',
    { restartPolicy: 'Sometimes', dnsPolicy: 'None' },
    'spec.restartPolicy: Unsupported value: "Sometimes": supported values: "Always", "OnFailure", "Never"',
    'spec.dnsConfig: Required value: must provide `dnsConfig` when `dnsPolicy` is None',
  ],
  [
    'ports',
    {
      hostNetwork: true,
      containers: [
        {
          ...CONTAINER,
          ports: [
            { containerPort: 80, hostPort: 81 },
            { containerPort: 70000 },
            { name: 'x', containerPort: 1 },
            { name: 'x', containerPort: 2, protocol: 'FTP' },
          ],
        },
      ],
    },
    'spec.containers[0].ports[1].containerPort: Invalid value: 70000: must be between 1 and 65535, inclusive',
    'spec.containers[0].ports[1].hostPort: Invalid value: 70000: must be between 1 and 65535, inclusive',
    'spec.containers[0].ports[3].name: Duplicate value: "x"',
    'spec.containers[0].ports[3].protocol: Unsupported value: "FTP": supported values: "SCTP", "TCP", "UDP"',
    'spec.containers[0].ports[0].hostPort: Invalid value: 81: must match `containerPort` when `hostNetwork` is true',
  ],
  [
    'mounts',
    {
      volumes: [{ name: 'v', emptyDir: {}, hostPath: { path: '/x' } }],
      containers: [{ ...CONTAINER, volumeMounts: [{ name: 'w', mountPath: '/a', subPath: '../b' }] }],
    },
    'spec.volumes[0].hostPath: Forbidden: may not specify more than 1 volume type',
    'spec.containers[0].volumeMounts[0].name: Not found: "w"',
    'spec.containers[0].volumeMounts.subPath: Invalid value: "../b": must not contain \'..\'',
  ],
  [
    'resources',
    {
      containers: [
        {
          ...CONTAINER,
          resources: {
            limits: { cpu: '1', 'example.com/gpu': '1500m' },
            requests: { cpu: '2', 'hugepages-2Mi': '3Mi', disk: '1' },
          },
        },
      ],
    },
    'spec.containers[0].resources.limits[example.com/gpu]: Invalid value: "1500m": must be an integer',
    'spec.containers[0].resources.requests: Invalid value: "2": must be less than or equal to cpu limit of 1',
    'spec.containers[0].resources.requests[hugepages-2Mi]: Invalid value: "3Mi": 3Mi is not positive integer multiple of hugepages-2Mi',
    'spec.containers[0].resources.limits: Required value: Limit must be set for non overcommitable resources',
    'spec.containers[0].resources.requests[disk]: Invalid value: "disk": must be a standard resource type or fully qualified',
    'spec.containers[0].resources.requests[disk]: Invalid value: "disk": must be a standard resource for containers',
    'spec.containers[0].resources.requests[example.com/gpu]: Invalid value: "1500m": must be an integer',
  ],
  [
    'probes and hooks',
    {
      containers: [
        {
          ...CONTAINER,
          livenessProbe: { exec: {}, successThreshold: 2 },
          readinessProbe: { tcpSocket: { port: 1 }, grpc: { port: 2 } },
          lifecycle: { preStop: { sleep: { seconds: 31 } } },
        },
      ],
    },
    'spec.containers[0].lifecycle.preStop.sleep: Invalid value: 31: must be non-negative and less than terminationGracePeriodSeconds (30)',
    'spec.containers[0].livenessProbe.exec.command: Required value',
    'spec.containers[0].livenessProbe.successThreshold: Invalid value: 2: must be 1',
    'spec.containers[0].readinessProbe.grpc: Forbidden: may not specify more than 1 handler type',
  ],
  [
    'restart rules',
    {
      containers: [{ ...CONTAINER, restartPolicyRules: [{ exitCodes: {} }] }],
      initContainers: [
        {
          name: 'i',
          image: 'i',
          restartPolicyRules: [{ action: 'Restart' }],
          resizePolicy: [{ resourceName: 'cpu', restartPolicy: 'RestartContainer' }],
        },
      ],
    },
    'spec.containers[0].restartPolicy: Required value: must specify restartPolicy when restart rules are used',
    'spec.containers[0].restartPolicyRules[0].action: Unsupported value: "": supported values: "Restart", "RestartAllContainers"',
    'spec.containers[0].restartPolicyRules[0].exitCodes.operator: Unsupported value: "": supported values: "In", "NotIn"',
    'spec.initContainers[0].restartPolicy: Required value: must specify restartPolicy when restart rules are used',
    'spec.initContainers[0].resizePolicy[0].restartPolicy: Invalid value: "RestartContainer": must not be set to \'RestartContainer\' for non-sidecar initContainers',
  ],
  [
    'resources of the pod',
    {
      resources: { requests: { cpu: '1' }, limits: { 'hugepages-2Mi': '2Mi', cpu: '1' } },
      containers: [{ ...CONTAINER, resources: { limits: { cpu: '2', 'hugepages-2Mi': '4Mi' } } }],
    },
    'spec.resources.requests[cpu]: Invalid value: "1": must be greater than or equal to aggregate container requests of 2',
    'spec.resources.requests[hugepages-2Mi]: Invalid value: "2Mi": must be greater than or equal to aggregate container requests of 4Mi',
    'spec.resources.limits[hugepages-2Mi]: Invalid value: "2Mi": must be greater than or equal to aggregate container limits of 4Mi',
    'spec.resources.containers[0][cpu].limits: Invalid value: "2": must be less than or equal to pod limits of 1',
    'spec.resources.containers[0][hugepages-2Mi].limits: Invalid value: "4Mi": must be less than or equal to pod limits of 2Mi',
  ],
  [
    'names of the host',
    { hostnameOverride: 'a'.repeat(65), setHostnameAsFQDN: true, hostNetwork: true },
    'spec.hostnameOverride: Forbidden: may not be specified when setHostnameAsFQDN is true',
    'spec.hostnameOverride: Forbidden: may not be specified when hostNetwork is true',
    'spec.hostnameOverride: Too long: may not be more than 64 bytes',
  ],
  [
    'variables from files',
    {
      volumes: [{ name: 'v', configMap: { name: 'm' } }],
      containers: [
        {
          ...CONTAINER,
          env: ['v', 'w'].map((volumeName) => ({
            name: 'A',
            valueFrom: { fileKeyRef: { volumeName, path: 'a/../b', key: 'k' } },
          })),
        },
      ],
    },
    ...[0, 1].map(
      (i) =>
        `spec.containers[0].env[${i}].valueFrom.fileKeyRef.path: Invalid value: "a/../b": must not contain '..'`,
    ),
    'spec.containers[0].env[0].valueFrom.fileKeyRef.volumeName: Invalid value: "v": referenced volume must be of type emptyDir',
    'spec.containers[0].env[1].valueFrom.fileKeyRef.volumeName: Not found: "w"',
  ],
  [
    'two volume types',
    {
      volumes: [
        { name: 'v', emptyDir: {}, cephfs: { monitors: ['m'] }, downwardAPI: {} },
        {
          name: 'E_',
          ephemeral: {
            volumeClaimTemplate: {
              spec: { accessModes: ['ReadWriteOnce'], resources: { requests: { storage: '1' } } },
            },
          },
        },
        { name: 'c', csi: {} },
      ],
    },
    'spec.volumes[0].cephFS: Forbidden: may not specify more than 1 volume type',
    'spec.volumes[0].downwarAPI: Forbidden: may not specify more than 1 volume type',
    "spec.volumes[1].name: Invalid value: \"E_\": PVC name \"web-E_\": a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')",
    "spec.volumes[1].name: Invalid value: \"E_\": a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end with an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?')",
    'spec.volumes[2].csi.driver: Required value',
  ],
  [
    'init containers',
    { initContainers: [{ name: 'web', image: 'i', readinessProbe: { tcpSocket: { port: 1 } } }] },
    'spec.initContainers[0].name: Duplicate value: "web"',
    'spec.initContainers[0].readinessProbe: Forbidden: may not be set for init containers without restartPolicy=Always',
  ],
  [
    'environment',
    {
      containers: [
        {
          ...CONTAINER,
          env: [
            { name: '' },
            { name: 'A', value: 'x', valueFrom: { configMapKeyRef: { name: 'c', key: 'k' } } },
            { name: 'B', valueFrom: { fieldRef: { fieldPath: 'status.phase' } } },
          ],
        },
      ],
    },
    'spec.containers[0].env[0].name: Required value',
    'spec.containers[0].env[1].valueFrom: Invalid value: "": may not be specified when `value` is not empty',
    'spec.containers[0].env[2].valueFrom.fieldRef.fieldPath: Unsupported value: "status.phase": supported values: "metadata.name", "metadata.namespace", "metadata.uid", "spec.nodeName", "spec.serviceAccountName", "status.hostIP", "status.hostIPs", "status.podIP", "status.podIPs"',
  ],
  [
    'security',
    {
      securityContext: { runAsUser: -1, seccompProfile: { type: 'Localhost' } },
      containers: [{ ...CONTAINER, securityContext: { privileged: true, allowPrivilegeEscalation: false } }],
    },
    'spec.containers[0].securityContext: Invalid value: {"privileged":true,"allowPrivilegeEscalation":false}: cannot set `allowPrivilegeEscalation` to false and `privileged` to true',
    'spec.securityContext.runAsUser: Invalid value: -1: must be between 0 and 2147483647, inclusive',
    'spec.securityContext.seccompProfile.localhostProfile: Required value: must be set when seccomp type is Localhost',
  ],
  [
    'scheduling',
    {
      tolerations: [{ operator: 'Equal' }, { key: 'a', operator: 'Exists', value: 'b' }],
      topologySpreadConstraints: [{ maxSkew: 0, topologyKey: 'z', whenUnsatisfiable: 'Never' }],
      affinity: {
        podAffinity: {
          requiredDuringSchedulingIgnoredDuringExecution: [
            { topologyKey: '', labelSelector: { matchExpressions: [{ key: 'a', operator: 'In' }] } },
          ],
        },
      },
    },
    "spec.affinity.podAffinity.requiredDuringSchedulingIgnoredDuringExecution[0].labelSelector.matchExpressions[0].values: Required value: must be specified when `operator` is 'In' or 'NotIn'",
    'spec.affinity.podAffinity.requiredDuringSchedulingIgnoredDuringExecution[0].topologyKey: Required value: can not be empty',
    'spec.affinity.podAffinity.requiredDuringSchedulingIgnoredDuringExecution[0].topologyKey: Invalid value: "": name part must be non-empty',
    "spec.affinity.podAffinity.requiredDuringSchedulingIgnoredDuringExecution[0].topologyKey: Invalid value: \"\": name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')",
    'spec.topologySpreadConstraints[0].maxSkew: Invalid value: 0: must be greater than zero',
    'spec.topologySpreadConstraints[0].whenUnsatisfiable: Unsupported value: "Never": supported values: "DoNotSchedule", "ScheduleAnyway"',
    'spec.tolerations[0].operator: Invalid value: "Equal": operator must be Exists when `key` is empty, which means "match all values and all keys"',
    'spec.tolerations[1].operator: Invalid value: "b": value must be empty when `operator` is \'Exists\'',
  ],
  [
    'the rest',
    {
      os: { name: 'plan9' },
      hostAliases: [{ ip: 'x' }],
      schedulingGates: [{ name: 'a' }, { name: 'a' }],
      nodeName: 'n',
      hostUsers: false,
      hostPID: true,
    },
    'spec.schedulingGates[1]: Duplicate value: "a"',
    'spec.HostPID: Forbidden: when `hostUsers` is false',
    'spec.hostAliases[0].ip: Invalid value: "x": must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)',
    'spec.os: Unsupported value: "plan9": supported values: "linux", "windows"',
    'spec.nodeName: Forbidden: cannot be set until all schedulingGates have been cleared',
  ],
];

for (const [what, spec, ...errors] of cases)
  test(`refused: ${what}`, () => assert.deepEqual(create('pods', pod(spec)).errors, errors));

const UPDATABLE =
  'pod updates may not change fields other than `spec.containers[*].image`,`spec.initContainers[*].image`,`spec.activeDeadlineSeconds`,`spec.tolerations` (only additions to existing tolerations),`spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was previously negative)';

test('a field of a disabled feature is dropped, its replacement is set', () => {
  const { object, errors, warnings } = create<Pod>('pods', {
    ...pod({
      terminationGracePeriodSeconds: -1,
      schedulingGroup: { podGroupName: 'g' },
      schedulingGates: [{ name: 'g' }],
      volumes: [
        {
          name: 'v',
          projected: { sources: [{ clusterTrustBundle: { path: 'x' } }, { podCertificate: {} }] },
        },
        { name: 'w', projected: {} },
      ],
      containers: [
        { ...CONTAINER, image: 'Bad/../image', lifecycle: { stopSignal: 'SIGUSR1' } },
        { name: 'b', image: 'r.io:5/a/b:latest@sha256:0123456789abcdef0123456789abcdef' },
      ],
    }),
    metadata: {
      name: 'p',
      namespace: 'default',
      annotations: {
        'container.apparmor.security.beta.kubernetes.io/web': 'localhost/x',
        'pod.beta.kubernetes.io/init-containers': '[]',
      },
    },
    status: { qosClass: 'Guaranteed' },
  });
  assert.deepEqual(errors, []);
  assert.deepEqual(warnings, [
    'metadata.annotations[container.apparmor.security.beta.kubernetes.io/web]: deprecated since v1.30; use the "appArmorProfile" field instead',
    'volume "v" (Projected) has no sources provided',
    'volume "v" (Projected) has no sources provided',
  ]);
  const [web, b] = object.spec!.containers,
    [v, w] = object.spec!.volumes!;
  assert.deepEqual(
    [web!.imagePullPolicy, web!.lifecycle, web!.securityContext?.appArmorProfile, b!.imagePullPolicy],
    ['IfNotPresent', undefined, { type: 'Localhost', localhostProfile: 'x' }, 'Always'],
  );
  assert.deepEqual([v!.projected?.sources, w!.projected?.sources], [[{}, {}], null]);
  assert.deepEqual(
    [
      object.spec!.terminationGracePeriodSeconds,
      Object.keys(object.metadata!.annotations!).length,
      object.status?.qosClass,
    ],
    [1, 1, 'Guaranteed'],
  );
  assert.deepEqual(object.status?.conditions, [
    {
      type: 'PodScheduled',
      status: 'False',
      lastProbeTime: null,
      lastTransitionTime: '2026-01-02T03:04:05Z',
      reason: 'SchedulingGated',
      message: 'Scheduling is blocked due to non-empty scheduling gates',
    },
  ]);
});

test('mutable fields', () => {
  const { object: stored } = create<Pod>('pods', pod({ tolerations: [{ key: 'a', operator: 'Exists' }] }));
  const change = (edit: (spec: PodSpec) => void): readonly string[] =>
    update<Pod>('pods', stored, (next) => edit(next.spec!)).errors;
  assert.deepEqual(
    change((spec) => {
      spec.containers[0]!.image = 'nginx:1.28';
      spec.activeDeadlineSeconds = 5;
      spec.tolerations!.push({ key: 'b', operator: 'Exists' });
    }),
    [],
  );
  assert.equal(
    change((spec) => {
      spec.hostname = 'x';
    })[0]!.split('\n')[0],
    `spec: Forbidden: ${UPDATABLE}`,
  );
  assert.deepEqual(
    change((spec) => {
      spec.containers.push({
        name: 'b',
        image: 'b',
        imagePullPolicy: 'Always',
        terminationMessagePolicy: 'File',
      });
    }),
    ['spec.containers: Forbidden: pod updates may not add or remove containers'],
  );
  assert.match(
    change((spec) => {
      spec.tolerations = [];
    })[0]!,
    /existing toleration can not be modified except its tolerationSeconds/,
  );
  const bumped = update<Pod>('pods', stored, (next) => {
    next.spec!.containers[0]!.image = 'x';
    next.status = {};
  }).object;
  assert.equal(bumped.metadata?.generation, 2);
  assert.deepEqual(bumped.status, stored.status);
});

test('subresources change only their fields', () => {
  const { object: stored } = create<Pod>('pods', pod());
  const debug = update<Pod>(
    'pods',
    stored,
    (next) => {
      next.spec!.ephemeralContainers = [{ name: 'debug', image: 'busybox' }];
      next.spec!.hostname = 'ignored';
    },
    'ephemeralcontainers',
  );
  assert.deepEqual(debug.errors, []);
  assert.equal(debug.object.spec?.hostname, undefined);
  assert.equal(debug.object.spec?.ephemeralContainers?.[0]?.name, 'debug');
  const status = update<Pod>(
    'pods',
    stored,
    (next) => {
      next.status = { phase: 'Running', podIP: '10.0.0.1' };
      delete next.spec!.dnsPolicy;
    },
    'status',
  );
  assert.deepEqual(status.errors, []);
  assert.deepEqual(status.object.status, {
    phase: 'Running',
    podIP: '10.0.0.1',
    qosClass: 'BestEffort',
    podIPs: [{ ip: '10.0.0.1' }],
  });
  assert.equal(status.object.spec?.dnsPolicy, 'ClusterFirst');
});

test('resize changes cpu and memory, and keeps the QoS class', () => {
  const { object: stored } = create<Pod>(
    'pods',
    pod({ containers: [{ ...CONTAINER, resources: { requests: { cpu: '1' } } }] }),
  );
  const resize = (cpu: string | undefined): readonly string[] =>
    update<Pod>(
      'pods',
      stored,
      (next) => {
        next.spec!.containers[0]!.resources = cpu === undefined ? {} : { requests: { cpu } };
      },
      'resize',
    ).errors;
  assert.deepEqual(resize('2'), []);
  assert.ok(
    resize(undefined).includes(
      'spec.containers[0].resources.requests: Forbidden: resource requests cannot be removed',
    ),
  );
});

test('resize keeps everything else, and reports what it does not do', () => {
  const amounts = { requests: { cpu: '1', memory: '1Gi' }, limits: { cpu: '2', memory: '2Gi' } };
  const { object: stored } = create<Pod>(
    'pods',
    pod({
      initContainers: [{ name: 'i', image: 'i' }],
      containers: [
        { ...CONTAINER, resources: amounts },
        { name: 'bare', image: 'b' },
      ],
    }),
  );
  const resize = (
    change: (spec: PodSpec) => void,
  ): { readonly errors: readonly string[]; readonly object: Pod } =>
    update<Pod>('pods', stored, (next) => change(next.spec!), 'resize');
  const grown = resize((spec) => {
    spec.containers[0]!.resources!.requests!['cpu'] = '2';
    spec.containers[1]!.image = 'other';
    spec.nodeName = 'elsewhere';
  });
  assert.deepEqual(
    [
      grown.errors,
      grown.object.spec?.containers[0]?.resources?.requests,
      grown.object.spec?.containers[1]?.image,
      grown.object.spec?.nodeName,
    ],
    [[], { cpu: '2', memory: '1Gi' }, 'b', undefined],
  );
  assert.deepEqual(
    resize((spec) => {
      spec.initContainers![0]!.resources = { limits: { cpu: '1' } };
    }).errors,
    [],
  );
  assert.deepEqual(
    resize((spec) => {
      spec.resources = { limits: { cpu: '3' } };
    }).errors,
    [],
  );
  const refused: readonly (readonly [change: (spec: PodSpec) => void, ...errors: string[]])[] = [
    [
      (spec) => {
        spec.containers[0]!.resources!.limits!['ephemeral-storage'] = '1Gi';
      },
      'spec: Forbidden: only cpu and memory resources are mutable',
    ],
    [
      (spec) => {
        spec.containers[0]!.resizePolicy = [{ resourceName: 'cpu', restartPolicy: 'RestartContainer' }];
      },
      'spec: Forbidden: only cpu and memory resources are mutable',
    ],
    [
      (spec) => {
        delete spec.containers[0]!.resources!.limits!['cpu'];
      },
      'spec.containers[0].resources.limits: Forbidden: resource limits cannot be removed',
    ],
    [
      (spec) => {
        spec.containers.pop();
      },
      'spec.containers: Forbidden: containers may not be added or removed on resize',
    ],
    [
      (spec) => {
        spec.containers.reverse();
      },
      'spec.containers[0].name: Forbidden: containers may not be renamed or reordered on resize',
      'spec.containers[1].name: Forbidden: containers may not be renamed or reordered on resize',
    ],
  ];
  for (const [change, ...errors] of refused) assert.deepEqual(resize(change).errors, errors);
});

const statuses: readonly (readonly [expected: string, status: object, spec?: object, metadata?: object])[] = [
  ['Pending 0/1 0', { phase: 'Pending' }],
  [
    'ContainerCreating 0/1 0',
    {
      phase: 'Pending',
      containerStatuses: [
        { name: 'web', state: { waiting: { reason: 'ContainerCreating' } }, restartCount: 0 },
      ],
    },
  ],
  [
    'Running 1/1 0',
    {
      phase: 'Running',
      containerStatuses: [{ name: 'web', ready: true, state: { running: {} }, restartCount: 0 }],
    },
  ],
  [
    'CrashLoopBackOff 0/1 3 (5m5s ago)',
    {
      phase: 'Running',
      containerStatuses: [
        {
          name: 'web',
          state: { waiting: { reason: 'CrashLoopBackOff' } },
          lastState: { terminated: { exitCode: 1, finishedAt: '2026-01-02T02:59:00Z' } },
          restartCount: 3,
        },
      ],
    },
  ],
  [
    'Init:0/1 0/1 0',
    { phase: 'Pending', initContainerStatuses: [{ name: 'i', state: { running: {} }, restartCount: 0 }] },
    { initContainers: [{ name: 'i', image: 'i' }] },
  ],
  [
    'Init:Error 0/1 0',
    {
      phase: 'Pending',
      initContainerStatuses: [
        { name: 'i', state: { terminated: { exitCode: 1, reason: 'Error' } }, restartCount: 0 },
      ],
    },
    { initContainers: [{ name: 'i', image: 'i' }] },
  ],
  [
    'Completed 0/1 0',
    {
      phase: 'Succeeded',
      containerStatuses: [
        { name: 'web', state: { terminated: { exitCode: 0, reason: 'Completed' } }, restartCount: 0 },
      ],
    },
  ],
  [
    'NotReady 1/2 0',
    {
      phase: 'Running',
      containerStatuses: [
        { name: 'a', state: { terminated: { exitCode: 0, reason: 'Completed' } }, restartCount: 0 },
        { name: 'web', ready: true, state: { running: {} }, restartCount: 0 },
      ],
    },
    { containers: [CONTAINER, CONTAINER] },
  ],
  [
    'ExitCode:2 0/1 0',
    {
      phase: 'Failed',
      containerStatuses: [{ name: 'web', state: { terminated: { exitCode: 2 } }, restartCount: 0 }],
    },
  ],
  [
    'Terminating 1/1 0',
    {
      phase: 'Running',
      containerStatuses: [{ name: 'web', ready: true, state: { running: {} }, restartCount: 0 }],
    },
    {},
    { deletionTimestamp: '2026-01-02T03:00:00Z' },
  ],
  ['Evicted 0/1 0', { phase: 'Failed', reason: 'Evicted' }],
  [
    'SchedulingGated 0/1 0',
    { phase: 'Pending', conditions: [{ type: 'PodScheduled', status: 'False', reason: 'SchedulingGated' }] },
  ],
  [
    'Running 2/2 0',
    {
      phase: 'Running',
      initContainerStatuses: [
        { name: 's', started: true, ready: true, state: { running: {} }, restartCount: 0 },
      ],
      containerStatuses: [{ name: 'web', ready: true, state: { running: {} }, restartCount: 0 }],
    },
    { initContainers: [{ name: 's', image: 's', restartPolicy: 'Always' }] },
  ],
];

for (const [expected, status, spec, metadata] of statuses) {
  test(`table: ${expected}`, () => {
    const cells = row('pods', { ...pod(spec, metadata), status });
    assert.equal(
      `${String(cells['Status'])} ${String(cells['Ready'])} ${String(cells['Restarts'])}`,
      expected,
    );
  });
}

test('names of inherited properties are ordinary names', () => {
  const resources = { limits: { cpu: '1' }, requests: { constructor: '1', cpu: '1' } };
  const { errors } = create(
    'pods',
    pod({
      nodeSelector: { constructor: 'a' },
      resources: { limits: { cpu: '1' } },
      containers: [{ ...CONTAINER, resources }],
    }),
  );
  assert.deepEqual(errors, [
    'spec.containers[0].resources.requests[constructor]: Invalid value: "constructor": must be a standard resource type or fully qualified',
    'spec.containers[0].resources.requests[constructor]: Invalid value: "constructor": must be a standard resource for containers',
  ]);
  assert.deepEqual(
    create('configmaps', { metadata: { name: 'c' }, data: { constructor: 'x' }, binaryData: {} }).errors,
    [],
  );
});

test('validation time is linear in the length of lists and strings', () => {
  const long = (text: string): object => ({
    volumes: [{ name: 'v', iscsi: { targetPortal: 'p', iqn: `iqn.${text}` } }],
  });
  const { errors } = create('pods', pod(long('2001-01.'.repeat(100_000))));
  assert.deepEqual(
    errors.map((error) => error.slice(0, 25)),
    ['spec.volumes[0].iscsi.iqn'],
  );
  const fieldPath = "['".repeat(500_000) + "x']";
  assert.equal(
    create(
      'pods',
      pod({ containers: [{ ...CONTAINER, env: [{ name: 'A', valueFrom: { fieldRef: { fieldPath } } }] }] }),
    ).errors.length,
    1,
  );
});

test('status: terminated containers stay so; quantities, users and claims are validated', () => {
  const { object } = create<Pod>(
    'pods',
    pod({
      restartPolicy: 'Never',
      containers: [
        {
          ...CONTAINER,
          restartPolicy: 'Never',
          restartPolicyRules: [{ action: 'Restart', exitCodes: { operator: 'In', values: [42] } }],
        },
        { name: 'b', image: 'b' },
      ],
    }),
  );
  const ended = (name: string, exitCode: number): object => ({ name, state: { terminated: { exitCode } } }),
    statuses = (...list: object[]): object => ({ ...object.status, containerStatuses: list });
  const stored = { ...object, status: statuses(ended('web', 42), ended('b', 42)) } as Pod;
  const errorsOf = (status: object): readonly string[] =>
    update<Pod>(
      'pods',
      stored,
      (next) => {
        next.status = { ...next.status, ...status } as NonNullable<Pod['status']>;
      },
      'status',
    ).errors;
  assert.deepEqual(
    errorsOf({
      containerStatuses: [
        { name: 'web', state: { running: {} } },
        { name: 'b', state: { running: {} } },
      ],
    }),
    ['status.containerStatuses[1].state: Forbidden: may not be transitioned to non-terminated state'],
  );
  assert.deepEqual(
    errorsOf({
      observedGeneration: -1,
      conditions: [{ type: 'a b', status: 'True', observedGeneration: -1 }],
    }).map((error) => error.split(': ').slice(0, 3).join(': ')),
    [
      'status.conditions[0].observedGeneration: Invalid value: -1',
      'status.conditions[0].Type: Invalid value: "a b"',
      'status.observedGeneration: Invalid value: -1',
    ],
  );
  const allocated = [
    {
      name: 'example.com/gpu',
      resources: [
        { resourceID: 'a', health: 'Fine', message: '' },
        { resourceID: 'a', health: 'Healthy' },
      ],
    },
  ];
  assert.deepEqual(
    errorsOf({
      containerStatuses: [
        {
          ...ended('web', 1),
          allocatedResourcesStatus: allocated,
          user: { linux: { uid: -1, gid: 0, supplementalGroups: [2 ** 40] } },
        },
      ],
      ephemeralContainerStatuses: [{ name: 'e', allocatedResourcesStatus: allocated }],
    }),
    [
      'status.containerStatuses[0].user.linux.uid: Invalid value: -1: must be between 0 and 2147483647, inclusive',
      'status.containerStatuses[0].user.linux.supplementalGroups[0]: Invalid value: 1099511627776: must be between 0 and 2147483647, inclusive',
      'status.containerStatuses[0].allocatedResourcesStatus[0].name: Invalid value: "example.com/gpu": must match one of the container\'s resource requests',
      'status.containerStatuses[0].allocatedResourcesStatus[0].resources[0].health: Unsupported value: "Fine": supported values: "Healthy", "Unhealthy", "Unknown"',
      'status.containerStatuses[0].allocatedResourcesStatus[0].resources[0].message: Required value: must be non-empty if specified',
      'status.containerStatuses[0].allocatedResourcesStatus[0].resources[1].resourceID: Duplicate value: "a"',
      'status.ephemeralContainerStatuses[0].allocatedResourcesStatus: Forbidden: must not be specified in container status',
    ],
  );
  assert.deepEqual(
    errorsOf({
      extendedResourceClaimStatus: {
        requestMappings: [{ containerName: 'web', resourceName: 'x', requestName: 'r' }],
      },
      resourceClaimStatuses: [{ name: 'a' }],
    }).map((error) => error.split(': ')[0]),
    [
      'status.resourceClaimStatuses[0].name',
      'status.extendedResourceClaimStatus.requestMappings[0].resourceName',
      'status.extendedResourceClaimStatus.resourceClaimName',
    ],
  );
  const kept = update<Pod>(
    'pods',
    { ...stored, status: { ...stored.status, observedGeneration: 3 } } as Pod,
    (next) => {
      next.status = {
        ...stored.status,
        nodeAllocatableResourceClaimStatuses: [{ resourceClaimName: 'c', resources: {} }],
      } as NonNullable<Pod['status']>;
    },
    'status',
  ).object.status;
  assert.deepEqual([kept?.observedGeneration, kept?.nodeAllocatableResourceClaimStatuses], [3, undefined]);
});
