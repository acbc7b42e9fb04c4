/**
 * Attacks on a real server over TLS, with real certificates, tokens, RBAC, Node authorizer and admission. Every one is to be refused: an answer
 * of the 4xx family, never what was asked for, never a word of a secret. New ideas are one line in a table.
 */
import assert from 'node:assert/strict';
import { generateKeyPairSync } from 'node:crypto';
import { connect as connectHttp2, constants } from 'node:http2';
import { Agent, request as httpsRequest } from 'node:https';
import { connect as connectTls } from 'node:tls';
import { after, before, describe, test } from 'node:test';
import 'reflect-metadata';
import { Pkcs10CertificateRequestGenerator } from '@peculiar/x509';
import { issueClientCertificate, type KeyPair } from '#testing/client-certificate.ts';
import { freePort } from '#testing/cluster.ts';
import { startTestApi, type TestApi } from '#testing/start-test-api.ts';

const RBAC = '/apis/rbac.authorization.k8s.io/v1';
const RBAC_VERSION = 'rbac.authorization.k8s.io/v1';
const CSRS = '/apis/certificates.k8s.io/v1/certificatesigningrequests';
const SECRET_WORD = 'TOPSECRET';
const MERGE = { 'content-type': 'application/merge-patch+json' };
const JSON_PATCH = { 'content-type': 'application/json-patch+json' };

interface Answer {
  readonly status: number;
  readonly text: string;
}
interface Ask {
  readonly headers?: Readonly<Record<string, string | string[]>>;
  readonly body?: unknown;
}

let api: TestApi;
let port: number;
const agents = new Map<string, Agent>();
const tokens: Record<string, string> = {};

/** Common name and organizations of each attacker's certificate. 'nobody' has none. */
const PEOPLE: Readonly<Record<string, readonly [name: string, ...groups: string[]]>> = {
  root: ['root', 'system:masters'],
  reader: ['reader'],
  lister: ['lister'],
  deleter: ['deleter'],
  editor: ['editor'],
  nsadmin: ['nsadmin'],
  rbacwriter: ['rbacwriter'],
  binder: ['binder'],
  named: ['named'],
  execgetter: ['execgetter'],
  wild: ['wild'],
  approver: ['approver'],
  requester: ['requester'],
  prober: ['prober'],
  stranger: ['stranger'],
  watcher: ['watcher'],
  logwatcher: ['logwatcher'],
  updater: ['updater'],
  patcher: ['patcher'],
  proxy: ['front-proxy-client'],
  nodeA: ['system:node:node-a', 'system:nodes'],
  noNode: ['system:node:', 'system:nodes'],
  ungrouped: ['system:node:node-b'],
  grouped: ['kubelet', 'system:nodes'],
  caseMasters: ['casey', 'System:Masters', 'system:masters ', 'system:masters\u0000'],
};

const certificates = new Map<string, KeyPair>();

function agentOf(who: string): Agent {
  let agent = agents.get(who);
  const pair = certificates.get(who);
  if (!agent)
    agents.set(
      who,
      (agent = new Agent({
        keepAlive: true,
        ca: api.pki.ca.certificatePem,
        ...(pair ? { cert: pair.certificatePem, key: pair.keyPem } : {}),
      })),
    );
  return agent;
}

/** The path goes out exactly as it is written. */
function ask(who: string, target: string, { headers = {}, body }: Ask = {}): Promise<Answer> {
  const [method = 'GET', path = '/'] = target.split(' ');
  const bytes = body === undefined ? undefined : typeof body === 'string' ? body : JSON.stringify(body);
  return new Promise((resolve, reject) => {
    const call = httpsRequest(
      {
        host: '127.0.0.1',
        port,
        method,
        path,
        agent: agentOf(who),
        headers: {
          ...(bytes === undefined
            ? {}
            : { 'content-type': 'application/json', 'content-length': Buffer.byteLength(bytes) }),
          ...headers,
        },
      },
      (response) => {
        let text = '';
        response
          .setEncoding('utf8')
          .on('data', (part: string) => {
            text += part;
            // A watch that was let through does not end by itself.
            if (text.length > 100_000 || (response.statusCode === 200 && path.includes('watch')))
              response.destroy();
          })
          .on('close', () => resolve({ status: response.statusCode ?? 0, text }));
      },
    );
    call.on('upgrade', (response, socket) => {
      socket.destroy();
      resolve({ status: response.statusCode ?? 0, text: '' });
    });
    call.on('error', reject);
    call.end(bytes);
  });
}

async function make(target: string, body: object): Promise<void> {
  const { status, text } = await ask('root', `POST ${target}`, { body });
  assert.equal(status, 201, text);
}

const object = (name: string, rest: object = {}): object => ({ metadata: { name }, ...rest });

async function grant(who: string, rules: readonly object[], namespace?: string): Promise<void> {
  const [name] = PEOPLE[who]!;
  const subjects = [{ kind: 'User', apiGroup: 'rbac.authorization.k8s.io', name }];
  const kind = namespace ? 'Role' : 'ClusterRole';
  const at = namespace ? `${RBAC}/namespaces/${namespace}` : RBAC;
  await make(`${at}/${namespace ? 'roles' : 'clusterroles'}`, {
    apiVersion: RBAC_VERSION,
    kind,
    ...object(`${who}s`),
    rules,
  });
  await make(`${at}/${namespace ? 'rolebindings' : 'clusterrolebindings'}`, {
    apiVersion: RBAC_VERSION,
    kind: `${kind}Binding`,
    ...object(`${who}s`),
    roleRef: { apiGroup: 'rbac.authorization.k8s.io', kind, name: `${who}s` },
    subjects,
  });
}

async function token(account: string, spec: object): Promise<string> {
  const { status, text } = await ask(
    'root',
    `POST /api/v1/namespaces/blue/serviceaccounts/${account}/token`,
    { body: { apiVersion: 'authentication.k8s.io/v1', kind: 'TokenRequest', spec } },
  );
  assert.equal(status, 201, text);
  return (JSON.parse(text) as { status: { token: string } }).status.token;
}

async function signingRequest(subject: string): Promise<string> {
  const keys = (await crypto.subtle.generateKey(
    { name: 'ECDSA', namedCurve: 'P-256', hash: 'SHA-256' } as never,
    true,
    ['sign', 'verify'],
  )) as never;
  const request = await Pkcs10CertificateRequestGenerator.create({
    name: subject,
    keys,
    signingAlgorithm: { name: 'ECDSA', hash: 'SHA-256' } as never,
  });
  return Buffer.from(request.toString('pem')).toString('base64');
}

/** The request as it was, but for one bit of its signature. */
function forged(base64: string): string {
  const [, body = ''] =
    /-----BEGIN [A-Z ]+-----([^-]+)-----END/.exec(Buffer.from(base64, 'base64').toString()) ?? [];
  const der = Buffer.from(body, 'base64');
  der[der.length - 1]! ^= 1;
  return Buffer.from(
    `-----BEGIN CERTIFICATE REQUEST-----\n${der.toString('base64')}\n-----END CERTIFICATE REQUEST-----\n`,
  ).toString('base64');
}

const CONTAINER = { name: 'c', image: 'i' };
const csrs: Record<string, string> = {};

