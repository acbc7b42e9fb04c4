/**
 * Structured bombs: requests that are cheap to send and were, or could be, costly to answer. Each is up to 3 MB, and each must be answered with its status
 * within one turn's and one request's bounds (bombs.test.ts, and now and then in a fuzzing run).
 */
import type { UserInfo } from '#machinery/object.ts';
import { encodeCbor } from '#machinery/codec/cbor.ts';
import { ADMIN, type FuzzRequest } from './requests.ts';

export interface Bomb {
  readonly name: string;
  /** What must be answered. */
  readonly status: number;
  /** Made when it is sent: all of them at once would be some hundred megabytes. */
  readonly request: () => FuzzRequest;
}

/** Holds a wildcard in one namespace, and so may write any Role there. */
export const TENANT: UserInfo = { name: 'tenant', groups: ['system:authenticated'] };
const NOBODY: UserInfo = { name: 'nobody', groups: ['system:authenticated'] };
const ANONYMOUS: UserInfo = { name: 'system:anonymous', groups: ['system:unauthenticated'] };

const JSON_TYPE = 'application/json',
  YAML_TYPE = 'application/yaml',
  APPLY_TYPE = 'application/apply-patch+yaml';
const NAMESPACE = '/api/v1/namespaces/default';
const RBAC = '/apis/rbac.authorization.k8s.io/v1/namespaces/default';
const MEBIBYTE = 2 ** 20;

interface Sent {
  readonly method?: string;
  readonly target: string;
  readonly type?: string;
  readonly headers?: Readonly<Record<string, string>>;
  readonly body?: string | Buffer | object;
  readonly user?: UserInfo;
}

function requestOf({
  method = 'POST',
  target,
  type = JSON_TYPE,
  headers = {},
  body = '',
  user = ADMIN,
}: Sent): FuzzRequest {
  const mark = target.indexOf('?');
  const text = typeof body === 'string' || Buffer.isBuffer(body) ? body : JSON.stringify(body);
  return {
    method,
    path: mark < 0 ? target : target.slice(0, mark),
    query: mark < 0 ? '' : target.slice(mark + 1),
    headers: { 'content-type': type, ...headers },
    body: Buffer.from(text as string),
    user,
  };
}

function bomb(name: string, status: number, sent: () => Sent): Bomb {
  return { name, status, request: () => requestOf(sent()) };
}

function list<T>(length: number, item: (index: number) => T): T[] {
  return Array.from({ length }, (_, index) => item(index));
}

function map<T>(length: number, value: T): Record<string, T> {
  return Object.fromEntries(list(length, (i) => [`k${i}`, value]));
}

function text(unit: string, bytes = 2.8 * MEBIBYTE): string {
  return unit.repeat(Math.floor(bytes / unit.length));
}

/** A create that stores nothing. */
function dryRun(target: string, body: Sent['body'], more: Partial<Sent> = {}): Sent {
  return { target: `${target}?dryRun=All`, body: body!, ...more };
}

const configMap = (rest: object): Sent =>
  dryRun(`${NAMESPACE}/configmaps`, { metadata: { name: 'a' }, ...rest });
const pod = (spec: object): Sent =>
  dryRun(`${NAMESPACE}/pods`, {
    metadata: { name: 'a' },
    spec: { containers: [{ name: 'c', image: 'i' }], ...spec },
  });
const container = (rest: object): Sent => pod({ containers: [{ name: 'c', image: 'i', ...rest }] });
const role = (rule: object, user: UserInfo): Sent =>
  dryRun(`${RBAC}/roles`, { metadata: { name: 'r' }, rules: [rule] }, { user });
const yaml = (body: string): Sent => dryRun(`${NAMESPACE}/configmaps`, body, { type: YAML_TYPE });
const apply = (body: string | object): Sent => ({
  method: 'PATCH',
  target: `${NAMESPACE}/configmaps/a?dryRun=All&fieldManager=m&force=true`,
  type: APPLY_TYPE,
  body,
});
const get = (target: string, more: Partial<Sent> = {}): Sent => ({ method: 'GET', target, ...more });

