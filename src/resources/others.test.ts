import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { KubeObject } from '#machinery/object.ts';
import { resourceByPath } from './registry.ts';
import { humanDuration } from './tables.ts';
import { create, row, update } from './testing/write-case.ts';

const NAME = { name: 'x', namespace: 'default' };

const refused: readonly (readonly [path: string, object: object, ...errors: string[]])[] = [
  [
    'rbac.authorization.k8s.io/roles',
    {
      rules: [
        { verbs: [], apiGroups: [''], resources: ['pods'] },
        { verbs: ['get'], nonResourceURLs: ['/x'] },
      ],
    },
    'rules[0].verbs: Required value: verbs must contain at least one value',
    'rules[1].nonResourceURLs: Invalid value: ["/x"]: namespaced rules cannot apply to non-resource URLs',
  ],
  [
    'rbac.authorization.k8s.io/rolebindings',
    {
      roleRef: { kind: 'Thing', name: 'r' },
      subjects: [
        { kind: 'User', name: 'u' },
        { kind: 'Robot', name: 'r' },
      ],
    },
    'roleRef.kind: Unsupported value: "Thing": supported values: "Role", "ClusterRole"',
    'subjects[1].kind: Unsupported value: "Robot": supported values: "ServiceAccount", "User", "Group"',
  ],
  [
    'networking.k8s.io/networkpolicies',
    {
      spec: {
        ingress: [
          {
            ports: [{ port: 80, endPort: 79 }],
            from: [{}, { ipBlock: { cidr: '10.0.0.0/8', except: ['11.0.0.0/16'] } }],
          },
        ],
      },
    },
    'spec.ingress[0].ports[0].endPort: Invalid value: 80: must be greater than or equal to `port`',
    'spec.ingress[0].from[0]: Required value: must specify a peer',
    'spec.ingress[0].from[1].ipBlock.except[0]: Invalid value: "11.0.0.0/16": must be a strict subset of `cidr`',
  ],
  [
    'networking.k8s.io/ingresses',
    {
      spec: {
        rules: [
          {
            host: '1.2.3.4',
            http: { paths: [{ path: 'x', pathType: 'Prefix', backend: { service: { name: 's' } } }] },
          },
        ],
      },
    },
    'spec.rules[0].host: Invalid value: "1.2.3.4": must be a DNS name, not an IP address',
    'spec.rules[0].http.paths[0].path: Invalid value: "x": must be an absolute path',
    'spec.rules[0].http.paths[0].backend: Required value: port name or number is required',
  ],
  [
    'policy/poddisruptionbudgets',
    { spec: { minAvailable: '120%', maxUnavailable: 1 } },
    'spec: Invalid value: {"minAvailable":"120%","maxUnavailable":1}: minAvailable and maxUnavailable cannot be both set',
    'spec.minAvailable: Invalid value: "120%": must not be greater than 100%',
  ],
  [
    'scheduling.k8s.io/priorityclasses',
    { value: 1000000001 },
    'value: Forbidden: maximum allowed value of a user defined priority is 1000000000',
  ],
  [
    'coordination.k8s.io/leases',
    { spec: { leaseDurationSeconds: 0, leaseTransitions: -1 } },
    'spec.leaseDurationSeconds: Invalid value: 0: must be greater than 0',
    'spec.leaseTransitions: Invalid value: -1: must be greater than or equal to 0',
  ],
  [
    'discovery.k8s.io/endpointslices',
    {
      addressType: 'IPv4',
      endpoints: [{ addresses: ['::1'] }, { addresses: [] }],
      ports: [{ port: 0, protocol: '' }],
    },
    'ports[0].protocol: Unsupported value: "": supported values: "SCTP", "TCP", "UDP"',
    'endpoints[0].addresses[0]: Invalid value: "::1": must be an IPv4 address',
    'endpoints[0].addresses[0]: Invalid value: "::1": may not be in the loopback range (127.0.0.0/8, ::1/128)',
    'endpoints[1].addresses: Required value: must contain at least 1 address',
  ],
  [
    'storage.k8s.io/csinodes',
    { spec: { drivers: [{ name: '', nodeID: 'n'.repeat(257), topologyKeys: ['a', 'a'] }] } },
    'spec.drivers[0].name: Required value',
    `spec.drivers[0].nodeID: Invalid value: "${'n'.repeat(257)}": must be 256 characters or less`,
    'spec.drivers[0]: Duplicate value: "a"',
  ],
  [
    'storage.k8s.io/csidrivers',
    { spec: { serviceAccountTokenInSecrets: true, volumeLifecycleModes: ['Odd'] } },
    'spec.volumeLifecycleModes: Unsupported value: "Odd": supported values: "Persistent", "Ephemeral"',
    'spec.serviceAccountTokenInSecrets: Invalid value: true: serviceAccountTokenInSecrets is set but no tokenRequests are specified',
  ],
  [
    'storage.k8s.io/volumeattachments',
    { spec: { attacher: '', nodeName: 'n', source: { persistentVolumeName: '' } } },
    'spec.attacher: Required value',
    'spec.source.persistentVolumeName: Required value: must specify non empty persistentVolumeName',
    "spec.source.persistentVolumeName: Invalid value: \"\": a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')",
  ],
  [
    'networking.k8s.io/ipaddresses',
    { metadata: { name: '10.0.0.1' }, spec: { parentRef: { resource: 'a/b', name: 'x', group: '' } } },
    'spec.parentRef.resource: Invalid value: "a/b": may not contain \'/\'',
  ],
  [
    'networking.k8s.io/ingressclasses',
    { spec: { controller: 'a.b/c', parameters: { kind: '', name: 'a/b', scope: 'Namespace' } } },
    'spec.parameters.kind: Required value',
    'spec.parameters.name: Invalid value: "a/b": may not contain \'/\'',
    "spec.parameters.namespace: Required value: `parameters.scope` is set to 'Namespace'",
  ],
  [
    'networking.k8s.io/networkpolicies',
    { spec: { podSelector: {}, ingress: [{ ports: [{ endPort: 5, protocol: '' }] }] } },
    'spec.ingress[0].ports[0].protocol: Unsupported value: "": supported values: "TCP", "UDP", "SCTP"',
    'spec.ingress[0].ports[0].endPort: Invalid value: 5: may not be specified when `port` is not specified',
  ],
  [
    'flowcontrol.apiserver.k8s.io/flowschemas',
    {
      spec: {
        priorityLevelConfiguration: { name: 'p' },
        rules: [
          {
            subjects: [{ kind: 'User', user: { name: '' }, group: { name: 'g' } }],
            nonResourceRules: [{ verbs: ['fly'], nonResourceURLs: ['x', '/a/*'] }],
          },
        ],
      },
    },
    "spec.rules[0].subjects[0].group: Forbidden: group is forbidden when subject kind is not 'Group'",
    'spec.rules[0].subjects[0].user.name: Required value',
    'spec.rules[0].nonResourceRules[0].verbs: Unsupported value: ["fly"]: supported values: "create", "delete", "deletecollection", "get", "list", "patch", "proxy", "update", "watch"',
    'spec.rules[0].nonResourceRules[0].nonResourceURLs[0]: Invalid value: "x": must start with slash',
  ],
  [
    'admissionregistration.k8s.io/mutatingadmissionpolicies',
    {
      spec: {
        matchConstraints: {
          resourceRules: [
            { operations: ['DELETE'], apiGroups: [''], apiVersions: ['v1'], resources: ['pods'] },
          ],
        },
        variables: [{ name: 'in', expression: '1' }],
        mutations: [{ patchType: 'JSONPatch', applyConfiguration: { expression: 'x' } }],
        reinvocationPolicy: 'Odd',
      },
    },
    'spec.variables[0].name: Invalid value: "in": must be a valid CEL identifier',
    'spec.matchConstraints.resourceRules.operations: Unsupported value: "DELETE": supported values: "*", "CONNECT", "CREATE", "UPDATE"',
    'spec.mutations[0].jsonPatch: Required value: must be specified when patchType is JSONPatch',
    'spec.mutations[0].applyConfiguration: Invalid value: "{applyConfiguration}": must not be specified when patchType is JSONPatch',
    'spec.reinvocationPolicy: Unsupported value: "Odd": supported values: "IfNeeded", "Never"',
  ],
  [
    'admissionregistration.k8s.io/mutatingwebhookconfigurations',
    {
      webhooks: [
        {
          name: 'a.b.c',
          sideEffects: 'None',
          admissionReviewVersions: ['v1'],
          clientConfig: { service: { namespace: 'n', path: 'x' } },
        },
      ],
    },
    'webhooks[0].clientConfig.service.namespace: Required value',
    'webhooks[0].clientConfig.service.path: Invalid value: "x": must start with a \'/\'',
    'webhooks[0].clientConfig.service.path: Invalid value: "x": segment[0] may not be empty',
  ],
  [
    'storagemigration.k8s.io/storageversionmigrations',
    { spec: { resource: { group: 'x.y', resource: '' } } },
    'spec.resource.resource: Required value: resource is required to be set',
  ],
  [
    'storage.k8s.io/storageclasses',
    { provisioner: '', volumeBindingMode: 'Later' },
    'provisioner: Required value',
    'volumeBindingMode: Unsupported value: "Later": supported values: "Immediate", "WaitForFirstConsumer"',
  ],
  [
    'node.k8s.io/runtimeclasses',
    { handler: 'ok', overhead: { podFixed: { disk: '1' } } },
    'overhead.limits[disk]: Invalid value: "disk": must be a standard resource type or fully qualified',
    'overhead.limits[disk]: Invalid value: "disk": must be a standard resource for containers',
  ],
  [
    'admissionregistration.k8s.io/validatingwebhookconfigurations',
    { webhooks: [{ name: 'a.b', clientConfig: { url: 'http://x' }, admissionReviewVersions: [] }] },
    'webhooks[0].name: Invalid value: "a.b": should be a domain with at least three segments separated by dots',
    'webhooks[0].sideEffects: Required value: must specify one of None, NoneOnDryRun',
    'webhooks[0].clientConfig.url: Invalid value: "http": \'https\' is the only allowed URL scheme; desired format: https://host[/path]',
    'webhooks[0].admissionReviewVersions: Required value: must specify one of v1, v1beta1',
  ],
  // An empty path is a service's root.
  [
    'admissionregistration.k8s.io/mutatingwebhookconfigurations',
    {
      webhooks: ['', '/', 'x'].map((path, index) => ({
        name: `w${index}.example.com`,
        sideEffects: 'None',
        admissionReviewVersions: ['v1'],
        clientConfig: { service: { name: 's', namespace: 'n', path } },
      })),
    },
    'webhooks[2].clientConfig.service.path: Invalid value: "x": must start with a \'/\'',
    'webhooks[2].clientConfig.service.path: Invalid value: "x": segment[0] may not be empty',
  ],
  [
    'apiregistration.k8s.io/apiservices',
    {
      metadata: { name: 'v1.example.com' },
      spec: { group: 'example.com', version: 'v1', groupPriorityMinimum: 0, versionPriority: 1 },
    },
    'spec.groupPriorityMinimum: Invalid value: 0: must be positive and less than 20000',
  ],
  [
    'certificates.k8s.io/certificatesigningrequests',
    { spec: { request: '', signerName: 'x', usages: ['fly'] } },
    'spec.request: Invalid value: "": PEM block type must be CERTIFICATE REQUEST',
    'spec.usages[0]: Unsupported value: "fly": supported values: "any", "cert sign", "client auth", "code signing", "content commitment", "crl sign", "data encipherment", "decipher only", "digital signature", "email protection", "encipher only", "ipsec end system", "ipsec tunnel", "ipsec user", "key agreement", "key encipherment", "microsoft sgc", "netscape sgc", "ocsp signing", "s/mime", "server auth", "signing", "timestamping"',
    `spec.signerName: Invalid value: "x": must be a fully qualified domain and path of the form 'example.com/signer-name'`,
  ],
  [
    'flowcontrol.apiserver.k8s.io/prioritylevelconfigurations',
    {
      spec: {
        type: 'Limited',
        limited: { limitResponse: { type: 'Queue', queuing: { queues: 2, handSize: 3 } } },
      },
    },
    'spec.limited.limitResponse.queuing.handSize: Invalid value: 3: should not be greater than queues (2)',
  ],
];