before(async () => {
  port = await freePort();
  api = await startTestApi({ port });
  for (const [who, [commonName, ...organizations]] of Object.entries(PEOPLE))
    certificates.set(who, issueClientCertificate(api.pki, { commonName, organizations }));
  for (const name of ['blue', 'red']) await make('/api/v1/namespaces', object(name));
  for (const namespace of ['blue', 'red'])
    for (const name of ['default', 'a-bot', 'b-bot', 'bot', 'gone'])
      await make(`/api/v1/namespaces/${namespace}/serviceaccounts`, object(name));
  const secret = (name: string): object => object(name, { stringData: { word: SECRET_WORD } });
  for (const name of ['top', 'only-a', 'only-b']) await make('/api/v1/namespaces/red/secrets', secret(name));
  await make('/api/v1/namespaces/kube-system/secrets', secret('root'));
  await make('/api/v1/namespaces/blue/secrets', secret('own'));
  for (const name of ['one', 'one-more', 'two'])
    await make('/api/v1/namespaces/blue/configmaps', object(name, { data: { word: SECRET_WORD } }));
  for (const name of ['node-a', 'node-b']) await make('/api/v1/nodes', object(name));
  for (const letter of ['a', 'b']) {
    await make(
      '/api/v1/namespaces/red/pods',
      object(`pod-${letter}`, {
        spec: {
          nodeName: `node-${letter}`,
          serviceAccountName: `${letter}-bot`,
          containers: [CONTAINER],
          volumes: [
            { name: 's', secret: { secretName: `only-${letter}` } },
            {
              name: 't',
              projected: { sources: [{ serviceAccountToken: { audience: 'vault', path: 't' } }] },
            },
          ],
        },
      }),
    );
  }
  await make(
    '/api/v1/namespaces/blue/pods',
    object('target', { spec: { nodeName: 'node-a', serviceAccountName: 'bot', containers: [CONTAINER] } }),
  );
  for (const [name, podIP] of [
    ['loop', '127.0.0.1'],
    ['link', '169.254.169.254'],
    ['mapped', '::ffff:127.0.0.1'],
    ['target', '192.0.2.9'],
  ] as const) {
    if (name !== 'target')
      await make(
        '/api/v1/namespaces/blue/pods',
        object(name, { spec: { nodeName: 'node-a', serviceAccountName: 'bot', containers: [CONTAINER] } }),
      );
    await ask('root', `PATCH /api/v1/namespaces/blue/pods/${name}/status`, {
      headers: MERGE,
      body: { status: { podIP, podIPs: [{ ip: podIP }] } },
    });
  }
  await grant(
    'reader',
    [{ apiGroups: [''], resources: ['pods', 'configmaps'], verbs: ['get', 'list'] }],
    'blue',
  );
  await grant('lister', [{ apiGroups: [''], resources: ['secrets'], verbs: ['list'] }], 'blue');
  await grant('watcher', [{ apiGroups: [''], resources: ['secrets'], verbs: ['watch'] }], 'blue');
  await grant(
    'logwatcher',
    [{ apiGroups: [''], resources: ['pods', 'pods/log', 'pods/proxy'], verbs: ['watch'] }],
    'blue',
  );
  await grant('deleter', [{ apiGroups: [''], resources: ['configmaps'], verbs: ['delete'] }], 'blue');
  await grant('updater', [
    { apiGroups: [''], resources: ['configmaps', 'namespaces', 'pods'], verbs: ['get', 'update'] },
  ]);
  await grant(
    'patcher',
    [
      {
        apiGroups: ['', 'coordination.k8s.io', 'discovery.k8s.io'],
        resources: ['configmaps', 'leases', 'endpoints', 'events', 'services'],
        verbs: ['get', 'patch', 'update'],
      },
    ],
    'blue',
  );
  await grant(
    'named',
    [
      {
        apiGroups: [''],
        resources: ['configmaps'],
        resourceNames: ['one'],
        verbs: ['get', 'list', 'watch', 'create', 'update', 'delete', 'deletecollection'],
      },
    ],
    'blue',
  );
  await grant('execgetter', [
    { apiGroups: [''], resources: ['pods/exec', 'pods/attach', 'pods/portforward'], verbs: ['get'] },
    { apiGroups: [''], resources: ['pods'], verbs: ['get', 'create'] },
    { apiGroups: [''], resources: ['nodes'], verbs: ['get', 'create', 'update'] },
  ]);
  await grant(
    'wild',
    [
      { apiGroups: [''], resources: ['pods/*', 'pod*', '*s'], verbs: ['*'] },
      { apiGroups: [''], resources: ['*/status'], verbs: ['get'] },
    ],
    'blue',
  );
  await grant('rbacwriter', [
    {
      apiGroups: ['rbac.authorization.k8s.io'],
      resources: ['roles', 'clusterroles', 'rolebindings', 'clusterrolebindings'],
      verbs: ['get', 'list', 'create', 'update', 'patch', 'delete'],
    },
  ]);
  await grant('binder', [
    {
      apiGroups: ['rbac.authorization.k8s.io'],
      resources: ['rolebindings', 'clusterrolebindings'],
      verbs: ['create', 'update', 'get'],
    },
    {
      apiGroups: ['rbac.authorization.k8s.io'],
      resources: ['clusterroles'],
      resourceNames: ['view'],
      verbs: ['bind'],
    },
  ]);
  await grant('approver', [
    {
      apiGroups: ['certificates.k8s.io'],
      resources: [
        'certificatesigningrequests',
        'certificatesigningrequests/approval',
        'certificatesigningrequests/status',
      ],
      verbs: ['get', 'list', 'update', 'patch'],
    },
    {
      apiGroups: ['certificates.k8s.io'],
      resources: ['signers'],
      resourceNames: ['example.com/harmless'],
      verbs: ['approve'],
    },
  ]);
  await grant('requester', [
    {
      apiGroups: ['certificates.k8s.io'],
      resources: ['certificatesigningrequests'],
      verbs: ['create', 'get'],
    },
  ]);
  await grant('prober', [{ nonResourceURLs: ['/healthz*', '/openapi/*', '/version'], verbs: ['get'] }]);
  for (const [who, role] of [
    ['editor', 'edit'],
    ['nsadmin', 'admin'],
  ] as const) {
    await make(`${RBAC}/namespaces/blue/rolebindings`, {
      apiVersion: RBAC_VERSION,
      kind: 'RoleBinding',
      ...object(who),
      roleRef: { apiGroup: 'rbac.authorization.k8s.io', kind: 'ClusterRole', name: role },
      subjects: [{ kind: 'User', apiGroup: 'rbac.authorization.k8s.io', name: who }],
    });
  }
  const subjects = [
    { kind: 'ServiceAccount', name: 'bot', namespace: 'blue' },
    { kind: 'ServiceAccount', name: 'gone', namespace: 'blue' },
  ];
  await make(`${RBAC}/namespaces/blue/rolebindings`, {
    apiVersion: RBAC_VERSION,
    kind: 'RoleBinding',
    ...object('bots'),
    roleRef: { apiGroup: 'rbac.authorization.k8s.io', kind: 'ClusterRole', name: 'edit' },
    subjects,
  });
  Object.assign(tokens, {
    good: await token('bot', {}),
    vault: await token('bot', { audiences: ['vault'] }),
    gone: await token('gone', {}),
  });
  await ask('root', 'DELETE /api/v1/namespaces/blue/serviceaccounts/gone');
  await make(CSRS, {
    apiVersion: 'certificates.k8s.io/v1',
    kind: 'CertificateSigningRequest',
    ...object('victim'),
    spec: {
      request: await signingRequest('CN=somebody'),
      signerName: 'kubernetes.io/kube-apiserver-client',
      usages: ['client auth'],
    },
  });
  for (const subject of ['CN=admin,O=system:masters', 'CN=system:node:node-b,O=system:nodes', 'CN=plain'])
    csrs[subject] = await signingRequest(subject);
  // Without it a node reads the pods of no other one; what it gives is tested beside node-bootstrap-policy.ts.
  await ask('root', `DELETE ${RBAC}/clusterrolebindings/capstan:node-network-policy`);
  assert.equal(
    (
      await ask('nobody', 'GET /api/v1/namespaces/blue/secrets', {
        headers: { authorization: `Bearer ${tokens['good']}` },
      })
    ).status,
    200,
    'the good token is good',
  );
});
after(async () => {
  for (const agent of agents.values()) agent.destroy();
  await api.stop();
});

function refused(answer: Answer): void {
  assert.ok(
    answer.status >= 400 && answer.status < 500,
    `answered ${answer.status}: ${answer.text.slice(0, 300)}`,
  );
  assert.ok(
    !answer.text.includes(SECRET_WORD) &&
      !answer.text.includes(Buffer.from(SECRET_WORD).toString('base64').slice(0, 11)),
    answer.text.slice(0, 300),
  );
}

type Attack = readonly [name: string, who: string, target: string, ask?: Ask | (() => Ask)];
const BLUE = '/api/v1/namespaces/blue',
  RED = '/api/v1/namespaces/red',
  SYSTEM = '/api/v1/namespaces/kube-system';
const bearer = (make_: () => string) => (): Ask => ({ headers: { authorization: `Bearer ${make_()}` } });
const role = (name: string, rules: readonly object[], more: object = {}): object => ({
  apiVersion: RBAC_VERSION,
  kind: 'ClusterRole',
  metadata: { name, ...(more as { metadata?: object }).metadata },
  rules,
  ...('aggregationRule' in more ? { aggregationRule: more.aggregationRule } : {}),
});
const binding = (
  kind: 'RoleBinding' | 'ClusterRoleBinding',
  name: string,
  to: string,
  subject: string,
): object => ({
  apiVersion: RBAC_VERSION,
  kind,
  metadata: { name },
  roleRef: { apiGroup: 'rbac.authorization.k8s.io', kind: 'ClusterRole', name: to },
  subjects: [{ kind: 'User', apiGroup: 'rbac.authorization.k8s.io', name: subject }],
});
const ALL = [{ apiGroups: ['*'], resources: ['*'], verbs: ['*'] }];
const SECRETS = [{ apiGroups: [''], resources: ['secrets'], verbs: ['get', 'list'] }];

