/** Subresources and what belongs to one kind alone: scale, eviction, binding, tokens, approval, finalize, resize, ephemeral containers, proxies, pods' lives. */
import { certificateRequest } from '../objects/others.ts';
import { steps } from '../paths.ts';
import type { RunNames, Scenario, Step } from '../scenario.ts';

export function subresources(names: RunNames): Scenario[] {
  return [
    ...scales(names),
    pods(names),
    podLives(names),
    resize(names),
    evictions(names),
    bindings(names),
    tokens(names),
    certificates(names),
    namespaces(names),
    nodes(names),
    services(names),
    serviceAddresses(names),
    proxies(names),
    priorities(names),
    quotas(names),
    claims(names),
    disruption(names),
    defaults(names),
    owners(names),
  ];
}

const scenario = (name: string, list: readonly Step[]): Scenario => ({
  name: `subresources/${name}`,
  area: 'subresources',
  steps: list,
});
const selector = { matchLabels: { app: 'a' } };
const template = { metadata: { labels: { app: 'a' } }, spec: { containers: [{ name: 'c', image: 'i' }] } };
const pod = (name: string, spec: object = {}, metadata: object = {}): object => ({
  apiVersion: 'v1',
  kind: 'Pod',
  metadata: { name, ...metadata },
  spec: {
    containers: [
      {
        name: 'c',
        image: 'i',
        resources: { requests: { cpu: '100m' }, limits: { cpu: '200m', memory: '100Mi' } },
      },
    ],
    ...spec,
  },
});

function scales({ token, namespace }: RunNames): Scenario[] {
  const kinds = [
    ['apps/v1', 'Deployment', 'deployments'],
    ['apps/v1', 'ReplicaSet', 'replicasets'],
    ['apps/v1', 'StatefulSet', 'statefulsets'],
    ['v1', 'ReplicationController', 'replicationcontrollers'],
  ] as const;
  return kinds.map(([apiVersion, kind, plural]) => {
    const name = `${token}-scale`;
    const collection = `${apiVersion === 'v1' ? '/api/v1' : `/apis/${apiVersion}`}/namespaces/${namespace}/${plural}`;
    const path = `${collection}/${name}/scale`;
    const scale = (replicas: unknown, more: object = {}): object => ({
      apiVersion: 'autoscaling/v1',
      kind: 'Scale',
      metadata: { name, ...more },
      spec: { replicas },
    });
    return scenario(`scale ${kind}`, [
      steps.post(
        collection,
        {
          apiVersion,
          kind,
          metadata: { name, labels: { l: 'x' }, annotations: { a: 'y' } },
          spec: {
            selector: kind === 'ReplicationController' ? { app: 'a' } : selector,
            template,
            ...(kind === 'StatefulSet' ? { serviceName: 's' } : {}),
          },
        },
        { as: 'made', must: true },
      ),
      steps.get(path),
      steps.put(path, scale(3)),
      steps.put(path, scale(-1)),
      steps.put(path, scale('x')),
      steps.put(path, scale(4, { resourceVersion: '1' })),
      steps.put(path, scale(4, { uid: 'x' })),
      steps.put(path, scale(4, { name: 'other' })),
      steps.put(path, scale(4, { namespace: 'other' })),
      steps.put(path, {}),
      steps.put(path, { ...scale(2), apiVersion: 'apps/v1' }),
      steps.put(path, { ...scale(2), kind: 'Deployment' }),
      steps.put(`${path}?fieldValidation=Strict`, { ...scale(2), zz: 1 }),
      steps.put(`${path}?dryRun=All`, scale(9)),
      steps.patch('merge', path, { body: { spec: { replicas: 5 } } }),
      steps.patch('strategic', path, { body: { spec: { replicas: 6 } } }),
      steps.patch('json', path, { body: [{ op: 'replace', path: '/spec/replicas', value: 7 }] }),
      steps.patch('apply', `${path}?fieldManager=m&force=true`, { body: scale(8) }),
      steps.patch('merge', path, { body: { spec: { replicas: -1 } } }),
      steps.patch('merge', path, { body: { spec: { replicas: null } } }),
      steps.get(path),
      steps.get(path, { headers: { accept: 'application/json;as=Table;v=v1;g=meta.k8s.io' } }),
      steps.get(path, { headers: { accept: 'application/vnd.kubernetes.protobuf' } }),
      steps.get(path, {
        headers: { accept: 'application/json;as=PartialObjectMetadata;v=v1;g=meta.k8s.io' },
      }),
      steps.remove(path),
      steps.post(path, scale(1)),
      steps.get(`${collection}/absent/scale`),
      steps.put(`${collection}/absent/scale`, scale(1)),
      steps.get(`${collection}/${name}`),
    ]);
  });
}