for (const [path, object, ...errors] of refused)
  test(`refused: ${path}`, () =>
    assert.deepEqual(create(path, { metadata: NAME, ...object }).errors, errors));

test('defaults', () => {
  const of = (path: string, object: object): KubeObject =>
    create<KubeObject>(path, { metadata: NAME, ...object }).object;
  assert.deepEqual(
    of('networking.k8s.io/networkpolicies', { spec: { egress: [{ ports: [{ port: 1 }] }] } })['spec'],
    {
      egress: [{ ports: [{ port: 1, protocol: 'TCP' }] }],
      podSelector: {},
      policyTypes: ['Ingress', 'Egress'],
    },
  );
  assert.deepEqual(of('storage.k8s.io/csidrivers', {})['spec'], {
    attachRequired: true,
    podInfoOnMount: false,
    storageCapacity: false,
    fsGroupPolicy: 'ReadWriteOnceWithFSType',
    volumeLifecycleModes: ['Persistent'],
    requiresRepublish: false,
    seLinuxMount: false,
  });
  assert.deepEqual(
    of('rbac.authorization.k8s.io/clusterrolebindings', {
      roleRef: { kind: 'ClusterRole', name: 'r' },
      subjects: [
        { kind: 'Group', name: 'g' },
        { kind: 'ServiceAccount', name: 's', namespace: 'n' },
      ],
    })['subjects'],
    [
      { kind: 'Group', name: 'g', apiGroup: 'rbac.authorization.k8s.io' },
      { kind: 'ServiceAccount', name: 's', namespace: 'n' },
    ],
  );
  assert.deepEqual(
    of('apiextensions.k8s.io/customresourcedefinitions', {
      spec: { names: { kind: 'Foo', plural: 'foos' } },
    })['spec'],
    {
      names: { kind: 'Foo', plural: 'foos', singular: 'foo', listKind: 'FooList' },
      conversion: { strategy: 'None' },
    },
  );
});