const PATHS: readonly Attack[] = [
  ['another namespace', 'reader', `GET ${RED}/configmaps`],
  ['all namespaces', 'reader', 'GET /api/v1/configmaps'],
  ['another resource', 'reader', `GET ${BLUE}/secrets/own`],
  ['dot segments', 'reader', `GET ${BLUE}/../red/secrets/top`],
  ['encoded dots', 'reader', `GET ${BLUE}/%2e%2e/red/secrets/top`],
  ['dots and encoded slashes', 'reader', `GET ${BLUE}/configmaps/..%2f..%2fred%2fsecrets%2ftop`],
  ['an encoded slash in the namespace', 'reader', 'GET /api/v1/namespaces/red%2fsecrets%2ftop'],
  ['a name with an encoded slash at cluster scope', 'reader', 'GET /api/v1/secrets/red%2ftop'],
  ['an encoded slash behind the version', 'stranger', 'GET /api/v1%2fnamespaces%2Fred%2fsecrets'],
  ['an encoded slash behind the group', 'stranger', 'GET /apis/apps%2Fv1%2fdeployments'],
  ['a doubly encoded slash', 'reader', `GET ${BLUE}%252f..%252fred/secrets/top`],
  ['double slashes', 'reader', 'GET //api/v1/namespaces/red/secrets/top'],
  ['double slashes inside', 'reader', 'GET /api/v1//namespaces/red/secrets/top'],
  ['double slashes before the name', 'reader', `GET ${RED}/secrets//top`],
  ['no namespace between slashes', 'reader', 'GET /api/v1/namespaces//secrets'],
  ['a trailing slash', 'reader', `GET ${RED}/secrets/top/`],
  ['trailing slashes', 'reader', `GET ${RED}/secrets///`],
  ['mixed case of the resource', 'reader', `GET ${RED}/Secrets/top`],
  ['mixed case of the prefix', 'reader', 'GET /API/v1/namespaces/red/secrets/top'],
  ['a semicolon parameter', 'reader', `GET ${BLUE}/configmaps;x=../../red/secrets/top`],
  ['a semicolon after an allowed resource', 'reader', `GET ${RED}/secrets;configmaps/top`],
  ['a null byte', 'reader', `GET ${RED}/secrets%00/top`],
  ['an encoded space', 'reader', `GET ${RED}/secrets%20/top`],
  ['a backslash', 'reader', `GET ${BLUE}\\..\\red\\secrets\\top`],
  ['an encoded question mark', 'reader', `GET ${RED}/secrets%3f/configmaps`],
  ['an overlong encoding', 'reader', `GET ${BLUE}/%c0%ae%c0%ae/red/secrets/top`],
  ['a broken encoding', 'reader', `GET ${RED}/secrets/%zz`],
  ['an absolute URL', 'reader', 'GET https://127.0.0.1/api/v1/namespaces/red/secrets/top'],
  ['the legacy watch prefix', 'lister', 'GET /api/v1/watch/namespaces/blue/secrets'],
  ['the legacy watch prefix on one object', 'reader', 'GET /api/v1/watch/namespaces/red/secrets/top'],
  ['the legacy proxy prefix', 'reader', 'GET /api/v1/proxy/namespaces/red/pods/pod-b/'],
  ['a legacy redirect prefix', 'reader', 'GET /api/v1/redirect/namespaces/red/pods/pod-b'],
  ['the core group by name', 'reader', 'GET /apis//v1/namespaces/red/secrets/top'],
  ['the core group called core', 'reader', 'GET /apis/core/v1/namespaces/red/secrets/top'],
  ['a sibling of an allowed path', 'prober', 'GET /metrics'],
  ['dot segments behind an allowed path', 'prober', 'GET /healthz/../metrics'],
  ['encoded dot segments behind an allowed path', 'prober', 'GET /healthz/%2e%2e/metrics'],
  ['dot segments behind a wildcard', 'prober', 'GET /openapi/v3/../../metrics'],
  ['another method on an allowed path', 'prober', 'POST /version'],
  ['debugging paths', 'stranger', 'GET /debug/pprof/profile'],
  ['logs of the server', 'stranger', 'GET /logs/'],
  ['figures of the server without credentials', 'nobody', 'GET /metrics'],
  ['objects without credentials', 'nobody', `GET ${RED}/secrets`],
];

const VERBS: readonly Attack[] = [
  ['watch with only list', 'lister', `GET ${BLUE}/secrets?watch=true`],
  ['watch as 1', 'lister', `GET ${BLUE}/secrets?watch=1`],
  ['watch as t', 'lister', `GET ${BLUE}/secrets?watch=t`],
  ['watch, second of two', 'lister', `GET ${BLUE}/secrets?watch=true&watch=false`],
  ['watch in mixed case', 'lister', `GET ${BLUE}/secrets?watch=TRUE`],
  ['get with only list', 'lister', `GET ${BLUE}/secrets/own`],
  ['list with only watch', 'watcher', `GET ${BLUE}/secrets`],
  ['list of one with only watch', 'watcher', `GET ${BLUE}/secrets?fieldSelector=metadata.name=own`],
  ['HEAD is a get', 'lister', `HEAD ${BLUE}/secrets/own`],
  ['deletecollection with only delete', 'deleter', `DELETE ${BLUE}/configmaps`],
  [
    'deletecollection of the one name that may be deleted',
    'named',
    `DELETE ${BLUE}/configmaps?fieldSelector=metadata.name%3Done`,
  ],
  ['a deletion by the right to watch', 'watcher', `DELETE /api/v1/watch/namespaces/blue/secrets/own`],
  [
    'a write by the right to watch',
    'watcher',
    `PUT /api/v1/watch/namespaces/blue/secrets/own`,
    { body: object('own') },
  ],
  ['logs by the right to watch them', 'logwatcher', 'GET /api/v1/watch/namespaces/blue/pods/target/log'],
  ['a port by the right to watch it', 'logwatcher', 'GET /api/v1/watch/namespaces/blue/pods/target/proxy/'],
  [
    'deletecollection of a named one with only delete',
    'deleter',
    `DELETE ${BLUE}/configmaps?fieldSelector=metadata.name%3Done`,
  ],
  [
    'a method override header',
    'reader',
    `POST ${BLUE}/configmaps`,
    { headers: { 'x-http-method-override': 'GET', 'x-http-method': 'GET' }, body: object('x') },
  ],
  ['a method nobody knows', 'reader', `PURGE ${BLUE}/configmaps`],
  ['OPTIONS', 'stranger', `OPTIONS ${RED}/secrets`],
  ['TRACE', 'stranger', `TRACE ${RED}/secrets`],
  [
    'patch with only update',
    'updater',
    `PATCH ${BLUE}/configmaps/one`,
    { headers: MERGE, body: { data: { a: 'b' } } },
  ],
  [
    'create by update of what is not there',
    'updater',
    `PUT ${BLUE}/configmaps/three`,
    { body: object('three') },
  ],
  [
    'create by apply with only update',
    'updater',
    `PATCH ${BLUE}/configmaps/three?fieldManager=x&force=true`,
    {
      headers: { 'content-type': 'application/apply-patch+yaml' },
      body: { apiVersion: 'v1', kind: 'ConfigMap', metadata: { name: 'three' } },
    },
  ],
  [
    'removing finalizers by patch',
    'reader',
    `PATCH ${BLUE}/configmaps/one`,
    { headers: JSON_PATCH, body: [{ op: 'remove', path: '/metadata/finalizers' }] },
  ],
  [
    'finalizing a namespace with update of namespaces',
    'updater',
    `PUT ${RED}/finalize`,
    { body: object('red', { spec: { finalizers: [] } }) },
  ],
  ['status by update', 'updater', `PUT ${RED}/pods/pod-b/status`, { body: object('pod-b') }],
];

const NAMES: readonly Attack[] = [
  ['create with resource names', 'named', `POST ${BLUE}/configmaps`, { body: object('one') }],
  ['list without a name', 'named', `GET ${BLUE}/configmaps`],
  ['watch without a name', 'named', `GET ${BLUE}/configmaps?watch=true`],
  ['another name', 'named', `GET ${BLUE}/configmaps/two`],
  ['list by another name', 'named', `GET ${BLUE}/configmaps?fieldSelector=metadata.name=two`],
  ['deletecollection without a name', 'named', `DELETE ${BLUE}/configmaps`],
  ['all but the name', 'named', `GET ${BLUE}/configmaps?fieldSelector=metadata.name!=one`],
  [
    'a name in an escaped value',
    'named',
    `GET ${BLUE}/configmaps?fieldSelector=metadata.namespace!%3Dx%5C,metadata.name%3Done`,
  ],
  ['a name in a label selector', 'named', `GET ${BLUE}/configmaps?labelSelector=metadata.name%3Done`],
  [
    'a name after an empty selector',
    'named',
    `GET ${BLUE}/configmaps?fieldSelector=&fieldSelector=metadata.name%3Done`,
  ],
  ['a name with a space', 'named', `GET ${BLUE}/configmaps?fieldSelector=metadata.name%20!%3D%20one`],
  ['an update that names another', 'named', `PUT ${BLUE}/configmaps/one`, { body: object('two') }],
  [
    'an update that names another namespace',
    'updater',
    `PUT ${BLUE}/configmaps/one`,
    { body: { metadata: { name: 'one', namespace: 'red' } } },
  ],
  [
    'an object for another namespace',
    'editor',
    `POST ${BLUE}/pods`,
    { body: { metadata: { name: 'p', namespace: 'kube-system' }, spec: { containers: [CONTAINER] } } },
  ],
  [
    'a namespace by generated name',
    'editor',
    'POST /api/v1/namespaces',
    { body: { metadata: { generateName: 'kube-system' } } },
  ],
  [
    'a generated name in kube-system',
    'editor',
    `POST ${SYSTEM}/pods`,
    { body: { metadata: { generateName: 'x-' }, spec: { containers: [CONTAINER] } } },
  ],
];

