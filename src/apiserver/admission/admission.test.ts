import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { test } from 'node:test';
import type { KubeObject, Node, PersistentVolumeClaim, Pod, PriorityClass } from '#api/types.ts';
import { createAuthorization } from '../authz/authorization.ts';
import { FakeInternal } from '../authz/testing/loopback-client.ts';
import { createAdmission } from './list.ts';
import { readCertificateRequest } from '#resources/certificates/certificate-request.ts';
import { defaultIngressClass } from './plugins/default-ingress-class.ts';
import { defaultStorageClass } from './plugins/default-storage-class.ts';
import { defaultTolerationSeconds } from './plugins/default-toleration-seconds.ts';
import { limitRanger } from './plugins/limit-ranger.ts';
import { namespaceLifecycle } from './plugins/namespace-lifecycle.ts';
import { nodeRestriction } from './plugins/node-restriction.ts';
import { persistentVolumeClaimResize } from './plugins/persistent-volume-claim-resize.ts';
import { priority } from './plugins/priority.ts';
import { runtimeClass } from './plugins/runtime-class.ts';
import { serviceAccount, TOKEN_MOUNT_PATH } from './plugins/service-account.ts';
import { certificateApproval, certificateSigning, certificateSubjectRestriction } from './plugins/signers.ts';
import { storageObjectInUseProtection } from './plugins/storage-object-in-use-protection.ts';
import { taintNodesByCondition } from './plugins/taint-nodes-by-condition.ts';
import { AdmissionBench } from './testing/run-plugins.ts';

const core = (resource: string): { group: string; resource: string } => ({ group: '', resource });
const pod = (spec: Partial<Pod['spec']> = {}, metadata: Pod['metadata'] = {}): Pod => ({
  metadata: { name: 'p', namespace: 'red', ...metadata },
  spec: { containers: [{ name: 'c' }], ...spec },
});

test("createAdmission lists the plugins in upstream's order, and knows their names", () => {
  const authorization = createAuthorization({ internal: new FakeInternal() });
  const names = createAdmission({ authorization }).map(({ name }) => name);
  assert.deepEqual(names.slice(0, 8), [
    'NamespaceLifecycle',
    'LimitRanger',
    'ServiceAccount',
    'NodeRestriction',
    'TaintNodesByCondition',
    'PodSecurity',
    'Priority',
    'DefaultTolerationSeconds',
  ]);
  assert.deepEqual(names.slice(-2), ['ResourceQuota', 'HierarchicalResourceQuota']);
  assert.ok(
    !createAdmission({ authorization, disabled: ['ServiceAccount'] }).some(
      ({ name }) => name === 'ServiceAccount',
    ),
  );
  assert.throws(
    () => createAdmission({ authorization, disabled: ['Nope'] }),
    /admission plugin "Nope" is unknown/,
  );
  authorization.stop();
});

test('NamespaceLifecycle', async () => {
  const bench = new AdmissionBench(namespaceLifecycle);
  const create = { resource: 'configmaps', object: { metadata: { name: 'a', namespace: 'red' } } };
  await assert.rejects(bench.run(create), { message: 'namespaces "red" not found' });
  bench.internal.put(core('namespaces'), { metadata: { name: 'red' }, status: { phase: 'Active' } });
  await bench.run(create);
  bench.internal.put(core('namespaces'), { metadata: { name: 'red' }, status: { phase: 'Terminating' } });
  await assert.rejects(
    bench.run(create),
    (error: { message: string; status: { details: { causes: { reason: string }[] } } }) => {
      assert.equal(
        error.message,
        'configmaps "a" is forbidden: unable to create new content in namespace red because it is being terminated',
      );
      return error.status.details.causes[0]?.reason === 'NamespaceTerminating';
    },
  );
  await bench.run({ ...create, operation: 'UPDATE' });
  await assert.rejects(
    bench.run({ operation: 'DELETE', resource: 'namespaces', oldObject: { metadata: { name: 'default' } } }),
    { message: 'namespaces "default" is forbidden: this namespace may not be deleted' },
  );
  await bench.run({ operation: 'DELETE', resource: 'namespaces', oldObject: { metadata: { name: 'red' } } });
});