const names = (prefix: string, count: number): string[] => list(count, (i) => `${prefix}${i}`);
const wideRule = (count: number): object => ({
  verbs: names('v', count),
  apiGroups: names('g', count),
  resources: names('r', count),
});

const RULES: readonly Bomb[] = [
  bomb('a Role of 300 × 300 × 300 × 300, by who holds nothing', 403, () =>
    role({ ...wideRule(300), resourceNames: names('n', 300) }, NOBODY),
  ),
  bomb('a Role of 300 × 300 × 300, by who holds other rules', 403, () => role(wideRule(300), TENANT)),
  bomb('a Role of 60,000 × 60,000, by an administrator', 413, () => role(wideRule(60_000), ADMIN)),
  bomb('a Role of 30,000 × 30,000, by an administrator', 201, () => role(wideRule(30_000), ADMIN)),
  bomb('a ClusterRole of a long path of stars', 201, () =>
    dryRun('/apis/rbac.authorization.k8s.io/v1/clusterroles', {
      metadata: { name: 'r' },
      rules: [{ verbs: ['get'], nonResourceURLs: [`/${text('*')}a*`] }],
    }),
  ),
  bomb('a review of a path of a megabyte', 201, () => ({
    target: '/apis/authorization.k8s.io/v1/subjectaccessreviews',
    body: {
      apiVersion: 'authorization.k8s.io/v1',
      kind: 'SubjectAccessReview',
      spec: {
        user: 'u',
        groups: names('g', 50_000),
        nonResourceAttributes: { path: text('/a', MEBIBYTE), verb: 'get' },
      },
    },
  })),
];

const doubling = list(60, (i) => `a${i + 1}: &a${i + 1} {<<: [*a${i}, *a${i}]}`).join('\n');

const YAML: readonly Bomb[] = [
  bomb('merge keys that double', 400, () => yaml(`a0: &a0 {k: 1}\n${doubling}`)),
  bomb('merge keys of a wide map', 400, () =>
    yaml(`a: &a {${names('k', 1000).join(': 1, ')}: 1}\nb: {<<: [${text('*a,', 100_000)}]}`),
  ),
  bomb('a billion laughs', 400, () =>
    yaml(`a0: &a0 [x]\n${list(12, (i) => `a${i + 1}: &a${i + 1} [${`*a${i},`.repeat(10)}]`).join('\n')}`),
  ),
  bomb('aliases, applied', 400, () => apply(`a0: &a0 {k: 1}\n${doubling}`)),
  bomb('3 MB of a flow sequence', 413, () => yaml(`a: [${text('1,')}]`)),
  bomb('3 MB of open brackets', 413, () => yaml(text('['))),
  bomb('3 MB of comments', 413, () => yaml(`${text('#\n')}a: 1`)),
  bomb('3 MB of directives', 413, () => yaml(`${text('%\n')}---\na: 1`)),
  bomb('3 MB of a block sequence', 413, () => yaml(`a:\n${text('- x\n')}`)),
  bomb('3 MB of a map that is applied', 413, () => apply(list(300_000, (i) => `k${i}: v\n`).join(''))),
  bomb('3 MB in one quoted text', 422, () => yaml(`a: "${text(String.raw`\n`)}"`)),
];

