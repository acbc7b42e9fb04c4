/** Lists and watches over objects that are there: pages, revisions, selectors, bookmarks, tables in streams, collections deleted. */
import { steps } from '../paths.ts';
import type { RunNames, Scenario, Step } from '../scenario.ts';

const WATCH_FORMS = [
  'application/json',
  'application/json;as=Table;v=v1;g=meta.k8s.io',
  'application/json;as=PartialObjectMetadata;v=v1;g=meta.k8s.io',
  'application/yaml',
  'application/json;stream=watch',
  'application/vnd.kubernetes.protobuf;stream=watch',
  'application/vnd.kubernetes.protobuf',
  'text/plain',
  'application/cbor',
];

export function lists({ token }: RunNames): Scenario[] {
  return [
    pages(token),
    watching(token),
    ...WATCH_FORMS.map((accept, at) => watchForms(token, accept, at)),
    collections(token),
    selectors(token),
    oldRevisions(token),
  ];
}

/** A namespace with five config maps, then the steps. */
function filled(token: string, about: string, list: (collection: string) => readonly Step[]): Scenario {
  const namespace = `${token}-${about.replaceAll(/[^a-z0-9]/g, '')}`;
  const collection = `/api/v1/namespaces/${namespace}/configmaps`;
  return {
    name: `lists/${about}`,
    area: 'list and watch',
    steps: [
      steps.post(
        '/api/v1/namespaces',
        { apiVersion: 'v1', kind: 'Namespace', metadata: { name: namespace } },
        { must: true },
      ),
      ...['a', 'b', 'c', 'd', 'e'].map((name, at) =>
        steps.post(collection, configMap(name, { index: String(at), odd: String(at % 2 === 1) }), {
          as: name,
          quiet: true,
        }),
      ),
      ...list(collection),
    ],
  };
}

function configMap(name: string, labels: Record<string, string> = {}): object {
  return { apiVersion: 'v1', kind: 'ConfigMap', metadata: { name, labels }, data: { name } };
}

function pages(token: string): Scenario {
  return filled(token, 'pages', (collection) => [
    steps.get(`${collection}?limit=2`, { as: 'first' }),
    steps.get(`${collection}?limit=2&continue={{first.metadata.continue}}`, { as: 'second' }),
    steps.get(`${collection}?limit=2&continue={{second.metadata.continue}}`),
    steps.get(`${collection}?continue={{first.metadata.continue}}`),
    steps.get(`${collection}?limit=2&labelSelector=odd%3Dtrue`),
    steps.get(`${collection}?limit=1&labelSelector=odd%3Dtrue`, { as: 'odd' }),
    steps.get(`${collection}?limit=1&labelSelector=odd%3Dfalse&continue={{odd.metadata.continue}}`),
    steps.get(`${collection}?limit=2&resourceVersion=0`),
    steps.get(`${collection}?limit=2&resourceVersion={{c.metadata.resourceVersion}}`),
    steps.get(
      `${collection}?limit=2&resourceVersion={{c.metadata.resourceVersion}}&resourceVersionMatch=Exact`,
      { as: 'exact' },
    ),
    steps.get(`${collection}?limit=2&continue={{exact.metadata.continue}}`),
    steps.get(`${collection}?resourceVersion={{c.metadata.resourceVersion}}&resourceVersionMatch=Exact`),
    steps.get(
      `${collection}?resourceVersion={{c.metadata.resourceVersion}}&resourceVersionMatch=NotOlderThan`,
    ),
    steps.get(
      `${collection}?limit=3&continue={{first.metadata.continue}}&resourceVersion={{c.metadata.resourceVersion}}`,
    ),
    steps.get(`${collection}?limit=5`),
    steps.get(`${collection}?limit=4&fieldSelector=metadata.name!%3Da`),
    steps.get(`${collection}/a?resourceVersion={{a.metadata.resourceVersion}}`),
    steps.get(`${collection}/a?resourceVersion=0`),
    steps.get(`${collection}/a?resourceVersion=99999999`),
    steps.get(`${collection}/a?resourceVersion=x`),
    steps.get(`${collection}?limit=2`, {
      headers: { accept: 'application/json;as=Table;v=v1;g=meta.k8s.io' },
    }),
    steps.get(`${collection}?limit=2&includeObject=None`, {
      headers: { accept: 'application/json;as=Table;v=v1;g=meta.k8s.io' },
    }),
    steps.get(`${collection}?limit=1&includeObject=Object`, {
      headers: { accept: 'application/json;as=Table;v=v1;g=meta.k8s.io' },
    }),
    steps.get(`${collection}?includeObject=Nope`, {
      headers: { accept: 'application/json;as=Table;v=v1;g=meta.k8s.io' },
    }),
  ]);
}

function changes(collection: string): Step[] {
  return [
    steps.post(collection, configMap('new', { odd: 'true' })),
    steps.patch('merge', `${collection}/a`, { body: { metadata: { labels: { odd: 'true' } } } }),
    steps.patch('merge', `${collection}/b`, { body: { metadata: { labels: { odd: 'false' } } } }),
    steps.remove(`${collection}/d`),
  ];
}

