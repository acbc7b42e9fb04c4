import assert from 'node:assert/strict';
import { test } from 'node:test';
import type {
  Condition,
  ConfigMap,
  LimitRange,
  Namespace,
  Node,
  PersistentVolumeClaim,
  ReplicationController,
  Secret,
  Service,
  ServiceAccount,
} from '#api/types.ts';
import type { KubeObject } from '#machinery/object.ts';
import { resourceByPath } from '../registry.ts';
import { create, row, update } from '../testing/write-case.ts';

const meta = (name: string): object => ({ name, namespace: 'default' });

test('config maps: keys, size, immutability', () => {
  const { object, errors } = create<ConfigMap>('configmaps', {
    metadata: meta('a'),
    data: { 'a/b': '', c: 'x' },
    binaryData: { c: 'eA==' },
  });
  assert.deepEqual(errors, [
    "data[a/b]: Invalid value: \"a/b\": a valid config key must consist of alphanumeric characters, '-', '_' or '.' (e.g. 'key.name',  or 'KEY_NAME',  or 'key-name', regex used for validation is '[-._a-zA-Z0-9]+')",
    'data[c]: Invalid value: "c": duplicate of key present in binaryData',
  ]);
  assert.deepEqual(create('configmaps', { metadata: meta('a'), data: { big: 'x'.repeat(1048577) } }).errors, [
    '[]: Too long: may not be more than 1048576 bytes',
  ]);
  const frozen = { ...object, data: { c: 'x' }, immutable: true } as ConfigMap;
  delete frozen.binaryData;
  assert.deepEqual(
    update<ConfigMap>('configmaps', frozen, (next) => {
      delete next.immutable;
      next.data!['c'] = 'y';
    }).errors,
    [
      'immutable: Forbidden: field is immutable when `immutable` is set',
      'data: Forbidden: field is immutable when `immutable` is set',
    ],
  );
  assert.equal(row('configmaps', { metadata: { name: 'a' }, data: { a: '', b: '' } })['Data'], 2);
});

test('secrets: stringData, types', () => {
  const { object } = create<Secret>('secrets', {
    metadata: meta('s'),
    data: { a: 'eA==' },
    stringData: { b: 'y' },
  });
  assert.deepEqual(
    { type: object.type, data: object.data, stringData: object.stringData },
    { type: 'Opaque', data: { a: 'eA==', b: 'eQ==' }, stringData: undefined },
  );
  const cases: readonly (readonly [type: string, ...errors: string[]])[] = [
    ['kubernetes.io/tls', 'data[tls.crt]: Required value', 'data[tls.key]: Required value'],
    ['kubernetes.io/basic-auth', 'data[username]: Required value', 'data[password]: Required value'],
    ['kubernetes.io/dockerconfigjson', 'data[.dockerconfigjson]: Required value'],
    [
      'kubernetes.io/service-account-token',
      'metadata.annotations[kubernetes.io/service-account.name]: Required value',
    ],
    ['example.com/own'],
  ];
  for (const [type, ...errors] of cases)
    assert.deepEqual(create('secrets', { metadata: meta('s'), type }).errors, errors, type);
  assert.deepEqual(
    update<Secret>('secrets', object, (next) => {
      next.type = 'other';
    }).errors,
    ['type: Invalid value: "other": field is immutable'],
  );
});

test('namespaces start active with their finalizer and name label', () => {
  const { object, errors } = create<Namespace>('namespaces', { metadata: { name: 'a' } });
  assert.deepEqual(errors, []);
  assert.deepEqual(
    [object.spec, object.status, object.metadata?.labels],
    [{ finalizers: ['kubernetes'] }, { phase: 'Active' }, { 'kubernetes.io/metadata.name': 'a' }],
  );
  assert.deepEqual(
    update<Namespace>('namespaces', object, (next) => {
      next.spec = { finalizers: [] };
    }).object.spec,
    { finalizers: ['kubernetes'] },
  );
  assert.deepEqual(
    update<Namespace>(
      'namespaces',
      object,
      (next) => {
        next.spec = { finalizers: [] };
      },
      'finalize',
    ).object.spec,
    { finalizers: [] },
  );
  assert.deepEqual(
    update<Namespace>(
      'namespaces',
      object,
      (next) => {
        next.status = { phase: 'Terminating' };
      },
      'status',
    ).errors,
    ['status.Phase: Invalid value: "Terminating": may only be \'Active\' if `deletionTimestamp` is empty'],
  );
});