test('ServiceAccount gives every container the token volume, and waits for the default account', async () => {
  const bench = new AdmissionBench(serviceAccount);
  setTimeout(
    () =>
      bench.internal.put(core('serviceaccounts'), {
        metadata: { name: 'default', namespace: 'red' },
        imagePullSecrets: [{ name: 'pull' }],
      }),
    20,
  );
  const own = { name: 'own', mountPath: TOKEN_MOUNT_PATH };
  const made = await bench.run({
    resource: 'pods',
    object: pod({
      initContainers: [{ name: 'i' }],
      containers: [{ name: 'a' }, { name: 'b', volumeMounts: [own] }],
    }),
  });
  const name = made.spec?.volumes?.[0]?.name ?? '';
  assert.match(name, /^kube-api-access-[bcdfghjklmnpqrstvwxz2456789]{5}$/);
  assert.deepEqual(made.spec?.volumes, [
    {
      name,
      projected: {
        defaultMode: 420,
        sources: [
          { serviceAccountToken: { expirationSeconds: 3607, path: 'token' } },
          { configMap: { name: 'kube-root-ca.crt', items: [{ key: 'ca.crt', path: 'ca.crt' }] } },
          {
            downwardAPI: {
              items: [{ path: 'namespace', fieldRef: { apiVersion: 'v1', fieldPath: 'metadata.namespace' } }],
            },
          },
        ],
      },
    },
  ]);
  const mount = { name, readOnly: true, mountPath: TOKEN_MOUNT_PATH };
  assert.deepEqual(
    [
      made.spec?.initContainers?.[0]?.volumeMounts,
      ...(made.spec?.containers.map((container) => container.volumeMounts) ?? []),
    ],
    [[mount], [mount], [own]],
  );
  assert.deepEqual(
    [made.spec?.serviceAccountName, made.spec?.imagePullSecrets],
    ['default', [{ name: 'pull' }]],
  );
  assert.equal(
    (await bench.run({ resource: 'pods', object: pod({ automountServiceAccountToken: false }) })).spec
      ?.volumes,
    undefined,
  );
  await assert.rejects(bench.run({ resource: 'pods', object: pod({ serviceAccountName: 'nope' }) }), {
    message:
      'pods "p" is forbidden: error looking up service account red/nope: serviceaccount "nope" not found',
  });
  const mirror = { annotations: { 'kubernetes.io/config.mirror': 'x' } };
  assert.equal(
    (await bench.run({ resource: 'pods', object: pod({}, mirror) })).spec?.serviceAccountName,
    undefined,
  );
  await assert.rejects(
    bench.run({
      resource: 'pods',
      object: pod({ volumes: [{ name: 'v', secret: { secretName: 's' } }] }, mirror),
    }),
    /a mirror pod may not reference secrets/,
  );
});

test('LimitRanger sets defaults and keeps bounds', async () => {
  const bench = new AdmissionBench(limitRanger);
  bench.internal.put(core('limitranges'), {
    metadata: { name: 'l', namespace: 'red' },
    spec: {
      limits: [
        {
          type: 'Container',
          default: { cpu: '500m', memory: '512Mi' },
          defaultRequest: { cpu: '100m' },
          max: { cpu: '1' },
          min: { memory: '64Mi' },
          maxLimitRequestRatio: { cpu: '5' },
        },
        { type: 'PersistentVolumeClaim', max: { storage: '1Gi' } },
      ],
    },
  });
  const made = await bench.run({
    resource: 'pods',
    object: pod({ containers: [{ name: 'c', resources: { requests: { memory: '100Mi' } } }] }),
  });
  assert.deepEqual(made.spec?.containers[0]?.resources, {
    requests: { memory: '100Mi', cpu: '100m' },
    limits: { cpu: '500m', memory: '512Mi' },
  });
  assert.equal(
    made.metadata?.annotations?.['kubernetes.io/limit-ranger'],
    'LimitRanger plugin set: cpu request for container c; cpu, memory limit for container c',
  );
  const with_ = (requests: Record<string, string>, limits: Record<string, string>): Promise<Pod> =>
    bench.run({
      resource: 'pods',
      object: pod({ containers: [{ name: 'c', resources: { requests, limits } }] }),
    });
  await assert.rejects(with_({ memory: '32Mi', cpu: '1' }, { cpu: '2' }), {
    message:
      'pods "p" is forbidden: [minimum memory usage per Container is 64Mi, but request is 32Mi, maximum cpu usage per Container is 1, but limit is 2]',
  });
  await assert.rejects(with_({ memory: '64Mi', cpu: '100m' }, { cpu: '1' }), {
    message:
      'pods "p" is forbidden: cpu max limit to request ratio per Container is 5, but provided ratio is 10.000000',
  });
  const claim = {
    metadata: { name: 'c', namespace: 'red' },
    spec: { resources: { requests: { storage: '2Gi' } } },
  };
  await assert.rejects(bench.run({ resource: 'persistentvolumeclaims', object: claim }), {
    message:
      'persistentvolumeclaims "c" is forbidden: maximum storage usage per PersistentVolumeClaim is 1Gi, but request is 2Gi',
  });
});