const QUERIES: readonly Bomb[] = [
  bomb('2 MB of parameters', 431, () => get(`/apis/none?${text('a&', 2 * MEBIBYTE)}`, { user: ANONYMOUS })),
  bomb('900 kB of parameters', 400, () => get(`/apis/none?${text('a&', 900_000)}`, { user: ANONYMOUS })),
  bomb('a value of 900 kB', 403, () => get(`/apis/none?pretty=${text('%25', 900_000)}`, { user: ANONYMOUS })),
  bomb('200 kB of parameters', 400, () => get(`/apis/none?${text('a&', 200_000)}`, { user: ANONYMOUS })),
  bomb('a path of 900 kB', 403, () => get(`/${text('%2f', 900_000)}`, { user: ANONYMOUS })),
  bomb('excluded health checks', 200, () => get(`/livez?${text('exclude=a&', 90_000)}`)),
  bomb('a label selector of many requirements', 400, () =>
    get(`${NAMESPACE}/pods?labelSelector=${list(100_000, (i) => `!k${i}`).join(',')}`),
  ),
  bomb('a label selector of many values', 200, () =>
    get(`${NAMESPACE}/pods?labelSelector=a+in+(${names('v', 90_000).join(',')})`),
  ),
  bomb('a field selector of many requirements', 400, () =>
    get(`${NAMESPACE}/pods?fieldSelector=${text('metadata.name!=a,', 900_000)}`),
  ),
  bomb('a field selector of escapes', 400, () =>
    get(`${NAMESPACE}/pods?fieldSelector=a=${text(String.raw`\\`, 900_000)}=`),
  ),
  bomb('a long continue token', 400, () => get(`${NAMESPACE}/pods?limit=1&continue=${text('a', 900_000)}`)),
  bomb('a number of 900,000 digits', 400, () => get(`${NAMESPACE}/pods?limit=${text('9', 900_000)}`)),
  bomb('a revision of 900,000 digits', 400, () =>
    get(`${NAMESPACE}/pods?resourceVersion=${text('9', 900_000)}`),
  ),
];

const HEADERS: readonly Bomb[] = [
  bomb('Accept of 100,000 ranges', 406, () =>
    get(`${NAMESPACE}/pods`, { headers: { accept: list(100_000, (i) => `a/b;q=0.${i}`).join(',') } }),
  ),
  bomb('Accept of 100,000 parameters', 406, () =>
    get(`${NAMESPACE}/pods`, { headers: { accept: `a/b${text(';a=b', 800_000)}` } }),
  ),
  bomb('Content-Type of a megabyte', 415, () => ({ ...configMap({}), type: `a/b${text(';a=b', MEBIBYTE)}` })),
  bomb('User-Agent of a megabyte', 201, () => ({
    ...configMap({ data: { a: 'b' } }),
    headers: { 'user-agent': text('a', MEBIBYTE) },
  })),
  bomb('impersonated extras by the thousand', 403, () => ({
    ...get(`${NAMESPACE}/pods`, { user: NOBODY }),
    headers: {
      'impersonate-user': 'u',
      ...Object.fromEntries(list(10_000, (i) => [`impersonate-extra-${i}`, 'x'])),
    },
  })),
];

/** Without a user: authentication reads them. What no authenticator knows is anonymous. */
const AUTHORIZATIONS: readonly (readonly [name: string, status: number, authorization: string])[] = [
  ['a bearer token of a megabyte', 401, `Bearer ${text('a', MEBIBYTE)}`],
  ['a token of dots', 401, `Bearer ${text('.', MEBIBYTE)}`],
  [
    'a token with a header of a megabyte',
    401,
    `Bearer ${Buffer.from(`{"alg":"RS256","kid":"${text('k', 500_000)}"}`).toString('base64url')}.${Buffer.from(`{"iss":"https://kubernetes.default.svc","x":[${text('1,', 200_000)}1]}`).toString('base64url')}.${text('A', 1000)}`,
  ],
  ['a basic header of a megabyte', 403, `Basic ${text('QTpB', MEBIBYTE)}`],
  ['a negotiation of blanks', 403, `Negotiate ${text(' ', MEBIBYTE)}!`],
];

const CREDENTIALS: readonly Bomb[] = AUTHORIZATIONS.map(([name, status, authorization]) => ({
  name,
  status,
  request: () => ({
    ...requestOf(get(`${NAMESPACE}/pods`, { headers: { authorization } })),
    user: undefined,
  }),
}));

