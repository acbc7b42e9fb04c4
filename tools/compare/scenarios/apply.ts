/** Patches of all kinds and server-side apply: conflicts, force, managers, shared and lost fields, managedFields edited by hand, errors of each. */
import type { RunNames, Scenario, Step } from '../scenario.ts';
import { steps } from '../paths.ts';

interface Stage {
  readonly name: string;
  readonly collection: string;
  readonly path: string;
  readonly namespace: string;
}

const JSON_PATCHES: Readonly<Record<string, unknown>> = {
  empty: [],
  object: {},
  text: 'x',
  noOp: [{ path: '/data/a' }],
  badOp: [{ op: 'nope', path: '/data/a' }],
  noPath: [{ op: 'remove' }],
  addDeep: [{ op: 'add', path: '/data/b/c', value: 'x' }],
  addMissing: [{ op: 'add', path: '/nope/b', value: 'x' }],
  replaceMissing: [{ op: 'replace', path: '/data/nope', value: 'x' }],
  removeMissing: [{ op: 'remove', path: '/data/nope' }],
  testFails: [{ op: 'test', path: '/data/a', value: 'z' }],
  testMissing: [{ op: 'test', path: '/data/nope', value: 'z' }],
  testNull: [{ op: 'test', path: '/data/nope', value: null }],
  move: [{ op: 'move', from: '/data/a', path: '/data/b' }],
  moveMissing: [{ op: 'move', from: '/data/nope', path: '/data/b' }],
  copy: [{ op: 'copy', from: '/data/a', path: '/data/c' }],
  copyMissing: [{ op: 'copy', from: '/data/nope', path: '/data/c' }],
  escaped: [
    { op: 'add', path: '/metadata/annotations', value: { 'a/b': 'x' } },
    { op: 'replace', path: '/metadata/annotations/a~1b', value: 'y' },
  ],
  wrongType: [{ op: 'add', path: '/data/b', value: 5 }],
  unknownField: [{ op: 'add', path: '/zz', value: 5 }],
  removeRoot: [{ op: 'remove', path: '' }],
  replaceRoot: [{ op: 'replace', path: '', value: {} }],
  rename: [{ op: 'replace', path: '/metadata/name', value: 'other' }],
  kind: [{ op: 'replace', path: '/kind', value: 'Secret' }],
  version: [{ op: 'replace', path: '/apiVersion', value: 'v2' }],
  removeKind: [{ op: 'remove', path: '/kind' }],
  uid: [{ op: 'replace', path: '/metadata/uid', value: 'x' }],
  noSlash: [{ op: 'add', path: 'data', value: {} }],
  listIndex: [
    { op: 'add', path: '/metadata/finalizers', value: ['example.com/a'] },
    { op: 'add', path: '/metadata/finalizers/-', value: 'example.com/b' },
    { op: 'add', path: '/metadata/finalizers/5', value: 'example.com/c' },
  ],
  negativeIndex: [
    { op: 'add', path: '/metadata/finalizers', value: ['example.com/a'] },
    { op: 'remove', path: '/metadata/finalizers/-1' },
  ],
  extraKey: [{ op: 'add', path: '/data/x', value: 'y', zz: 1 }],
  nullValue: [{ op: 'add', path: '/data/x', value: null }],
  noValue: [{ op: 'add', path: '/data/x' }],
};
const MERGES: Readonly<Record<string, unknown>> = {
  empty: {},
  list: [],
  text: 'x',
  number: 5,
  null: null,
  removes: { data: { a: null } },
  wrong: { data: { a: 5 } },
  wrongWhole: { data: 'x' },
  unknown: { zz: 1 },
  name: { metadata: { name: 'other' } },
  namespace: { metadata: { namespace: 'other' } },
  kind: { kind: 'Secret' },
  version: { apiVersion: 'v9' },
  uid: { metadata: { uid: 'x' } },
  noMetadata: { metadata: null },
  created: { metadata: { creationTimestamp: null } },
  rv: { metadata: { resourceVersion: '1' } },
  generation: { metadata: { generation: 7 } },
  deletion: { metadata: { deletionTimestamp: '2020-01-01T00:00:00Z' } },
  self: { metadata: { selfLink: 'x' } },
  managed: { metadata: { managedFields: [] } },
  managedEmpty: { metadata: { managedFields: [{}] } },
  managedNull: { metadata: { managedFields: null } },
  managedBad: {
    metadata: {
      managedFields: [{ manager: 'm', operation: 'Nope', apiVersion: 'v1', fieldsType: 'X', fieldsV1: {} }],
    },
  },
};
const STRATEGIC: Readonly<Record<string, unknown>> = {
  empty: {},
  list: [],
  text: 'x',
  addContainer: { spec: { template: { spec: { containers: [{ name: 'b', image: 'j' }] } } } },
  changeContainer: { spec: { template: { spec: { containers: [{ name: 'a', image: 'j' }] } } } },
  deleteContainer: {
    spec: {
      template: {
        spec: {
          containers: [
            { $patch: 'delete', name: 'a' },
            { name: 'z', image: 'i' },
          ],
        },
      },
    },
  },
  replaceContainers: {
    spec: { template: { spec: { containers: [{ $patch: 'replace' }, { name: 'z', image: 'i' }] } } },
  },
  noKey: { spec: { template: { spec: { containers: [{ image: 'j' }] } } } },
  order: {
    spec: {
      template: {
        spec: {
          '$setElementOrder/containers': [{ name: 'b' }, { name: 'a' }],
          containers: [{ name: 'b', image: 'j' }],
        },
      },
    },
  },
  orderOff: {
    spec: {
      template: {
        spec: { '$setElementOrder/containers': [{ name: 'x' }], containers: [{ name: 'b', image: 'j' }] },
      },
    },
  },
  retain: { spec: { strategy: { $retainKeys: ['type'], type: 'Recreate' } } },
  retainOff: { spec: { strategy: { $retainKeys: ['rollingUpdate'], type: 'Recreate' } } },
  badDirective: { spec: { $patch: 'nope' } },
  replaceSpec: { spec: { $patch: 'replace', replicas: 1 } },
  deleteSpec: { spec: { $patch: 'delete' } },
  deleteFinalizer: { metadata: { '$deleteFromPrimitiveList/finalizers': ['example.com/a'] } },
  addFinalizer: { metadata: { finalizers: ['example.com/b'] } },
  wrongType: { spec: { replicas: 'x' } },
  wrongList: { spec: { template: { spec: { containers: 'x' } } } },
  unknown: { spec: { zz: 1 } },
  port: { spec: { template: { spec: { containers: [{ name: 'a', ports: [{ containerPort: 81 }] }] } } } },
  portProtocol: {
    spec: {
      template: { spec: { containers: [{ name: 'a', ports: [{ containerPort: 80, protocol: 'UDP' }] }] } },
    },
  },
  nullList: { spec: { template: { spec: { containers: null } } } },
  env: { spec: { template: { spec: { containers: [{ name: 'a', env: [{ name: 'X', value: '1' }] }] } } } },
};

