/** Discovery, OpenAPI, health, version, metrics, what exists after start, and the errors of paths that are none of these. */
import { apiGroups, builtinResources } from '#api/resources.ts';
import { formatApiVersion } from '#machinery/object.ts';
import { steps } from '../paths.ts';
import type { RunNames, Scenario, Step } from '../scenario.ts';

const AGGREGATED = [
  'application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList,application/json',
  'application/json;g=apidiscovery.k8s.io;v=v2beta1;as=APIGroupDiscoveryList',
  'application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList;profile=nopeer',
  'application/vnd.kubernetes.protobuf',
  'application/yaml',
  'application/cbor',
  'text/html',
  '*/*',
  'application/json;g=apidiscovery.k8s.io;v=v9;as=APIGroupDiscoveryList',
];
const HEALTH = [
  '/healthz',
  '/livez',
  '/readyz',
  '/healthz?verbose',
  '/livez?verbose',
  '/readyz?verbose',
  '/readyz?verbose&exclude=etcd',
  '/readyz?exclude=nonsense',
  '/readyz?exclude=etcd&exclude=ping',
  '/healthz/ping',
  '/livez/ping',
  '/readyz/ping',
  '/readyz/etcd',
  '/healthz/etcd',
  '/livez/etcd',
  '/healthz/nonsense',
  '/healthz/',
  '/livez/poststarthook/start-apiextensions-controllers',
  '/readyz/shutdown',
  '/healthz/log',
  '/readyz/informer-sync',
  '/readyz?verbose=false',
  '/statusz',
  '/flagz',
];
const PATHS = [
  '/',
  '/api',
  '/apis',
  '/api/',
  '/apis/',
  '/version',
  '/version/',
  '/apis/apps',
  '/apis/apps/',
  '/apis/nope',
  '/apis/nope/v1',
  '/apis/apps/v9',
  '/api/v9',
  '/api/v1',
  '/api/v1/',
  '/apis/apps/v1/',
  '/api/v1/nope',
  '/api/v1/namespaces/default/nope',
  '/api/v1/namespaces/default/pods/x/nope',
  '/nope',
  '/api/v1//pods',
  '//api/v1',
  '/api/v1/pods/',
  '/api/v1/../v1/pods',
  '/api/v1/%70ods',
  '/api/v1/namespaces/default/pods/a%2Fb',
  '/openapi',
  '/openapi/',
  '/openapi/v2/x',
  '/openapi/v3/nope',
  '/openapi/v3/apis/nope/v1',
  '/swagger.json',
  '/swaggerapi',
  '/swagger-2.0.0.json',
  '/ui',
  '/logs',
  '/logs/',
  '/debug/pprof',
  '/debug/pprof/',
  '/debug/pprof/nope',
  '/debug/flags',
  '/debug/flags/v',
  '/metrics/',
  '/metrics/slis',
  '/metrics/nope',
  '/.well-known/openid-configuration',
  '/openid/v1/jwks',
  '/.well-known',
  '/.well-known/nope',
  '/apis/apiregistration.k8s.io',
  '/apis/apiregistration.k8s.io/v1',
  '/apis/apiextensions.k8s.io',
  '/debug/api_priority_and_fairness/dump_priority_levels',
  '/debug/api_priority_and_fairness/dump_queues',
  '/debug/api_priority_and_fairness/dump_requests',
  '/favicon.ico',
  '/index.html',
  '/static',
  '/proxy',
  '/api/v1/proxy',
  '/api/v1/watch',
  '/api/v1/watch/pods',
  '/apis/apps/v1/watch/deployments?timeoutSeconds=1',
  '/api/v1/minions',
];
const METHODS = ['HEAD', 'OPTIONS', 'POST', 'PUT', 'PATCH', 'DELETE', 'TRACE', 'CONNECT', 'NONSENSE', 'get'];
const BOOTSTRAP = [
  '/api/v1/namespaces',
  '/api/v1/services',
  '/api/v1/namespaces/default/endpoints',
  '/apis/discovery.k8s.io/v1/endpointslices',
  '/api/v1/namespaces/kube-system/configmaps',
  '/api/v1/namespaces/kube-system/configmaps/extension-apiserver-authentication',
  '/apis/rbac.authorization.k8s.io/v1/clusterroles',
  '/apis/rbac.authorization.k8s.io/v1/clusterrolebindings',
  '/apis/rbac.authorization.k8s.io/v1/namespaces/kube-system/roles',
  '/apis/rbac.authorization.k8s.io/v1/namespaces/kube-system/rolebindings',
  '/apis/rbac.authorization.k8s.io/v1/namespaces/kube-public/roles',
  '/apis/rbac.authorization.k8s.io/v1/namespaces/kube-public/rolebindings',
  '/apis/rbac.authorization.k8s.io/v1/roles',
  '/apis/flowcontrol.apiserver.k8s.io/v1/flowschemas',
  '/apis/flowcontrol.apiserver.k8s.io/v1/prioritylevelconfigurations',
  '/apis/scheduling.k8s.io/v1/priorityclasses',
  '/apis/apiregistration.k8s.io/v1/apiservices',
  '/apis/coordination.k8s.io/v1/namespaces/kube-system/leases',
  '/apis/networking.k8s.io/v1/servicecidrs',
  '/apis/networking.k8s.io/v1/ipaddresses',
  '/api/v1/componentstatuses/nope',
  '/apis/apiextensions.k8s.io/v1/customresourcedefinitions',
  '/apis/storage.k8s.io/v1/storageclasses',
  '/api/v1/secrets',
  '/api/v1/serviceaccounts',
  '/api/v1/configmaps',
];