const services: readonly (readonly [what: string, spec: object, ...errors: string[]])[] = [
  ['no ports', {}, 'spec.ports: Required value'],
  ['headless without ports', { clusterIP: 'None', clusterIPs: ['None'] }],
  [
    'unnamed ports',
    { ports: [{ port: 80 }, { port: 80 }] },
    'spec.ports[0].name: Required value',
    'spec.ports[1].name: Required value',
    'spec.ports[1]: Duplicate value: {"protocol":"TCP","port":80,"targetPort":0}',
  ],
  [
    'external name',
    { type: 'ExternalName', clusterIP: '10.0.0.1', clusterIPs: ['10.0.0.1'] },
    'spec.clusterIPs: Forbidden: may not be set for ExternalName services',
    'spec.externalName: Required value',
  ],
  [
    'node port of a cluster address',
    { ports: [{ port: 80, nodePort: 30000 }] },
    "spec.ports[0].nodePort: Forbidden: may not be used when `type` is 'ClusterIP'",
  ],
  [
    'bad values',
    { type: 'Other', sessionAffinity: 'Sticky', ports: [{ port: 0, protocol: 'X', targetPort: 'A_' }] },
    'spec.ports[0].port: Invalid value: 0: must be between 1 and 65535, inclusive',
    'spec.ports[0].protocol: Unsupported value: "X": supported values: "SCTP", "TCP", "UDP"',
    'spec.ports[0].targetPort: Invalid value: "A_": must contain only alpha-numeric characters (a-z, 0-9), and hyphens (-)',
    'spec.ports[0].targetPort: Invalid value: "A_": must contain at least one letter (a-z)',
    'spec.sessionAffinity: Unsupported value: "Sticky": supported values: "ClientIP", "None"',
    'spec.type: Unsupported value: "Other": supported values: "ClusterIP", "ExternalName", "LoadBalancer", "NodePort"',
  ],
  [
    'the port of kubelets',
    { type: 'LoadBalancer', ports: [{ port: 10250 }] },
    'spec.ports[0]: Invalid value: 10250: may not expose port 10250 externally since it is used by kubelet',
  ],
  [
    'addresses as others would not read them',
    {
      clusterIP: '010.96.0.9',
      clusterIPs: ['010.96.0.9'],
      externalIPs: ['::ffff:1.2.3.4'],
      ports: [{ port: 80 }],
    },
    'spec.clusterIPs[0]: Invalid value: "010.96.0.9": must not have leading 0s',
    'spec.externalIPs[0]: Invalid value: "::ffff:1.2.3.4": must not be an IPv4-mapped IPv6 address',
  ],
  [
    'external addresses',
    { externalIPs: ['127.0.0.1', 'x'], ports: [{ port: 80 }] },
    'spec.externalIPs[0]: Invalid value: "127.0.0.1": may not be in the loopback range (127.0.0.0/8, ::1/128)',
    'spec.externalIPs[1]: Invalid value: "x": must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)',
  ],
];

for (const [what, spec, ...errors] of services)
  test(`service: ${what}`, () =>
    assert.deepEqual(create('services', { metadata: meta('s'), spec }).errors, errors));

test('conditions of services are not validated', () => {
  const { object } = create<Service>('services', { metadata: meta('s'), spec: { ports: [{ port: 80 }] } });
  assert.deepEqual(
    update<Service>(
      'services',
      object,
      (next) => {
        next.status = {
          conditions: [{ type: 'Any', status: 'True', reason: 'R', message: 'm' } as Condition],
        };
      },
      'status',
    ).errors,
    [],
  );
});

test('a stored address is accepted', () => {
  const { object } = create<Service>('services', {
    metadata: meta('s'),
    spec: {
      clusterIP: '010.96.0.9',
      clusterIPs: ['010.96.0.9'],
      externalIPs: ['010.1.1.1'],
      ports: [{ port: 80 }],
    },
  });
  assert.deepEqual(
    update<Service>('services', object, (next) => {
      next.spec!.externalIPs = ['010.1.1.1', '010.1.1.2'];
    }).errors,
    ['spec.externalIPs[1]: Invalid value: "010.1.1.2": must not have leading 0s'],
  );
});

