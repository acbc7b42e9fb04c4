/** Who may do what: reviews, RBAC's own rules, impersonation, and the words that a user with few rights is refused with. */
import { builtinResources } from '#api/resources.ts';
import { collectionPath, steps } from '../paths.ts';
import type { RunNames, Scenario, Step } from '../scenario.ts';

const RBAC = '/apis/rbac.authorization.k8s.io/v1';
const REVIEWS = '/apis/authorization.k8s.io/v1';

export function access(names: RunNames): Scenario[] {
  return [
    refusals(names),
    ...resourceRefusals(names),
    impersonation(names),
    reviews(names),
    escalation(names),
    identities(names),
    roles(names),
  ];
}

const scenario = (name: string, list: readonly Step[]): Scenario => ({
  name: `access/${name}`,
  area: 'rbac and authorization',
  steps: list,
});
const as = (user: string, ...groups: string[]): Pick<Step, 'headers'> => ({
  headers: { 'impersonate-user': user, ...(groups.length > 0 ? { 'impersonate-group': groups } : {}) },
});

function refusals({ namespace }: RunNames): Scenario {
  const few = as('few', 'system:authenticated');
  const paths = [
    '/api/v1/pods',
    `/api/v1/namespaces/${namespace}/pods`,
    `/api/v1/namespaces/${namespace}/pods/x`,
    `/api/v1/namespaces/${namespace}/pods/x/log`,
    `/api/v1/namespaces/${namespace}`,
    '/api/v1/namespaces',
    '/api/v1/nodes/x',
    '/api/v1/nodes/x/proxy/a',
    `/apis/apps/v1/namespaces/${namespace}/deployments/x/scale`,
    '/apis/nope/v1/widgets',
    '/apis/nope/v1/namespaces/x/widgets/y',
    '/metrics',
    '/healthz',
    '/livez',
    '/readyz',
    '/version',
    '/api',
    '/apis',
    '/openapi/v2',
    '/logs/',
    '/nope',
    '/',
    '/apis/apps/v1',
    '/debug/pprof/',
    '/.well-known/openid-configuration',
    '/openid/v1/jwks',
    '/healthz/etcd',
    '/readyz/etcd',
  ];
  return scenario('refusals', [
    ...paths.flatMap((path) => [
      steps.get(path, { ...few, quiet: path === '/openapi/v2' }),
      steps.get(path, { ...as('few'), quiet: path === '/openapi/v2' }),
      steps.get(path, { anonymous: true, quiet: path === '/openapi/v2' }),
    ]),
    ...['POST', 'PUT', 'PATCH', 'DELETE', 'HEAD', 'OPTIONS'].flatMap((method) =>
      paths.slice(0, 12).map((path) => ({ method, path, ...few })),
    ),
    steps.get(`/api/v1/namespaces/${namespace}/pods?watch=1`, few),
    steps.get(`/api/v1/watch/namespaces/${namespace}/pods`, few),
    steps.get('/api/v1/pods?fieldSelector=spec.nodeName%3Dx&labelSelector=a', few),
    steps.post(`/api/v1/namespaces/${namespace}/pods`, {}, few),
    steps.post(`/api/v1/namespaces/${namespace}/pods/x/exec?command=a`, {}, few),
    steps.get(`/api/v1/namespaces/${namespace}/pods/x/portforward`, few),
    steps.remove(`/api/v1/namespaces/${namespace}/pods`, undefined, few),
  ]);
}

function resourceRefusals({ namespace }: RunNames): Scenario[] {
  const few = as('few', 'system:authenticated');
  return builtinResources.map((facts) => {
    const path = collectionPath(facts, namespace);
    return scenario(`refusals ${facts.group}/${facts.version}/${facts.plural}`, [
      steps.get(path, few),
      steps.get(`${path}/x`, few),
      steps.post(path, { apiVersion: 'v1' }, few),
      steps.remove(`${path}/x`, undefined, few),
      ...(facts.subresources ?? []).map(({ name }) => steps.get(`${path}/x/${name}`, few)),
    ]);
  });
}