function pods({ token, namespace }: RunNames): Scenario {
  const collection = `/api/v1/namespaces/${namespace}/pods`;
  const path = `${collection}/${token}-sub`;
  const ephemeral = { name: 'e', image: 'j', targetContainerName: 'c' };
  const withEphemeral = (list: readonly object[]): object =>
    pod(`${token}-sub`, { ephemeralContainers: list });
  return scenario('pods', [
    steps.post(collection, withEphemeral([ephemeral])),
    steps.post(collection, pod(`${token}-sub`), { must: true, as: 'made' }),
    steps.get(`${path}/ephemeralcontainers`),
    steps.put(`${path}/ephemeralcontainers`, withEphemeral([ephemeral])),
    steps.patch('strategic', `${path}/ephemeralcontainers`, {
      body: { spec: { ephemeralContainers: [ephemeral] } },
    }),
    steps.patch('strategic', `${path}/ephemeralcontainers`, {
      body: { spec: { ephemeralContainers: [{ name: 'e', image: 'changed' }] } },
    }),
    steps.patch('strategic', `${path}/ephemeralcontainers`, {
      body: { spec: { ephemeralContainers: [{ name: 'c', image: 'i' }] } },
    }),
    steps.patch('strategic', `${path}/ephemeralcontainers`, {
      body: {
        spec: {
          ephemeralContainers: [
            {
              name: 'f',
              image: 'i',
              targetContainerName: 'nope',
              ports: [{ containerPort: 1 }],
              resources: { requests: { cpu: '1' } },
              livenessProbe: {},
              lifecycle: {},
            },
          ],
        },
      },
    }),
    steps.patch('merge', `${path}/ephemeralcontainers`, { body: { spec: { ephemeralContainers: [] } } }),
    steps.patch('strategic', path, { body: { spec: { ephemeralContainers: [{ name: 'g', image: 'i' }] } } }),
    steps.get(`${path}/log`),
    steps.get(`${path}/log?container=nope`),
    steps.get(`${path}/log?tailLines=-1`),
    steps.get(`${path}/log?follow=x`),
    steps.get(`${path}/log?limitBytes=0`),
    steps.get(`${path}/log?sinceSeconds=0`),
    steps.get(`${path}/log?sinceSeconds=1&sinceTime=2020-01-01T00:00:00Z`),
    steps.get(`${path}/log?stream=Nope`),
    steps.get(`${path}/log?stream=Stdout&tailLines=1`),
    steps.get(`${path}/log?previous=true`),
    steps.get(`${collection}/absent/log`),
    steps.post(`${path}/exec?command=a`, '{}'),
    steps.get(`${path}/exec?command=a`),
    steps.get(`${path}/exec`),
    steps.get(`${path}/attach`),
    steps.get(`${path}/portforward`),
    steps.post(`${collection}/absent/exec?command=a`, '{}'),
    steps.get(`${path}/proxy`),
    steps.get(`${path}/proxy/x`),
    steps.get(`${collection}/http:${token}-sub:80/proxy/`),
    steps.get(`${collection}/absent/proxy/`),
    steps.put(`${path}/status`, {
      ...pod(`${token}-sub`),
      status: {
        phase: 'Running',
        conditions: [{ type: 'Ready', status: 'True' }],
        podIP: '10.1.2.3',
        containerStatuses: [
          {
            name: 'c',
            image: 'i',
            imageID: 'x',
            ready: true,
            restartCount: 0,
            state: { running: { startedAt: '2020-01-01T00:00:00Z' } },
          },
        ],
      },
    }),
    steps.get(path),
    steps.get(path, { headers: { accept: 'application/json;as=Table;v=v1;g=meta.k8s.io' } }),
    steps.get(`${path}/log`),
    steps.patch('strategic', `${path}/status`, {
      body: { status: { conditions: [{ type: 'Custom', status: 'Nope' }] } },
    }),
    steps.patch('merge', `${path}/status`, { body: { status: { phase: 'Nope', podIPs: [{ ip: 'x' }] } } }),
    steps.patch('merge', `${path}/status`, {
      body: {
        metadata: { labels: { x: 'y' } },
        spec: { nodeName: 'n' },
        status: { nominatedNodeName: 'n', resourceClaimStatuses: [{ name: 'nope' }], observedGeneration: -1 },
      },
    }),
    steps.patch('merge', path, { body: { spec: { activeDeadlineSeconds: 5 } } }),
    steps.patch('merge', path, { body: { spec: { activeDeadlineSeconds: 50 } } }),
    steps.patch('strategic', path, { body: { spec: { containers: [{ name: 'c', image: 'new' }] } } }),
    steps.patch('strategic', path, { body: { spec: { tolerations: [{ key: 'a', operator: 'Exists' }] } } }),
    steps.patch('merge', path, { body: { spec: { tolerations: [] } } }),
    steps.patch('merge', path, { body: { spec: { nodeName: 'n' } } }),
    steps.patch('merge', path, { body: { spec: { schedulingGates: [{ name: 'a/b' }] } } }),
    steps.patch('strategic', path, {
      body: { spec: { containers: [{ name: 'c', resources: { requests: { cpu: '150m' } } }] } },
    }),
    steps.patch('merge', path, { body: { spec: { terminationGracePeriodSeconds: 1 } } }),
    steps.get(`${path}/resize`),
    steps.get(`${path}/eviction`),
    steps.get(`${path}/binding`),
    steps.get(`${path}/nope`),
    steps.remove(`${path}/status`),
    steps.post(`${path}/status`, {}),
  ]);
}

function podLives({ token, namespace }: RunNames): Scenario {
  const collection = `/api/v1/namespaces/${namespace}/pods`;
  const [path, bound] = [`${collection}/${token}-life`, `${collection}/${token}-bound`];
  return scenario('pod deletion', [
    steps.post(collection, pod(`${token}-life`)),
    steps.remove(path),
    steps.get(path),
    steps.post(collection, pod(`${token}-bound`, { nodeName: 'n', terminationGracePeriodSeconds: 7 })),
    steps.remove(`${bound}?gracePeriodSeconds=20`),
    steps.get(bound),
    steps.remove(`${bound}?gracePeriodSeconds=30`),
    steps.remove(`${bound}?gracePeriodSeconds=5`),
    steps.remove(bound),
    steps.remove(`${bound}?dryRun=All&gracePeriodSeconds=0`),
    steps.patch('merge', bound, { body: { metadata: { finalizers: ['example.com/x'] } } }),
    steps.patch('merge', bound, { body: { metadata: { labels: { still: 'here' } } } }),
    steps.remove(`${bound}?gracePeriodSeconds=0`),
    steps.get(bound),
    ...['Foreground', 'Orphan', 'Background'].flatMap((policy) => {
      const name = `${token}-${policy.toLowerCase()}`;
      return [
        steps.post(collection, pod(name, { nodeName: 'n' })),
        steps.remove(`${collection}/${name}?propagationPolicy=${policy}`),
        steps.get(`${collection}/${name}`),
        steps.remove(`${collection}/${name}?gracePeriodSeconds=0`),
        steps.get(`${collection}/${name}`),
        steps.patch('merge', `${collection}/${name}`, { body: { metadata: { finalizers: null } } }),
        steps.get(`${collection}/${name}`),
      ];
    }),
    steps.post(collection, pod(`${token}-final`, {}, { finalizers: ['example.com/x'] })),
    steps.remove(`${collection}/${token}-final`),
    steps.get(`${collection}/${token}-final`),
    steps.patch('json', `${collection}/${token}-final`, {
      body: [{ op: 'add', path: '/metadata/finalizers/-', value: 'example.com/y' }],
    }),
    steps.patch('json', `${collection}/${token}-final`, {
      body: [{ op: 'remove', path: '/metadata/finalizers' }],
    }),
    steps.get(`${collection}/${token}-final`),
    steps.post(
      collection,
      pod(
        `${token}-bad`,
        {},
        { finalizers: ['unqualified', 'example.com/ok', 'foregroundDeletion', 'orphan'] },
      ),
    ),
    steps.post(
      collection,
      pod(`${token}-del`, {}, { deletionTimestamp: '2020-01-01T00:00:00Z', deletionGracePeriodSeconds: 5 }),
    ),
    steps.get(`${collection}/${token}-del`),
  ]);
}