test('Priority resolves classes', async () => {
  const bench = new AdmissionBench(priority);
  const resolved = async (spec: Partial<Pod['spec']>): Promise<unknown[]> => {
    const made = await bench.run({ resource: 'pods', object: pod(spec) });
    return [made.spec?.priorityClassName, made.spec?.priority, made.spec?.preemptionPolicy];
  };
  assert.deepEqual(await resolved({}), [undefined, 0, 'PreemptLowerPriority']);
  assert.deepEqual(await resolved({ priorityClassName: 'system-node-critical' }), [
    'system-node-critical',
    2_000_001_000,
    'PreemptLowerPriority',
  ]);
  bench.internal.put(
    { group: 'scheduling.k8s.io', resource: 'priorityclasses' },
    { metadata: { name: 'normal' }, value: 7, globalDefault: true, preemptionPolicy: 'Never' },
  );
  assert.deepEqual(await resolved({}), ['normal', 7, 'Never']);
  await assert.rejects(resolved({ priorityClassName: 'x' }), {
    message: 'pods "p" is forbidden: no PriorityClass with name x was found',
  });
  await assert.rejects(
    resolved({ priority: 9 }),
    /the integer value of priority \(9\) must not be provided in pod spec; priority admission controller computed 7/,
  );
  const another: PriorityClass = { metadata: { name: 'other' }, value: 1, globalDefault: true };
  await assert.rejects(
    bench.run({ resource: 'priorityclasses.scheduling.k8s.io', object: another }),
    /PriorityClass normal is already marked as default. Only one default can exist/,
  );
  const removing = (name: string): Promise<unknown> =>
    bench.run({
      resource: 'priorityclasses.scheduling.k8s.io',
      operation: 'DELETE',
      oldObject: { metadata: { name } },
    });
  await assert.rejects(removing('system-node-critical'), {
    message:
      'priorityclasses.scheduling.k8s.io "system-node-critical" is forbidden: this is a system priority class and cannot be deleted',
  });
  await removing('normal');
});

test('small mutating plugins', async () => {
  const bench = new AdmissionBench(
    taintNodesByCondition,
    defaultTolerationSeconds,
    storageObjectInUseProtection,
    defaultStorageClass,
    defaultIngressClass,
  );
  assert.deepEqual(
    (await bench.run<Node>({ resource: 'nodes', object: { metadata: { name: 'n' } } })).spec?.taints,
    [{ key: 'node.kubernetes.io/not-ready', effect: 'NoSchedule' }],
  );
  const tolerations = (
    await bench.run({
      resource: 'pods',
      object: pod({ tolerations: [{ key: 'node.kubernetes.io/unreachable', operator: 'Exists' }] }),
    })
  ).spec?.tolerations;
  assert.deepEqual(tolerations?.slice(1), [
    { key: 'node.kubernetes.io/not-ready', operator: 'Exists', effect: 'NoExecute', tolerationSeconds: 300 },
  ]);
  assert.equal(
    (await bench.run({ resource: 'pods', object: pod({ tolerations: [{ operator: 'Exists' }] }) })).spec
      ?.tolerations?.length,
    1,
  );
  const classes = { group: 'storage.k8s.io', resource: 'storageclasses' };
  const isDefault = { 'storageclass.kubernetes.io/is-default-class': 'true' };
  bench.internal.put(classes, {
    metadata: { name: 'old', creationTimestamp: '2020-01-01T00:00:00Z', annotations: isDefault },
  });
  bench.internal.put(classes, {
    metadata: { name: 'new', creationTimestamp: '2021-01-01T00:00:00Z', annotations: isDefault },
  });
  const claim = await bench.run<PersistentVolumeClaim>({
    resource: 'persistentvolumeclaims',
    object: { metadata: { name: 'c', namespace: 'red' }, spec: {} },
  });
  assert.deepEqual(
    [claim.spec?.storageClassName, claim.metadata?.finalizers],
    ['new', ['kubernetes.io/pvc-protection']],
  );
  assert.equal(
    (
      await bench.run<PersistentVolumeClaim>({
        resource: 'persistentvolumeclaims',
        object: { metadata: { name: 'c', namespace: 'red' }, spec: { storageClassName: '' } },
      })
    ).spec?.storageClassName,
    '',
  );
  bench.internal.put(
    { group: 'networking.k8s.io', resource: 'ingressclasses' },
    { metadata: { name: 'ic', annotations: { 'ingressclass.kubernetes.io/is-default-class': 'true' } } },
  );
  assert.deepEqual(
    (
      await bench.run({
        resource: 'ingresses.networking.k8s.io',
        object: { metadata: { name: 'i', namespace: 'red' }, spec: {} },
      })
    ).spec,
    { ingressClassName: 'ic' },
  );
});