const SUBRESOURCES: readonly Attack[] = [
  ['exec with only get of pods', 'reader', `POST ${BLUE}/pods/p/exec?command=sh`],
  ['exec by GET with only get of pods', 'reader', `GET ${BLUE}/pods/p/exec?command=sh`],
  ['logs with only get of pods', 'reader', `GET ${BLUE}/pods/p/log`],
  ['proxy with only get of pods', 'reader', `GET ${BLUE}/pods/p/proxy/`],
  [
    'ephemeral containers with only update of pods',
    'updater',
    `PUT ${RED}/pods/pod-b/ephemeralcontainers`,
    { body: object('pod-b') },
  ],
  [
    'binding with only update of pods',
    'updater',
    `POST ${RED}/pods/pod-b/binding`,
    { body: { metadata: { name: 'pod-b' }, target: { name: 'node-a' } } },
  ],
  [
    'eviction with only update of pods',
    'updater',
    `POST ${RED}/pods/pod-b/eviction`,
    { body: { apiVersion: 'policy/v1', kind: 'Eviction', metadata: { name: 'pod-b' } } },
  ],
  ...(['exec', 'attach', 'portforward'] as const).map((name): Attack => [
    `${name} by a WebSocket with only get`,
    'execgetter',
    `GET ${RED}/pods/pod-b/${name}?command=sh&stdout=true&ports=80`,
    {
      headers: {
        connection: 'Upgrade',
        upgrade: 'websocket',
        'sec-websocket-version': '13',
        'sec-websocket-key': 'dGhlIHNhbXBsZSBub25jZQ==',
        'sec-websocket-protocol': 'v5.channel.k8s.io',
      },
    },
  ]),
  ['another host behind the port', 'editor', `GET ${BLUE}/pods/target:80@127.0.0.1/proxy/`],
  [
    'another host behind the port, encoded',
    'editor',
    `GET ${BLUE}/pods/http:target:80%40169.254.169.254/proxy/latest/meta-data`,
  ],
  ['a port that is a path', 'editor', `GET ${BLUE}/pods/target:80%2f..%2fx/proxy/`],
  ['a port that is none', 'editor', `GET ${BLUE}/pods/target:99999/proxy/`],
  ['a scheme that is none', 'editor', `GET ${BLUE}/pods/file:target:80/proxy/etc/passwd`],
  ['the server itself by a pod that says it is there', 'editor', `GET ${BLUE}/pods/loop:6443/proxy/`],
  ['the link-local address', 'editor', `GET ${BLUE}/pods/link:80/proxy/latest/meta-data`],
  ['a loopback address in disguise', 'editor', `GET ${BLUE}/pods/mapped:80/proxy/`],
  [
    "another pod's container",
    'editor',
    `POST ${BLUE}/pods/target/exec?container=../../red/pod-b/c&command=sh`,
  ],
  ['logs of the node by a container', 'editor', `GET ${BLUE}/pods/target/log?container=../../../logs`],
  ['exec by POST with only get', 'execgetter', `POST ${RED}/pods/pod-b/exec?command=sh&stdout=true`],
  ['the kubelet by nodes/proxy with get of nodes', 'execgetter', 'GET /api/v1/nodes/node-b/proxy/pods'],
  [
    'exec in the kubelet by nodes/proxy',
    'execgetter',
    'POST /api/v1/nodes/node-b/proxy/run/red/pod-b/c?cmd=id',
  ],
  [
    'the status of a node with update of nodes',
    'execgetter',
    'PUT /api/v1/nodes/node-b/status',
    { body: object('node-b') },
  ],
  ['subresources by a pattern that is none', 'wild', `POST ${BLUE}/pods/p/exec?command=sh`],
  ['a resource by a prefix that is no pattern', 'wild', `GET ${BLUE}/pods`],
  ['a resource by a suffix that is no pattern', 'wild', `GET ${BLUE}/secrets`],
  [
    "a token by someone else's subresource pattern",
    'wild',
    `POST ${BLUE}/serviceaccounts/bot/token`,
    { body: { apiVersion: 'authentication.k8s.io/v1', kind: 'TokenRequest', spec: {} } },
  ],
  [
    "another namespace's token",
    'editor',
    `POST ${SYSTEM}/serviceaccounts/default/token`,
    { body: { apiVersion: 'authentication.k8s.io/v1', kind: 'TokenRequest', spec: {} } },
  ],
  [
    'scale of what one may only read',
    'reader',
    '/apis/apps/v1/namespaces/blue/deployments/x/scale'.replace(/^/, 'PATCH '),
    { headers: MERGE, body: { spec: { replicas: 0 } } },
  ],
  ['services by proxy', 'reader', `GET ${RED}/services/https:web:443/proxy/`],
];

const HEADERS: readonly Attack[] = [
  [
    'X-Remote-User without the proxy',
    'stranger',
    `GET ${RED}/secrets`,
    { headers: { 'x-remote-user': 'root', 'x-remote-group': 'system:masters' } },
  ],
  [
    'X-Remote-User without a certificate',
    'nobody',
    `GET ${RED}/secrets`,
    {
      headers: {
        'x-remote-user': 'root',
        'x-remote-group': 'system:masters',
        'x-remote-extra-scopes': 'all',
      },
    },
  ],
  [
    'underscores for dashes',
    'stranger',
    `GET ${RED}/secrets`,
    { headers: { impersonate_user: 'root', impersonate_group: 'system:masters' } },
  ],
  [
    "X-Remote-User with a certificate of the proxy's name by another authority",
    'proxy',
    `GET ${RED}/secrets`,
    { headers: { 'x-remote-user': 'root', 'x-remote-group': 'system:masters' } },
  ],
  [
    'forwarded addresses',
    'nobody',
    `GET ${RED}/secrets`,
    {
      headers: {
        'x-forwarded-for': '127.0.0.1',
        'x-original-url': '/version',
        'x-rewrite-url': '/version',
        forwarded: 'for=127.0.0.1',
      },
    },
  ],
  ['Impersonate-User', 'stranger', `GET ${RED}/secrets`, { headers: { 'impersonate-user': 'root' } }],
  [
    'Impersonate-Group of masters',
    'editor',
    `GET ${RED}/secrets`,
    { headers: { 'impersonate-user': 'editor', 'impersonate-group': 'system:masters' } },
  ],
  [
    'Impersonate-Group alone',
    'editor',
    `GET ${RED}/secrets`,
    { headers: { 'impersonate-group': 'system:masters' } },
  ],
  [
    'Impersonate-User twice',
    'editor',
    `GET ${RED}/secrets`,
    { headers: { 'impersonate-user': ['editor', 'root'] } },
  ],
  [
    'an empty Impersonate-User',
    'stranger',
    `GET ${RED}/secrets`,
    { headers: { 'impersonate-user': '', 'impersonate-group': 'system:masters' } },
  ],
  ['Impersonate-Uid alone', 'editor', `GET ${RED}/secrets`, { headers: { 'impersonate-uid': '0' } }],
  [
    'a service account of another namespace',
    'editor',
    `GET ${SYSTEM}/secrets`,
    { headers: { 'impersonate-user': 'system:serviceaccount:kube-system:default' } },
  ],
  [
    'a service account with groups of choice',
    'editor',
    `GET ${RED}/secrets`,
    {
      headers: {
        'impersonate-user': 'system:serviceaccount:blue:bot',
        'impersonate-group': 'system:masters',
      },
    },
  ],
  [
    'a service account that is none',
    'editor',
    `GET ${RED}/secrets`,
    { headers: { 'impersonate-user': 'system:serviceaccount:blue:bot:kube-system' } },
  ],
  [
    'an account with a slash',
    'editor',
    `GET ${RED}/secrets`,
    { headers: { 'impersonate-user': 'system:serviceaccount:blue/../kube-system:default' } },
  ],
  [
    'a node',
    'editor',
    `GET ${RED}/secrets/only-b`,
    { headers: { 'impersonate-user': 'system:node:node-b', 'impersonate-group': 'system:nodes' } },
  ],
  [
    'extra of choice',
    'editor',
    `GET ${RED}/secrets`,
    { headers: { 'impersonate-user': 'system:serviceaccount:blue:bot', 'impersonate-extra-scopes': 'all' } },
  ],
  [
    'extra called __proto__',
    'editor',
    `GET ${RED}/secrets`,
    {
      headers: {
        'impersonate-user': 'root',
        'impersonate-extra-__proto__': 'x',
        'impersonate-extra-constructor': 'x',
      },
    },
  ],
  ['masters in another case, with a space, with a zero byte', 'caseMasters', `GET ${RED}/secrets`],
  [
    'a basic password',
    'nobody',
    `GET ${RED}/secrets`,
    { headers: { authorization: `Basic ${Buffer.from('root:root').toString('base64')}` } },
  ],
  [
    'a protocol that carries a wrong token',
    'nobody',
    `GET ${RED}/pods/pod-b/exec?command=sh`,
    {
      headers: {
        connection: 'Upgrade',
        upgrade: 'websocket',
        'sec-websocket-version': '13',
        'sec-websocket-key': 'dGhlIHNhbXBsZSBub25jZQ==',
        'sec-websocket-protocol': 'base64url.bearer.authorization.k8s.io.cm9vdA, v5.channel.k8s.io',
      },
    },
  ],
  [
    'headers longer than allowed',
    'stranger',
    `GET ${RED}/secrets`,
    { headers: { 'x-long': 'x'.repeat(70_000) } },
  ],
];