test('services drop fields that their type does not have', () => {
  const { object } = create<Service>('services', {
    metadata: meta('s'),
    spec: { type: 'NodePort', ports: [{ port: 80 }] },
  });
  assert.deepEqual(
    [
      object.spec?.ports,
      object.spec?.externalTrafficPolicy,
      object.spec?.internalTrafficPolicy,
      object.status,
    ],
    [[{ port: 80, protocol: 'TCP', targetPort: 80 }], 'Cluster', 'Cluster', { loadBalancer: {} }],
  );
  Object.assign(object.spec!, {
    clusterIP: '10.96.0.7',
    clusterIPs: ['10.96.0.7'],
    ipFamilies: ['IPv4'],
    ipFamilyPolicy: 'SingleStack',
  });
  object.spec!.ports![0]!.nodePort = 30080;
  const internal = update<Service>('services', object, (next) => {
    next.spec!.type = 'ClusterIP';
  });
  assert.deepEqual(
    [
      internal.errors,
      internal.object.spec?.ports?.[0]?.nodePort,
      internal.object.spec?.externalTrafficPolicy,
    ],
    [[], undefined, undefined],
  );
  const named = update<Service>('services', object, (next) => {
    next.spec!.type = 'ExternalName';
    next.spec!.externalName = 'a.b';
  });
  assert.deepEqual(
    [named.errors, named.object.spec?.clusterIPs, named.object.spec?.ports?.[0]?.nodePort],
    [[], undefined, undefined],
  );
  assert.deepEqual(
    update<Service>('services', object, (next) => {
      next.spec!.clusterIP = '10.96.0.8';
      next.spec!.clusterIPs = ['10.96.0.8'];
    }).errors,
    ['spec.clusterIPs[0]: Invalid value: ["10.96.0.8"]: may not change once set'],
  );
});

test('service table', () => {
  const cells = row('services', {
    metadata: { name: 's' },
    spec: {
      type: 'LoadBalancer',
      clusterIP: '10.0.0.1',
      clusterIPs: ['10.0.0.1'],
      ports: [
        { port: 80, nodePort: 30000, protocol: 'TCP' },
        { port: 53, protocol: 'UDP' },
      ],
      selector: { b: '1', a: '2' },
    },
  });
  assert.deepEqual(Object.values(cells), [
    's',
    'LoadBalancer',
    '10.0.0.1',
    '<pending>',
    '80:30000/TCP,53/UDP',
    '<unknown>',
    'a=2,b=1',
  ]);
});

test('nodes', () => {
  const { object, errors } = create<Node>('nodes', {
    metadata: {
      name: 'n',
      labels: { 'node-role.kubernetes.io/control-plane': '', 'kubernetes.io/role': 'edge' },
    },
    spec: { podCIDR: '10.0.0.0/24' },
    status: { capacity: { cpu: '4' }, conditions: [{ type: 'Ready', status: 'True' }] },
  });
  assert.deepEqual(
    [errors, object.spec?.podCIDRs, object.status?.allocatable],
    [[], ['10.0.0.0/24'], { cpu: '4' }],
  );
  const cells = row('nodes', { ...object, spec: { unschedulable: true } });
  assert.deepEqual([cells['Status'], cells['Roles']], ['Ready,SchedulingDisabled', 'control-plane,edge']);
  // The older field takes precedence.
  assert.deepEqual(
    update<Node>('nodes', object, (next) => {
      next.spec!.podCIDRs = ['10.1.0.0/24'];
    }).errors,
    [],
  );
  const bare = create<Node>('nodes', {
    metadata: { name: 'n' },
    spec: { configSource: {}, podCIDR: '10.0.0.1/24', externalID: 'x' },
    status: { config: {}, images: [{ sizeBytes: 1 }], declaredFeatures: ['B', 'A', 'a'] },
  });
  assert.deepEqual(
    [bare.object.spec, bare.object.status],
    [
      { podCIDR: '10.0.0.1/24', podCIDRs: ['10.0.0.1/24'], externalID: 'x' },
      { images: [{ sizeBytes: 1, names: null }], declaredFeatures: ['B', 'A', 'a'] },
    ],
  );
  assert.deepEqual(
    bare.errors.map((error) => error.slice(0, 59)),
    [
      'status.declaredFeatures[1]: Invalid value: "A": list must b',
      'status.declaredFeatures[2]: Invalid value: "a": invalid fea',
      'spec.podCIDRs[0]: Invalid value: "10.0.0.1/24": must not ha',
    ],
  );
  assert.deepEqual(
    bare.warnings.map((warning) => warning.split(':')[0]),
    ['spec.externalID', 'spec.podCIDRs[0]'],
  );
  assert.deepEqual(
    update<Node>('nodes', object, (next) => {
      next.spec!.podCIDR = '10.1.0.0/24';
    }).errors,
    ['spec.podCIDRs: Forbidden: node updates may not change podCIDR except from "" to valid'],
  );
});