export function apply({ token, namespace }: RunNames): Scenario[] {
  const scenario = (about: string, list: (stage: Stage) => readonly Step[]): Scenario => {
    const name = `${token}-${about.toLowerCase().replaceAll(/[^a-z0-9]/g, '-')}`
      .slice(0, 60)
      .replace(/-+$/, '');
    const collection = `/api/v1/namespaces/${namespace}/configmaps`;
    return {
      name: `apply/${about}`,
      area: 'patch and apply',
      steps: list({ name, collection, path: `${collection}/${name}`, namespace }),
    };
  };
  return [
    ...Object.entries(JSON_PATCHES).map(([about, body]) =>
      scenario(`json patch ${about}`, (stage) => patched(stage, 'json', body)),
    ),
    ...Object.entries(MERGES).map(([about, body]) =>
      scenario(`merge patch ${about}`, (stage) => patched(stage, 'merge', body)),
    ),
    ...Object.entries(STRATEGIC).map(([about, body]) =>
      scenario(`strategic patch ${about}`, (stage) => strategic(stage, body)),
    ),
    ...['', '{', 'null', '[1', '{"data":}', 'a: b', '[{"op":"add"', '[null]', '["x"]'].flatMap((text, at) =>
      (['json', 'merge', 'strategic', 'apply'] as const).map((type) =>
        scenario(`broken ${type} ${at}`, ({ collection, path, name }) => [
          steps.post(collection, made(name), { quiet: true }),
          steps.patch(type, `${path}?fieldManager=m`, { body: text }),
          steps.patch(type, `${path}-absent?fieldManager=m`, { body: text }),
        ]),
      ),
    ),
    ...applyScenarios(scenario),
    ...managedFieldScenarios(scenario),
    ...upgradeScenarios(scenario),
  ];
}