const WIDE: readonly Bomb[] = [
  bomb('60,000 labels', 201, () => configMap({ metadata: { name: 'a', labels: map(60_000, 'v') } })),
  bomb('215,000 labels', 413, () => configMap({ metadata: { name: 'a', labels: map(215_000, 'v') } })),
  bomb('90,000 keys of data', 201, () => configMap({ data: map(90_000, 'v') })),
  bomb('18,000 owner references', 201, () =>
    configMap({
      metadata: {
        name: 'a',
        ownerReferences: list(18_000, (i) => ({
          apiVersion: 'v1',
          kind: 'ConfigMap',
          name: `n${i}`,
          uid: `u${i}`,
        })),
      },
    }),
  ),
  bomb('one owner 18,000 times', 201, () =>
    configMap({
      metadata: {
        name: 'a',
        ownerReferences: list(18_000, () => ({ apiVersion: 'v1', kind: 'ConfigMap', name: 'n', uid: 'u' })),
      },
    }),
  ),
  bomb('90,000 finalizers that are none', 422, () =>
    configMap({ metadata: { name: 'a', finalizers: names('a', 90_000) } }),
  ),
  bomb('900,000 empty finalizers', 413, () =>
    configMap({ metadata: { name: 'a', finalizers: list(900_000, () => '') } }),
  ),
  bomb('a quota of 60,000 entries', 201, () =>
    dryRun(`${NAMESPACE}/resourcequotas`, {
      metadata: { name: 'a' },
      spec: { hard: Object.fromEntries(list(60_000, (i) => [`count/k${i}.x`, '5'])) },
    }),
  ),
  bomb('a network policy of 30,000 peers', 201, () =>
    dryRun('/apis/networking.k8s.io/v1/namespaces/default/networkpolicies', {
      metadata: { name: 'a' },
      spec: {
        podSelector: {},
        ingress: [
          { from: list(30_000, (i) => ({ ipBlock: { cidr: `10.${(i >> 8) & 255}.${i & 255}.0/24` } })) },
        ],
      },
    }),
  ),
  bomb('30,000 ports of one number', 422, () =>
    container({ ports: list(30_000, () => ({ containerPort: 70_000, name: 'a' })) }),
  ),
  bomb('20,000 ports that overlap', 201, () =>
    container({ ports: list(20_000, (i) => ({ containerPort: 80, hostIP: `10.1.${i >> 8}.${i & 255}` })) }),
  ),
  bomb('20,000 claims of a container', 422, () =>
    container({ resources: { claims: list(20_000, (i) => ({ name: `c${i}`, request: 'r' })) } }),
  ),
  bomb('30,000 variables', 201, () =>
    container({ env: list(30_000, (i) => ({ name: `K${i}`, value: '$(A)' })) }),
  ),
  bomb('a variable that refers 400,000 times', 201, () =>
    container({ env: [{ name: 'K', value: text('$(A)', 1.6 * MEBIBYTE) }] }),
  ),
  bomb('20,000 containers', 422, () => pod({ containers: list(20_000, () => ({ name: 'c', image: 'i' })) })),
  bomb('10,000 files of a volume', 422, () =>
    pod({
      volumes: [
        {
          name: 'v',
          configMap: { name: 'c', items: list(10_000, (i) => ({ key: 'a', path: `p/${i >> 1}` })) },
        },
        {
          name: 'w',
          projected: {
            sources: [
              {
                configMap: {
                  name: 'c',
                  items: list(1000, () => ({ key: 'a', path: `${text('/', 2000)}x` })),
                },
              },
            ],
          },
        },
      ],
    }),
  ),
  bomb('66,000 address families', 422, () =>
    dryRun(`${NAMESPACE}/services`, {
      metadata: { name: 'a' },
      spec: { ports: [{ port: 1 }], ipFamilies: names('f', 66_000) },
    }),
  ),
  bomb('a million empty objects', 413, () => container({ volumeMounts: list(900_000, () => ({})) })),
];

const deep = (levels: number): string => `${'{"a":'.repeat(levels)}1${'}'.repeat(levels)}`;