test('fields of disabled features are dropped, unless the stored object has them', () => {
  const of = (path: string, object: object): KubeObject =>
    create<KubeObject>(path, { metadata: NAME, ...object }).object;
  const lease = of('coordination.k8s.io/leases', {
    spec: { strategy: 'OldestEmulationVersion', preferredHolder: 'x', holderIdentity: 'y' },
  });
  assert.deepEqual(lease['spec'], { holderIdentity: 'y' });
  const stored: KubeObject = { ...lease, spec: { strategy: 'OldestEmulationVersion' } };
  assert.deepEqual(
    update('coordination.k8s.io/leases', stored, (next) => {
      next['spec'] = { strategy: 'other.example.com/x', preferredHolder: 'x' };
    }).object['spec'],
    { strategy: 'other.example.com/x' },
  );
  assert.equal(
    'preventPodSchedulingIfMissing' in
      (of('storage.k8s.io/csidrivers', { spec: { preventPodSchedulingIfMissing: true } })['spec'] as object),
    false,
  );
  assert.equal(
    'schedulingGroup' in
      (of('pods', {
        spec: { containers: [{ name: 'c', image: 'c' }], schedulingGroup: { podGroupName: 'g' } },
      })['spec'] as object),
    false,
  );
  const slice = of('resource.k8s.io/resourceslices', {
    spec: {
      driver: 'd',
      devices: [
        {
          name: 'a',
          nodeAllocatableResourceMappings: {},
          attributes: { x: { strings: ['a'], string: 'b' } },
        },
      ],
    },
  });
  assert.deepEqual((slice['spec'] as { devices: object[] }).devices, [
    { name: 'a', attributes: { x: { string: 'b' } } },
  ]);
  const tainted = update('resource.k8s.io/resourceslices', slice, (next) => {
    next['spec'] = { devices: [{ name: 'a', taints: [{ key: 'k', effect: 'NoExecute' }] }] };
  }).object['spec'];
  assert.match(
    (tainted as { devices: { taints: { timeAdded: string }[] }[] }).devices[0]!.taints[0]!.timeAdded,
    /Z$/,
  );
  const claim = of('persistentvolumeclaims', {
      spec: { dataSource: { kind: 'Odd', name: 'o', apiGroup: 'example.com' } },
    }),
    other = of('persistentvolumeclaims', {
      spec: { dataSourceRef: { kind: 'Odd', name: 'o', apiGroup: 'example.com', namespace: 'n' } },
    });
  for (const { spec } of [claim, other] as { spec: object }[])
    assert.deepEqual(Object.keys(spec), ['volumeMode']);
  const both = of('persistentvolumeclaims', {
    spec: { dataSource: { kind: 'PersistentVolumeClaim', name: 'o' } },
  });
  assert.deepEqual((both['spec'] as { dataSourceRef: object }).dataSourceRef, {
    apiGroup: null,
    kind: 'PersistentVolumeClaim',
    name: 'o',
  });
});