function resize({ token, namespace }: RunNames): Scenario {
  const collection = `/api/v1/namespaces/${namespace}/pods`;
  const path = `${collection}/${token}-resize`;
  const tries: readonly object[] = [
    { requests: { cpu: '150m' } },
    { limits: { cpu: '300m' } },
    { requests: { cpu: '900m' } },
    { requests: { memory: '1Mi' } },
    { limits: { 'ephemeral-storage': '1Gi' } },
    { limits: { memory: '50Mi' } },
    { requests: { cpu: '-1' } },
  ];
  return scenario('resize', [
    steps.post(collection, pod(`${token}-resize`), { must: true }),
    steps.get(`${path}/resize`),
    ...tries.map((resources) =>
      steps.patch('strategic', `${path}/resize`, {
        body: { spec: { containers: [{ name: 'c', resources }] } },
      }),
    ),
    steps.patch('strategic', `${path}/resize`, {
      body: { spec: { containers: [{ name: 'c', image: 'z' }] } },
    }),
    steps.patch('merge', `${path}/resize`, { body: { metadata: { labels: { a: 'b' } } } }),
    steps.patch('strategic', `${path}/resize`, {
      body: {
        spec: {
          containers: [
            { name: 'c', resizePolicy: [{ resourceName: 'cpu', restartPolicy: 'RestartContainer' }] },
          ],
        },
      },
    }),
    steps.get(path),
  ]);
}

function evictions({ token, namespace }: RunNames): Scenario {
  const collection = `/api/v1/namespaces/${namespace}/pods`;
  const eviction = (name: string, more: object = {}): object => ({
    apiVersion: 'policy/v1',
    kind: 'Eviction',
    metadata: { name },
    ...more,
  });
  const path = (name: string): string => `${collection}/${token}-${name}/eviction`;
  return scenario('eviction', [
    steps.post(collection, pod(`${token}-ev`, {}, { labels: { evict: token } }), { must: true }),
    steps.post(path('ev'), {}),
    steps.post(path('ev'), eviction('other')),
    steps.post(path('ev'), eviction(`${token}-ev`, { deleteOptions: { dryRun: ['All'] } })),
    steps.post(`${path('ev')}?dryRun=All`, eviction(`${token}-ev`)),
    steps.post(path('ev'), eviction(`${token}-ev`, { deleteOptions: { preconditions: { uid: 'x' } } })),
    steps.post(path('ev'), { ...eviction(`${token}-ev`), apiVersion: 'policy/v1beta1' }),
    steps.post(path('ev'), { ...eviction(`${token}-ev`), kind: 'Pod' }),
    steps.post(path('absent'), eviction(`${token}-absent`)),
    steps.post(`/apis/policy/v1/namespaces/${namespace}/poddisruptionbudgets`, {
      apiVersion: 'policy/v1',
      kind: 'PodDisruptionBudget',
      metadata: { name: `${token}-ev` },
      spec: { minAvailable: 1, selector: { matchLabels: { evict: token } } },
    }),
    steps.patch('merge', `${collection}/${token}-ev/status`, {
      body: { status: { phase: 'Running', conditions: [{ type: 'Ready', status: 'True' }] } },
    }),
    steps.post(path('ev'), eviction(`${token}-ev`)),
    steps.put(`/apis/policy/v1/namespaces/${namespace}/poddisruptionbudgets/${token}-ev/status`, {
      apiVersion: 'policy/v1',
      kind: 'PodDisruptionBudget',
      metadata: { name: `${token}-ev` },
      spec: { minAvailable: 1 },
      status: {
        observedGeneration: 1,
        currentHealthy: 1,
        desiredHealthy: 1,
        expectedPods: 1,
        disruptionsAllowed: 0,
      },
    }),
    steps.post(path('ev'), eviction(`${token}-ev`)),
    steps.post(`/apis/policy/v1/namespaces/${namespace}/poddisruptionbudgets`, {
      apiVersion: 'policy/v1',
      kind: 'PodDisruptionBudget',
      metadata: { name: `${token}-ev2` },
      spec: { minAvailable: 1, selector: { matchLabels: { evict: token } } },
    }),
    steps.post(path('ev'), eviction(`${token}-ev`)),
    steps.remove(`/apis/policy/v1/namespaces/${namespace}/poddisruptionbudgets/${token}-ev2`),
    steps.patch('merge', `/apis/policy/v1/namespaces/${namespace}/poddisruptionbudgets/${token}-ev/status`, {
      body: { status: { disruptionsAllowed: 1 } },
    }),
    steps.post(path('ev'), eviction(`${token}-ev`)),
    steps.get(`/apis/policy/v1/namespaces/${namespace}/poddisruptionbudgets/${token}-ev`),
    steps.get(`${collection}/${token}-ev`),
    steps.post(path('ev'), eviction(`${token}-ev`)),
  ]);
}

function bindings({ token, namespace }: RunNames): Scenario {
  const collection = `/api/v1/namespaces/${namespace}/pods`;
  const path = `${collection}/${token}-bind`;
  const binding = (target: object | undefined, name = `${token}-bind`): object => ({
    apiVersion: 'v1',
    kind: 'Binding',
    metadata: { name, labels: { topology: 'x' }, annotations: { bound: 'yes' } },
    ...(target ? { target } : {}),
  });
  return scenario('binding', [
    steps.post(collection, pod(`${token}-bind`), { must: true }),
    steps.post(`${path}/binding`, binding(undefined)),
    steps.post(`${path}/binding`, binding({ kind: 'Pod', name: 'n' })),
    steps.post(`${path}/binding`, binding({ kind: 'Node' })),
    steps.post(`${path}/binding`, binding({ kind: 'Node', name: 'n' }, 'other')),
    steps.post(`${path}/binding?dryRun=All`, binding({ kind: 'Node', name: 'n' })),
    steps.post(`${collection}/absent/binding`, binding({ kind: 'Node', name: 'n' }, 'absent')),
    steps.post(`${path}/binding`, {
      ...binding({ kind: 'Node', name: 'n' }),
      metadata: { name: `${token}-bind`, uid: 'x' },
    }),
    steps.post(`${path}/binding`, binding({ kind: 'Node', name: 'n' })),
    steps.get(path),
    steps.post(`${path}/binding`, binding({ kind: 'Node', name: 'm' })),
    steps.post(`/api/v1/namespaces/${namespace}/bindings`, binding({ kind: 'Node', name: 'm' })),
    steps.post(collection, pod(`${token}-gated`, { schedulingGates: [{ name: 'a/b' }] })),
    steps.post(
      `${collection}/${token}-gated/binding`,
      binding({ kind: 'Node', name: 'n' }, `${token}-gated`),
    ),
    steps.patch('merge', `${collection}/${token}-gated`, { body: { spec: { nodeSelector: { a: 'b' } } } }),
    steps.patch('merge', `${collection}/${token}-gated`, { body: { spec: { nodeSelector: { a: 'c' } } } }),
    steps.patch('merge', `${collection}/${token}-gated`, { body: { spec: { schedulingGates: [] } } }),
    steps.get(`${collection}/${token}-gated`),
    steps.post(
      `/api/v1/namespaces/${namespace}/bindings`,
      binding({ kind: 'Node', name: 'm' }, `${token}-gated`),
    ),
    steps.post(
      `${collection}/${token}-gated/binding`,
      binding({ kind: 'Node', name: 'm' }, `${token}-gated`),
    ),
  ]);
}