test('RuntimeClass', async () => {
  const bench = new AdmissionBench(runtimeClass);
  bench.internal.put(
    { group: 'node.k8s.io', resource: 'runtimeclasses' },
    {
      metadata: { name: 'vm' },
      handler: 'vm',
      overhead: { podFixed: { cpu: '250m' } },
      scheduling: { nodeSelector: { vm: 'yes' }, tolerations: [{ key: 'vm', operator: 'Exists' }] },
    },
  );
  const made = await bench.run({ resource: 'pods', object: pod({ runtimeClassName: 'vm' }) });
  assert.deepEqual(
    [made.spec?.overhead, made.spec?.nodeSelector, made.spec?.tolerations],
    [{ cpu: '250m' }, { vm: 'yes' }, [{ key: 'vm', operator: 'Exists' }]],
  );
  await assert.rejects(bench.run({ resource: 'pods', object: pod({ runtimeClassName: 'x' }) }), {
    message: 'pods "p" is forbidden: pod rejected: RuntimeClass "x" not found',
  });
  await assert.rejects(
    bench.run({ resource: 'pods', object: pod({ overhead: { cpu: '1' } }) }),
    /Pod Overhead set without corresponding RuntimeClass/,
  );
  await assert.rejects(
    bench.run({ resource: 'pods', object: pod({ runtimeClassName: 'vm', nodeSelector: { vm: 'no' } }) }),
    /conflict: runtimeClass.scheduling.nodeSelector\[vm\] = yes; pod.spec.nodeSelector\[vm\] = no/,
  );
});

test('PersistentVolumeClaimResize', async () => {
  const bench = new AdmissionBench(persistentVolumeClaimResize);
  bench.internal.put(
    { group: 'storage.k8s.io', resource: 'storageclasses' },
    { metadata: { name: 'grows' }, allowVolumeExpansion: true },
  );
  const claim = (storage: string, phase: string, storageClassName = 'grows'): PersistentVolumeClaim => ({
    metadata: { name: 'c', namespace: 'red' },
    spec: { storageClassName, resources: { requests: { storage } } },
    status: { phase },
  });
  const grow = (from: PersistentVolumeClaim, to: PersistentVolumeClaim): Promise<unknown> =>
    bench.run({ operation: 'UPDATE', resource: 'persistentvolumeclaims', object: to, oldObject: from });
  await grow(claim('1Gi', 'Bound'), claim('2Gi', 'Bound'));
  await grow(claim('1Gi', 'Pending'), claim('1024Mi', 'Pending'));
  await assert.rejects(
    grow(claim('1Gi', 'Pending'), claim('2Gi', 'Pending')),
    /Only bound persistent volume claims can be expanded/,
  );
  await assert.rejects(
    grow(claim('1Gi', 'Bound', 'fixed'), claim('2Gi', 'Bound', 'fixed')),
    /only dynamically provisioned pvc can be resized/,
  );
});