const TEXTS: readonly Bomb[] = [
  bomb('a text of 2.8 MB', 422, () => configMap({ data: { a: text('a') } })),
  bomb('a key of 2.8 MB', 422, () => configMap({ data: { [text('a')]: 'b' } })),
  bomb('a label of 2.8 MB', 422, () => configMap({ metadata: { name: 'a', labels: { [text('a/')]: 'b' } } })),
  bomb('a name of 2.8 MB', 422, () => configMap({ metadata: { name: text('a.') } })),
  bomb('an image of 2.8 MB', 201, () => container({ image: text('a/') })),
  bomb('a quantity of a megabyte', 400, () =>
    container({ resources: { limits: { cpu: `${text('1', MEBIBYTE)}x` } } }),
  ),
  bomb('a quantity of a million zeros', 400, () =>
    container({ resources: { limits: { cpu: `0.${text('0', MEBIBYTE)}1` } } }),
  ),
  bomb('JSON 100,000 deep', 413, () => dryRun(`${NAMESPACE}/configmaps`, `{"x":${deep(100_000)}}`)),
  bomb('JSON that breaks off after 2.8 MB', 400, () =>
    dryRun(`${NAMESPACE}/configmaps`, `{"a":"${text('x')}`),
  ),
  bomb('3 MB of unknown fields, strictly', 413, () => ({
    target: `${NAMESPACE}/configmaps?dryRun=All&fieldValidation=Strict`,
    body: { metadata: { name: 'a' }, ...map(200_000, 'v') },
  })),
  bomb('90,000 unknown fields, strictly', 400, () => ({
    target: `${NAMESPACE}/configmaps?dryRun=All&fieldValidation=Strict`,
    body: { metadata: { name: 'a' }, ...map(90_000, 'v') },
  })),
  bomb('90,000 repeated fields, strictly', 400, () => ({
    target: `${NAMESPACE}/configmaps?dryRun=All&fieldValidation=Strict`,
    body: `{"metadata":{"name":"a"},"data":{${list(90_000, (i) => `"k${i >> 1}":"v"`).join(',')}}}`,
  })),
];

const patch = (type: string, body: unknown): Sent => ({
  method: 'PATCH',
  target: `${NAMESPACE}/configmaps/kept?dryRun=All`,
  type: `application/${type}+json`,
  body: JSON.stringify(body),
});

const PATCHES: readonly Bomb[] = [
  bomb('20,000 operations', 413, () =>
    patch(
      'json-patch',
      list(20_000, (i) => ({ op: 'add', path: `/data/k${i}`, value: 'v' })),
    ),
  ),
  bomb('copies that double', 422, () =>
    patch('json-patch', [
      { op: 'add', path: '/data', value: { a: text('x', 1000) } },
      ...list(40, (i) => ({ op: 'copy', from: '/data', path: `/data/b${i}` })),
    ]),
  ),
  bomb('a pointer of a megabyte', 422, () =>
    patch('json-patch', [{ op: 'add', path: text('/a', MEBIBYTE), value: 1 }]),
  ),
  bomb('a merge of 50,000 keys', 200, () => patch('merge-patch', { data: map(50_000, 'v') })),
  bomb('a merge of 90,000 keys', 413, () => patch('merge-patch', { data: map(90_000, 'v') })),
  bomb('a strategic merge of 10,000 owners', 200, () =>
    patch('strategic-merge-patch', {
      metadata: {
        ownerReferences: list(10_000, (i) => ({
          apiVersion: 'v1',
          kind: 'ConfigMap',
          name: `n${i}`,
          uid: `u${i}`,
        })),
      },
    }),
  ),
  bomb('a strategic merge that orders 30,000 items', 200, () =>
    patch('strategic-merge-patch', {
      metadata: { '$setElementOrder/ownerReferences': list(30_000, (i) => ({ uid: `u${i}` })) },
    }),
  ),
  bomb('an apply of 90,000 keys', 201, () =>
    apply({ apiVersion: 'v1', kind: 'ConfigMap', metadata: { name: 'a' }, data: map(90_000, 'v') }),
  ),
  bomb('an apply of 10,000 owners', 201, () =>
    apply({
      apiVersion: 'v1',
      kind: 'ConfigMap',
      metadata: {
        name: 'a',
        ownerReferences: list(10_000, (i) => ({
          apiVersion: 'v1',
          kind: 'ConfigMap',
          name: `n${i}`,
          uid: `u${i}`,
        })),
      },
    }),
  ),
];

const protobuf = (bytes: Buffer): Sent =>
  dryRun(`${NAMESPACE}/configmaps`, Buffer.concat([Buffer.from('k8s\0'), bytes]), {
    type: 'application/vnd.kubernetes.protobuf',
  });