function tokens({ token, namespace }: RunNames): Scenario {
  const path = `/api/v1/namespaces/${namespace}/serviceaccounts/default/token`;
  const request = (spec: object, more: object = {}): object => ({
    apiVersion: 'authentication.k8s.io/v1',
    kind: 'TokenRequest',
    spec,
    ...more,
  });
  const review = (text: string, audiences?: string[]): Step =>
    steps.post('/apis/authentication.k8s.io/v1/tokenreviews', {
      apiVersion: 'authentication.k8s.io/v1',
      kind: 'TokenReview',
      spec: { token: text, ...(audiences ? { audiences } : {}) },
    });
  return scenario('tokens', [
    steps.post(path, request({}), { as: 'token' }),
    review('{{token.status.token}}'),
    review('{{token.status.token}}', ['x']),
    review('{{token.status.token}}', ['https://kubernetes.default.svc.cluster.local', 'y']),
    steps.get(`/api/v1/namespaces/${namespace}/pods`, {
      anonymous: true,
      headers: { authorization: 'Bearer {{token.status.token}}' },
    }),
    steps.post(
      '/apis/authentication.k8s.io/v1/selfsubjectreviews',
      { apiVersion: 'authentication.k8s.io/v1', kind: 'SelfSubjectReview' },
      { anonymous: true, headers: { authorization: 'Bearer {{token.status.token}}' } },
    ),
    steps.post(path, request({ audiences: ['a', 'b'], expirationSeconds: 3600 }), { as: 'other' }),
    review('{{other.status.token}}'),
    review('{{other.status.token}}', ['b', 'c']),
    steps.get('/api', { anonymous: true, headers: { authorization: 'Bearer {{other.status.token}}' } }),
    steps.post(path, request({ expirationSeconds: 5 })),
    steps.post(path, request({ expirationSeconds: 2 ** 33 })),
    steps.post(path, request({ expirationSeconds: 599 })),
    steps.post(path, request({ audiences: [''] })),
    steps.post(path, request({ boundObjectRef: { kind: 'Pod', apiVersion: 'v1', name: 'absent' } })),
    steps.post(path, request({ boundObjectRef: { kind: 'Nope', apiVersion: 'v1', name: 'x' } })),
    steps.post(path, request({ boundObjectRef: { kind: 'Pod', apiVersion: 'v9', name: 'x' } })),
    steps.post(path, request({ boundObjectRef: { kind: 'Secret', apiVersion: 'v1' } })),
    steps.post(path, request({ boundObjectRef: { kind: 'Node', apiVersion: 'v1', name: 'absent' } })),
    steps.post(path, request({ boundObjectRef: {} })),
    steps.post(`/api/v1/namespaces/${namespace}/serviceaccounts/absent/token`, request({})),
    steps.post(path, request({}, { metadata: { name: 'other' } })),
    steps.post(path, request({}, { metadata: { name: 'default', namespace: 'other' } })),
    steps.post(path, {}),
    steps.post(path, { kind: 'Pod', apiVersion: 'v1' }),
    steps.post(`${path}?dryRun=All`, request({})),
    steps.get(path),
    steps.post(path, request({}), {
      headers: { accept: 'application/vnd.kubernetes.protobuf' },
      quiet: true,
    }),
    steps.post(
      `/api/v1/namespaces/${namespace}/secrets`,
      { apiVersion: 'v1', kind: 'Secret', metadata: { name: `${token}-bind` } },
      { as: 'secret' },
    ),
    steps.post(
      path,
      request({
        boundObjectRef: {
          kind: 'Secret',
          apiVersion: 'v1',
          name: `${token}-bind`,
          uid: '{{secret.metadata.uid}}',
        },
      }),
      { as: 'bound' },
    ),
    review('{{bound.status.token}}'),
    steps.post(
      path,
      request({ boundObjectRef: { kind: 'Secret', apiVersion: 'v1', name: `${token}-bind`, uid: 'wrong' } }),
    ),
    steps.remove(`/api/v1/namespaces/${namespace}/secrets/${token}-bind`),
    review(''),
    review('x.y.z'),
    review('eyJhbGciOiJub25lIn0.e30.'),
  ]);
}

function certificates({ token }: RunNames): Scenario {
  const collection = '/apis/certificates.k8s.io/v1/certificatesigningrequests';
  const name = `${token}-csr`;
  const path = `${collection}/${name}`;
  const csr = (spec: object = {}, own = name): object => ({
    apiVersion: 'certificates.k8s.io/v1',
    kind: 'CertificateSigningRequest',
    metadata: { name: own },
    spec: { request: certificateRequest, signerName: 'example.com/s', usages: ['client auth'], ...spec },
  });
  const condition = (more: object): object => ({
    ...csr(),
    status: { conditions: [{ type: 'Approved', status: 'True', reason: 'R', message: 'm', ...more }] },
  });
  return scenario('certificates', [
    ...[
      { signerName: 'bad' },
      { signerName: 'kubernetes.io/kube-apiserver-client' },
      { signerName: 'kubernetes.io/nope' },
      { signerName: 'kubernetes.io/legacy-unknown' },
      { signerName: 'kubernetes.io/kubelet-serving' },
      { request: 'AAEC' },
      { usages: [] },
      { usages: ['nope'] },
      { usages: ['client auth', 'client auth'] },
      { expirationSeconds: 5 },
      { username: 'x', groups: ['y'], uid: 'z', extra: { a: ['b'] } },
    ].map((spec, at) => steps.post(`${collection}?dryRun=All`, csr(spec, `${name}-${at}`))),
    steps.post(collection, csr(), { must: true }),
    steps.get(`${path}/approval`),
    steps.put(`${path}/approval`, condition({ status: 'False' })),
    steps.put(`${path}/approval`, condition({ type: 'Nope' })),
    steps.put(`${path}/approval`, condition({ type: '' })),
    steps.put(`${path}/approval`, condition({})),
    steps.put(`${path}/approval`, { ...csr(), status: {} }),
    steps.put(`${path}/approval`, condition({ type: 'Denied' })),
    steps.get(path),
    steps.put(`${path}/status`, { ...csr(), status: { certificate: 'AAEC' } }),
    steps.put(`${path}/status`, {
      ...csr(),
      status: {
        certificate: Buffer.from('-----BEGIN CERTIFICATE-----\nAAEC\n-----END CERTIFICATE-----\n').toString(
          'base64',
        ),
      },
    }),
    steps.put(`${path}/status`, { ...csr(), status: { conditions: [{ type: 'Failed', status: 'True' }] } }),
    steps.put(path, csr({ usages: ['server auth'] })),
    steps.patch('merge', `${path}/approval`, {
      body: {
        status: {
          conditions: [
            { type: 'Approved', status: 'True' },
            { type: 'Approved', status: 'True' },
          ],
        },
      },
    }),
    steps.get(path, { headers: { accept: 'application/json;as=Table;v=v1;g=meta.k8s.io' } }),
  ]);
}