const ESCALATION: readonly Attack[] = [
  ['a role with everything', 'rbacwriter', `POST ${RBAC}/clusterroles`, { body: role('mine', ALL) }],
  ['a role with secrets', 'rbacwriter', `POST ${RBAC}/clusterroles`, { body: role('mine', SECRETS) }],
  [
    'rules added to a role of their own',
    'rbacwriter',
    `PATCH ${RBAC}/clusterroles/rbacwriters`,
    { headers: JSON_PATCH, body: [{ op: 'add', path: '/rules/-', value: SECRETS[0] }] },
  ],
  [
    'a role that gathers others',
    'rbacwriter',
    `POST ${RBAC}/clusterroles`,
    {
      body: role('gatherer', [], {
        aggregationRule: {
          clusterRoleSelectors: [{ matchExpressions: [{ key: 'x', operator: 'DoesNotExist' }] }],
        },
      }),
    },
  ],
  [
    'an aggregation rule added to a role',
    'rbacwriter',
    `PATCH ${RBAC}/clusterroles/rbacwriters`,
    { headers: MERGE, body: { aggregationRule: { clusterRoleSelectors: [{}] } } },
  ],
  [
    'rules labelled into view',
    'rbacwriter',
    `POST ${RBAC}/clusterroles`,
    {
      body: role('labelled', SECRETS, {
        metadata: { labels: { 'rbac.authorization.k8s.io/aggregate-to-view': 'true' } },
      }),
    },
  ],
  [
    'an existing role labelled into view',
    'rbacwriter',
    `PATCH ${RBAC}/clusterroles/cluster-admin`,
    {
      headers: MERGE,
      body: { metadata: { labels: { 'rbac.authorization.k8s.io/aggregate-to-view': 'true' } } },
    },
  ],
  [
    'the rule that gathers changed',
    'rbacwriter',
    `PATCH ${RBAC}/clusterroles/view`,
    {
      headers: MERGE,
      body: {
        aggregationRule: {
          clusterRoleSelectors: [{ matchLabels: { 'kubernetes.io/bootstrapping': 'rbac-defaults' } }],
        },
      },
    },
  ],
  [
    'applied instead of created',
    'rbacwriter',
    `PATCH ${RBAC}/clusterroles/applied?fieldManager=x`,
    { headers: { 'content-type': 'application/apply-patch+yaml' }, body: role('applied', ALL) },
  ],
  ['a dry run first', 'rbacwriter', `POST ${RBAC}/clusterroles?dryRun=All`, { body: role('mine', ALL) }],
  [
    'paths without resources',
    'rbacwriter',
    `POST ${RBAC}/clusterroles`,
    { body: role('mine', [{ nonResourceURLs: ['*'], verbs: ['*'] }]) },
  ],
  [
    'the verb escalate for oneself',
    'rbacwriter',
    `POST ${RBAC}/clusterroles`,
    {
      body: role('mine', [
        { apiGroups: ['rbac.authorization.k8s.io'], resources: ['clusterroles'], verbs: ['escalate'] },
      ]),
    },
  ],
  [
    'the verb impersonate for oneself',
    'rbacwriter',
    `POST ${RBAC}/clusterroles`,
    { body: role('mine', [{ apiGroups: [''], resources: ['users'], verbs: ['impersonate'] }]) },
  ],
  [
    'a binding to cluster-admin',
    'rbacwriter',
    `POST ${RBAC}/clusterrolebindings`,
    { body: binding('ClusterRoleBinding', 'mine', 'cluster-admin', 'rbacwriter') },
  ],
  [
    'a binding in kube-system',
    'rbacwriter',
    `POST ${RBAC}/namespaces/kube-system/rolebindings`,
    { body: binding('RoleBinding', 'mine', 'admin', 'rbacwriter') },
  ],
  [
    'oneself added to the masters of a binding',
    'rbacwriter',
    `PATCH ${RBAC}/clusterrolebindings/cluster-admin`,
    {
      headers: JSON_PATCH,
      body: [
        {
          op: 'add',
          path: '/subjects/-',
          value: { kind: 'User', apiGroup: 'rbac.authorization.k8s.io', name: 'rbacwriter' },
        },
      ],
    },
  ],
  [
    'roleRef changed',
    'rbacwriter',
    `PATCH ${RBAC}/clusterrolebindings/rbacwriters`,
    { headers: MERGE, body: { roleRef: { name: 'cluster-admin' } } },
  ],
  [
    'a role changed that one is bound to',
    'rbacwriter',
    `PUT ${RBAC}/clusterroles/rbacwriters`,
    { body: role('rbacwriters', ALL) },
  ],
  [
    'a role that is not there yet',
    'rbacwriter',
    `POST ${RBAC}/clusterrolebindings`,
    { body: binding('ClusterRoleBinding', 'later', 'not-yet', 'rbacwriter') },
  ],
  [
    'bind of another role than granted',
    'binder',
    `POST ${RBAC}/clusterrolebindings`,
    { body: binding('ClusterRoleBinding', 'mine', 'edit', 'binder') },
  ],
  [
    'bind, then roleRef changed',
    'binder',
    `PUT ${RBAC}/clusterrolebindings/binders`,
    { body: binding('ClusterRoleBinding', 'binders', 'cluster-admin', 'binder') },
  ],
  [
    "a namespace's admin in another namespace",
    'nsadmin',
    `POST ${RBAC}/namespaces/red/rolebindings`,
    { body: binding('RoleBinding', 'mine', 'view', 'nsadmin') },
  ],
  [
    "a namespace's admin for the cluster",
    'nsadmin',
    `POST ${RBAC}/clusterrolebindings`,
    { body: binding('ClusterRoleBinding', 'mine', 'view', 'nsadmin') },
  ],
  [
    "a namespace's admin binds cluster-admin",
    'nsadmin',
    `POST ${RBAC}/namespaces/blue/rolebindings`,
    { body: binding('RoleBinding', 'mine', 'cluster-admin', 'nsadmin') },
  ],
  ["a namespace's admin lifts the quota", 'nsadmin', `POST ${BLUE}/resourcequotas`, { body: object('none') }],
  [
    "a namespace's admin relaxes pod security",
    'nsadmin',
    `PATCH ${BLUE}`,
    {
      headers: MERGE,
      body: { metadata: { labels: { 'pod-security.kubernetes.io/enforce': 'privileged' } } },
    },
  ],
  [
    'a binding without a group of its role',
    'rbacwriter',
    `POST ${RBAC}/clusterrolebindings`,
    {
      body: {
        ...binding('ClusterRoleBinding', 'odd', 'cluster-admin', 'x'),
        roleRef: { apiGroup: '', kind: 'ClusterRole', name: 'cluster-admin' },
      },
    },
  ],
  [
    'a webhook that sees all',
    'editor',
    'POST /apis/admissionregistration.k8s.io/v1/mutatingwebhookconfigurations',
    { body: object('x') },
  ],
  [
    'an API server of their own',
    'editor',
    'POST /apis/apiregistration.k8s.io/v1/apiservices',
    { body: object('v1.x') },
  ],
  [
    'a definition',
    'editor',
    'POST /apis/apiextensions.k8s.io/v1/customresourcedefinitions',
    { body: object('x.y') },
  ],
];

const review = (spec: object, kind = 'SubjectAccessReview'): Ask => ({
  body: { apiVersion: 'authorization.k8s.io/v1', kind, spec },
});
const AUTHZ = '/apis/authorization.k8s.io/v1';
const REVIEWS: readonly Attack[] = [
  [
    'what others may',
    'stranger',
    `POST ${AUTHZ}/subjectaccessreviews`,
    review({
      user: 'root',
      groups: ['system:masters'],
      resourceAttributes: { verb: 'get', resource: 'secrets' },
    }),
  ],
  [
    'what others may in a namespace',
    'editor',
    `POST ${AUTHZ}/namespaces/blue/localsubjectaccessreviews`,
    review(
      { user: 'root', resourceAttributes: { namespace: 'blue', verb: 'get', resource: 'secrets' } },
      'LocalSubjectAccessReview',
    ),
  ],
  [
    'a local review of another namespace',
    'nsadmin',
    `POST ${AUTHZ}/namespaces/blue/localsubjectaccessreviews`,
    review(
      { user: 'root', resourceAttributes: { namespace: 'red', verb: 'get', resource: 'secrets' } },
      'LocalSubjectAccessReview',
    ),
  ],
  [
    "a local review at another namespace's path",
    'nsadmin',
    `POST ${AUTHZ}/namespaces/red/localsubjectaccessreviews`,
    review(
      { user: 'root', resourceAttributes: { namespace: 'red', verb: 'get', resource: 'secrets' } },
      'LocalSubjectAccessReview',
    ),
  ],
  [
    'a local review of a path',
    'nsadmin',
    `POST ${AUTHZ}/namespaces/blue/localsubjectaccessreviews`,
    review(
      { user: 'root', nonResourceAttributes: { path: '/metrics', verb: 'get' } },
      'LocalSubjectAccessReview',
    ),
  ],
  [
    "others' tokens",
    'stranger',
    'POST /apis/authentication.k8s.io/v1/tokenreviews',
    { body: { apiVersion: 'authentication.k8s.io/v1', kind: 'TokenReview', spec: { token: 'x' } } },
  ],
];

const tampered =
  (change: (header: Record<string, unknown>, claims: Record<string, unknown>) => void, signature?: string) =>
  (): string => {
    const [head = '', body = '', sign = ''] = tokens['good']!.split('.');
    const read = (part: string): Record<string, unknown> =>
      JSON.parse(Buffer.from(part, 'base64url').toString()) as Record<string, unknown>;
    const header = read(head),
      claims = read(body);
    change(header, claims);
    return [header, claims]
      .map((part) => Buffer.from(JSON.stringify(part)).toString('base64url'))
      .join('.')
      .concat(`.${signature ?? sign}`);
  };
const TOKENS: readonly Attack[] = [
  ['of another audience', 'nobody', `GET ${BLUE}/secrets`, bearer(() => tokens['vault']!)],
  ['of a deleted account', 'nobody', `GET ${BLUE}/secrets`, bearer(() => tokens['gone']!)],
  [
    'without algorithm',
    'nobody',
    `GET ${BLUE}/secrets`,
    bearer(
      tampered((header) => {
        header['alg'] = 'none';
      }, ''),
    ),
  ],
  [
    'of another account',
    'nobody',
    `GET ${BLUE}/secrets`,
    bearer(
      tampered((_header, claims) => {
        claims['sub'] = 'system:serviceaccount:kube-system:default';
      }),
    ),
  ],
  [
    'that lasts for ever',
    'nobody',
    `GET ${BLUE}/secrets`,
    bearer(
      tampered((_header, claims) => {
        claims['exp'] = 4_000_000_000;
      }),
    ),
  ],
  [
    'with a key identifier of choice',
    'nobody',
    `GET ${BLUE}/secrets`,
    bearer(
      tampered((header) => {
        header['kid'] = '../../etc/passwd';
      }),
    ),
  ],
  [
    'signed with the public key as a secret',
    'nobody',
    `GET ${BLUE}/secrets`,
    bearer(
      tampered((header) => {
        header['alg'] = 'HS256';
      }),
    ),
  ],
  [
    'with a key in its header',
    'nobody',
    `GET ${BLUE}/secrets`,
    bearer(
      tampered((header) => {
        header['jwk'] = generateKeyPairSync('rsa', { modulusLength: 2048 }).publicKey.export({
          format: 'jwk',
        });
      }),
    ),
  ],
  ['cut short', 'nobody', `GET ${BLUE}/secrets`, bearer(() => tokens['good']!.slice(0, -8))],
  ['with more behind it', 'nobody', `GET ${BLUE}/secrets`, bearer(() => `${tokens['good']}.x`)],
  ['for another namespace', 'nobody', `GET ${RED}/secrets`, bearer(() => tokens['good']!)],
  ['in the query', 'nobody', `GET ${BLUE}/secrets?access_token=x&token=x`],
  ['good, asking for the cluster', 'nobody', 'GET /api/v1/secrets', bearer(() => tokens['good']!)],
  [
    'with rights of a real one',
    'nobody',
    `POST ${SYSTEM}/serviceaccounts/default/token`,
    () => ({
      ...bearer(() => tokens['good']!)(),
      body: { apiVersion: 'authentication.k8s.io/v1', kind: 'TokenRequest', spec: {} },
    }),
  ],
];