function made(name: string, data: Record<string, string> = { a: 'b' }): object {
  return { apiVersion: 'v1', kind: 'ConfigMap', metadata: { name }, data };
}

function patched({ name, collection, path }: Stage, type: 'json' | 'merge', body: unknown): Step[] {
  return [
    steps.post(collection, made(name), { quiet: true }),
    ...['fieldValidation=Warn', 'fieldValidation=Strict&dryRun=All', 'fieldManager=patcher'].map((query) =>
      steps.patch(type, `${path}?${query}`, { body: JSON.stringify(body) }),
    ),
    steps.get(path),
    steps.patch(type, `${path}-absent`, { body: JSON.stringify(body) }),
  ];
}

function strategic({ name, namespace }: Stage, body: unknown): Step[] {
  const collection = `/apis/apps/v1/namespaces/${namespace}/deployments`;
  const deployment = {
    apiVersion: 'apps/v1',
    kind: 'Deployment',
    metadata: { name, finalizers: ['example.com/a'] },
    spec: {
      selector: { matchLabels: { app: 'a' } },
      template: {
        metadata: { labels: { app: 'a' } },
        spec: {
          containers: [
            { name: 'a', image: 'i', ports: [{ containerPort: 80 }] },
            { name: 'b', image: 'i' },
          ],
        },
      },
    },
  };
  return [
    steps.post(collection, deployment, { quiet: true }),
    steps.patch('strategic', `${collection}/${name}?fieldValidation=Strict`, { body: JSON.stringify(body) }),
    steps.patch('merge', `${collection}/${name}?dryRun=All&fieldValidation=Strict`, {
      body: JSON.stringify(body),
    }),
    steps.patch('strategic', `${collection}/${name}`, { body: JSON.stringify(body) }),
    steps.get(`${collection}/${name}`),
  ];
}

type Make = (about: string, list: (stage: Stage) => readonly Step[]) => Scenario;

function applied(path: string, query: string, object: object, more: Partial<Step> = {}): Step {
  return steps.patch('apply', `${path}?${query}`, { body: object, ...more });
}