function impersonation({ namespace }: RunNames): Scenario {
  const self = (headers: Step['headers'], anonymous = false): Step =>
    steps.post(
      '/apis/authentication.k8s.io/v1/selfsubjectreviews',
      { apiVersion: 'authentication.k8s.io/v1', kind: 'SelfSubjectReview' },
      { ...(headers ? { headers } : {}), anonymous },
    );
  return scenario('impersonation', [
    self({}),
    self({}, true),
    self({ 'impersonate-user': 'u' }),
    self({ 'impersonate-user': 'u', 'impersonate-group': 'g' }),
    self({
      'impersonate-user': 'u',
      'impersonate-group': ['g', 'h'],
      'impersonate-uid': '1',
      'impersonate-extra-scopes': ['a', 'b'],
      'impersonate-extra-example.com%2fproject': 'p',
    }),
    self({ 'impersonate-group': 'g' }),
    self({ 'impersonate-uid': '1' }),
    self({ 'impersonate-extra-a': 'b' }),
    self({ 'impersonate-user': '' }),
    self({ 'impersonate-user': 'system:anonymous' }),
    self({ 'impersonate-user': 'system:serviceaccount:a:b' }),
    self({ 'impersonate-user': `system:serviceaccount:${namespace}:default` }),
    self({ 'impersonate-user': 'system:serviceaccount:bad' }),
    self({ 'impersonate-user': 'system:node:n' }),
    self({ 'impersonate-user': 'system:node:n', 'impersonate-group': 'system:nodes' }),
    self({ 'impersonate-user': 'u', 'impersonate-group': 'system:unauthenticated' }),
    self({ 'impersonate-user': 'u', 'impersonate-group': 'system:masters' }),
    self({ 'impersonate-user': 'u' }, true),
    self({ 'impersonate-user': 'u', 'impersonate-group': 'g', 'impersonate-uid': '5' }, true),
    self({ authorization: 'Bearer x' }, true),
    self({ authorization: 'Basic eDp5' }, true),
    self({ authorization: 'Nonsense' }, true),
    self({ authorization: '' }, true),
    self({ 'x-remote-user': 'u' }, true),
  ]);
}

