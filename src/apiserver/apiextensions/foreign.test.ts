/** Custom resources as kubectl sees them, and converted by a webhook over TLS. */
import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { createServer, type Server } from 'node:https';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import 'reflect-metadata';
import {
  BasicConstraintsExtension,
  SubjectAlternativeNameExtension,
  X509CertificateGenerator,
} from '@peculiar/x509';
import type { KubeObject } from '#machinery/object.ts';
import { foreignTools } from '#testing/foreign-tools.ts';
import { startTestServer, type TestServer } from '../testing/server.ts';

const CRDS = '/apis/apiextensions.k8s.io/v1/customresourcedefinitions';
const ALGORITHM = { name: 'ECDSA', namedCurve: 'P-256', hash: 'SHA-256' };
const MERGE = { 'content-type': 'application/merge-patch+json' };

async function selfSigned(): Promise<{ readonly cert: string; readonly key: string }> {
  const keys = (await crypto.subtle.generateKey(ALGORITHM, true, ['sign', 'verify'])) as {
    publicKey: never;
    privateKey: never;
  };
  const certificate = await X509CertificateGenerator.createSelfSigned({
    name: 'CN=localhost',
    keys,
    serialNumber: '01',
    notBefore: new Date(Date.now() - 60_000),
    notAfter: new Date(Date.now() + 3_600_000),
    signingAlgorithm: ALGORITHM,
    extensions: [
      new BasicConstraintsExtension(true),
      new SubjectAlternativeNameExtension([
        { type: 'ip', value: '127.0.0.1' },
        { type: 'dns', value: 'localhost' },
      ]),
    ],
  });
  const pkcs8 = Buffer.from(await crypto.subtle.exportKey('pkcs8', keys.privateKey)).toString('base64');
  return {
    cert: certificate.toString('pem'),
    key: `-----BEGIN PRIVATE KEY-----\n${pkcs8}\n-----END PRIVATE KEY-----\n`,
  };
}

let server: TestServer;
let tls: { readonly cert: string; readonly key: string };
before(async () => {
  tls = await selfSigned();
  server = await startTestServer();
  await server.request('POST /api/v1/namespaces', { body: { metadata: { name: 'default' } } });
});
after(() => server.stop());

async function established(name: string): Promise<void> {
  const watch = await server.watch(`${CRDS}?watch=true&fieldSelector=metadata.name=${name}`);
  for (;;) {
    const { conditions } = ((await watch.next()).object['status'] ?? {}) as {
      conditions?: { type: string; status: string }[] | null;
    };
    if (conditions?.some(({ type, status }) => type === 'Established' && status === 'True')) break;
  }
  watch.close();
}