test('roleRef is immutable', () => {
  const stored: KubeObject = {
    metadata: NAME,
    roleRef: { apiGroup: 'rbac.authorization.k8s.io', kind: 'Role', name: 'a' },
  };
  assert.deepEqual(
    update('rbac.authorization.k8s.io/rolebindings', stored, (next) => {
      next['roleRef'] = { kind: 'Role', name: 'b' };
    }).errors,
    [
      'roleRef: Invalid value: {"APIGroup":"rbac.authorization.k8s.io","Kind":"Role","Name":"b"}: cannot change roleRef',
    ],
  );
});

/** Of a P-256 key, for CN=jane. */
const REQUEST_DER =
  'MIHJMHECAQAwDzENMAsGA1UEAwwEamFuZTBZMBMGByqGSM49AgEGCCqGSM49AwEHA0IABPTLHsuVYkHuIKhkYJqxxI4x/mhNcTsTYJ8/dZQk1CN/qhbQ1TXTDsdxE/vGq03bwtErwTJC4ZhBa/xlMst/6OigADAKBggqhkjOPQQDAgNIADBFAiEA39u5Pzp9dJFHH3Q9p3sjhQ6Asr7wPyU1+azj9HQPSOwCIGQqhtvGgXV7tIx6580rmVzrKVYbftJjCzKxi8BQGazX';