export function documents({ token }: RunNames): Scenario[] {
  const one = (name: string, ...list: Step[]): Scenario => ({
    name: `documents/${name}`,
    area: 'documents',
    steps: list,
  });
  const get = (path: string, accept?: string): Step =>
    steps.get(path, accept === undefined ? {} : { headers: { accept } });
  const versions = apiGroups.flatMap(({ name, versions: all }) =>
    all.map((version) => (name === '' ? `/api/${version}` : `/apis/${name}/${version}`)),
  );
  return [
    ...['/api', '/apis'].flatMap((path) =>
      AGGREGATED.map((accept) => one(`discovery${path} ${accept}`, get(path, accept))),
    ),
    ...versions.map((path) =>
      one(
        `discovery${path}`,
        get(path),
        get(path, 'application/vnd.kubernetes.protobuf'),
        get(path, 'text/plain'),
      ),
    ),
    ...apiGroups
      .filter(({ name }) => name !== '')
      .map(({ name }) => one(`discovery/apis/${name}`, get(`/apis/${name}`), get(`/apis/${name}/`))),
    ...[
      'application/json',
      '*/*',
      'application/com.github.proto-openapi.spec.v2@v1.0+protobuf',
      'application/com.github.proto-openapi.spec.v2.v1.0+protobuf',
      'text/plain',
      'application/yaml',
    ].map((accept) =>
      one(`openapi/v2 ${accept}`, { ...get('/openapi/v2', accept), quiet: accept.includes('protobuf') }),
    ),
    one('openapi/v3', get('/openapi/v3'), get('/openapi/v3/'), get('/openapi/v3', 'application/yaml')),
    ...[
      '/api',
      '/apis',
      '/version',
      ...versions,
      ...apiGroups.filter(({ name }) => name !== '').map(({ name }) => `/apis/${name}`),
    ].map((path) => one(`openapi/v3${path}`, get(`/openapi/v3${path}`))),
    one(
      'openapi/v3 accepts',
      get('/openapi/v3/apis/apps/v1', 'text/plain'),
      get('/openapi/v3/apis/apps/v1?hash=123'),
      get('/openapi/v3/version', 'application/yaml'),
    ),
    ...HEALTH.map((path) => one(`health${path}`, get(path), get(path, 'text/plain'))),
    ...PATHS.map((path) => one(`path${path}`, get(path), { method: 'POST', path, body: '{}' })),
    ...[
      '/metrics',
      '/version',
      '/api',
      '/apis',
      '/healthz',
      '/api/v1/pods',
      '/api/v1/namespaces/default',
      '/openapi/v2',
      '/openapi/v3',
      '/nope',
    ].flatMap((path) =>
      METHODS.map((method) =>
        one(`method/${method} ${path}`, { method, path, quiet: path === '/openapi/v2' }),
      ),
    ),
    one('metrics', get('/metrics', '*/*')),
    ...BOOTSTRAP.map((path) => one(`after start${path}`, get(path))),
    ...[
      '/api/v1/namespaces/default/pods',
      '/version',
      '/healthz',
      '/livez',
      '/readyz',
      '/apis',
      '/api',
      '/openapi/v2',
      '/metrics',
      '/',
      '/nope',
      '/.well-known/openid-configuration',
      '/openid/v1/jwks',
      '/api/v1/nodes',
    ].flatMap((path) => [
      one(`anonymous${path}`, { ...get(path), anonymous: true, quiet: path === '/openapi/v2' }),
      one(`bad token${path}`, {
        ...get(path),
        anonymous: true,
        quiet: path === '/openapi/v2',
        headers: { authorization: 'Bearer nonsense' },
      }),
    ]),
    ...builtinResources
      .filter(({ verbs }) => verbs.includes('list'))
      .map((facts) =>
        one(
          `empty list/${formatApiVersion(facts)}/${facts.plural}`,
          ...emptyLists(
            facts.group === ''
              ? `/api/${facts.version}/${facts.plural}`
              : `/apis/${facts.group}/${facts.version}/${facts.plural}`,
            token,
          ),
        ),
      ),
  ];
}

function emptyLists(path: string, token: string): Step[] {
  const forms = [
    'application/json',
    'application/json;as=Table;v=v1;g=meta.k8s.io',
    'application/json;as=Table;v=v1beta1;g=meta.k8s.io',
    'application/json;as=PartialObjectMetadataList;v=v1;g=meta.k8s.io',
    'application/json;as=PartialObjectMetadata;v=v1;g=meta.k8s.io',
    'application/vnd.kubernetes.protobuf',
    'application/yaml',
    'application/cbor',
  ];
  return forms.map((accept) => steps.get(`${path}?labelSelector=${token}%3Dnone`, { headers: { accept } }));
}