const tools = foreignTools(35);
describe('kubectl', { skip: 'missing' in tools && tools.missing }, () => {
  let dir: string;
  let url: string;
  before(async () => {
    dir = mkdtempSync(join(tmpdir(), 'capstan-crd-'));
    const { port } = await server.server.start({ host: '127.0.0.1', port: 0, tls });
    url = `https://127.0.0.1:${port}`;
  });
  after(() => rmSync(dir, { recursive: true, force: true }));

  const kubectl = (
    ...args: string[]
  ): Promise<{ readonly code: number; readonly out: string; readonly err: string }> =>
    new Promise((resolve) => {
      execFile(
        (tools as { kubectl: string }).kubectl,
        [
          '--server',
          url,
          '--insecure-skip-tls-verify',
          '--token',
          'any',
          '--cache-dir',
          join(dir, 'cache'),
          ...args,
        ],
        { env: { HOME: dir } },
        (error, out, err) => resolve({ code: error ? 1 : 0, out, err }),
      );
    });
  const file = (name: string, content: unknown): string => {
    const path = join(dir, name);
    writeFileSync(path, JSON.stringify(content));
    return path;
  };

  test('creates, explains, applies, gets, scales and deletes', async () => {
    const schema = {
      type: 'object',
      description: 'Foo CRD for Testing',
      properties: {
        spec: {
          type: 'object',
          description: 'Specification of Foo',
          properties: {
            replicas: { type: 'integer' },
            bars: {
              type: 'array',
              description: 'List of Bars and their specs.',
              items: {
                type: 'object',
                required: ['name'],
                properties: {
                  name: { type: 'string', description: 'Name of Bar.' },
                  age: { type: 'string' },
                },
              },
            },
          },
        },
        status: { type: 'object', 'x-kubernetes-preserve-unknown-fields': true },
      },
    };
    const crd = file('crd.json', {
      apiVersion: 'apiextensions.k8s.io/v1',
      kind: 'CustomResourceDefinition',
      metadata: { name: 'foos.kubectl.example.com' },
      spec: {
        group: 'kubectl.example.com',
        scope: 'Namespaced',
        names: { plural: 'foos', singular: 'foo', kind: 'Foo', shortNames: ['fo'] },
        versions: [
          {
            name: 'v1',
            served: true,
            storage: true,
            schema: { openAPIV3Schema: schema },
            subresources: {
              scale: { specReplicasPath: '.spec.replicas', statusReplicasPath: '.status.replicas' },
            },
            additionalPrinterColumns: [{ name: 'Replicas', type: 'integer', jsonPath: '.spec.replicas' }],
          },
        ],
      },
    });
    const created = await kubectl('apply', '-f', crd);
    assert.equal(
      created.out,
      'customresourcedefinition.apiextensions.k8s.io/foos.kubectl.example.com created\n',
      created.err,
    );
    assert.equal(
      (await kubectl('wait', '--for=condition=Established', 'crd/foos.kubectl.example.com', '--timeout=10s'))
        .code,
      0,
    );
    const foo = (spec: unknown): string =>
      file('foo.json', {
        apiVersion: 'kubectl.example.com/v1',
        kind: 'Foo',
        metadata: { name: 'test', namespace: 'default' },
        spec,
      });
    const first = await kubectl(
      'create',
      '--save-config',
      '-f',
      foo({ replicas: 1, bars: [{ name: 'a', age: '1' }] }),
    );
    assert.equal(first.out, 'foo.kubectl.example.com/test created\n', first.err);
    const applied = await kubectl('apply', '-f', foo({ replicas: 2, bars: [{ name: 'b' }] }));
    assert.equal(applied.out, 'foo.kubectl.example.com/test configured\n', applied.err);
    assert.match(
      (await kubectl('apply', '-f', foo({ bars: [{ name: 'b' }], unknown: 1 }))).err,
      /unknown field "spec\.unknown"/,
    );
    assert.match(
      (await kubectl('apply', '-f', foo({ bars: [{ age: '1' }] }))).err,
      /spec\.bars\[0\]\.name: Required value/,
    );
    assert.match((await kubectl('get', 'fo', '-n', 'default')).out, /^NAME\s+REPLICAS\ntest\s+2\n$/);
    assert.match((await kubectl('scale', 'foo/test', '-n', 'default', '--replicas=4')).out, /scaled/);
    assert.equal(
      (await kubectl('get', 'foo', 'test', '-n', 'default', '-o', 'jsonpath={.spec.replicas}')).out,
      '4',
    );
    const explained = await kubectl('explain', 'foos');
    assert.match(
      explained.out,
      /KIND:\s+Foo[\s\S]*Foo CRD for Testing[\s\S]*Specification of Foo/,
      explained.err,
    );
    assert.match(
      (await kubectl('explain', 'foos.spec.bars')).out,
      /List of Bars and their specs[\s\S]*name\s+<string> -required-\n\s+Name of Bar/,
    );
    assert.equal((await kubectl('explain', 'foos.spec.nothing')).code, 1);
    assert.match(
      (await kubectl('api-resources', '--api-group=kubectl.example.com')).out,
      /foos\s+fo\s+kubectl\.example\.com\/v1\s+true\s+Foo/,
    );
    assert.match((await kubectl('delete', '-f', crd)).out, /deleted/);
    assert.equal((await kubectl('get', 'foos', '-n', 'default')).code, 1);
  });
});