function applyScenarios(scenario: Make): Scenario[] {
  return [
    scenario('conflicts', ({ name, path }) => [
      applied(path, 'fieldManager=one', made(name, { a: '1', b: '1' })),
      applied(path, 'fieldManager=one', made(name, { a: '1', b: '1' })),
      applied(path, 'fieldManager=two', made(name, { a: '2', c: '2' })),
      applied(path, 'fieldManager=two&force=true', made(name, { a: '2', c: '2' })),
      applied(path, 'fieldManager=one', made(name, { a: '1', b: '1' })),
      applied(path, 'fieldManager=one&force=false', made(name, { a: '1', b: '1', c: '1' })),
      applied(path, 'fieldManager=one', made(name, { b: '1' })),
      applied(path, 'fieldManager=one', made(name, {})),
      steps.get(path),
      steps.put(`${path}?fieldManager=three`, made(name, { a: '3', d: '3' })),
      applied(path, 'fieldManager=two', made(name, { a: '2', d: '2' })),
      applied(path, 'fieldManager=three', made(name, { a: '4' })),
      steps.get(path),
      applied(path, 'fieldManager=two', {
        apiVersion: 'v1',
        kind: 'ConfigMap',
        metadata: { name, labels: { x: 'y' }, annotations: { p: 'q' } },
      }),
      steps.get(path),
    ]),
    scenario('parameters', ({ name, path, collection }) => [
      applied(path, '', made(name)),
      applied(path, 'fieldManager=', made(name)),
      applied(path, 'fieldManager=a%0Ab', made(name)),
      applied(path, 'fieldManager=m&force=nope', made(name)),
      applied(path, 'fieldManager=m&force=true&dryRun=All', made(name)),
      applied(path, `fieldManager=${'m'.repeat(200)}`, made(name)),
      steps.get(path),
      applied(path, 'fieldManager=m', { ...made('other') }),
      applied(path, 'fieldManager=m', { apiVersion: 'v1', kind: 'Secret', metadata: { name } }),
      applied(path, 'fieldManager=m', { apiVersion: 'apps/v1', kind: 'ConfigMap', metadata: { name } }),
      applied(path, 'fieldManager=m', { kind: 'ConfigMap', metadata: { name } }),
      applied(path, 'fieldManager=m', { apiVersion: 'v1', metadata: { name } }),
      applied(path, 'fieldManager=m', {}),
      applied(path, 'fieldManager=m', []),
      applied(path, 'fieldManager=m', { ...made(name), zz: 1 }),
      applied(path, 'fieldManager=m&fieldValidation=Warn', { ...made(name), zz: 1 }),
      applied(path, 'fieldManager=m&fieldValidation=Strict', { ...made(name), zz: 1 }),
      applied(path, 'fieldManager=m&fieldValidation=Strict', { ...made(name), data: { a: 5 } }),
      applied(path, 'fieldManager=m', { ...made(name), data: 'x' }),
      applied(path, 'fieldManager=m', {
        apiVersion: 'v1',
        kind: 'ConfigMap',
        metadata: {
          name,
          managedFields: [
            { manager: 'x', operation: 'Apply', apiVersion: 'v1', fieldsType: 'FieldsV1', fieldsV1: {} },
          ],
        },
      }),
      applied(path, 'fieldManager=m', { apiVersion: 'v1', kind: 'ConfigMap', metadata: { name, uid: 'x' } }),
      applied(path, 'fieldManager=m', {
        apiVersion: 'v1',
        kind: 'ConfigMap',
        metadata: { name, resourceVersion: '1' },
      }),
      applied(path, 'fieldManager=m', {
        apiVersion: 'v1',
        kind: 'ConfigMap',
        metadata: { name, namespace: 'other' },
      }),
      applied(collection, 'fieldManager=m', made(name)),
      applied(
        path,
        'fieldManager=m',
        'apiVersion: v1\nkind: ConfigMap\nkind: ConfigMap\n' as unknown as object,
      ),
      applied(
        path,
        'fieldManager=m&fieldValidation=Strict',
        `apiVersion: v1\nkind: ConfigMap\nmetadata: {name: ${name}}\ndata: {a: b, a: c}\n` as unknown as object,
      ),
      applied(path, 'fieldManager=m', {
        apiVersion: 'v1',
        kind: 'ConfigMap',
        metadata: { name, creationTimestamp: null, labels: null, annotations: {} },
        data: null,
      }),
      steps.get(path),
    ]),
    scenario('lists', ({ name, namespace }) => {
      const path = `/api/v1/namespaces/${namespace}/services/${name}`;
      const service = (ports: object[], more: object = {}): object => ({
        apiVersion: 'v1',
        kind: 'Service',
        metadata: { name, ...more },
        spec: { ports, selector: { app: 'a' } },
      });
      return [
        applied(path, 'fieldManager=one', service([{ port: 80, name: 'a' }])),
        applied(
          path,
          'fieldManager=one',
          service([
            { port: 80, name: 'a' },
            { port: 80, name: 'b' },
          ]),
        ),
        applied(
          path,
          'fieldManager=one',
          service([
            { port: 80, name: 'a' },
            { port: 81, protocol: 'TCP', name: 'b' },
          ]),
        ),
        applied(path, 'fieldManager=two', service([{ port: 82, name: 'c' }])),
        applied(path, 'fieldManager=two', service([{ port: 80, name: 'z' }])),
        applied(path, 'fieldManager=one', service([{ port: 81, name: 'b' }])),
        applied(path, 'fieldManager=one', service([{ name: 'nokey' }])),
        applied(
          path,
          'fieldManager=one',
          service([{ port: 81, name: 'b' }], { finalizers: ['example.com/a', 'example.com/b'] }),
        ),
        applied(path, 'fieldManager=two', service([], { finalizers: ['example.com/b', 'example.com/c'] })),
        applied(
          path,
          'fieldManager=one',
          service([{ port: 81, name: 'b' }], { finalizers: ['example.com/b'] }),
        ),
        applied(
          path,
          'fieldManager=one',
          service([{ port: 81, name: 'b' }], { finalizers: ['example.com/b', 'example.com/b'] }),
        ),
        applied(
          path,
          'fieldManager=one',
          service([{ port: 81, name: 'b' }], {
            ownerReferences: [
              { apiVersion: 'v1', kind: 'X', name: 'a', uid: '1' },
              { apiVersion: 'v1', kind: 'X', name: 'b', uid: '1' },
            ],
          }),
        ),
        steps.get(path),
      ];
    }),
    scenario('deployment', ({ name, namespace }) => {
      const path = `/apis/apps/v1/namespaces/${namespace}/deployments/${name}`;
      const deployment = (image: string, spec: object = {}): object => ({
        apiVersion: 'apps/v1',
        kind: 'Deployment',
        metadata: { name },
        spec: {
          selector: { matchLabels: { app: 'a' } },
          template: {
            metadata: { labels: { app: 'a' } },
            spec: {
              containers: [
                { name: 'a', image, ports: [{ containerPort: 80 }], env: [{ name: 'A', value: '1' }] },
              ],
            },
          },
          ...spec,
        },
      });
      const scale = {
        apiVersion: 'autoscaling/v1',
        kind: 'Scale',
        metadata: { name },
        spec: { replicas: 4 },
      };
      return [
        applied(path, 'fieldManager=one', deployment('i', { replicas: 2 })),
        steps.put(`${path}/scale?fieldManager=scaler`, scale),
        steps.get(path),
        applied(path, 'fieldManager=one', deployment('i', { replicas: 2 })),
        applied(path, 'fieldManager=one', deployment('j')),
        steps.get(path),
        steps.patch('merge', `${path}/scale?fieldManager=merger`, { body: { spec: { replicas: 5 } } }),
        applied(`${path}/scale`, 'fieldManager=applier', scale),
        applied(`${path}/scale`, 'fieldManager=applier&force=true', scale),
        steps.get(path),
        applied(`${path}/status`, 'fieldManager=stat', {
          apiVersion: 'apps/v1',
          kind: 'Deployment',
          metadata: { name },
          status: { replicas: 3, conditions: [{ type: 'Available', status: 'True' }] },
        }),
        applied(`${path}/status`, 'fieldManager=stat', {
          apiVersion: 'apps/v1',
          kind: 'Deployment',
          metadata: { name, labels: { x: 'y' } },
          spec: { replicas: 9 },
          status: { replicas: 3 },
        }),
        steps.get(path),
        steps.patch('strategic', `${path}?fieldManager=strat`, {
          body: {
            spec: { template: { spec: { containers: [{ name: 'a', env: [{ name: 'B', value: '2' }] }] } } },
          },
        }),
        applied(path, 'fieldManager=one', deployment('k')),
        applied(path, 'fieldManager=three', {
          apiVersion: 'apps/v1',
          kind: 'Deployment',
          metadata: { name },
          spec: { template: { spec: { containers: [{ name: 'a', env: [{ name: 'B', value: '3' }] }] } } },
        }),
        applied(path, 'fieldManager=four', {
          apiVersion: 'apps/v1',
          kind: 'Deployment',
          metadata: { name },
          spec: {
            template: { spec: { containers: [{ name: 'a', ports: [{ containerPort: 80, name: 'http' }] }] } },
          },
        }),
        steps.get(path),
        applied(path, 'fieldManager=one', { apiVersion: 'apps/v1', kind: 'Deployment', metadata: { name } }),
        applied(path, 'fieldManager=bad', {
          apiVersion: 'apps/v1',
          kind: 'Deployment',
          metadata: { name },
          spec: { template: { spec: { containers: [{ image: 'x' }] } } },
        }),
        applied(path, 'fieldManager=bad', {
          apiVersion: 'apps/v1',
          kind: 'Deployment',
          metadata: { name },
          spec: { replicas: 'x' },
        }),
        applied(path, 'fieldManager=bad', {
          apiVersion: 'apps/v1',
          kind: 'Deployment',
          metadata: { name },
          spec: { template: { spec: { containers: [{ name: 'a' }, { name: 'a' }] } } },
        }),
        applied(path, 'fieldManager=bad', {
          apiVersion: 'apps/v1',
          kind: 'Deployment',
          metadata: { name },
          spec: 'x',
        }),
      ];
    }),
    scenario('user agents', ({ name, path, collection }) => [
      ...['kubectl/v1.36.0 (linux/amd64)', 'a b c', '/x', 'é', '', `${'u'.repeat(200)}`].map((agent, at) =>
        steps.post(collection, made(`${name}-${at}`), { headers: { 'user-agent': agent } }),
      ),
      steps.post(`${collection}?fieldManager=given`, made(name), { headers: { 'user-agent': 'kubectl/v1' } }),
      steps.patch('merge', path, { body: { data: { z: '1' } }, headers: { 'user-agent': 'helm' } }),
      steps.get(path),
    ]),
  ];
}

