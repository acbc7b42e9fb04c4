/**
 * Attacks by what is sent: expressions and patterns that would run for ever, definitions that bomb, webhooks that answer in circles, names that forge
 * records. On a real server with everything it has by default. Each is refused, or answered without harm, in processor time that is bounded.
 */
import assert from 'node:assert/strict';
import { mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import type { ApiRequest } from '../http/request.ts';
import { createLogger } from '#stdx/log.ts';
import type { UserInfo } from '#machinery/object.ts';
import { auditSettings } from '#cmd/apiserver/flags/audit.ts';
import { ADMIN, startTestApi, type TestApi } from '#testing/start-test-api.ts';
import { startWebhookPeer, type PeerAnswer, type WebhookPeer } from '#testing/webhook-peer.ts';

/** What is quadratic or worse takes minutes at these lengths. */
const CPU_BOUND_MS = 5_000;
const LONG = 200_000;

interface Answer {
  readonly status: number;
  readonly text: string;
}

let api: TestApi;
let peer: WebhookPeer;
let answers: (body: unknown) => PeerAnswer | Promise<PeerAnswer> = () => ({});
const logged: string[] = [];
const dir = mkdtempSync(join(tmpdir(), 'capstan-red-team-'));
const auditLog = join(dir, 'audit.log');

async function ask(
  target: string,
  {
    body,
    headers = {},
    user = ADMIN,
  }: {
    readonly body?: unknown;
    readonly headers?: Readonly<Record<string, string>>;
    readonly user?: UserInfo;
  } = {},
): Promise<Answer> {
  const [method = 'GET', url = '/'] = target.split(' ');
  const mark = url.indexOf('?');
  const bytes = Buffer.from(body === undefined ? '' : typeof body === 'string' ? body : JSON.stringify(body));
  const request: ApiRequest = {
    method,
    path: mark < 0 ? url : url.slice(0, mark),
    query: mark < 0 ? '' : url.slice(mark + 1),
    headers: { ...(body === undefined ? {} : { 'content-type': 'application/json' }), ...headers },
    remoteAddress: '127.0.0.1',
    onAbort: () => {},
    body: () => Promise.resolve(bytes),
    user,
  };
  const { status, body: answer } = await api.server.handler(request);
  assert.ok(typeof answer !== 'function', `${target} answered a stream`);
  return { status, text: (Buffer.isBuffer(answer) ? answer : Buffer.concat(answer as Buffer[])).toString() };
}

async function make(target: string, body: object): Promise<void> {
  const { status, text } = await ask(`POST ${target}`, { body });
  assert.equal(status, 201, text);
}

/** Answers what was asked, which took little processor time. */
async function quick(work: () => Promise<Answer>): Promise<Answer> {
  const start = process.cpuUsage();
  const answer = await work();
  const { user, system } = process.cpuUsage(start);
  assert.ok((user + system) / 1000 < CPU_BOUND_MS, `took ${(user + system) / 1000} ms of processor time`);
  return answer;
}

const refused = ({ status, text }: Answer): void =>
  assert.ok(status >= 400 && status < 500, `answered ${status}: ${text.slice(0, 500)}`);

before(async () => {
  const policy = join(dir, 'policy.yaml');
  writeFileSync(policy, 'apiVersion: audit.k8s.io/v1\nkind: Policy\nrules: [{level: Metadata}]\n');
  const audit = auditSettings({ auditPolicyFile: policy, auditLogPath: auditLog } as never);
  api = await startTestApi({
    log: createLogger({ level: 'debug', write: (line) => void logged.push(line) }),
    settings: { audit },
  });
  peer = await startWebhookPeer(({ body }) => answers(body));
  await make('/api/v1/namespaces', { metadata: { name: 'blue' } });
});
after(async () => {
  await api?.stop();
  await peer?.stop();
  rmSync(dir, { recursive: true, force: true });
});

// ------------------------------------------------------------------------------------------------ patterns and expressions

const GROUP = 'attack.example.com';
let count = 0;

/** A definition with this schema of spec; answers where its objects live. */
async function define(
  spec: object,
  more: object = {},
): Promise<{ readonly answer: Answer; readonly path: string; readonly kind: string }> {
  const plural = `things${++count}`,
    kind = `Thing${count}`;
  const answer = await quick(() =>
    ask('POST /apis/apiextensions.k8s.io/v1/customresourcedefinitions', {
      body: {
        metadata: { name: `${plural}.${GROUP}` },
        spec: {
          group: GROUP,
          scope: 'Namespaced',
          names: { plural, kind, singular: kind.toLowerCase(), listKind: `${kind}List` },
          versions: [
            {
              name: 'v1',
              served: true,
              storage: true,
              schema: { openAPIV3Schema: { type: 'object', properties: { spec } } },
              ...more,
            },
          ],
        },
      },
    }),
  );
  const path = `/apis/${GROUP}/v1/namespaces/blue/${plural}`;
  // Its paths are served a moment after it was made.
  if (answer.status === 201)
    while ((await ask(`GET ${path}`)).status === 404) await new Promise((resolve) => setTimeout(resolve, 10));
  return { answer, path, kind };
}

describe('patterns that backtrack', () => {
  for (const pattern of [
    '^(a+)+$',
    '^(a|a)*$',
    '^(a|aa)+$',
    '(x+x+)+y',
    '^([a-zA-Z]+)*$',
    '(.*a){25}$',
    '^(([a-z])+.)+[A-Z]([a-z])+$',
  ]) {
    test(`a pattern of a definition: ${pattern}`, async () => {
      const { path, kind, answer } = await define({ type: 'string', pattern });
      assert.equal(answer.status, 201, answer.text);
      for (const letter of ['a', 'x'])
        refused(
          await quick(() =>
            ask(`POST ${path}`, {
              body: {
                apiVersion: `${GROUP}/v1`,
                kind,
                metadata: { name: 'a' },
                spec: `${letter.repeat(LONG)}!`,
              },
            }),
          ),
        );
    });
  }

  const FORMATS = [
    'bsonobjectid',
    'uri',
    'email',
    'hostname',
    'ipv4',
    'ipv6',
    'cidr',
    'mac',
    'uuid',
    'uuid3',
    'uuid4',
    'uuid5',
    'isbn',
    'isbn10',
    'isbn13',
    'creditcard',
    'ssn',
    'hexcolor',
    'rgbcolor',
    'byte',
    'password',
    'date',
    'duration',
    'datetime',
    'date-time',
    'k8s-short-name',
    'k8s-long-name',
  ];
  const NASTY = [
    'a',
    '.',
    '-',
    'a.',
    'a-',
    '1',
    '1.',
    '1:',
    ':',
    '0',
    ' ',
    '@',
    'a@',
    '%',
    '%2',
    '1h',
    '(',
    'http://',
    'é',
  ];
  test('formats of a definition, each with long texts of every sort', async () => {
    for (const format of FORMATS) {
      const { path, kind, answer } = await define({ type: 'string', format });
      if (answer.status !== 201) continue;
      await quick(async () => {
        let last: Answer = { status: 0, text: '' };
        for (const piece of NASTY)
          for (const end of ['!', '\n']) {
            last = await ask(`POST ${path}?dryRun=All`, {
              body: {
                apiVersion: `${GROUP}/v1`,
                kind,
                metadata: { name: 'a' },
                spec: piece.repeat(20_000 / piece.length) + end,
              },
            });
            assert.ok(last.status < 500, `${format} ${piece}: ${last.text.slice(0, 300)}`);
          }
        return last;
      });
    }
  });

  for (const expression of [
    "!self.matches('^(a+)+$')",
    "!self.find('(a|aa)+$').startsWith('b')",
    "self.findAll('(a*)*b').size() == 99",
    "self.replace('a', self).size() < 0",
    "self.split('').size() < 0",
  ]) {
    test(`an expression of a definition: ${expression.slice(0, 40)}`, async () => {
      const { path, kind, answer } = await define({
        type: 'string',
        maxLength: 1000,
        'x-kubernetes-validations': [{ rule: expression }],
      });
      if (answer.status !== 201) return refused(answer);
      const made = await quick(() =>
        ask(`POST ${path}`, {
          body: { apiVersion: `${GROUP}/v1`, kind, metadata: { name: 'a' }, spec: 'a'.repeat(1000) },
        }),
      );
      assert.ok(made.status === 201 || (made.status >= 400 && made.status < 500), made.text);
    });
  }

  test('loops within loops over lists without a bound are refused when they are defined', async () => {
    const list = {
      type: 'array',
      items: { type: 'string' },
      'x-kubernetes-validations': [{ rule: 'self.all(a, self.all(b, self.all(c, a + b + c != "x")))' }],
    };
    const { answer } = await define(list);
    refused(answer);
    assert.match(answer.text, /cost/);
  });
});

describe('policies that bomb', () => {
  const ADMISSION = '/apis/admissionregistration.k8s.io/v1';
  async function withPolicy(expression: string, work: () => Promise<Answer>): Promise<Answer> {
    const name = `bomb-${++count}`;
    const body = {
      metadata: { name },
      spec: {
        failurePolicy: 'Fail',
        matchConstraints: {
          resourceRules: [
            { apiGroups: [''], apiVersions: ['v1'], operations: ['CREATE'], resources: ['configmaps'] },
          ],
        },
        validations: [{ expression }],
      },
    };
    const made = await quick(() => ask(`POST ${ADMISSION}/validatingadmissionpolicies`, { body }));
    if (made.status !== 201) return made;
    await make(`${ADMISSION}/validatingadmissionpolicybindings`, {
      metadata: { name },
      spec: { policyName: name, validationActions: ['Deny'] },
    });
    try {
      return await quick(work);
    } finally {
      await ask(`DELETE ${ADMISSION}/validatingadmissionpolicybindings/${name}`);
      await ask(`DELETE ${ADMISSION}/validatingadmissionpolicies/${name}`);
    }
  }
  const text = 'a'.repeat(100_000);
  const create = (): Promise<Answer> =>
    ask('POST /api/v1/namespaces/blue/configmaps', {
      body: {
        metadata: { generateName: 'bomb-' },
        data: Object.fromEntries(Array.from({ length: 8 }, (_, i) => [`k${i}`, text])),
      },
    });

  for (const [what, expression] of Object.entries({
    'a pattern that backtracks': "!object.data.all(k, object.data[k].matches('^(a+)+b$'))",
    'a text that doubles':
      "object.data.k0.replace('a', object.data.k0).replace('a', object.data.k0).size() < 0",
    'loops within loops':
      "[1,2,3,4,5,6,7,8,9,10].all(a, [1,2,3,4,5,6,7,8,9,10].all(b, [1,2,3,4,5,6,7,8,9,10].all(c, object.data.all(d, object.data.all(e, object.data.all(f, object.data[f].contains('b') || true))))))",
    'a pattern made of the request': 'object.data.k0.matches(object.data.k1)',
    'joined texts': 'object.data.map(k, object.data[k]).join(object.data.k0).size() < 0',
  })) {
    test(what, async () => {
      const answer = await withPolicy(expression, create);
      assert.ok(
        answer.status < 500 && (answer.status === 201 || answer.status >= 400),
        answer.text.slice(0, 500),
      );
    });
  }

  test('an expression nested without end', async () =>
    refused(await withPolicy(`${'('.repeat(5_000)}true${')'.repeat(5_000)}`, create)));
  test('an expression without end', async () =>
    refused(await withPolicy(Array.from({ length: 100_000 }, () => 'true').join(' && '), create)));
  test('a list of lists without end', async () =>
    refused(await withPolicy(`${'['.repeat(3_000)}1${']'.repeat(3_000)} == 1`, create)));
});

describe('selectors and patches that bomb', () => {
  const cases: Readonly<Record<string, () => Promise<Answer>>> = {
    'a label selector of many requirements': () =>
      ask(
        `GET /api/v1/namespaces/blue/configmaps?labelSelector=${Array.from({ length: 5_000 }, (_, i) => `a${i}%20in%20(b,c)`).join(',')},!`,
      ),
    'brackets in a label selector': () =>
      ask(`GET /api/v1/namespaces/blue/configmaps?labelSelector=a%20in%20${'('.repeat(20_000)}`),
    'spaces in a label selector': () =>
      ask(`GET /api/v1/namespaces/blue/configmaps?labelSelector=a%20in%20(b${'%20'.repeat(20_000)}c)`),
    'a key that is no key': () =>
      ask(`GET /api/v1/namespaces/blue/configmaps?labelSelector=${'a.'.repeat(20_000)}!`),
    'a field selector of escapes': () =>
      ask(`GET /api/v1/namespaces/blue/configmaps?fieldSelector=${'%5C'.repeat(20_001)}=x`),
    'a JSON pointer without end': () =>
      ask('PATCH /api/v1/namespaces/blue', {
        headers: { 'content-type': 'application/json-patch+json' },
        body: [{ op: 'add', path: '/a'.repeat(50_000), value: 1 }],
      }),
    'tildes in a JSON pointer': () =>
      ask('PATCH /api/v1/namespaces/blue', {
        headers: { 'content-type': 'application/json-patch+json' },
        body: [{ op: 'test', path: `/${'~0~1'.repeat(50_000)}`, value: 1 }],
      }),
    'a quantity of many digits': () =>
      ask('POST /api/v1/namespaces/blue/pods', {
        body: {
          metadata: { name: 'p' },
          spec: {
            containers: [
              { name: 'c', image: 'i', resources: { limits: { cpu: `${'9'.repeat(100_000)}!` } } },
            ],
          },
        },
      }),
    'a quantity with a huge exponent': () =>
      ask('POST /api/v1/namespaces/blue/pods', {
        body: {
          metadata: { name: 'p' },
          spec: {
            containers: [
              {
                name: 'c',
                image: 'i',
                resources: { limits: { cpu: '1e999999999' }, requests: { cpu: '1e9999999999' } },
              },
            ],
          },
        },
      }),
    'a name of many parts': () =>
      ask('POST /api/v1/namespaces/blue/configmaps', {
        body: { metadata: { name: `${'a-'.repeat(100_000)}.` } },
      }),
    'a label of many dashes': () =>
      ask('POST /api/v1/namespaces/blue/configmaps', {
        body: { metadata: { name: 'l', labels: { a: '-'.repeat(100_000) } } },
      }),
    'an image of many slashes': () =>
      ask('POST /api/v1/namespaces/blue/pods', {
        body: { metadata: { name: ' ' }, spec: { containers: [{ name: 'c', image: 'a/'.repeat(100_000) }] } },
      }),
    'a schedule of many commas': () =>
      ask('POST /apis/batch/v1/namespaces/blue/cronjobs', {
        body: {
          metadata: { name: 'c' },
          spec: {
            schedule: `${'1,'.repeat(100_000)}* * * *`,
            jobTemplate: {
              spec: {
                template: { spec: { restartPolicy: 'Never', containers: [{ name: 'c', image: 'i' }] } },
              },
            },
          },
        },
      }),
    'a time that is none': () =>
      ask('POST /api/v1/namespaces/blue/configmaps', {
        body: { metadata: { name: 't', annotations: {}, deletionTimestamp: '1'.repeat(100_000) } },
      }),
    'a CIDR that is none': () =>
      ask('POST /apis/networking.k8s.io/v1/namespaces/blue/networkpolicies', {
        body: {
          metadata: { name: 'n' },
          spec: {
            podSelector: {},
            ingress: [{ from: [{ ipBlock: { cidr: `${'1.'.repeat(100_000)}/8` } }] }],
          },
        },
      }),
    'a path of an Ingress that is none': () =>
      ask('POST /apis/networking.k8s.io/v1/namespaces/blue/ingresses', {
        body: {
          metadata: { name: 'n' },
          spec: {
            rules: [
              {
                host: `${'*.'.repeat(50_000)}a`,
                http: {
                  paths: [
                    {
                      path: `/${'/'.repeat(100_000)}`,
                      pathType: 'Prefix',
                      backend: { service: { name: 'a', port: { number: 1 } } },
                    },
                  ],
                },
              },
            ],
          },
        },
      }),
  };
  for (const [name, attack] of Object.entries(cases)) test(name, async () => refused(await quick(attack)));
});

// -------------------------------------------------------------------------------------------------------------- webhooks

describe('webhooks', () => {
  const WEBHOOKS = '/apis/admissionregistration.k8s.io/v1';
  const rules = (resources: string): object[] => [
    { apiGroups: [''], apiVersions: ['v1'], operations: ['CREATE'], resources: [resources] },
  ];
  const hook = (name: string, resources: string, more: object = {}): object => ({
    name: `${name}.example.com`,
    clientConfig: {
      url: `${peer.url.replace(/\/$/, '')}/${name}`,
      caBundle: Buffer.from(peer.caPem).toString('base64'),
    },
    rules: rules(resources),
    sideEffects: 'None',
    admissionReviewVersions: ['v1'],
    timeoutSeconds: 2,
    ...more,
  });
  async function withHook(
    kind: 'mutating' | 'validating',
    hooks: readonly object[],
    work: () => Promise<void>,
  ): Promise<void> {
    await make(`${WEBHOOKS}/${kind}webhookconfigurations`, { metadata: { name: 'attack' }, webhooks: hooks });
    try {
      await work();
    } finally {
      await ask(`DELETE ${WEBHOOKS}/${kind}webhookconfigurations/attack`);
    }
  }
  const uidOf = (body: unknown): string => (body as { request: { uid: string } }).request.uid;
  const review = (body: unknown, response: object): PeerAnswer => ({
    body: {
      apiVersion: 'admission.k8s.io/v1',
      kind: 'AdmissionReview',
      response: { uid: uidOf(body), allowed: true, ...response },
    },
  });

  test('two that undo each other end after the second round', async () => {
    let calls = 0;
    answers = (body) => {
      calls++;
      return review(body, {
        patchType: 'JSONPatch',
        patch: Buffer.from(JSON.stringify([{ op: 'add', path: '/data/n', value: String(calls) }])).toString(
          'base64',
        ),
      });
    };
    await withHook(
      'mutating',
      ['one', 'two'].map((name) => hook(name, 'configmaps', { reinvocationPolicy: 'IfNeeded' })),
      async () => {
        const { status, text } = await ask('POST /api/v1/namespaces/blue/configmaps', {
          body: { metadata: { name: 'ping' }, data: { n: '0' } },
        });
        assert.equal(status, 201, text);
        assert.ok(calls <= 4, `${calls} calls`);
      },
    );
  });

  test('one that asks for more of what it judges, without end, is cut by its time, and nobody else waits', async () => {
    let going = true;
    answers = async (body) => {
      if (going)
        await ask('POST /api/v1/namespaces/blue/secrets', { body: { metadata: { generateName: 'loop-' } } });
      return review(body, {});
    };
    await withHook('validating', [hook('loop', 'secrets', { timeoutSeconds: 1 })], async () => {
      const looping = ask('POST /api/v1/namespaces/blue/secrets', { body: { metadata: { name: 'loop' } } });
      let others = 0;
      void looping.then(() => {
        going = false;
      });
      while (going) {
        assert.equal(
          (
            await ask('POST /api/v1/namespaces/blue/configmaps', {
              body: { metadata: { generateName: 'other-' } },
            })
          ).status,
          201,
        );
        others++;
        // Everything here is in memory: timers have their turn only where it is given.
        await new Promise((resolve) => setImmediate(resolve));
      }
      const { status, text } = await looping;
      assert.ok(status >= 400, text);
      assert.ok(others > 10, `${others} others were served`);
    });
    going = false;
  });

  for (const [what, response] of Object.entries({
    'a patch that moves it to another namespace': {
      patchType: 'JSONPatch',
      patch: Buffer.from(
        JSON.stringify([{ op: 'replace', path: '/metadata/namespace', value: 'kube-system' }]),
      ).toString('base64'),
    },
    'a patch of ten thousand copies': {
      patchType: 'JSONPatch',
      patch: Buffer.from(
        JSON.stringify([
          { op: 'add', path: '/data/a', value: 'x'.repeat(1000) },
          ...Array.from({ length: 24 }, (_, i) => ({ op: 'copy', from: '/data', path: `/data/a${i}` })),
        ]),
      ).toString('base64'),
    },
    'a uid of another request': { uid: 'another' },
  })) {
    test(what, async () => {
      answers = (body) => review(body, response);
      await withHook('mutating', [hook('m', 'configmaps')], async () => {
        const { status, text } = await quick(() =>
          ask('POST /api/v1/namespaces/blue/configmaps', {
            body: { metadata: { name: 'victim', namespace: 'blue' }, data: { n: '0' } },
          }),
        );
        assert.ok(status >= 400, text.slice(0, 300));
      });
      assert.equal((await ask('GET /api/v1/namespaces/kube-system/configmaps/victim')).status, 404);
      assert.equal((await ask('GET /api/v1/namespaces/blue/configmaps/victim')).status, 404);
    });
  }
});

// ----------------------------------------------------------------------------------------------------------------- records

describe('nobody writes into the records', () => {
  const FORGED = '2026-01-01T00:00:00.000Z INFO  forged';
  const evil = `eve\n${FORGED}\r\u001b[2K\u009b31m`;
  const user: UserInfo = { name: evil, groups: [evil], uid: evil, extra: { [evil]: [evil] } };
  const attacks: Readonly<Record<string, () => Promise<Answer>>> = {
    'by a user name': () => ask('GET /api/v1/namespaces/blue/secrets', { user }),
    'by a user agent': () =>
      ask('GET /api/v1/namespaces/blue/secrets/none', { headers: { 'user-agent': evil } }),
    'by a path': () => ask(`GET /api/v1/namespaces/blue/secrets/${encodeURIComponent(evil)}`),
    'by a raw path': () => ask(`GET /nowhere/${evil.replaceAll(' ', '%20')}`),
    'by a query': () => ask(`GET /api/v1/namespaces/blue/secrets?labelSelector=${encodeURIComponent(evil)}`),
    'by an audit ID': () =>
      ask('GET /api/v1/namespaces/blue/secrets/none', { headers: { 'audit-id': evil } }),
    'by an impersonated name': () =>
      ask('GET /api/v1/namespaces/blue/secrets', { headers: { 'impersonate-user': evil } }),
    'by an address': () =>
      ask('GET /api/v1/namespaces/blue/secrets/none', { headers: { 'x-forwarded-for': evil } }),
    'by an object that does not fit': () =>
      ask('POST /api/v1/namespaces/blue/configmaps', {
        body: { metadata: { name: evil, labels: { [evil]: evil } }, [evil]: evil },
      }),
    'by a field manager': () =>
      ask(`POST /api/v1/namespaces/blue/configmaps?fieldManager=${encodeURIComponent(evil)}`, {
        body: { metadata: { name: 'manager' } },
      }),
  };
  for (const [name, attack] of Object.entries(attacks)) {
    test(name, async () => {
      const from = logged.length,
        audited = statSync(auditLog).size;
      await attack();
      for (const line of logged.slice(from)) {
        assert.ok(
          line.endsWith('\n') && line.indexOf('\n') === line.length - 1 && !line.startsWith(FORGED),
          line,
        );
        // oxlint-disable-next-line no-control-regex
        assert.doesNotMatch(line.slice(0, -1), /[\u0000-\u001f\u007f-\u009f]/);
      }
      for (const line of readFileSync(auditLog)
        .subarray(audited)
        .toString()
        .split('\n')
        .filter((text) => text !== ''))
        assert.equal((JSON.parse(line) as { kind: string }).kind, 'Event');
      const { text } = await ask('GET /metrics');
      assert.ok(!text.split('\n').some((line) => line.startsWith(FORGED)));
    });
  }

  test('headers of answers hold no line ends', async () => {
    const { headers } = await api.server.handler({
      method: 'POST',
      path: '/api/v1/namespaces/blue/configmaps',
      query: '',
      headers: { 'content-type': 'application/json' },
      remoteAddress: '127.0.0.1',
      onAbort: () => {},
      body: () => Promise.resolve(Buffer.from(JSON.stringify({ metadata: { name: 'w' }, [evil]: 1 }))),
      user: ADMIN,
    });
    // oxlint-disable-next-line no-control-regex
    for (const [name, value] of Object.entries(headers))
      assert.doesNotMatch(`${name}: ${value}`, /[\r\n\u0000]/);
  });
});