test('signing requests record the requester, and are approved once', () => {
  const request = Buffer.from(
    `-----BEGIN CERTIFICATE REQUEST-----\n${REQUEST_DER}\n-----END CERTIFICATE REQUEST-----\n`,
  ).toString('base64');
  const { object, errors } = create<KubeObject>('certificates.k8s.io/certificatesigningrequests', {
    metadata: NAME,
    spec: { request, signerName: 'example.com/s', usages: ['client auth'], username: 'forged' },
  });
  assert.deepEqual([errors, (object['spec'] as Record<string, unknown>)['username']], [[], 'tester']);
  const approved = update(
    'certificates.k8s.io/certificatesigningrequests',
    object,
    (next) => {
      next['status'] = { conditions: [{ type: 'Approved', status: 'True' }] };
    },
    'approval',
  );
  assert.deepEqual(approved.errors, []);
  assert.equal(
    row('certificates.k8s.io/certificatesigningrequests', approved.object)['Condition'],
    'Approved',
  );
  assert.deepEqual(
    update(
      'certificates.k8s.io/certificatesigningrequests',
      approved.object,
      (next) => {
        next['status'] = {};
      },
      'approval',
    ).errors,
    ['status.conditions: Forbidden: updates may not remove a condition of type "Approved"'],
  );
  assert.deepEqual(
    update('certificates.k8s.io/certificatesigningrequests', object, (next) => {
      next['status'] = { conditions: [{ type: 'Approved', status: 'True' }] };
    }).object['status'],
    {},
  );
});

