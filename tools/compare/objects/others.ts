/** RBAC, storage, coordination, certificates, flow control, events, reviews and what is small. */
import { selector } from './pods.ts';
import type { Bases } from './base-table.ts';

const CSR =
  'MIHJMHECAQAwDzENMAsGA1UEAwwEamFuZTBZMBMGByqGSM49AgEGCCqGSM49AwEHA0IABPTLHsuVYkHuIKhkYJqxxI4x/mhNcTsTYJ8/dZQk1CN/qhbQ1TXTDsdxE/vGq03bwtErwTJC4ZhBa/xlMst/6OigADAKBggqhkjOPQQDAgNIADBFAiEA39u5Pzp9dJFHH3Q9p3sjhQ6Asr7wPyU1+azj9HQPSOwCIGQqhtvGgXV7tIx6580rmVzrKVYbftJjCzKxi8BQGazX';
export const certificateRequest = Buffer.from(
  `-----BEGIN CERTIFICATE REQUEST-----\n${CSR}\n-----END CERTIFICATE REQUEST-----\n`,
).toString('base64');
const roleRef = { apiGroup: 'rbac.authorization.k8s.io', kind: 'ClusterRole', name: 'view' };
const subjects = [
  { kind: 'User', name: 'u', apiGroup: 'rbac.authorization.k8s.io' },
  { kind: 'Group', name: 'g', apiGroup: 'rbac.authorization.k8s.io' },
  { kind: 'ServiceAccount', name: 's', namespace: 'default' },
];
const rules = [{ verbs: ['get'], apiGroups: [''], resources: ['pods'] }];
const lease = {
  holderIdentity: 'h',
  leaseDurationSeconds: 5,
  acquireTime: '2026-01-02T03:04:05.000006Z',
  renewTime: '2026-01-02T03:04:05.000006Z',
  leaseTransitions: 1,
};
const candidate = {
  leaseName: 'l',
  binaryVersion: '1.36.0',
  emulationVersion: '1.36.0',
  strategy: 'OldestEmulationVersion',
};
const attributesClass = { small: { driverName: 'd.example.com', parameters: { a: 'b' } } };
const resourceAttributes = { namespace: 'default', verb: 'get', resource: 'pods' };
const reviewRich = {
  user: 'u',
  groups: ['g'],
  uid: '1',
  extra: { 'example.com/e': ['x'] },
  resourceAttributes: {
    ...resourceAttributes,
    group: 'apps',
    version: 'v1',
    subresource: 'status',
    name: 'n',
    labelSelector: { requirements: [{ key: 'a', operator: 'In', values: ['b'] }] },
    fieldSelector: { rawSelector: 'metadata.name=x' },
  },
};
const publicKey = 'MCowBQYDK2VwAyEAGb9ECWmEzf6FQbrBZ9w7lshQhqowtrbLDFw4rXAxZuE=';