describe('a conversion webhook', () => {
  let webhook: Server;
  let url: string;
  let fails = '';
  let calls = 0;
  const at = (version: string): string => `/apis/hook.example.com/${version}/namespaces/default/hosts`;

  before(async () => {
    webhook = createServer(tls, (request, response) => {
      const parts: Buffer[] = [];
      request.on('data', (part: Buffer) => parts.push(part));
      request.on('end', () => {
        calls++;
        const {
          request: { uid, desiredAPIVersion, objects },
        } = JSON.parse(Buffer.concat(parts).toString()) as {
          request: { uid: string; desiredAPIVersion: string; objects: KubeObject[] };
        };
        const result = fails ? { status: 'Failed', message: fails } : { status: 'Success' };
        response.end(
          JSON.stringify({
            kind: 'ConversionReview',
            apiVersion: 'apiextensions.k8s.io/v1',
            response: {
              uid,
              result,
              convertedObjects: objects.map((object) => converted(object, desiredAPIVersion)),
            },
          }),
        );
      });
    });
    await new Promise<void>((resolve) => webhook.listen(0, '127.0.0.1', resolve));
    url = `https://127.0.0.1:${(webhook.address() as AddressInfo).port}/convert`;
    const version = (name: string, properties: object, field: string): object => ({
      name,
      served: true,
      storage: name === 'v1',
      schema: { openAPIV3Schema: { type: 'object', properties } },
      selectableFields: [{ jsonPath: `.${field}` }],
    });
    const created = await server.request(`POST ${CRDS}`, {
      body: {
        metadata: { name: 'hosts.hook.example.com' },
        spec: {
          group: 'hook.example.com',
          scope: 'Namespaced',
          names: { plural: 'hosts', kind: 'Host' },
          versions: [
            version('v1', { hostPort: { type: 'string' } }, 'hostPort'),
            version('v2', { host: { type: 'string' }, port: { type: 'string' } }, 'host'),
          ],
          conversion: {
            strategy: 'Webhook',
            webhook: {
              conversionReviewVersions: ['v1'],
              clientConfig: { url, caBundle: Buffer.from(tls.cert).toString('base64') },
            },
          },
        },
      },
    });
    assert.equal(created.status, 201, created.text);
    await established('hosts.hook.example.com');
  });
  after(() => new Promise((resolve) => webhook.close(resolve)));

  function converted({ kind, metadata, ...rest }: KubeObject, apiVersion: string): KubeObject {
    const head = { kind: kind!, apiVersion, metadata: metadata! };
    if (apiVersion.endsWith('v2')) {
      const [host, port] = String(rest['hostPort']).split(':');
      return { ...head, host, port } as KubeObject;
    }
    return { ...head, hostPort: `${String(rest['host'])}:${String(rest['port'])}` } as KubeObject;
  }

  const make = (version: string, name: string, content: object): ReturnType<TestServer['request']> =>
    server.request(`POST ${at(version)}`, {
      body: { apiVersion: `hook.example.com/${version}`, kind: 'Host', metadata: { name }, ...content },
    });

  test('converts what is read, written, listed and watched, from either stored version', async () => {
    assert.equal((await make('v1', 'a', { hostPort: 'one:80' })).status, 201);
    const second = await make('v2', 'b', { host: 'two', port: '81' });
    assert.deepEqual(
      [second.status, second.body.apiVersion, second.body.host],
      [201, 'hook.example.com/v2', 'two'],
      second.text,
    );
    const read = await server.request(`GET ${at('v2')}/a`);
    assert.deepEqual([read.body.host, read.body.port, read.body.hostPort], ['one', '80', undefined]);
    assert.equal((await server.request(`GET ${at('v1')}/b`)).body.hostPort, 'two:81');
    const crd = (await server.request(`GET ${CRDS}/hosts.hook.example.com`)).body;
    for (const version of crd.spec.versions) version.storage = version.name === 'v2';
    assert.equal((await server.request(`PUT ${CRDS}/hosts.hook.example.com`, { body: crd })).status, 200);
    assert.equal((await make('v2', 'c', { host: 'three', port: '82' })).status, 201);
    for (const version of ['v1', 'v2']) {
      const { items } = (await server.request(`GET ${at(version)}`)).body as { items: KubeObject[] };
      assert.deepEqual(
        items.map((item) => [item.apiVersion, item['hostPort'] ?? item['host']]),
        [
          ['a', 'one'],
          ['b', 'two'],
          ['c', 'three'],
        ].map(([, host], i) => [
          `hook.example.com/${version}`,
          version === 'v1' ? `${host}:${80 + i}` : host,
        ]),
      );
    }
    const patched = await server.request(`PATCH ${at('v1')}/a`, {
      body: { hostPort: 'one:8080' },
      headers: MERGE,
    });
    assert.equal(patched.body.hostPort, 'one:8080');
    assert.equal((await server.request(`GET ${at('v2')}/a`)).body.port, '8080');
  });

  test('selectable fields are of the version asked for, in watches too', async () => {
    const { items } = (await server.request(`GET ${at('v2')}?fieldSelector=host%3Dtwo`)).body as {
      items: KubeObject[];
    };
    assert.deepEqual(
      items.map(({ metadata }) => metadata?.name),
      ['b'],
    );
    const watch = await server.watch(`${at('v1')}?watch=true&fieldSelector=hostPort%3Dtwo:81`);
    assert.deepEqual([(await watch.next()).object.metadata?.name], ['b']);
    await make('v2', 'd', { host: 'two', port: '81' });
    const added = await watch.next();
    assert.deepEqual(
      [added.type, added.object.metadata?.name, added.object['hostPort']],
      ['ADDED', 'd', 'two:81'],
    );
    await server.request(`PATCH ${at('v2')}/d`, { body: { port: '99' }, headers: MERGE });
    assert.equal((await watch.next()).type, 'DELETED');
    watch.close();
  });

  test('what it refuses is an error of the server', async () => {
    fails = 'cannot do that';
    const answer = await make('v1', 'refused', { hostPort: 'x:1' });
    fails = '';
    assert.equal(answer.status, 500);
    assert.equal(
      answer.body.message,
      'conversion webhook for hook.example.com/v1, Kind=Host failed: cannot do that',
    );
  });

  test('is not asked again for what it answered', async () => {
    await server.request(`GET ${at('v1')}`);
    const before = calls;
    await server.request(`GET ${at('v1')}`);
    assert.equal(calls, before);
  });
});