test('NodeRestriction keeps a node to itself', async () => {
  const rules = new FakeInternal();
  const { authorizer, stop } = createAuthorization({ internal: rules });
  const bench = new AdmissionBench(nodeRestriction(authorizer));
  const user = { name: 'system:node:n1', groups: ['system:nodes'] };
  bench.internal.put(core('nodes'), { metadata: { name: 'n1', uid: 'node-1' } });
  bench.internal.put(
    core('pods'),
    pod(
      {
        nodeName: 'n1',
        volumes: [
          { name: 't', projected: { sources: [{ serviceAccountToken: { path: 't' } }] } },
          { name: 'c', csi: { driver: 'csi' } },
        ],
      },
      { uid: 'pod-1' },
    ),
  );
  bench.internal.put(
    { group: 'storage.k8s.io', resource: 'csidrivers' },
    { metadata: { name: 'csi' }, spec: { tokenRequests: [{ audience: 'vault' }] } },
  );
  bench.internal.put(core('pods'), pod({ nodeName: 'n2' }, { name: 'q', uid: 'pod-2' }));
  const refused = (attempt: Parameters<typeof bench.run>[0], message: RegExp): Promise<void> =>
    assert.rejects(bench.run({ user, ...attempt }), message);
  const owner = { apiVersion: 'v1', kind: 'Node', name: 'n1', uid: 'node-1', controller: true };
  const mirror = { annotations: { 'kubernetes.io/config.mirror': 'x' }, ownerReferences: [owner] };
  await bench.run({ user, resource: 'pods', object: pod({ nodeName: 'n1' }, mirror) });
  await refused({ resource: 'pods', object: pod({ nodeName: 'n1' }) }, /can only create mirror pods/);
  await refused(
    { resource: 'pods', object: pod({ nodeName: 'n2' }, mirror) },
    /can only create pods with spec.nodeName set to itself/,
  );
  await refused(
    {
      resource: 'pods',
      object: pod({ nodeName: 'n1' }, { ...mirror, ownerReferences: [{ ...owner, uid: 'x' }] }),
    },
    /UID mismatch/,
  );
  await refused(
    { resource: 'pods', object: pod({ nodeName: 'n1', serviceAccountName: 's' }, mirror) },
    /can not create pods that reference serviceaccounts/,
  );
  await refused(
    {
      resource: 'pods',
      object: pod({ nodeName: 'n1', volumes: [{ name: 'v', secret: { secretName: 's' } }] }, mirror),
    },
    /can not create pods that reference secrets/,
  );
  await refused(
    { operation: 'DELETE', resource: 'pods', oldObject: pod({ nodeName: 'n2' }) },
    /can only delete pods with spec.nodeName set to itself/,
  );
  await refused(
    {
      operation: 'UPDATE',
      resource: 'pods/status',
      object: pod({ nodeName: 'n2' }),
      oldObject: pod({ nodeName: 'n2' }),
    },
    /can only update pod status for pods/,
  );
  await refused(
    {
      operation: 'UPDATE',
      resource: 'pods/status',
      object: pod({ nodeName: 'n1' }, { labels: { a: 'b' } }),
      oldObject: pod({ nodeName: 'n1' }),
    },
    /cannot update labels through pod status/,
  );
  await refused(
    { resource: 'pods/eviction', name: 'q', namespace: 'red', object: {} },
    /can only evict pods/,
  );
  await refused({ resource: 'pods/binding', object: {} }, /unexpected pod subresource "binding"/);
  const node = (labels: Record<string, string>, spec: Node['spec'] = {}, name = 'n1'): Node => ({
    metadata: { name, labels },
    spec,
  });
  await bench.run({
    user,
    resource: 'nodes',
    object: node({ 'kubernetes.io/hostname': 'n1', 'node.kubernetes.io/x': '1', team: 'a' }),
  });
  await refused(
    {
      resource: 'nodes',
      object: node({ 'node-role.kubernetes.io/control-plane': '', 'node-restriction.kubernetes.io/a': '' }),
    },
    /not allowed to set the following labels: node-restriction.kubernetes.io\/a, node-role.kubernetes.io\/control-plane/,
  );
  await refused(
    { operation: 'UPDATE', resource: 'nodes', object: node({}, {}, 'n2'), oldObject: node({}, {}, 'n2') },
    /node "n1" is not allowed to modify node "n2"/,
  );
  await refused(
    {
      operation: 'UPDATE',
      resource: 'nodes',
      object: node({}),
      oldObject: node({}, { taints: [{ key: 'a', effect: 'NoSchedule' }] }),
    },
    /not allowed to modify taints/,
  );
  await refused(
    {
      operation: 'UPDATE',
      resource: 'nodes/status',
      object: node({ 'node-restriction.kubernetes.io/a': '' }),
      oldObject: node({}),
    },
    /is not allowed to modify labels/,
  );
  const token = (uid: string, name = 'p', ...audiences: string[]): KubeObject => ({
    spec: { audiences, boundObjectRef: { kind: 'Pod', apiVersion: 'v1', name, uid } },
  });
  const ask = { resource: 'serviceaccounts/token', name: 'default', namespace: 'red' };
  await bench.run({ user, ...ask, object: token('pod-1') });
  await refused({ ...ask, object: {} }, /not bound to a pod/);
  await refused({ ...ask, object: token('old') }, /does not match the UID in record/);
  await refused({ ...ask, object: token('pod-2', 'q') }, /scheduled on a different node/);
  await bench.run({ user, ...ask, object: token('pod-1', 'p', 'vault') });
  await refused({ ...ask, object: token('pod-1', 'p', 'a', 'b') }, /node may only request 0 or 1 audiences/);
  await refused(
    { ...ask, object: token('pod-1', 'p', 'registry') },
    /audience "registry" not found in pod spec volume, system:node:n1 is not authorized to request tokens for this audience/,
  );
  rules.put(
    { group: 'rbac.authorization.k8s.io', resource: 'clusterroles' },
    {
      metadata: { name: 'r' },
      rules: [
        { verbs: ['request-serviceaccounts-token-audience'], apiGroups: [''], resources: ['registry'] },
      ],
    },
  );
  rules.put(
    { group: 'rbac.authorization.k8s.io', resource: 'clusterrolebindings' },
    {
      metadata: { name: 'r' },
      roleRef: { kind: 'ClusterRole', name: 'r' },
      subjects: [{ kind: 'Group', name: 'system:nodes' }],
    },
  );
  await bench.run({ user, ...ask, object: token('pod-1', 'p', 'registry') });
  stop();
  const lease = (name: string): Parameters<typeof bench.run>[0] => ({
    resource: 'leases.coordination.k8s.io',
    object: { metadata: { name, namespace: 'kube-node-lease' } },
  });
  await bench.run({ user, ...lease('n1') });
  await refused(lease('n2'), /can only access node lease with the same name/);
  await bench.run({ resource: 'pods', object: pod({ nodeName: 'n2' }) });
});