function reviews({ token, namespace }: RunNames): Scenario {
  const review = (spec: unknown, query = ''): Step =>
    steps.post(`${REVIEWS}/subjectaccessreviews${query}`, {
      apiVersion: 'authorization.k8s.io/v1',
      kind: 'SubjectAccessReview',
      spec,
    });
  const own = (spec: unknown): Step =>
    steps.post(`${REVIEWS}/selfsubjectaccessreviews`, {
      apiVersion: 'authorization.k8s.io/v1',
      kind: 'SelfSubjectAccessReview',
      spec,
    });
  const local = (spec: unknown, at = namespace): Step =>
    steps.post(`${REVIEWS}/namespaces/${at}/localsubjectaccessreviews`, {
      apiVersion: 'authorization.k8s.io/v1',
      kind: 'LocalSubjectAccessReview',
      spec,
    });
  const attributes = { namespace, verb: 'get', resource: 'pods' };
  return scenario('reviews', [
    steps.post(`${RBAC}/namespaces/${namespace}/roles`, {
      apiVersion: 'rbac.authorization.k8s.io/v1',
      kind: 'Role',
      metadata: { name: `${token}-r` },
      rules: [
        { apiGroups: [''], resources: ['pods', 'pods/log'], verbs: ['get', 'list'] },
        { apiGroups: ['apps'], resources: ['*'], verbs: ['*'], resourceNames: ['x'] },
      ],
    }),
    steps.post(`${RBAC}/namespaces/${namespace}/rolebindings`, {
      apiVersion: 'rbac.authorization.k8s.io/v1',
      kind: 'RoleBinding',
      metadata: { name: `${token}-b` },
      roleRef: { apiGroup: 'rbac.authorization.k8s.io', kind: 'Role', name: `${token}-r` },
      subjects: [
        { kind: 'User', name: 'u' },
        { kind: 'Group', name: 'g' },
        { kind: 'ServiceAccount', name: 'default', namespace },
      ],
    }),
    steps.get('/api/v1/namespaces?watch=1&timeoutSeconds=1&fieldSelector=metadata.name%3Dnone', {
      quiet: true,
    }),
    ...[
      { user: 'u', resourceAttributes: attributes },
      { user: 'v', resourceAttributes: attributes },
      { groups: ['g'], resourceAttributes: attributes },
      { user: `system:serviceaccount:${namespace}:default`, resourceAttributes: attributes },
      { user: 'u', resourceAttributes: { ...attributes, verb: 'delete' } },
      { user: 'u', resourceAttributes: { ...attributes, subresource: 'log' } },
      { user: 'u', resourceAttributes: { ...attributes, group: 'apps', resource: 'deployments', name: 'x' } },
      { user: 'u', resourceAttributes: { ...attributes, namespace: '' } },
      { user: 'x', groups: ['system:masters'], resourceAttributes: attributes },
      { user: 'u', nonResourceAttributes: { path: '/healthz', verb: 'get' } },
      { user: 'u', groups: ['system:authenticated'], nonResourceAttributes: { path: '/api', verb: 'get' } },
      {},
      { user: 'u' },
      { resourceAttributes: attributes },
      { user: 'u', resourceAttributes: attributes, nonResourceAttributes: { path: '/x', verb: 'get' } },
      {
        user: 'system:kube-scheduler',
        resourceAttributes: { verb: 'create', resource: 'bindings', namespace },
      },
      {
        user: 'system:node:n',
        groups: ['system:nodes'],
        resourceAttributes: { verb: 'get', resource: 'secrets', namespace, name: 'x' },
      },
      {
        user: 'system:node:n',
        groups: ['system:nodes'],
        resourceAttributes: { verb: 'get', resource: 'nodes', name: 'n' },
      },
      {
        user: 'system:node:n',
        groups: ['system:nodes'],
        resourceAttributes: { verb: 'get', resource: 'nodes', name: 'm' },
      },
      {
        user: 'system:node:n',
        groups: ['system:nodes'],
        resourceAttributes: { verb: 'list', resource: 'pods' },
      },
      {
        user: 'system:node:n',
        groups: ['system:nodes'],
        resourceAttributes: {
          verb: 'create',
          group: 'coordination.k8s.io',
          resource: 'leases',
          namespace: 'kube-node-lease',
          name: 'm',
        },
      },
      {
        user: 'system:node:',
        groups: ['system:nodes'],
        resourceAttributes: { verb: 'get', resource: 'nodes' },
      },
      { user: 'u', resourceAttributes: { ...attributes, labelSelector: { rawSelector: 'a=b' } } },
      {
        user: 'u',
        resourceAttributes: { ...attributes, labelSelector: { rawSelector: 'a=b', requirements: [] } },
      },
      {
        user: 'u',
        resourceAttributes: {
          ...attributes,
          labelSelector: { rawSelector: 'bad bad', requirements: [{ key: 'a', operator: 'Nope' }] },
        },
      },
      {
        user: 'u',
        resourceAttributes: {
          ...attributes,
          fieldSelector: { requirements: [{ key: '', operator: 'In', values: [] }] },
        },
      },
      null,
      'x',
      { user: 5 },
    ].flatMap((spec) => [review(spec), own(spec), local(spec)]),
    local({ user: 'u', resourceAttributes: { ...attributes, namespace: 'other' } }),
    local({ user: 'u', nonResourceAttributes: { path: '/x', verb: 'get' } }),
    review({ user: 'u', resourceAttributes: attributes }, '?dryRun=All'),
    review({ user: 'u', resourceAttributes: attributes }, '?pretty=true'),
    ...[{ namespace }, { namespace: 'other' }, { namespace: '' }, {}].flatMap((spec) => [
      steps.post(`${REVIEWS}/selfsubjectrulesreviews`, {
        apiVersion: 'authorization.k8s.io/v1',
        kind: 'SelfSubjectRulesReview',
        spec,
      }),
      steps.post(
        `${REVIEWS}/selfsubjectrulesreviews`,
        { apiVersion: 'authorization.k8s.io/v1', kind: 'SelfSubjectRulesReview', spec },
        as('u', 'system:authenticated'),
      ),
    ]),
    steps.get(`/api/v1/namespaces/${namespace}/pods`, as('u')),
    steps.get(`/api/v1/namespaces/${namespace}/pods/x`, as('u')),
    steps.remove(`/api/v1/namespaces/${namespace}/pods/x`, undefined, as('u')),
    steps.get(`/apis/apps/v1/namespaces/${namespace}/deployments/x`, as('u')),
    steps.get(`/apis/apps/v1/namespaces/${namespace}/deployments`, as('u')),
    steps.get(`/apis/apps/v1/namespaces/${namespace}/deployments?fieldSelector=metadata.name%3Dx`, as('u')),
  ]);
}