const podSpec = (changes: object = {}): object => ({
  metadata: { name: 'mirror', annotations: { 'kubernetes.io/config.mirror': 'x' } },
  spec: { nodeName: 'node-a', containers: [CONTAINER], ...changes },
});
const LEASES = '/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases';
const tokenFor = (audiences: readonly string[], pod: string): Ask => ({
  body: {
    apiVersion: 'authentication.k8s.io/v1',
    kind: 'TokenRequest',
    spec: { audiences, boundObjectRef: { apiVersion: 'v1', kind: 'Pod', name: pod, uid: 'x' } },
  },
});
const NODES: readonly Attack[] = [
  ["another node's secret", 'nodeA', `GET ${RED}/secrets/only-b`],
  ['a secret of nobody', 'nodeA', `GET ${RED}/secrets/top`],
  ['all secrets', 'nodeA', 'GET /api/v1/secrets'],
  ['all secrets of a namespace', 'nodeA', `GET ${RED}/secrets`],
  ['a watch on all secrets', 'nodeA', `GET ${RED}/secrets?watch=true`],
  ["another node's secret by list", 'nodeA', `GET ${RED}/secrets?fieldSelector=metadata.name=only-b`],
  ['two secrets by one selector', 'nodeA', `GET ${RED}/secrets?fieldSelector=metadata.name!=only-a`],
  ['change of its own secret', 'nodeA', `PUT ${RED}/secrets/only-a`, { body: object('only-a') }],
  ["another node's pod", 'nodeA', `GET ${RED}/pods/pod-b`],
  ['all pods', 'nodeA', 'GET /api/v1/pods'],
  ["another node's pods", 'nodeA', 'GET /api/v1/pods?fieldSelector=spec.nodeName=node-b'],
  [
    'its own pods by the oldest form of a watch',
    'nodeA',
    'GET /api/v1/watch/pods?fieldSelector=spec.nodeName=node-a',
  ],
  [
    "another node's pod by the oldest form of a watch",
    'nodeA',
    'GET /api/v1/watch/namespaces/red/pods/pod-b?fieldSelector=spec.nodeName=node-a',
  ],
  [
    'claims of choice by the status of its pod',
    'nodeA',
    `PATCH ${RED}/pods/pod-a/status`,
    {
      headers: MERGE,
      body: { status: { resourceClaimStatuses: [{ name: 'x', resourceClaimName: 'victim' }] } },
    },
  ],
  [
    'a claim of choice for extended resources',
    'nodeA',
    `PATCH ${RED}/pods/pod-a/status`,
    {
      headers: MERGE,
      body: {
        status: {
          extendedResourceClaimStatus: {
            resourceClaimName: 'victim',
            requestMappings: [{ containerName: 'c', resourceName: 'a.b/c', requestName: 'r' }],
          },
        },
      },
    },
  ],
  ["all but another node's pods", 'nodeA', 'GET /api/v1/pods?fieldSelector=spec.nodeName!=node-b'],
  ["another node's Node", 'nodeA', 'GET /api/v1/nodes/node-b'],
  ['all Nodes', 'nodeA', 'GET /api/v1/nodes'],
  [
    "another node's status",
    'nodeA',
    'PATCH /api/v1/nodes/node-b/status',
    { headers: MERGE, body: { status: { phase: 'x' } } },
  ],
  [
    'a restricted label',
    'nodeA',
    'PATCH /api/v1/nodes/node-a',
    { headers: MERGE, body: { metadata: { labels: { 'node-restriction.kubernetes.io/team': 'x' } } } },
  ],
  [
    'its own taints',
    'nodeA',
    'PATCH /api/v1/nodes/node-a',
    { headers: MERGE, body: { spec: { taints: [{ key: 'a', effect: 'NoSchedule' }] } } },
  ],
  ['another Node made', 'nodeA', 'POST /api/v1/nodes', { body: object('node-c') }],
  ['a Node deleted', 'nodeA', 'DELETE /api/v1/nodes/node-b'],
  [
    'a pod that is no mirror',
    'nodeA',
    `POST ${RED}/pods`,
    { body: object('p', { spec: { nodeName: 'node-a', containers: [CONTAINER] } }) },
  ],
  ['a mirror pod on another node', 'nodeA', `POST ${RED}/pods`, { body: podSpec({ nodeName: 'node-b' }) }],
  ...Object.entries({
    'a trust bundle': { projected: { sources: [{ clusterTrustBundle: { name: 'x', path: 'y' } }] } },
    'a token': { projected: { sources: [{ serviceAccountToken: { path: 't' } }] } },
    'a CSI driver': { csi: { driver: 'd' } },
    'a claim': {
      ephemeral: {
        volumeClaimTemplate: {
          spec: { accessModes: ['ReadWriteOnce'], resources: { requests: { storage: '1Gi' } } },
        },
      },
    },
    'a share': { azureFile: { secretName: 's', shareName: 's' } },
  }).map(([what, source]): Attack => [
    `a mirror pod with ${what}`,
    'nodeA',
    `POST ${RED}/pods`,
    { body: podSpec({ volumes: [{ name: 'v', ...source }] }) },
  ]),
  [
    'a configuration of choice',
    'nodeA',
    'PATCH /api/v1/nodes/node-a',
    {
      headers: MERGE,
      body: { spec: { configSource: { configMap: { namespace: 'red', name: 'x', kubeletConfigKey: 'k' } } } },
    },
  ],
  [
    'a mirror pod with a secret',
    'nodeA',
    `POST ${RED}/pods`,
    { body: podSpec({ volumes: [{ name: 'v', secret: { secretName: 'top' } }] }) },
  ],
  [
    'a mirror pod with an account',
    'nodeA',
    `POST ${RED}/pods`,
    { body: podSpec({ serviceAccountName: 'b-bot' }) },
  ],
  ["another node's pod deleted", 'nodeA', `DELETE ${RED}/pods/pod-b`],
  [
    "another node's pod evicted",
    'nodeA',
    `POST ${RED}/pods/pod-b/eviction`,
    { body: { apiVersion: 'policy/v1', kind: 'Eviction', metadata: { name: 'pod-b' } } },
  ],
  [
    "another node's pod's status",
    'nodeA',
    `PATCH ${RED}/pods/pod-b/status`,
    { headers: MERGE, body: { status: { phase: 'Failed' } } },
  ],
  [
    'a pod bound to itself',
    'nodeA',
    `POST ${RED}/pods/pod-b/binding`,
    { body: { metadata: { name: 'pod-b' }, target: { name: 'node-a' } } },
  ],
  [
    "a token of another node's account",
    'nodeA',
    `POST ${RED}/serviceaccounts/b-bot/token`,
    tokenFor([], 'pod-b'),
  ],
  [
    'a token that no pod is bound to',
    'nodeA',
    `POST ${RED}/serviceaccounts/a-bot/token`,
    { body: { apiVersion: 'authentication.k8s.io/v1', kind: 'TokenRequest', spec: {} } },
  ],
  [
    'a token for an audience of choice',
    'nodeA',
    `POST ${RED}/serviceaccounts/a-bot/token`,
    tokenFor(['bank'], 'pod-a'),
  ],
  ["another node's lease", 'nodeA', `POST ${LEASES}`, { body: object('node-b') }],
  [
    'a lease elsewhere',
    'nodeA',
    'POST /apis/coordination.k8s.io/v1/namespaces/kube-system/leases',
    { body: object('node-a') },
  ],
  [
    "another node's CSINode",
    'nodeA',
    'POST /apis/storage.k8s.io/v1/csinodes',
    { body: object('node-b', { spec: { drivers: [] } }) },
  ],
  [
    "another node's devices",
    'nodeA',
    'POST /apis/resource.k8s.io/v1/resourceslices',
    {
      body: object('s', {
        spec: { nodeName: 'node-b', driver: 'd', pool: { name: 'p', resourceSliceCount: 1 } },
      }),
    },
  ],
  [
    'a certificate as another node',
    'nodeA',
    `POST ${CSRS}`,
    () => ({
      body: {
        apiVersion: 'certificates.k8s.io/v1',
        kind: 'CertificateSigningRequest',
        ...object('other-node'),
        spec: {
          request: csrs['CN=system:node:node-b,O=system:nodes'],
          signerName: 'kubernetes.io/kube-apiserver-client-kubelet',
          usages: ['client auth', 'digital signature'],
        },
      },
    }),
  ],
  ['roles', 'nodeA', `GET ${RBAC}/clusterroles`],
  ['exec in its own pod', 'nodeA', `POST ${RED}/pods/pod-a/exec?command=sh`],
  ['a node by name without the group', 'ungrouped', `GET ${RED}/secrets/only-b`],
  ['a node of no name', 'noNode', `GET ${RED}/secrets/only-b`],
  ['the group without a name', 'grouped', `GET ${RED}/secrets/only-b`],
  [
    "the scheduler's binding",
    'nodeA',
    `POST ${RED}/bindings`,
    { body: { metadata: { name: 'pod-b' }, target: { name: 'node-a' } } },
  ],
];