test('limit ranges', () => {
  const { object, errors } = create<LimitRange>('limitranges', { metadata: { namespace: 'default' } });
  assert.match(object.metadata!.name!, /^[-0-9a-f]{36}$/);
  assert.deepEqual([errors, object.spec, object.metadata!.generation], [[], { limits: null }, undefined]);
});

test('TLS secrets are validated', () => {
  const block = (kind: string): string => `-----BEGIN ${kind}-----\nAA==\n-----END ${kind}-----\n`,
    ofPair = (crt: string, key: string): readonly string[] =>
      create('secrets', {
        metadata: meta('s'),
        type: 'kubernetes.io/tls',
        stringData: { 'tls.crt': crt, 'tls.key': key },
      }).warnings;
  assert.deepEqual(ofPair('', ''), ['tls: failed to find any PEM data in certificate input']);
  assert.deepEqual(ofPair(block('CERTIFICATE'), 'x'), ['tls: failed to find any PEM data in key input']);
  assert.deepEqual(ofPair(block('EC PRIVATE KEY'), block('CERTIFICATE')), [
    'tls: failed to find certificate PEM data in certificate input, but did find a private key; PEM inputs may have been switched',
  ]);
  assert.deepEqual(ofPair(block('CERTIFICATE'), block('CERTIFICATE')), [
    'tls: found a certificate rather than a key in the PEM for the private key',
  ]);
  assert.deepEqual(ofPair(block('CERTIFICATE'), block('X')), [
    'tls: failed to find PEM block with type ending in "PRIVATE KEY" in key input after skipping PEM blocks of the following types: [X]',
  ]);
  assert.deepEqual(ofPair(block('CERTIFICATE'), block('PRIVATE KEY')), []);
});

test('claims and volumes', () => {
  const claim = {
    metadata: meta('c'),
    spec: { accessModes: ['ReadWriteOnce'], resources: { requests: { storage: '1Gi' } } },
  };
  const { object, errors } = create<PersistentVolumeClaim>('persistentvolumeclaims', claim);
  assert.deepEqual(
    [errors, object.spec?.volumeMode, object.status],
    [[], 'Filesystem', { phase: 'Pending' }],
  );
  assert.deepEqual(
    create('persistentvolumeclaims', { metadata: meta('c'), spec: { accessModes: ['Any'], volumeMode: 'X' } })
      .errors,
    [
      'spec.accessModes: Unsupported value: "Any": supported values: "ReadOnlyMany", "ReadWriteMany", "ReadWriteOnce", "ReadWriteOncePod"',
      'spec.resources[storage]: Required value',
      'spec.volumeMode: Unsupported value: "X": supported values: "Block", "Filesystem"',
    ],
  );
  assert.match(
    update<PersistentVolumeClaim>('persistentvolumeclaims', object, (next) => {
      next.spec!.accessModes = ['ReadOnlyMany'];
    }).errors[0]!,
    /^spec: Forbidden: spec is immutable after creation except resources.requests and volumeAttributesClassName for bound claims/,
  );
  const bound = {
    ...object,
    status: { phase: 'Bound', capacity: { storage: '1Gi' } },
  } as PersistentVolumeClaim;
  assert.deepEqual(
    update<PersistentVolumeClaim>('persistentvolumeclaims', bound, (next) => {
      next.spec!.resources!.requests!['storage'] = '2Gi';
    }).errors,
    [],
  );
  const volume = {
    metadata: { name: 'v' },
    spec: { accessModes: ['ReadWriteOnce'], capacity: { storage: '1Gi' }, local: { path: '/x' } },
  };
  assert.deepEqual(create('persistentvolumes', volume).errors, [
    'spec.nodeAffinity: Required value: Local volume requires node affinity',
  ]);
  assert.deepEqual(create('persistentvolumes', { metadata: { name: 'v' }, spec: {} }).errors, [
    'spec.accessModes: Required value',
    'spec.capacity: Required value',
    'spec.capacity: Unsupported value: null: supported values: "storage"',
    'spec: Required value: must specify a volume type',
  ]);
});