/** Nobody gives what he does not have. */
function escalation({ token, namespace }: RunNames): Scenario {
  const path = `${RBAC}/namespaces/${namespace}`;
  const role = (name: string, rules: object[]): object => ({
    apiVersion: 'rbac.authorization.k8s.io/v1',
    kind: 'Role',
    metadata: { name },
    rules,
  });
  const binding = (name: string, to: object): object => ({
    apiVersion: 'rbac.authorization.k8s.io/v1',
    kind: 'RoleBinding',
    metadata: { name },
    roleRef: { apiGroup: 'rbac.authorization.k8s.io', ...to },
    subjects: [{ kind: 'User', name: 'x' }],
  });
  const user = as(`${token}-esc`, 'system:authenticated');
  return scenario('escalation', [
    steps.post(
      `${path}/roles`,
      role(`${token}-esc`, [
        { apiGroups: ['rbac.authorization.k8s.io'], resources: ['roles', 'rolebindings'], verbs: ['*'] },
        { apiGroups: [''], resources: ['pods'], verbs: ['get'] },
      ]),
    ),
    steps.post(`${path}/rolebindings`, {
      ...binding(`${token}-esc`, { kind: 'Role', name: `${token}-esc` }),
      subjects: [{ kind: 'User', name: `${token}-esc`, apiGroup: 'rbac.authorization.k8s.io' }],
    }),
    steps.get('/api/v1/namespaces?watch=1&timeoutSeconds=1&fieldSelector=metadata.name%3Dnone', {
      quiet: true,
    }),
    steps.post(
      `${path}/roles`,
      role('mine', [{ apiGroups: [''], resources: ['pods'], verbs: ['get'] }]),
      user,
    ),
    steps.post(
      `${path}/roles`,
      role('more', [
        { apiGroups: [''], resources: ['pods'], verbs: ['get', 'list', 'delete'] },
        { apiGroups: ['apps', 'batch'], resources: ['*'], verbs: ['*'] },
        { apiGroups: [''], resources: ['secrets'], resourceNames: ['a', 'b'], verbs: ['get'] },
      ]),
      user,
    ),
    steps.patch('merge', `${path}/roles/mine`, {
      body: { rules: [{ apiGroups: ['*'], resources: ['*'], verbs: ['*'] }] },
      ...user,
    }),
    steps.post(`${path}/rolebindings`, binding('view', { kind: 'ClusterRole', name: 'view' }), user),
    steps.post(
      `${path}/rolebindings`,
      binding('admin', { kind: 'ClusterRole', name: 'cluster-admin' }),
      user,
    ),
    steps.post(`${path}/rolebindings`, binding('absent', { kind: 'ClusterRole', name: 'absent' }), user),
    steps.post(`${path}/rolebindings`, binding('mine', { kind: 'Role', name: 'mine' }), user),
    steps.post(
      `${RBAC}/clusterroles`,
      { apiVersion: 'rbac.authorization.k8s.io/v1', kind: 'ClusterRole', metadata: { name: 'x' }, rules: [] },
      user,
    ),
    steps.put(`${path}/rolebindings/mine`, binding('mine', { kind: 'Role', name: 'other' })),
    steps.remove(`${path}/rolebindings/mine`),
    steps.remove(`${path}/roles/mine`),
  ]);
}