const csr = (name: string, spec: object) => (): Ask => ({
  body: {
    apiVersion: 'certificates.k8s.io/v1',
    kind: 'CertificateSigningRequest',
    metadata: { name },
    spec: { usages: ['client auth'], request: csrs['CN=admin,O=system:masters'], ...spec },
  },
});
const APPROVED = {
  status: { conditions: [{ type: 'Approved', status: 'True', reason: 'x', message: 'x' }] },
};
const CERTIFICATES: readonly Attack[] = [
  [
    'masters by request',
    'requester',
    `POST ${CSRS}`,
    csr('m', { signerName: 'kubernetes.io/kube-apiserver-client' }),
  ],
  [
    'a request without rights',
    'stranger',
    `POST ${CSRS}`,
    csr('m', { signerName: 'kubernetes.io/kube-apiserver-client' }),
  ],
  [
    "approval of one's own request",
    'requester',
    `PUT ${CSRS}/victim/approval`,
    { body: object('victim', APPROVED) },
  ],
  [
    'approval for another signer',
    'approver',
    `PATCH ${CSRS}/victim/approval`,
    { headers: MERGE, body: APPROVED },
  ],
  [
    'a certificate of choice by status',
    'approver',
    `PATCH ${CSRS}/victim/status`,
    {
      headers: MERGE,
      body: {
        status: {
          certificate: Buffer.from('-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n').toString(
            'base64',
          ),
        },
      },
    },
  ],
  [
    'a request signed by another key than its own',
    'requester',
    `POST ${CSRS}`,
    () => ({
      body: {
        apiVersion: 'certificates.k8s.io/v1',
        kind: 'CertificateSigningRequest',
        metadata: { name: 'stolen' },
        spec: {
          request: forged(csrs['CN=plain']!),
          signerName: 'kubernetes.io/kube-apiserver-client',
          usages: ['client auth'],
        },
      },
    }),
  ],
  [
    'usages that the signer does not give',
    'requester',
    `POST ${CSRS}`,
    () => ({
      body: {
        apiVersion: 'certificates.k8s.io/v1',
        kind: 'CertificateSigningRequest',
        metadata: { name: 'u' },
        spec: { request: 'AAAA', signerName: 'kubernetes.io/kube-apiserver-client', usages: ['cert sign'] },
      },
    }),
  ],
  [
    'a trust bundle',
    'editor',
    'POST /apis/certificates.k8s.io/v1beta1/clustertrustbundles',
    { body: object('x', { spec: { trustBundle: 'x' } }) },
  ],
];