function namespaces({ token }: RunNames): Scenario {
  const name = `${token}-ns`;
  const path = `/api/v1/namespaces/${name}`;
  const configMap = { apiVersion: 'v1', kind: 'ConfigMap', metadata: { name: 'a' } };
  return scenario('namespaces', [
    steps.post(
      '/api/v1/namespaces',
      { apiVersion: 'v1', kind: 'Namespace', metadata: { name } },
      { as: 'made', must: true },
    ),
    steps.put(`${path}/finalize`, {
      apiVersion: 'v1',
      kind: 'Namespace',
      metadata: { name },
      spec: { finalizers: ['kubernetes', 'example.com/x'] },
    }),
    steps.put(`${path}/finalize`, {
      apiVersion: 'v1',
      kind: 'Namespace',
      metadata: { name: 'other' },
      spec: {},
    }),
    steps.put(`${path}/finalize`, {
      apiVersion: 'v1',
      kind: 'Namespace',
      metadata: { name },
      spec: { finalizers: ['bad'] },
    }),
    steps.put(path, { apiVersion: 'v1', kind: 'Namespace', metadata: { name }, spec: { finalizers: [] } }),
    steps.get(`${path}/status`),
    steps.put(`${path}/status`, {
      apiVersion: 'v1',
      kind: 'Namespace',
      metadata: { name },
      status: { phase: 'Terminating' },
    }),
    steps.patch('merge', `${path}/status`, {
      body: { status: { conditions: [{ type: 'X', status: 'True' }] } },
    }),
    steps.post(`${path}/configmaps`, configMap),
    steps.remove(`${path}?dryRun=All`),
    steps.remove(path),
    steps.remove(path),
    steps.get(path),
    steps.post(`${path}/configmaps`, { ...configMap, metadata: { name: 'b' } }),
    steps.patch('merge', `${path}/configmaps/a`, { body: { data: { a: 'b' } } }),
    steps.patch('apply', `${path}/configmaps/c?fieldManager=m`, {
      body: { ...configMap, metadata: { name: 'c' } },
    }),
    steps.get(path, { headers: { accept: 'application/json;as=Table;v=v1;g=meta.k8s.io' } }),
    steps.put(`${path}/finalize`, {
      apiVersion: 'v1',
      kind: 'Namespace',
      metadata: { name },
      spec: { finalizers: [] },
    }),
    steps.get(path),
    steps.get(`${path}/finalize`),
    ...['default', 'kube-system', 'kube-public', 'kube-node-lease'].map((protectedName) =>
      steps.remove(`/api/v1/namespaces/${protectedName}?dryRun=All`),
    ),
    steps.remove('/api/v1/namespaces/default'),
    steps.remove('/api/v1/namespaces'),
    steps.post('/api/v1/namespaces/absent/configmaps', configMap),
    steps.post('/api/v1/namespaces/default/configmaps', {
      ...configMap,
      metadata: { name: 'a', namespace: 'other' },
    }),
  ]);
}

function nodes({ token }: RunNames): Scenario {
  const name = `${token}-node`;
  const path = `/api/v1/nodes/${name}`;
  return scenario('nodes', [
    steps.post(
      '/api/v1/nodes',
      {
        apiVersion: 'v1',
        kind: 'Node',
        metadata: { name },
        status: {
          addresses: [{ type: 'InternalIP', address: '127.0.0.1' }],
          daemonEndpoints: { kubeletEndpoint: { Port: 1 } },
          conditions: [{ type: 'Ready', status: 'True' }],
        },
      },
      { must: true },
    ),
    steps.get(path),
    steps.get(path, { headers: { accept: 'application/json;as=Table;v=v1;g=meta.k8s.io' } }),
    steps.get(`${path}/proxy/`),
    steps.get(`${path}/proxy/metrics`),
    steps.get(`/api/v1/nodes/${name}:9/proxy/`),
    steps.get(`/api/v1/nodes/https:${name}:9/proxy/`),
    steps.get('/api/v1/nodes/absent/proxy/'),
    steps.patch('merge', path, { body: { spec: { podCIDR: '10.1.0.0/24' } } }),
    steps.patch('merge', path, { body: { spec: { podCIDR: '10.2.0.0/24' } } }),
    steps.patch('merge', path, { body: { spec: { providerID: 'a://b' } } }),
    steps.patch('merge', path, { body: { spec: { providerID: 'a://c' } } }),
    steps.patch('strategic', path, {
      body: {
        spec: {
          taints: [
            { key: 'a', effect: 'NoSchedule' },
            { key: 'a', effect: 'NoSchedule' },
          ],
        },
      },
    }),
    steps.patch('strategic', `${path}/status`, {
      body: { status: { conditions: [{ type: 'X', status: 'True' }], capacity: { cpu: '-1' } } },
    }),
    steps.patch('merge', path, { body: { spec: { unschedulable: true } } }),
    steps.get(path, { headers: { accept: 'application/json;as=Table;v=v1;g=meta.k8s.io' } }),
    steps.remove(path),
  ]);
}

function services({ token, namespace }: RunNames): Scenario {
  const collection = `/api/v1/namespaces/${namespace}/services`;
  const service = (name: string, spec: object): object => ({
    apiVersion: 'v1',
    kind: 'Service',
    metadata: { name: `${token}-${name}` },
    spec,
  });
  const path = `${collection}/${token}-a`;
  const ports = [{ port: 80, name: 'a' }];
  return scenario('service changes', [
    steps.post(collection, service('a', { ports }), { must: true, as: 'made' }),
    steps.patch('merge', path, { body: { spec: { type: 'NodePort' } } }),
    steps.patch('merge', path, { body: { spec: { type: 'LoadBalancer' } } }),
    steps.patch('merge', path, { body: { spec: { externalTrafficPolicy: 'Local' } } }),
    steps.patch('merge', path, { body: { spec: { type: 'ClusterIP' } } }),
    steps.patch('merge', path, { body: { spec: { type: 'ExternalName' } } }),
    steps.patch('merge', path, { body: { spec: { type: 'ExternalName', externalName: 'x.example.com' } } }),
    steps.patch('merge', path, { body: { spec: { type: 'ClusterIP', externalName: null } } }),
    steps.patch('merge', path, { body: { spec: { clusterIP: '10.96.77.77' } } }),
    steps.patch('merge', path, { body: { spec: { clusterIP: 'None' } } }),
    steps.patch('merge', path, { body: { spec: { ipFamilies: ['IPv6'] } } }),
    steps.patch('merge', path, { body: { spec: { ipFamilyPolicy: 'RequireDualStack' } } }),
    steps.put(path, service('a', { ports })),
    steps.put(path, service('a', { ports, sessionAffinity: 'ClientIP' })),
    steps.get(path),
    steps.get(`${path}/proxy`),
    steps.get(`${path}/proxy/`),
    steps.get(`${collection}/${token}-a:nope/proxy/`),
    steps.get(`${collection}/https:${token}-a:a/proxy/x`),
    steps.get(`${collection}/absent/proxy/`),
    steps.get(path, { headers: { accept: 'application/json;as=Table;v=v1;g=meta.k8s.io' } }),
    steps.patch('merge', `${path}/status`, {
      body: { status: { loadBalancer: { ingress: [{ ip: 'x' }] } } },
    }),
    steps.patch('merge', `${path}/status`, {
      body: {
        status: { loadBalancer: { ingress: [{ ip: '1.2.3.4', ipMode: 'Nope' }, { hostname: '1.2.3.4' }] } },
      },
    }),
  ]);
}