function identities({ token, namespace }: RunNames): Scenario {
  const accounts = `/api/v1/namespaces/${namespace}/serviceaccounts`;
  return scenario('node and service account', [
    steps.get('/api/v1/nodes', as('system:node:n', 'system:nodes', 'system:authenticated')),
    steps.get('/api/v1/nodes/n', as('system:node:n', 'system:nodes', 'system:authenticated')),
    steps.get('/api/v1/nodes/m', as('system:node:n', 'system:nodes', 'system:authenticated')),
    steps.get(
      `/api/v1/namespaces/${namespace}/secrets/x`,
      as('system:node:n', 'system:nodes', 'system:authenticated'),
    ),
    steps.get(
      `/api/v1/namespaces/${namespace}/configmaps`,
      as('system:node:n', 'system:nodes', 'system:authenticated'),
    ),
    steps.get(
      '/api/v1/pods?fieldSelector=spec.nodeName%3Dn',
      as('system:node:n', 'system:nodes', 'system:authenticated'),
    ),
    steps.get('/api/v1/pods', as('system:node:n', 'system:nodes', 'system:authenticated')),
    steps.post(
      '/api/v1/nodes',
      { apiVersion: 'v1', kind: 'Node', metadata: { name: `${token}-m` } },
      as('system:node:n', 'system:nodes', 'system:authenticated'),
    ),
    steps.post(
      '/api/v1/nodes',
      {
        apiVersion: 'v1',
        kind: 'Node',
        metadata: {
          name: 'n',
          labels: { 'node-restriction.kubernetes.io/x': 'y', 'kubernetes.io/foo': 'z' },
        },
      },
      as('system:node:n', 'system:nodes', 'system:authenticated'),
    ),
    steps.post(
      `/api/v1/namespaces/${namespace}/pods`,
      {
        apiVersion: 'v1',
        kind: 'Pod',
        metadata: { name: 'm' },
        spec: { containers: [{ name: 'c', image: 'i' }] },
      },
      as('system:node:n', 'system:nodes', 'system:authenticated'),
    ),
    steps.post(
      `${accounts}/default/token`,
      { apiVersion: 'authentication.k8s.io/v1', kind: 'TokenRequest', spec: {} },
      as('system:node:n', 'system:nodes', 'system:authenticated'),
    ),
    steps.post(
      '/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases',
      { apiVersion: 'coordination.k8s.io/v1', kind: 'Lease', metadata: { name: 'm' } },
      as('system:node:n', 'system:nodes', 'system:authenticated'),
    ),
    steps.post(
      '/apis/certificates.k8s.io/v1/certificatesigningrequests',
      {
        apiVersion: 'certificates.k8s.io/v1',
        kind: 'CertificateSigningRequest',
        metadata: { name: `${token}-n` },
        spec: {},
      },
      as('system:node:n', 'system:nodes', 'system:authenticated'),
    ),
  ]);
}

function roles({ token }: RunNames): Scenario {
  const make = (name: string, more: object): Step =>
    steps.post(`${RBAC}/clusterroles`, {
      apiVersion: 'rbac.authorization.k8s.io/v1',
      kind: 'ClusterRole',
      metadata: { name: `${token}:${name}` },
      ...more,
    });
  return scenario('roles', [
    make('ok', { rules: [{ verbs: ['get'], nonResourceURLs: ['/x*'] }] }),
    make('bad', {
      rules: [
        { verbs: [], apiGroups: [''], resources: ['pods'] },
        { verbs: ['get'] },
        { verbs: ['get'], nonResourceURLs: ['x', '/a*b'] },
        { verbs: ['get'], apiGroups: [''], resources: ['pods'], nonResourceURLs: ['/x'] },
      ],
    }),
    make('aggregate', { aggregationRule: { clusterRoleSelectors: [] } }),
    make('aggregated', { aggregationRule: { clusterRoleSelectors: [{ matchLabels: { 'bad key': 'x' } }] } }),
    make('norules', {}),
    make('null', { rules: null }),
    steps.remove(`${RBAC}/clusterroles/${token}:ok`),
  ]);
}