const typed = (type: string, body: string): Ask => ({ headers: { 'content-type': type }, body });
const CONFIG = { apiVersion: 'v1', kind: 'ConfigMap' };
const aliases = Array.from(
  { length: 12 },
  (_, level) =>
    `a${level}: &a${level} [${Array.from({ length: 12 }, () => (level === 0 ? 'x' : `*a${level - 1}`)).join(', ')}]`,
).join('\n');
const BODIES: readonly Attack[] = [
  [
    'brackets without end',
    'editor',
    `POST ${BLUE}/configmaps`,
    typed('application/json', '['.repeat(500_000)),
  ],
  [
    'objects without end',
    'editor',
    `POST ${BLUE}/configmaps`,
    typed('application/json', `${'{"a":'.repeat(50_000)}1${'}'.repeat(50_000)}`),
  ],
  [
    'objects of objects in a known field',
    'editor',
    `POST ${BLUE}/configmaps`,
    typed(
      'application/json',
      `{"apiVersion":"v1","kind":"ConfigMap","metadata":${'{"a":'.repeat(20_000)}1${'}'.repeat(20_000)}}`,
    ),
  ],
  [
    'a billion laughs',
    'editor',
    `POST ${BLUE}/configmaps`,
    typed(
      'application/yaml',
      `apiVersion: v1\nkind: ConfigMap\nmetadata: {name: bomb}\n${aliases}\ndata: {x: *a11}\n`,
    ),
  ],
  [
    'an alias of itself',
    'editor',
    `POST ${BLUE}/configmaps`,
    typed('application/yaml', 'apiVersion: v1\nkind: ConfigMap\nmetadata: &m {name: bomb, labels: *m}\n'),
  ],
  [
    'two documents',
    'editor',
    `POST ${BLUE}/configmaps`,
    typed(
      'application/json',
      '{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"a"}}{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"b"}}',
    ),
  ],
  [
    'more than a body may be',
    'editor',
    `POST ${BLUE}/configmaps`,
    { body: { ...CONFIG, metadata: { name: 'big' }, data: { x: 'x'.repeat(4 * 1024 * 1024) } } },
  ],
  [
    'more than a config map may be',
    'editor',
    `POST ${BLUE}/configmaps`,
    { body: { ...CONFIG, metadata: { name: 'big' }, data: { x: 'x'.repeat(1024 * 1024 + 1) } } },
  ],
  [
    'a number too great',
    'editor',
    `POST ${BLUE}/configmaps`,
    typed(
      'application/json',
      `{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"n","generation":1${'0'.repeat(100_000)}}}`,
    ),
  ],
  [
    'keys twice',
    'editor',
    `POST ${BLUE}/configmaps?fieldValidation=Strict`,
    typed(
      'application/json',
      '{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"one"},"metadata":{"name":"three"}}',
    ),
  ],
  [
    'another type than it says',
    'editor',
    `POST ${BLUE}/configmaps`,
    typed('application/vnd.kubernetes.protobuf', 'k8s\u0000\u000a\u00ff\u00ff\u00ff\u00ff\u000f'),
  ],
  ['a type nobody knows', 'editor', `POST ${BLUE}/configmaps`, typed('text/html', '<x/>')],
  [
    'another kind',
    'editor',
    `POST ${BLUE}/configmaps`,
    { body: { apiVersion: 'v1', kind: 'Secret', metadata: { name: 'three' } } },
  ],
  [
    'too many steps of a patch',
    'editor',
    `PATCH ${BLUE}/configmaps/one`,
    {
      headers: JSON_PATCH,
      body: Array.from({ length: 10_001 }, () => ({ op: 'test', path: '/kind', value: 'ConfigMap' })),
    },
  ],
  [
    'copies of copies',
    'editor',
    `PATCH ${BLUE}/configmaps/one`,
    {
      headers: JSON_PATCH,
      body: [
        { op: 'add', path: '/data/a', value: 'x'.repeat(1000) },
        ...Array.from({ length: 40 }, (_, index) => ({ op: 'copy', from: '/data', path: `/data/c${index}` })),
      ],
    },
  ],
  ['a patch of what is no patch', 'editor', `PATCH ${BLUE}/configmaps/one`, typed('application/json', '{}')],
  [
    'a name with a slash',
    'editor',
    `POST ${BLUE}/configmaps`,
    { body: { ...CONFIG, metadata: { name: '../red/top' } } },
  ],
  ['a name of dots', 'editor', `POST ${BLUE}/configmaps`, { body: { ...CONFIG, metadata: { name: '..' } } }],
  [
    'a generated name with a slash',
    'editor',
    `POST ${BLUE}/configmaps`,
    { body: { ...CONFIG, metadata: { generateName: '../' } } },
  ],
  [
    'a key that leaves its folder',
    'editor',
    `POST ${BLUE}/configmaps`,
    { body: { ...CONFIG, metadata: { name: 'three' }, data: { '../../etc/passwd': 'x' } } },
  ],
  [
    'a key of dots',
    'editor',
    `POST ${BLUE}/configmaps`,
    { body: { ...CONFIG, metadata: { name: 'three' }, data: { '..': 'x' } } },
  ],
  [
    'a token of a list that is none',
    'reader',
    `GET ${BLUE}/configmaps?limit=1&continue=${Buffer.from('{"v":"meta.k8s.io/v1","rv":1,"start":"../red/"}').toString('base64url')}`,
  ],
  [
    'a selector that backtracks',
    'reader',
    `GET ${BLUE}/configmaps?labelSelector=${encodeURIComponent(`a in (${'('.repeat(2000)}`)}`,
  ],
];

const GROUPS: Readonly<Record<string, readonly Attack[]>> = {
  bodies: BODIES,
  paths: PATHS,
  verbs: VERBS,
  'names of resources': NAMES,
  subresources: SUBRESOURCES,
  headers: HEADERS,
  escalation: ESCALATION,
  reviews: REVIEWS,
  tokens: TOKENS,
  nodes: NODES,
  certificates: CERTIFICATES,
};

for (const [group, attacks] of Object.entries(GROUPS)) {
  describe(group, () => {
    for (const [name, who, target, how] of attacks)
      test(`${who}: ${name}`, async () =>
        refused(await ask(who, target, typeof how === 'function' ? how() : how)));
  });
}

describe('reviews cannot be made to lie', () => {
  const allowed = async (who: string, spec: object): Promise<unknown> => {
    const { status, text } = await ask(
      who,
      `POST ${AUTHZ}/selfsubjectaccessreviews`,
      review(spec, 'SelfSubjectAccessReview'),
    );
    if (status !== 201) return false;
    return (JSON.parse(text) as { status: { allowed: boolean } }).status.allowed;
  };
  const cases: readonly (readonly [name: string, who: string, spec: object])[] = [
    [
      "another's name in one's own review",
      'stranger',
      {
        user: 'root',
        groups: ['system:masters'],
        resourceAttributes: { namespace: 'red', verb: 'get', resource: 'secrets' },
      },
    ],
    [
      'all verbs by one',
      'reader',
      { resourceAttributes: { namespace: 'blue', verb: '*', resource: 'pods' } },
    ],
    [
      'all resources by one',
      'reader',
      { resourceAttributes: { namespace: 'blue', verb: 'get', resource: '*' } },
    ],
    [
      'all groups',
      'reader',
      { resourceAttributes: { namespace: 'blue', verb: 'get', resource: 'pods', group: '*' } },
    ],
    [
      'all names by one',
      'named',
      { resourceAttributes: { namespace: 'blue', verb: 'get', resource: 'configmaps', name: '*' } },
    ],
    ['all namespaces', 'reader', { resourceAttributes: { namespace: '*', verb: 'get', resource: 'pods' } }],
    ['paths by a prefix', 'prober', { nonResourceAttributes: { path: '/health', verb: 'get' } }],
  ];
  for (const [name, who, spec] of cases)
    test(`${who}: ${name}`, async () => assert.equal(await allowed(who, spec), false));
});

describe('below HTTP', () => {
  /** Bytes as they are; what comes back until the server closes, or a second answer is there. */
  function raw(bytes: string): Promise<string> {
    return new Promise((resolve) => {
      const pair = certificates.get('reader')!;
      const socket = connectTls(
        {
          host: '127.0.0.1',
          port,
          ca: api.pki.ca.certificatePem,
          cert: pair.certificatePem,
          key: pair.keyPem,
          ALPNProtocols: ['http/1.1'],
        },
        () => socket.write(bytes),
      );
      let text = '';
      const done = (): void => {
        socket.destroy();
        resolve(text);
      };
      socket
        .setEncoding('utf8')
        .on('data', (part: string) => {
          text += part;
        })
        .on('error', done)
        .on('close', () => resolve(text));
      socket.setTimeout(1500, done);
    });
  }
  const smuggled = `GET ${RED}/secrets/top HTTP/1.1\r\nHost: x\r\nX-Remote-User: root\r\n\r\n`;
  const cases: Readonly<Record<string, string>> = {
    'two lengths': `POST ${BLUE}/pods HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nContent-Length: 0\r\n\r\n${smuggled}`,
    'length and chunks': `POST ${BLUE}/pods HTTP/1.1\r\nHost: x\r\nContent-Length: ${smuggled.length + 5}\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n${smuggled}`,
    'chunks spelled oddly': `POST ${BLUE}/pods HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: xchunked\r\n\r\n0\r\n\r\n${smuggled}`,
    'a folded header': `GET ${RED}/secrets/top HTTP/1.1\r\nHost: x\r\nX-A: b\r\n X-Remote-User: root\r\n\r\n`,
    'a space before the colon': `GET ${RED}/secrets/top HTTP/1.1\r\nHost: x\r\nImpersonate-User : root\r\n\r\n`,
    'a bare line feed': `GET ${RED}/secrets/top HTTP/1.1\nHost: x\nX-Remote-User: root\n\n`,
    'no version': `GET ${RED}/secrets/top\r\n\r\n`,
    CONNECT: 'CONNECT 127.0.0.1:22 HTTP/1.1\r\nHost: 127.0.0.1:22\r\n\r\n',
    'an upgrade to clear-text HTTP/2': `GET ${RED}/secrets/top HTTP/1.1\r\nHost: x\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQCAAAAAAIAAAAA\r\n\r\n`,
  };
  for (const [name, bytes] of Object.entries(cases)) {
    test(name, async () => {
      const text = await raw(bytes);
      assert.doesNotMatch(text, /HTTP\/1\.1 [23]\d\d|HTTP\/1\.1 101/);
      assert.ok(!text.includes(SECRET_WORD));
    });
  }

  test('HTTP/2: methods and paths that are none', async () => {
    const pair = certificates.get('reader')!;
    const session = connectHttp2(`https://127.0.0.1:${port}`, {
      ca: api.pki.ca.certificatePem,
      cert: pair.certificatePem,
      key: pair.keyPem,
    });
    const status = (method: string, path: string): Promise<number> =>
      new Promise((resolve) => {
        const stream = session.request({
          [constants.HTTP2_HEADER_METHOD]: method,
          [constants.HTTP2_HEADER_PATH]: path,
        });
        let code = 0;
        stream
          .on('response', (headers) => {
            code = headers[':status'] ?? 0;
          })
          .on('close', () => resolve(code))
          .on('error', () => resolve(code))
          .resume()
          .end();
      });
    try {
      for (const [method, path] of [
        ['constructor', `${RED}/secrets`],
        ['get', `${RED}/secrets`],
        ['__proto__', `${RED}/secrets`],
        ['GET', '*'],
        ['GET', `${RED}/secrets#configmaps`],
        ['GET', `/\u0000${RED}`],
      ] as const) {
        const code = await status(method, path).catch(() => 0);
        assert.ok(code === 0 || (code >= 400 && code < 500), `${method} ${path}: ${code}`);
      }
      assert.equal(await status('GET', `${BLUE}/configmaps`), 200, 'the connection still serves');
    } finally {
      session.destroy();
    }
  });
});

describe('a watch on one name shows no other', () => {
  const WATCH = '/api/v1/watch/namespaces/blue/configmaps/one';
  for (const target of [
    WATCH,
    `${WATCH}?resourceVersion=BEFORE`,
    `${WATCH}?fieldSelector=`,
    `${WATCH}?fieldSelector=metadata.name%3Dtwo`,
    `${WATCH}?fieldSelector=metadata.namespace%3Dblue`,
    `${WATCH}?labelSelector=!x`,
    `${BLUE}/configmaps?watch=true&fieldSelector=metadata.name%3Done`,
    `${BLUE}/configmaps/one?watch=true&fieldSelector=metadata.name%3Dtwo`,
  ]) {
    test(target, async () => {
      const {
        metadata: { resourceVersion },
      } = JSON.parse((await ask('root', `GET ${BLUE}`)).text) as { metadata: { resourceVersion: string } };
      const path = `${target.replace('BEFORE', resourceVersion)}${target.includes('?') ? '&' : '?'}timeoutSeconds=1`;
      // The server ends the watch, so that all it would ever show is there.
      const answer = await new Promise<string>((resolve, reject) => {
        httpsRequest({ host: '127.0.0.1', port, path, agent: agentOf('named') }, (response) => {
          let text = '';
          response
            .setEncoding('utf8')
            .on('data', (part: string) => {
              text += part;
            })
            .on('close', () => resolve(text));
        })
          .on('error', reject)
          .end();
      });
      assert.doesNotMatch(answer, /"name":"(two|one-more)"/);
      if (target.endsWith('BEFORE')) assert.match(answer, /"name":"one"/);
    });
  }
});

test('a group with a comma stays one group, over both versions of HTTP', async () => {
  const groups = ['CN=admins,OU=people', 'system:masters,devs'];
  const body = JSON.stringify({ apiVersion: 'authentication.k8s.io/v1', kind: 'SelfSubjectReview' });
  const path = '/apis/authentication.k8s.io/v1/selfsubjectreviews';
  const groupsIn = (text: string): unknown =>
    (JSON.parse(text) as { status: { userInfo: { groups: string[] } } }).status.userInfo.groups;
  const { text } = await ask('root', `POST ${path}`, {
    body,
    headers: { 'impersonate-user': 'jane', 'impersonate-group': groups },
  });
  assert.deepEqual(groupsIn(text), [...groups, 'system:authenticated']);
  const pair = certificates.get('root')!;
  const session = connectHttp2(`https://127.0.0.1:${port}`, {
    ca: api.pki.ca.certificatePem,
    cert: pair.certificatePem,
    key: pair.keyPem,
  });
  try {
    const stream = session.request({
      ':method': 'POST',
      ':path': path,
      'content-type': 'application/json',
      'impersonate-user': 'jane',
      'impersonate-group': groups,
    });
    stream.end(body);
    let answer = '';
    for await (const part of stream.setEncoding('utf8')) answer += part as string;
    assert.deepEqual(groupsIn(answer), [...groups, 'system:authenticated']);
  } finally {
    session.destroy();
  }
});

test('nothing that was attacked has changed', async () => {
  await ask('editor', `POST ${BLUE}/configmaps?dryRun=All`, {
    body: '{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"p","labels":{"__proto__":"x"}},"__proto__":{"polluted":true},"data":{"__proto__":"x"}}',
  });
  const read = async (path: string): Promise<Record<string, never>> =>
    JSON.parse((await ask('root', `GET ${path}`)).text) as Record<string, never>;
  const names = async (path: string): Promise<string[]> =>
    ((await read(path))['items'] as unknown as { metadata: { name: string } }[]).map(
      ({ metadata }) => metadata.name,
    );
  assert.equal(({} as Record<string, unknown>)['polluted'], undefined);
  assert.deepEqual(await names(`${BLUE}/configmaps`), ['one', 'one-more', 'two']);
  assert.deepEqual(await names(`${RED}/secrets`), ['only-a', 'only-b', 'top']);
  assert.deepEqual(await names('/api/v1/nodes'), ['node-a', 'node-b']);
  assert.deepEqual(await names(`${RED}/pods`), ['pod-a', 'pod-b']);
  assert.deepEqual(await names(CSRS), ['victim']);
  for (const name of ['mine', 'gatherer', 'labelled', 'applied'])
    assert.ok(!(await names(`${RBAC}/clusterroles`)).includes(name), name);
  await ask('approver', `PATCH ${CSRS}/victim`, {
    headers: MERGE,
    body: { spec: { signerName: 'example.com/harmless', username: 'system:admin' } },
  });
  const { spec } = (await read(`${CSRS}/victim`)) as unknown as {
    spec: { signerName: string; username: string };
  };
  assert.deepEqual([spec.signerName, spec.username], ['kubernetes.io/kube-apiserver-client', 'root']);
  assert.equal(
    (
      (await read(`${RBAC}/clusterroles/cluster-admin`)) as unknown as {
        metadata: { labels: Record<string, string> };
      }
    ).metadata.labels['rbac.authorization.k8s.io/aggregate-to-view'],
    undefined,
  );
});