test('resource claims: flat requests of v1beta1', () => {
  const resource = resourceByPath('resource.k8s.io', 'v1beta1', 'resourceclaims')!;
  const flat: KubeObject = {
    apiVersion: 'resource.k8s.io/v1beta1',
    kind: 'ResourceClaim',
    spec: { devices: { requests: [{ name: 'r', deviceClassName: 'c', count: 2 }] } },
  };
  const stored = resource.convert(flat, 'resource.k8s.io/v1');
  assert.deepEqual(stored['spec'], {
    devices: { requests: [{ name: 'r', exactly: { deviceClassName: 'c', count: 2 } }] },
  });
  assert.deepEqual(resource.convert(stored, 'resource.k8s.io/v1beta1'), flat);
});

test('ages', () => {
  const cases: readonly (readonly [seconds: number, text: string])[] = [
    [-5, '<invalid>'],
    [0, '0s'],
    [119, '119s'],
    [120, '2m'],
    [125, '2m5s'],
    [600, '10m'],
    [10799, '179m'],
    [10800, '3h'],
    [18720, '5h12m'],
    [28800, '8h'],
    [172800, '2d'],
    [273600, '3d4h'],
    [691200, '8d'],
    [63072000, '2y'],
    [63936000, '2y10d'],
    [252288000, '8y'],
  ];
  for (const [seconds, text] of cases) assert.equal(humanDuration(seconds * 1000), text, String(seconds));
});

for (const path of [
  'networking.k8s.io/servicecidrs',
  'admissionregistration.k8s.io/validatingadmissionpolicies',
  'storagemigration.k8s.io/storageversionmigrations',
]) {
  test(`${path}: writes of the status leave labels alone`, () => {
    const stored = { metadata: { name: 'x', labels: { a: 'b' }, generation: 1 }, spec: {} };
    const { object } = update<KubeObject>(
      path,
      stored as KubeObject,
      (next) => {
        next.metadata!.labels = { c: 'd' };
        next['status'] = { conditions: [] };
      },
      'status',
    );
    assert.deepEqual([object.metadata, object['status']], [stored.metadata, { conditions: [] }]);
  });
}

test('the status of a migration: final conditions and resourceVersion are immutable', () => {
  const path = 'storagemigration.k8s.io/storageversionmigrations',
    spec = { resource: { group: '', resource: 'secrets' } };
  const is = (type: string, status = 'True'): object => ({
    type,
    status,
    reason: 'r',
    message: '',
    lastTransitionTime: '2020-01-01T00:00:00Z',
  });
  const cases: readonly (readonly [before: object, after: object, ...errors: string[]])[] = [
    [{}, { resourceVersion: '7', conditions: [is('Running')] }],
    [
      {},
      { resourceVersion: '07' },
      'status.resourceVersion: Invalid value: "07": resource version is not well formed: 07',
    ],
    [
      { resourceVersion: '7' },
      { resourceVersion: '8' },
      'status.resourceVersion: Invalid value: "8": field is immutable',
    ],
    [
      {},
      { conditions: [is('Succeeded'), is('Failed')] },
      `status.conditions: Invalid value: ${JSON.stringify([is('Succeeded'), is('Failed')])}: Both success and failed conditions cannot be true at the same time`,
    ],
    [
      { conditions: [is('Succeeded')] },
      {},
      'status.conditions: Invalid value: null: Success condition cannot be set to false once it is true',
    ],
    [
      { conditions: [is('Failed')] },
      {},
      'status.conditions: Invalid value: null: Failed condition cannot be set to false once it is true',
    ],
  ];
  for (const [before, after, ...errors] of cases) {
    const changed = update<KubeObject>(
      path,
      { metadata: { name: 'x' }, spec, status: before } as KubeObject,
      (next) => {
        next['status'] = after;
      },
      'status',
    );
    assert.deepEqual(changed.errors, errors);
  }
});

test('table row of a migration', () => {
  const conditions = [
    { type: 'Running', status: 'False' },
    { type: 'Succeeded', status: 'True' },
  ];
  assert.deepEqual(
    row('storagemigration.k8s.io/storageversionmigrations', {
      metadata: { name: 'x' },
      spec: { resource: { group: 'apps', resource: 'deployments' } },
      status: { conditions },
    }),
    { Name: 'x', Resource: 'deployments.apps', Status: 'Succeeded' },
  );
});