function managedFieldScenarios(scenario: Make): Scenario[] {
  const entry = (more: object): object => ({
    manager: 'hand',
    operation: 'Update',
    apiVersion: 'v1',
    time: '2020-01-01T00:00:00Z',
    fieldsType: 'FieldsV1',
    fieldsV1: { 'f:data': { 'f:a': {} } },
    ...more,
  });
  const edits: Readonly<Record<string, unknown>> = {
    none: [],
    emptyEntry: [{}],
    good: [entry({})],
    apply: [entry({ operation: 'Apply' })],
    badOperation: [entry({ operation: 'Nope' })],
    badType: [entry({ fieldsType: 'FieldsV2' })],
    noType: [entry({ fieldsType: '' })],
    badVersion: [entry({ apiVersion: 'v9' })],
    noVersion: [entry({ apiVersion: '' })],
    badFields: [entry({ fieldsV1: { nope: {} } })],
    textFields: [entry({ fieldsV1: 'x' })],
    noFields: [entry({ fieldsV1: undefined })],
    duplicate: [entry({}), entry({})],
    long: [entry({ manager: 'm'.repeat(200) })],
    subresource: [entry({ subresource: 'status' })],
    unknownPath: [entry({ fieldsV1: { 'f:nope': {}, 'f:data': { '.': {} } } })],
    noTime: [entry({ time: undefined })],
    unprintable: [entry({ manager: 'a\u0001' })],
  };
  return Object.entries(edits).flatMap(([about, managedFields]) => [
    scenario(`managed fields ${about}`, ({ name, path, collection }) => {
      const edited = {
        apiVersion: 'v1',
        kind: 'ConfigMap',
        metadata: { name, managedFields },
        data: { a: 'b', c: 'd' },
      };
      return [
        steps.post(`${collection}?fieldManager=maker`, made(name)),
        steps.put(`${path}?fieldManager=editor`, edited),
        steps.get(path),
        steps.patch('merge', `${path}?fieldManager=merger`, { body: { metadata: { managedFields } } }),
        steps.get(path),
        steps.post(`${collection}?dryRun=All`, {
          ...edited,
          metadata: { name: `${name}-new`, managedFields },
        }),
      ];
    }),
  ]);
}