function serviceAddresses({ token, namespace }: RunNames): Scenario {
  const collection = `/api/v1/namespaces/${namespace}/services`;
  const make = (name: string, spec: object, query = ''): Step =>
    steps.post(`${collection}${query}`, {
      apiVersion: 'v1',
      kind: 'Service',
      metadata: { name: `${token}-addr-${name}` },
      spec: { ports: [{ port: 80 }], ...spec },
    });
  return scenario('service addresses', [
    make('ip', { clusterIP: '10.96.88.88' }),
    make('same', { clusterIP: '10.96.88.88' }),
    make('dry', { clusterIP: '10.96.88.88' }, '?dryRun=All'),
    make('out', { clusterIP: '172.20.1.1' }),
    make('bad', { clusterIP: 'x' }),
    make('first', { clusterIP: '10.96.0.0' }),
    make('last', { clusterIP: '10.96.255.255' }),
    make('kubernetes', { clusterIP: '10.96.0.1' }),
    make('six', { clusterIP: 'fd00::1' }),
    make('families', { ipFamilies: ['IPv6'] }),
    make('dual', { ipFamilyPolicy: 'RequireDualStack' }),
    make('prefer', { ipFamilyPolicy: 'PreferDualStack', ipFamilies: ['IPv4', 'IPv6'] }),
    make('lists', { clusterIP: '10.96.88.89', clusterIPs: ['10.96.88.90'] }),
    make('node', { type: 'NodePort', ports: [{ port: 80, nodePort: 31_234 }] }),
    make('node2', { type: 'NodePort', ports: [{ port: 80, nodePort: 31_234 }] }),
    make('node3', { type: 'NodePort', ports: [{ port: 80, nodePort: 100 }] }),
    make('node4', { ports: [{ port: 80, nodePort: 31_235 }] }),
    make('health', { type: 'LoadBalancer', externalTrafficPolicy: 'Local', healthCheckNodePort: 31_236 }),
    make('health2', { type: 'NodePort', externalTrafficPolicy: 'Local', healthCheckNodePort: 31_236 }),
    make('noalloc', { type: 'LoadBalancer', allocateLoadBalancerNodePorts: false }),
    make('headless', { clusterIP: 'None', clusterIPs: ['None'] }),
    make('leading', { clusterIP: '010.096.001.001' }),
    steps.get(`/apis/networking.k8s.io/v1/ipaddresses/10.96.88.88`),
  ]);
}

function proxies({ namespace }: RunNames): Scenario {
  return scenario(
    'proxy',
    ['GET', 'POST', 'PUT', 'PATCH', 'DELETE', 'HEAD', 'OPTIONS'].flatMap((method) =>
      [
        'pods/absent/proxy',
        'services/absent/proxy/a/b',
        'services/absent:http/proxy',
        'pods/absent:80/proxy/',
      ].map((rest) => ({ method, path: `/api/v1/namespaces/${namespace}/${rest}` })),
    ),
  );
}

function priorities({ token, namespace }: RunNames): Scenario {
  const create = (name: string, more: object): Step =>
    steps.post('/apis/scheduling.k8s.io/v1/priorityclasses', {
      apiVersion: 'scheduling.k8s.io/v1',
      kind: 'PriorityClass',
      metadata: { name },
      ...more,
    });
  const make = (name: string, spec: object): Step =>
    steps.post(`/api/v1/namespaces/${namespace}/pods`, pod(`${token}-pri-${name}`, spec));
  return scenario('priorities', [
    create(`${token}-high`, { value: 1000, preemptionPolicy: 'Never' }),
    create(`${token}-huge`, { value: 2_000_000_000 }),
    create('system-mine', { value: 5 }),
    create(`${token}-novalue`, {}),
    make('a', { priorityClassName: `${token}-high` }),
    make('b', { priorityClassName: `${token}-high`, priority: 5 }),
    make('c', { priorityClassName: 'absent' }),
    make('d', { priority: 5 }),
    make('e', { priorityClassName: 'system-node-critical' }),
    make('f', { preemptionPolicy: 'Never' }),
    make('g', { priorityClassName: `${token}-high`, preemptionPolicy: 'PreemptLowerPriority' }),
    steps.patch('merge', `/apis/scheduling.k8s.io/v1/priorityclasses/${token}-high`, { body: { value: 5 } }),
    steps.patch('merge', `/apis/scheduling.k8s.io/v1/priorityclasses/${token}-high`, {
      body: { preemptionPolicy: 'PreemptLowerPriority' },
    }),
    steps.remove('/apis/scheduling.k8s.io/v1/priorityclasses/system-node-critical'),
    steps.remove(`/apis/scheduling.k8s.io/v1/priorityclasses/${token}-high`),
  ]);
}