const CSR_MASTERS = opensslRequest('/O=system:masters/CN=evil');
const CSR_NODE = opensslRequest('/O=system:nodes/CN=system:node:n1');

function opensslRequest(subject: string): string | undefined {
  try {
    const pem = execFileSync(
      'openssl',
      [
        'req',
        '-new',
        '-newkey',
        'ec',
        '-pkeyopt',
        'ec_paramgen_curve:P-256',
        '-nodes',
        '-keyout',
        '/dev/null',
        '-subj',
        subject,
      ],
      { stdio: ['ignore', 'pipe', 'ignore'] },
    );
    return pem.toString('base64');
  } catch {
    return undefined;
  }
}

test(
  'certificate requests: subjects and signers',
  { skip: CSR_MASTERS && CSR_NODE ? false : 'openssl is not installed' },
  async () => {
    assert.deepEqual(readCertificateRequest(CSR_NODE!)?.commonNames, ['system:node:n1']);
    assert.equal(readCertificateRequest('eA=='), undefined);
    const { authorizer, stop } = createAuthorization({ internal: new FakeInternal() });
    const bench = new AdmissionBench(
      certificateApproval(authorizer),
      certificateSigning(authorizer),
      certificateSubjectRestriction,
      nodeRestriction(authorizer),
    );
    const resource = 'certificatesigningrequests.certificates.k8s.io';
    const csr = (signerName: string, request: string | undefined): KubeObject => ({
      metadata: { name: 'r' },
      spec: { signerName, request },
    });
    await assert.rejects(
      bench.run({ resource, object: csr('kubernetes.io/kube-apiserver-client', CSR_MASTERS) }),
      /use of kubernetes.io\/kube-apiserver-client signer with system:masters group is not allowed/,
    );
    await bench.run({ resource, object: csr('kubernetes.io/kube-apiserver-client', CSR_NODE) });
    const user = { name: 'system:node:n2', groups: ['system:nodes'] };
    await assert.rejects(
      bench.run({ user, resource, object: csr('kubernetes.io/kube-apiserver-client-kubelet', CSR_NODE) }),
      /can only create a node CSR with CN=system:node:n2/,
    );
    const update = {
      operation: 'UPDATE',
      object: csr('example.org/a', ''),
      oldObject: csr('example.org/a', ''),
    } as const;
    await assert.rejects(bench.run({ ...update, resource: `${resource}/approval` }), {
      message:
        'certificatesigningrequests.certificates.k8s.io "r" is forbidden: user not permitted to approve requests with signerName "example.org/a"',
    });
    await bench.run({ ...update, resource: `${resource}/status` });
    await assert.rejects(
      bench.run({
        ...update,
        resource: `${resource}/status`,
        object: { ...update.object, status: { certificate: 'x' } },
      }),
      /not permitted to sign/,
    );
    await bench.run({
      ...update,
      resource: `${resource}/approval`,
      user: { name: 'root', groups: ['system:masters'] },
    });
    stop();
  },
);