function upgradeScenarios(scenario: Make): Scenario[] {
  const lastApplied = (data: object): object => ({
    'kubectl.kubernetes.io/last-applied-configuration': JSON.stringify({
      apiVersion: 'v1',
      kind: 'ConfigMap',
      data,
    }),
  });
  return [
    scenario('client side to server side', ({ name, path, collection }) => [
      steps.post(`${collection}?fieldManager=kubectl-client-side-apply`, {
        ...made(name, { a: '1', b: '2' }),
        metadata: { name, annotations: lastApplied({ a: '1', b: '2' }) },
      }),
      applied(path, 'fieldManager=kubectl', made(name, { a: '3' })),
      steps.get(path),
      steps.patch('merge', `${path}?fieldManager=kubectl-client-side-apply`, {
        body: { data: { c: '4' }, metadata: { annotations: lastApplied({ a: '3', c: '4' }) } },
      }),
      applied(path, 'fieldManager=kubectl', made(name, { c: '5' })),
      steps.get(path),
    ]),
    scenario('hpa versions', ({ name, namespace }) => {
      const [one, two] = ['v1', 'v2'].map(
        (version) => `/apis/autoscaling/${version}/namespaces/${namespace}/horizontalpodautoscalers/${name}`,
      ) as [string, string];
      const hpa = (version: string, spec: object): object => ({
        apiVersion: `autoscaling/${version}`,
        kind: 'HorizontalPodAutoscaler',
        metadata: { name },
        spec: {
          scaleTargetRef: { apiVersion: 'apps/v1', kind: 'Deployment', name: 'd' },
          maxReplicas: 3,
          ...spec,
        },
      });
      return [
        applied(one, 'fieldManager=one', hpa('v1', { targetCPUUtilizationPercentage: 50 })),
        steps.get(two),
        applied(
          two,
          'fieldManager=two',
          hpa('v2', {
            metrics: [
              {
                type: 'Resource',
                resource: { name: 'cpu', target: { type: 'Utilization', averageUtilization: 60 } },
              },
            ],
          }),
        ),
        applied(two, 'fieldManager=two', hpa('v2', { minReplicas: 2 })),
        applied(one, 'fieldManager=one', hpa('v1', { maxReplicas: 5 })),
        applied(one, 'fieldManager=one&force=true', hpa('v1', { maxReplicas: 5 })),
        steps.get(one),
        steps.get(two),
      ];
    }),
  ];
}