function quotas({ token }: RunNames): Scenario {
  const namespace = `${token}-quota`;
  const base = `/api/v1/namespaces/${namespace}`;
  const quota = (name: string, spec: object): Step =>
    steps.post(`${base}/resourcequotas`, {
      apiVersion: 'v1',
      kind: 'ResourceQuota',
      metadata: { name },
      spec,
    });
  const charge = (name: string, hard: object): Step =>
    steps.put(`${base}/resourcequotas/${name}/status`, {
      apiVersion: 'v1',
      kind: 'ResourceQuota',
      metadata: { name },
      spec: { hard },
      status: { hard, used: Object.fromEntries(Object.keys(hard).map((key) => [key, '0'])) },
    });
  const hard = { pods: '1', 'requests.cpu': '150m', 'limits.memory': '1Gi' };
  const range = (name: string, limits: object[]): Step =>
    steps.post(`${base}/limitranges`, {
      apiVersion: 'v1',
      kind: 'LimitRange',
      metadata: { name },
      spec: { limits },
    });
  return scenario('quotas and limits', [
    steps.post(
      '/api/v1/namespaces',
      { apiVersion: 'v1', kind: 'Namespace', metadata: { name: namespace } },
      { must: true },
    ),
    steps.post(`${base}/serviceaccounts`, {
      apiVersion: 'v1',
      kind: 'ServiceAccount',
      metadata: { name: 'default' },
    }),
    steps.post(`${base}/pods`, pod('before')),
    quota('q', { hard }),
    steps.post(`${base}/pods`, pod('uncounted')),
    charge('q', hard),
    steps.post(`${base}/pods`, pod('one')),
    steps.post(`${base}/pods`, pod('two')),
    steps.post(`${base}/pods`, {
      apiVersion: 'v1',
      kind: 'Pod',
      metadata: { name: 'norequests' },
      spec: { containers: [{ name: 'c', image: 'i' }] },
    }),
    steps.get(`${base}/resourcequotas/q`),
    steps.get(`${base}/resourcequotas/q`, {
      headers: { accept: 'application/json;as=Table;v=v1;g=meta.k8s.io' },
    }),
    quota('maps', { hard: { 'count/configmaps': '1', services: '0' } }),
    charge('maps', { 'count/configmaps': '1', services: '0' }),
    steps.post(`${base}/configmaps`, { apiVersion: 'v1', kind: 'ConfigMap', metadata: { name: 'a' } }),
    steps.post(`${base}/configmaps`, { apiVersion: 'v1', kind: 'ConfigMap', metadata: { name: 'b' } }),
    steps.post(`${base}/services`, {
      apiVersion: 'v1',
      kind: 'Service',
      metadata: { name: 'b' },
      spec: { ports: [{ port: 80 }] },
    }),
    steps.remove(`${base}/resourcequotas/q`),
    steps.remove(`${base}/resourcequotas/maps`),
    range('r', [
      {
        type: 'Container',
        max: { cpu: '1', memory: '1Gi' },
        min: { cpu: '50m' },
        default: { cpu: '500m', memory: '64Mi' },
        defaultRequest: { cpu: '100m' },
        maxLimitRequestRatio: { cpu: '4' },
      },
      { type: 'Pod', max: { cpu: '1500m' } },
      { type: 'PersistentVolumeClaim', min: { storage: '1Gi' }, max: { storage: '5Gi' } },
    ]),
    ...[
      {},
      { requests: { cpu: '10m' } },
      { limits: { cpu: '2' } },
      { requests: { cpu: '100m' }, limits: { cpu: '900m' } },
      { limits: { memory: '2Gi' } },
    ].map((resources, at) =>
      steps.post(`${base}/pods`, {
        apiVersion: 'v1',
        kind: 'Pod',
        metadata: { name: `limited-${at}` },
        spec: { containers: [{ name: 'c', image: 'i', resources }] },
      }),
    ),
    ...['500Mi', '2Gi', '10Gi'].map((storage, at) =>
      steps.post(`${base}/persistentvolumeclaims`, {
        apiVersion: 'v1',
        kind: 'PersistentVolumeClaim',
        metadata: { name: `limited-${at}` },
        spec: { accessModes: ['ReadWriteOnce'], resources: { requests: { storage } } },
      }),
    ),
  ]);
}

function claims({ token, namespace }: RunNames): Scenario {
  const collection = `/api/v1/namespaces/${namespace}/persistentvolumeclaims`;
  const path = `${collection}/${token}-claim`;
  const storageClass = (name: string, more: object): Step =>
    steps.post('/apis/storage.k8s.io/v1/storageclasses', {
      apiVersion: 'storage.k8s.io/v1',
      kind: 'StorageClass',
      metadata: { name: `${token}-${name}` },
      provisioner: 'example.com/p',
      ...more,
    });
  return scenario('claims', [
    storageClass('grow', { allowVolumeExpansion: true }),
    steps.post(
      collection,
      {
        apiVersion: 'v1',
        kind: 'PersistentVolumeClaim',
        metadata: { name: `${token}-claim` },
        spec: {
          storageClassName: `${token}-grow`,
          accessModes: ['ReadWriteOnce'],
          resources: { requests: { storage: '1Gi' } },
        },
      },
      { must: true },
    ),
    steps.patch('merge', path, { body: { spec: { resources: { requests: { storage: '2Gi' } } } } }),
    steps.patch('merge', `${path}/status`, {
      body: { status: { phase: 'Bound', capacity: { storage: '1Gi' }, accessModes: ['ReadWriteOnce'] } },
    }),
    steps.patch('merge', path, { body: { spec: { volumeName: 'v' } } }),
    steps.patch('merge', path, { body: { spec: { resources: { requests: { storage: '3Gi' } } } } }),
    steps.patch('merge', path, { body: { spec: { resources: { requests: { storage: '2Gi' } } } } }),
    steps.patch('merge', path, { body: { spec: { resources: { requests: { storage: '500Mi' } } } } }),
    steps.patch('merge', path, { body: { spec: { accessModes: ['ReadOnlyMany'] } } }),
    steps.patch('merge', path, { body: { spec: { storageClassName: 'x' } } }),
    steps.patch('merge', path, { body: { spec: { volumeAttributesClassName: 'x' } } }),
    steps.get(path),
    steps.get(path, { headers: { accept: 'application/json;as=Table;v=v1;g=meta.k8s.io' } }),
    steps.remove(path),
    steps.get(path),
  ]);
}

function disruption({ token, namespace }: RunNames): Scenario {
  const collection = `/apis/policy/v1/namespaces/${namespace}/poddisruptionbudgets`;
  const path = `${collection}/${token}-pdb`;
  return scenario('budgets', [
    steps.post(collection, {
      apiVersion: 'policy/v1',
      kind: 'PodDisruptionBudget',
      metadata: { name: `${token}-pdb` },
      spec: { minAvailable: 1, selector },
    }),
    steps.patch('strategic', path, { body: { spec: { selector: { matchLabels: { other: 'x' } } } } }),
    steps.patch('merge', path, { body: { spec: { minAvailable: null, maxUnavailable: '10%' } } }),
    steps.patch('merge', path, { body: { spec: { minAvailable: 2 } } }),
    steps.patch('merge', `${path}/status`, {
      body: {
        status: {
          disruptionsAllowed: -1,
          conditions: [{ type: 'DisruptionAllowed', status: 'Nope', reason: '', lastTransitionTime: null }],
        },
      },
    }),
    steps.get(path, { headers: { accept: 'application/json;as=Table;v=v1;g=meta.k8s.io' } }),
  ]);
}