export const othersBases: Bases = {
  'authentication.k8s.io/v1/SelfSubjectReview': { small: {} },
  'authentication.k8s.io/v1/TokenReview': {
    small: { spec: { token: 'x' } },
    rich: { spec: { token: 'x', audiences: ['a'] } },
  },
  'authorization.k8s.io/v1/LocalSubjectAccessReview': { small: { spec: { user: 'u', resourceAttributes } } },
  'authorization.k8s.io/v1/SelfSubjectAccessReview': {
    small: { spec: { nonResourceAttributes: { path: '/x', verb: 'get' } } },
    rich: { spec: { resourceAttributes: reviewRich.resourceAttributes } },
  },
  'authorization.k8s.io/v1/SelfSubjectRulesReview': { small: { spec: { namespace: 'default' } } },
  'authorization.k8s.io/v1/SubjectAccessReview': {
    small: { spec: { user: 'u', resourceAttributes } },
    rich: { spec: reviewRich },
    path: {
      spec: { groups: ['system:authenticated'], nonResourceAttributes: { path: '/healthz', verb: 'get' } },
    },
  },
  'certificates.k8s.io/v1/CertificateSigningRequest': {
    small: { spec: { request: certificateRequest, signerName: 'example.com/s', usages: ['client auth'] } },
    rich: {
      spec: {
        request: certificateRequest,
        signerName: 'example.com/s',
        usages: ['client auth', 'digital signature'],
        expirationSeconds: 3600,
      },
    },
  },
  ...Object.fromEntries(
    ['v1beta1', 'v1alpha1'].map((version) => [
      `certificates.k8s.io/${version}/ClusterTrustBundle`,
      { small: { spec: { signerName: 'example.com/signer', trustBundle: 'x' } } },
    ]),
  ),
  'certificates.k8s.io/v1beta1/PodCertificateRequest': {
    small: {
      spec: {
        signerName: 'example.com/s',
        podName: 'p',
        podUID: 'u',
        serviceAccountName: 'default',
        serviceAccountUID: 'u',
        nodeName: 'n',
        nodeUID: 'u',
        pkixPublicKey: publicKey,
        proofOfPossession: 'AAEC',
        maxExpirationSeconds: 86_400,
      },
    },
  },
  'coordination.k8s.io/v1/Lease': {
    small: { spec: { holderIdentity: 'h' } },
    rich: { spec: { ...lease, strategy: 'OldestEmulationVersion', preferredHolder: 'p' } },
  },
  ...Object.fromEntries(
    ['v1beta1', 'v1alpha2'].map((version) => [
      `coordination.k8s.io/${version}/LeaseCandidate`,
      {
        small: { spec: candidate },
        rich: {
          spec: {
            ...candidate,
            pingTime: '2026-01-02T03:04:05.000006Z',
            renewTime: '2026-01-02T03:04:05.000006Z',
          },
        },
      },
    ]),
  ),
  'events.k8s.io/v1/Event': {
    small: {
      regarding: { kind: 'Pod', name: 'a', namespace: 'NAMESPACE' },
      reason: 'R',
      action: 'A',
      type: 'Normal',
      eventTime: '2026-01-02T03:04:05.000006Z',
      reportingController: 'x.y/z',
      reportingInstance: 'i',
    },
    rich: {
      regarding: { kind: 'Pod', name: 'a', namespace: 'NAMESPACE', uid: 'u' },
      related: { kind: 'Pod', name: 'b' },
      note: 'n',
      reason: 'R',
      action: 'A',
      type: 'Warning',
      eventTime: '2026-01-02T03:04:05.000006Z',
      reportingController: 'x.y/z',
      reportingInstance: 'i',
      series: { count: 2, lastObservedTime: '2026-01-02T03:04:05.000006Z' },
    },
  },
  'flowcontrol.apiserver.k8s.io/v1/FlowSchema': {
    small: { spec: { priorityLevelConfiguration: { name: 'global-default' } } },
    rich: {
      spec: {
        priorityLevelConfiguration: { name: 'global-default' },
        matchingPrecedence: 9999,
        distinguisherMethod: { type: 'ByUser' },
        rules: [
          {
            subjects: [
              { kind: 'User', user: { name: 'u' } },
              { kind: 'Group', group: { name: 'g' } },
              { kind: 'ServiceAccount', serviceAccount: { name: 's', namespace: 'n' } },
            ],
            resourceRules: [
              { verbs: ['get'], apiGroups: [''], resources: ['pods'], namespaces: ['x'] },
              { verbs: ['*'], apiGroups: ['*'], resources: ['*'], clusterScope: true },
            ],
            nonResourceRules: [{ verbs: ['get'], nonResourceURLs: ['/x', '/y/*'] }],
          },
        ],
      },
    },
  },
  'flowcontrol.apiserver.k8s.io/v1/PriorityLevelConfiguration': {
    small: { spec: { type: 'Limited', limited: { limitResponse: { type: 'Reject' } } } },
    rich: {
      spec: {
        type: 'Limited',
        limited: {
          nominalConcurrencyShares: 5,
          lendablePercent: 10,
          borrowingLimitPercent: 50,
          limitResponse: { type: 'Queue', queuing: { queues: 4, handSize: 2, queueLengthLimit: 5 } },
        },
      },
    },
  },
  'internal.apiserver.k8s.io/v1alpha1/StorageVersion': {
    small: { spec: {} },
    rich: {
      spec: {},
      status: {
        storageVersions: [
          { apiServerID: 'a', encodingVersion: 'v1', decodableVersions: ['v1'], servedVersions: ['v1'] },
        ],
      },
    },
  },
  'node.k8s.io/v1/RuntimeClass': {
    small: { handler: 'runc' },
    rich: {
      handler: 'kata',
      overhead: { podFixed: { cpu: '10m', memory: '10Mi' } },
      scheduling: {
        nodeSelector: { a: 'b' },
        tolerations: [{ key: 'k', operator: 'Exists', effect: 'NoSchedule' }],
      },
    },
  },
  'rbac.authorization.k8s.io/v1/ClusterRole': {
    small: { rules },
    rich: {
      rules: [
        ...rules,
        { verbs: ['get'], nonResourceURLs: ['/x'] },
        { verbs: ['*'], apiGroups: ['*'], resources: ['*'], resourceNames: ['n'] },
      ],
      aggregationRule: { clusterRoleSelectors: [selector] },
    },
  },
  'rbac.authorization.k8s.io/v1/ClusterRoleBinding': { small: { roleRef }, rich: { roleRef, subjects } },
  'rbac.authorization.k8s.io/v1/Role': {
    small: { rules },
    rich: {
      rules: [
        {
          verbs: ['get', 'list'],
          apiGroups: ['apps'],
          resources: ['deployments', 'deployments/status'],
          resourceNames: ['n'],
        },
      ],
    },
  },
  'rbac.authorization.k8s.io/v1/RoleBinding': {
    small: { roleRef },
    rich: { roleRef: { ...roleRef, kind: 'Role', name: 'r' }, subjects },
  },
  'storage.k8s.io/v1/CSIDriver': {
    small: { spec: {} },
    rich: {
      spec: {
        attachRequired: false,
        podInfoOnMount: true,
        volumeLifecycleModes: ['Persistent', 'Ephemeral'],
        storageCapacity: true,
        fsGroupPolicy: 'File',
        tokenRequests: [{ audience: 'a', expirationSeconds: 3600 }],
        requiresRepublish: true,
        seLinuxMount: true,
        nodeAllocatableUpdatePeriodSeconds: 60,
      },
    },
  },
  'storage.k8s.io/v1/CSINode': {
    small: { spec: { drivers: [] } },
    rich: {
      spec: {
        drivers: [{ name: 'd.example.com', nodeID: 'n', topologyKeys: ['k'], allocatable: { count: 5 } }],
      },
    },
  },
  'storage.k8s.io/v1/CSIStorageCapacity': {
    small: { storageClassName: 's' },
    rich: { storageClassName: 's', capacity: '1Gi', maximumVolumeSize: '1Gi', nodeTopology: selector },
  },
  'storage.k8s.io/v1/StorageClass': {
    small: { provisioner: 'example.com/p' },
    rich: {
      provisioner: 'example.com/p',
      parameters: { a: 'b' },
      reclaimPolicy: 'Retain',
      mountOptions: ['ro'],
      allowVolumeExpansion: true,
      volumeBindingMode: 'WaitForFirstConsumer',
      allowedTopologies: [{ matchLabelExpressions: [{ key: 'zone', values: ['a'] }] }],
      metadata: { annotations: { 'storageclass.kubernetes.io/is-default-class': 'false' } },
    },
  },
  'storage.k8s.io/v1/VolumeAttachment': {
    small: { spec: { attacher: 'example.com', nodeName: 'n', source: { persistentVolumeName: 'p' } } },
    rich: {
      spec: {
        attacher: 'example.com',
        nodeName: 'n',
        source: {
          inlineVolumeSpec: {
            accessModes: ['ReadWriteOnce'],
            csi: { driver: 'd.example.com', volumeHandle: 'h' },
          },
        },
      },
    },
  },
  'storage.k8s.io/v1/VolumeAttributesClass': attributesClass,
  'storage.k8s.io/v1beta1/VolumeAttributesClass': attributesClass,
  'storagemigration.k8s.io/v1beta1/StorageVersionMigration': {
    small: { spec: { resource: { group: '', resource: 'configmaps' } } },
  },
};