/** A field of runtime.Unknown or of the object in it. */
const field = (number: number, content: Buffer): Buffer => {
  const length = [];
  let rest = content.length;
  for (; rest >= 128; rest = Math.floor(rest / 128)) length.push((rest % 128) | 128);
  return Buffer.concat([Buffer.from([(number << 3) | 2, ...length, rest]), content]);
};
const wired = (raw: Buffer): Buffer =>
  Buffer.concat([
    field(1, Buffer.concat([field(1, Buffer.from('v1')), field(2, Buffer.from('ConfigMap'))])),
    field(2, raw),
  ]);

const BINARY: readonly Bomb[] = [
  bomb('protobuf of a million empty finalizers', 413, () =>
    protobuf(wired(field(1, Buffer.from(text(String.fromCharCode((14 << 3) | 2, 0)), 'latin1')))),
  ),
  bomb('protobuf of one entry half a million times', 422, () =>
    protobuf(wired(Buffer.from(text(String.fromCharCode((2 << 3) | 2, 3, 10, 1, 97)), 'latin1'))),
  ),
  bomb('CBOR of a million numbers', 413, () =>
    dryRun(
      `${NAMESPACE}/configmaps`,
      Buffer.from(encodeCbor({ metadata: { name: 'a', finalizers: list(1_000_000, () => 1) } }, undefined)),
      {
        type: 'application/cbor',
      },
    ),
  ),
];

const properties = (count: number): object =>
  Object.fromEntries(list(count, (i) => [`p${i}`, { type: 'string' }]));
const definition = (spec: object): Sent =>
  dryRun('/apis/apiextensions.k8s.io/v1/customresourcedefinitions', {
    metadata: { name: 'bombs.example.com' },
    spec: {
      group: 'example.com',
      names: { kind: 'Bomb', plural: 'bombs' },
      scope: 'Namespaced',
      versions: [
        { name: 'v1', served: true, storage: true, schema: { openAPIV3Schema: { type: 'object', ...spec } } },
      ],
    },
  });

const policy = (validations: number): Sent =>
  dryRun('/apis/admissionregistration.k8s.io/v1/validatingadmissionpolicies', {
    metadata: { name: 'bomb' },
    spec: {
      matchConstraints: {
        resourceRules: [
          { apiGroups: [''], apiVersions: ['v1'], resources: ['pods'], operations: ['CREATE'] },
        ],
      },
      validations: list(validations, (i) => ({ expression: `object.metadata.name != "n${i}"` })),
    },
  });

const DEFINITIONS: readonly Bomb[] = [
  bomb('a policy of 10,000 validations', 422, () => policy(10_000)),
  bomb('a definition of 20,000 properties', 201, () =>
    definition({ properties: { spec: { type: 'object', properties: properties(20_000) } } }),
  ),
  bomb('a pattern of 50 kB', 422, () =>
    definition({ properties: { spec: { type: 'string', pattern: text('(a|', 50_000) } } }),
  ),
  bomb('a pattern of a megabyte', 422, () =>
    definition({ properties: { spec: { type: 'string', pattern: text('ab', MEBIBYTE) } } }),
  ),
  bomb('10,000 rules', 422, () =>
    definition({
      properties: {
        spec: {
          type: 'string',
          'x-kubernetes-validations': list(10_000, () => ({ rule: 'self == "a"' })),
        },
      },
    }),
  ),
  bomb('a rule of a megabyte', 422, () =>
    definition({
      properties: {
        spec: { type: 'string', 'x-kubernetes-validations': [{ rule: text('self+', MEBIBYTE) }] },
      },
    }),
  ),
  bomb('60,000 rules', 413, () =>
    definition({
      properties: {
        spec: {
          type: 'string',
          'x-kubernetes-validations': list(60_000, () => ({ rule: 'self == "a"' })),
        },
      },
    }),
  ),
];

export const BOMBS: readonly Bomb[] = [
  ...RULES,
  ...YAML,
  ...QUERIES,
  ...HEADERS,
  ...CREDENTIALS,
  ...WIDE,
  ...TEXTS,
  ...PATCHES,
  ...BINARY,
  ...DEFINITIONS,
];