/** Admission plugins that fill in or refuse: default classes, service accounts, pod security, runtime classes. */
function defaults({ token }: RunNames): Scenario {
  const namespace = `${token}-adm`;
  const base = `/api/v1/namespaces/${namespace}`;
  const levels = ['restricted', 'baseline', 'privileged', 'nope'];
  return scenario('admission plugins', [
    steps.post(
      '/api/v1/namespaces',
      { apiVersion: 'v1', kind: 'Namespace', metadata: { name: namespace } },
      { must: true },
    ),
    steps.post(`${base}/pods`, pod('nosa')),
    steps.post(`${base}/serviceaccounts`, {
      apiVersion: 'v1',
      kind: 'ServiceAccount',
      metadata: { name: 'default' },
      imagePullSecrets: [{ name: 'pull' }],
    }),
    steps.post(`${base}/pods`, pod('sa')),
    steps.post(`${base}/pods`, pod('othersa', { serviceAccountName: 'absent' })),
    steps.post(`${base}/pods`, pod('oldsa', { serviceAccount: 'default' })),
    steps.post(`${base}/pods`, pod('runtime', { runtimeClassName: 'absent' })),
    steps.post(`${base}/pods`, pod('mirror', {}, { annotations: { 'kubernetes.io/config.mirror': 'x' } })),
    steps.post(
      `${base}/pods`,
      pod('extended', {
        containers: [{ name: 'c', image: 'i', resources: { limits: { 'example.com/gpu': '1' } } }],
      }),
    ),
    ...levels.flatMap((level) => [
      steps.patch('merge', base, {
        body: {
          metadata: {
            labels: {
              'pod-security.kubernetes.io/enforce': level,
              'pod-security.kubernetes.io/warn': 'restricted',
              'pod-security.kubernetes.io/audit-version': 'v1.0',
            },
          },
        },
      }),
      steps.post(`${base}/pods?dryRun=All`, pod(`psa-${level}`)),
      steps.post(
        `${base}/pods?dryRun=All`,
        pod(`host-${level}`, {
          hostNetwork: true,
          hostPID: true,
          volumes: [{ name: 'h', hostPath: { path: '/' } }],
          securityContext: { runAsUser: 0, sysctls: [{ name: 'kernel.x', value: '1' }] },
          containers: [
            {
              name: 'c',
              image: 'i',
              ports: [{ containerPort: 80, hostPort: 80 }],
              securityContext: {
                privileged: true,
                allowPrivilegeEscalation: true,
                capabilities: { add: ['SYS_ADMIN'] },
                procMount: 'Unmasked',
                seccompProfile: { type: 'Unconfined' },
              },
            },
          ],
        }),
      ),
      steps.post(`/apis/apps/v1/namespaces/${namespace}/deployments?dryRun=All`, {
        apiVersion: 'apps/v1',
        kind: 'Deployment',
        metadata: { name: 'd' },
        spec: { selector, template },
      }),
    ]),
    steps.patch('merge', base, {
      body: {
        metadata: {
          labels: {
            'pod-security.kubernetes.io/enforce-version': 'v9.9',
            'pod-security.kubernetes.io/warn-version': 'nope',
          },
        },
      },
    }),
    steps.post('/apis/networking.k8s.io/v1/ingressclasses', {
      apiVersion: 'networking.k8s.io/v1',
      kind: 'IngressClass',
      metadata: {
        name: `${token}-dflt`,
        annotations: { 'ingressclass.kubernetes.io/is-default-class': 'true' },
      },
      spec: { controller: 'example.com/c' },
    }),
    steps.post(`/apis/networking.k8s.io/v1/namespaces/${namespace}/ingresses`, {
      apiVersion: 'networking.k8s.io/v1',
      kind: 'Ingress',
      metadata: { name: 'i' },
      spec: { defaultBackend: { service: { name: 's', port: { number: 80 } } } },
    }),
    steps.remove(`/apis/networking.k8s.io/v1/ingressclasses/${token}-dflt`),
    steps.post('/apis/storage.k8s.io/v1/storageclasses', {
      apiVersion: 'storage.k8s.io/v1',
      kind: 'StorageClass',
      metadata: {
        name: `${token}-dflt`,
        annotations: { 'storageclass.kubernetes.io/is-default-class': 'true' },
      },
      provisioner: 'example.com/p',
    }),
    steps.post(`${base}/persistentvolumeclaims`, {
      apiVersion: 'v1',
      kind: 'PersistentVolumeClaim',
      metadata: { name: 'c' },
      spec: { accessModes: ['ReadWriteOnce'], resources: { requests: { storage: '1Gi' } } },
    }),
    steps.remove(`/apis/storage.k8s.io/v1/storageclasses/${token}-dflt`),
  ]);
}

/** Metadata that all kinds share. */
function owners({ token, namespace }: RunNames): Scenario {
  const collection = `/api/v1/namespaces/${namespace}/configmaps`;
  const make = (metadata: object): Step =>
    steps.post(`${collection}?dryRun=All`, {
      apiVersion: 'v1',
      kind: 'ConfigMap',
      metadata: { name: `${token}-own`, ...metadata },
    });
  const owner = (more: object): object => ({ apiVersion: 'v1', kind: 'Pod', name: 'p', uid: 'u', ...more });
  return scenario('metadata', [
    make({ ownerReferences: [owner({ apiVersion: '' })] }),
    make({ ownerReferences: [owner({ kind: '' })] }),
    make({ ownerReferences: [owner({ name: '' })] }),
    make({ ownerReferences: [owner({ uid: '' })] }),
    make({ ownerReferences: [owner({ controller: true }), owner({ uid: 'v', controller: true })] }),
    make({ ownerReferences: [owner({}), owner({})] }),
    make({ ownerReferences: [{ apiVersion: 'v1', kind: 'Event', name: 'e', uid: 'u' }] }),
    make({ ownerReferences: [owner({ apiVersion: 'a/b/c' })] }),
    make({ finalizers: ['bad', 'example.com/x'] }),
    make({ finalizers: ['orphan', 'foregroundDeletion'] }),
    make({ finalizers: ['kubernetes', 'kubernetes.io/pv-protection'] }),
    make({ labels: { 'a b': 'c' } }),
    make({ labels: { a: 'b c' } }),
    make({ annotations: { 'A/b': 'c' } }),
    make({ annotations: { 'a//b': 'c' } }),
    make({ generateName: 'g-', name: '' }),
    make({ name: '' }),
    make({ generation: -1 }),
    make({ selfLink: '/x' }),
    make({ creationTimestamp: '2020-01-01T00:00:00Z' }),
    make({ deletionGracePeriodSeconds: 5 }),
    make({ resourceVersion: '5' }),
    make({ namespace: '' }),
    make({ namespace: 'other' }),
    make({ uid: 'given' }),
  ]);
}