function watching(token: string): Scenario {
  return filled(token, 'watch', (collection) => [
    steps.get(`${collection}?watch=1&timeoutSeconds=1&resourceVersion={{e.metadata.resourceVersion}}`, {
      during: changes(collection),
    }),
    steps.get(`${collection}?watch=1&timeoutSeconds=1&resourceVersion={{e.metadata.resourceVersion}}`),
    steps.get(
      `${collection}?watch=1&timeoutSeconds=1&resourceVersion={{e.metadata.resourceVersion}}&labelSelector=odd%3Dtrue`,
    ),
    steps.get(
      `${collection}?watch=1&timeoutSeconds=1&resourceVersion={{e.metadata.resourceVersion}}&fieldSelector=metadata.name%3Da`,
    ),
    steps.get(`${collection}?watch=1&timeoutSeconds=1`),
    steps.get(`${collection}?watch=1&timeoutSeconds=1&resourceVersion=0`),
    steps.get(
      `${collection}?watch=1&timeoutSeconds=1&labelSelector=odd%3Dtrue&resourceVersion={{e.metadata.resourceVersion}}`,
      { headers: { accept: 'application/json;as=PartialObjectMetadata;v=v1;g=meta.k8s.io' } },
    ),
    steps.get(
      `${collection}?watch=1&timeoutSeconds=1&sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true`,
    ),
    steps.get(
      `${collection}?watch=1&timeoutSeconds=1&sendInitialEvents=true&resourceVersionMatch=NotOlderThan`,
    ),
    steps.get(
      `${collection}?watch=1&timeoutSeconds=1&sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true&resourceVersion={{e.metadata.resourceVersion}}`,
      { headers: { accept: 'application/json;as=Table;v=v1;g=meta.k8s.io' } },
    ),
    steps.get(`${collection.replace('/api/v1/', '/api/v1/watch/')}?timeoutSeconds=1`),
    steps.get(`${collection.replace('/api/v1/', '/api/v1/watch/')}/a?timeoutSeconds=1`),
    steps.get(`${collection}/a?watch=1&timeoutSeconds=1`),
  ]);
}

function watchForms(token: string, accept: string, at: number): Scenario {
  return filled(token, `watch form ${at} ${accept}`.slice(0, 20), (collection) => [
    steps.get(`${collection}?watch=1&timeoutSeconds=1&resourceVersion={{e.metadata.resourceVersion}}`, {
      headers: { accept },
      during: changes(collection),
    }),
    steps.get(
      `${collection}?watch=1&timeoutSeconds=1&sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true`,
      { headers: { accept } },
    ),
  ]);
}

function collections(token: string): Scenario {
  return filled(token, 'deletecollection', (collection) => [
    steps.remove(`${collection}?dryRun=All`),
    steps.get(collection),
    steps.remove(`${collection}?labelSelector=odd%3Dtrue`),
    steps.get(collection),
    steps.remove(`${collection}?limit=1`),
    steps.get(collection),
    steps.remove(`${collection}?fieldSelector=metadata.name%3De&propagationPolicy=Orphan`),
    steps.get(collection),
    steps.remove(collection, { kind: 'DeleteOptions', apiVersion: 'v1', gracePeriodSeconds: 0 }),
    steps.remove(collection),
    steps.remove(`${collection}?labelSelector=x%3D%3D%3D`),
  ]);
}

function selectors(token: string): Scenario {
  const tries = [
    'odd=true',
    'odd!=true',
    'odd in (true,false)',
    'odd notin (true)',
    '!odd',
    'odd',
    'index>2',
    'index<2',
    'index>2,odd=false',
    'odd=true,index in (1)',
    'absent!=x',
    'absent notin (x)',
  ];
  return filled(token, 'selectors', (collection) => [
    ...tries.map((text) => steps.get(`${collection}?labelSelector=${encodeURIComponent(text)}`)),
    ...[
      'metadata.name=a',
      'metadata.name!=a',
      'metadata.name=a,metadata.namespace=x',
      'metadata.namespace!=x',
    ].map((text) => steps.get(`${collection}?fieldSelector=${encodeURIComponent(text)}`)),
  ]);
}

function oldRevisions(token: string): Scenario {
  return filled(token, 'revisions', (collection) => [
    steps.put(`${collection}/a`, { ...configMap('a'), data: { changed: 'yes' } }, { as: 'changed' }),
    steps.remove(`${collection}/b`),
    steps.get(`${collection}?resourceVersion={{e.metadata.resourceVersion}}&resourceVersionMatch=Exact`),
    steps.get(
      `${collection}?resourceVersion={{changed.metadata.resourceVersion}}&resourceVersionMatch=Exact`,
    ),
    steps.get(`${collection}?resourceVersion=1&resourceVersionMatch=NotOlderThan`),
    steps.get(`${collection}?resourceVersion=99999999&resourceVersionMatch=Exact`),
    steps.get(`${collection}?resourceVersion=99999999&resourceVersionMatch=NotOlderThan`),
    steps.put(`${collection}/a`, { ...configMap('a'), metadata: { name: 'a', resourceVersion: '1' } }),
    steps.put(`${collection}/a`, { ...configMap('a'), metadata: { name: 'a', resourceVersion: 'x' } }),
    steps.put(`${collection}/a`, { ...configMap('a'), metadata: { name: 'a', resourceVersion: '0' } }),
    steps.put(`${collection}/a`, { ...configMap('a'), metadata: { name: 'a', resourceVersion: '99999999' } }),
    steps.post(collection, { ...configMap('f'), metadata: { name: 'f', resourceVersion: '5' } }),
    steps.post(collection, { ...configMap('f'), metadata: { name: 'f', uid: 'x' } }),
    steps.patch('merge', `${collection}/a`, { body: { metadata: { resourceVersion: '1' } } }),
    steps.patch('json', `${collection}/a`, {
      body: [{ op: 'test', path: '/metadata/resourceVersion', value: '1' }],
    }),
    steps.remove(`${collection}/c`, { preconditions: { resourceVersion: '{{c.metadata.resourceVersion}}' } }),
    steps.remove(`${collection}/d`, { preconditions: { uid: '{{d.metadata.uid}}' } }),
  ]);
}