test('quotas, limits, replication controllers, endpoints', () => {
  assert.deepEqual(
    create('resourcequotas', {
      metadata: meta('q'),
      spec: { hard: { pods: '1.5', nonsense: '1' }, scopes: ['BestEffort'] },
    }).errors,
    [
      'spec.hard[pods]: Invalid value: "1500m": must be an integer',
      'spec.hard[nonsense]: Invalid value: "nonsense": must be a standard resource type or fully qualified',
      'spec.hard[nonsense]: Invalid value: "nonsense": must be a standard resource for quota',
    ],
  );
  const limits = create<LimitRange>('limitranges', {
    metadata: meta('l'),
    spec: { limits: [{ type: 'Container', max: { cpu: '1' }, min: { cpu: '2' } }] },
  });
  assert.deepEqual(limits.object.spec?.limits[0]?.defaultRequest, { cpu: '1' });
  assert.equal(
    limits.errors[0],
    'spec.limits[0].min[cpu]: Invalid value: "2": min value 2 is greater than max value 1',
  );
  const controller = create<ReplicationController>('replicationcontrollers', {
    metadata: meta('r'),
    spec: {
      template: { metadata: { labels: { a: 'b' } }, spec: { containers: [{ name: 'c', image: 'c' }] } },
    },
  });
  assert.deepEqual(
    [
      controller.errors,
      controller.object.spec?.selector,
      controller.object.spec?.replicas,
      controller.object.metadata?.labels,
    ],
    [[], { a: 'b' }, 1, { a: 'b' }],
  );
  assert.deepEqual(
    create('endpoints', {
      metadata: meta('e'),
      subsets: [{ addresses: [{ ip: '127.0.0.1' }], ports: [{ port: 80 }] }],
    }).errors,
    [
      'subsets[0].addresses[0].ip: Invalid value: "127.0.0.1": may not be in the loopback range (127.0.0.0/8, ::1/128)',
    ],
  );
  const many = {
    metadata: { name: 'e' },
    subsets: [{ addresses: ['1', '2', '3', '4'].map((n) => ({ ip: `10.0.0.${n}` })), ports: [{ port: 80 }] }],
  };
  assert.equal(row('endpoints', many)['Endpoints'], '10.0.0.1:80,10.0.0.2:80,10.0.0.3:80 + 1 more...');
});

test('events: two names for the same fields', () => {
  const resource = resourceByPath('events.k8s.io', 'v1', 'events')!;
  const fresh: KubeObject = {
    apiVersion: 'events.k8s.io/v1',
    kind: 'Event',
    metadata: meta('e') as object,
    regarding: { kind: 'Pod', name: 'p', namespace: 'default' },
    note: 'hello',
    reportingController: 'c',
    deprecatedCount: 2,
  };
  const stored = resource.convert(fresh, 'v1');
  assert.deepEqual(stored, {
    apiVersion: 'v1',
    kind: 'Event',
    metadata: meta('e'),
    involvedObject: { kind: 'Pod', name: 'p', namespace: 'default' },
    message: 'hello',
    reportingComponent: 'c',
    count: 2,
  });
  assert.deepEqual(resource.convert(stored, 'events.k8s.io/v1'), fresh);
  assert.equal(resource.behaviour.fieldSelectors!['involvedObject.name']!(stored), 'p');
  assert.equal(
    row('events', { ...stored, lastTimestamp: '2026-01-02T03:03:05Z', type: 'Normal', reason: 'R' })[
      'Last Seen'
    ],
    '60s',
  );
  assert.deepEqual(create('events', { metadata: meta('e'), involvedObject: { namespace: 'other' } }).errors, [
    'involvedObject.namespace: Invalid value: "other": does not match event.namespace',
  ]);
});

test('references of service accounts to secrets only keep the name', () => {
  const { object } = create<ServiceAccount>('serviceaccounts', {
    metadata: meta('a'),
    secrets: [{ name: 's', namespace: 'other', uid: 'u' }],
  });
  assert.deepEqual(object.secrets, [{ name: 's' }]);
  assert.equal(
    update<ServiceAccount>('serviceaccounts', object, (next) => {
      next.secrets = [];
    }).object.secrets,
    undefined,
  );
});
