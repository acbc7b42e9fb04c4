/** Signing, approval and cleanup against a real API server, with requests made by OpenSSL and certificates read by it. */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { X509Certificate } from 'node:crypto';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it, type TestContext } from 'node:test';
import type { CertificateSigningRequest } from '#api/types.ts';
import type { Client } from '#client/client.ts';
import { certificateSigningRequests } from '#client/refs.ts';
import { isStatusError } from '#machinery/errors.ts';
import { startTestWorld, type TestWorld } from '../testing/world.ts';
import { certificateSigningRequestApprovingController } from './certificatesigningrequest-approving-controller.ts';
import { certificateSigningRequestCleanerController } from './certificatesigningrequest-cleaner-controller.ts';
import type { SigningKeys } from './x509.ts';
import {
  certificateSigningRequestSigningController,
  type SigningOptions,
} from './certificatesigningrequest-signing-controller.ts';

const HOUR_MS = 3_600_000;
const CLIENT = ['digital signature', 'key encipherment', 'client auth'];
const BOOTSTRAPPER = {
  name: 'system:bootstrap:abcdef',
  groups: ['system:bootstrappers', 'system:bootstrappers:kubeadm:default-node-token', 'system:authenticated'],
};

const dir = mkdtempSync(join(tmpdir(), 'capstan-csr-'));
const caPath = join(dir, 'ca.crt');
let ca: SigningKeys;
before(() => {
  ca = authority('signer');
  writeFileSync(caPath, ca.certificate);
});
after(() => rmSync(dir, { recursive: true, force: true }));

function authority(name: string): SigningKeys {
  const [key, certificate] = [join(dir, `${name}.key`), join(dir, `${name}.crt`)];
  execFileSync(
    'openssl',
    [
      'req',
      '-x509',
      '-newkey',
      'ec',
      '-pkeyopt',
      'ec_paramgen_curve:P-256',
      '-nodes',
      '-keyout',
      key,
      '-out',
      certificate,
      '-subj',
      `/CN=${name}`,
      '-days',
      '36500',
    ],
    { stdio: 'ignore' },
  );
  return { certificate: readFileSync(certificate, 'utf8'), key: readFileSync(key, 'utf8') };
}

/** The output of `openssl req`, base64-encoded. */
function requested(
  subject: string,
  {
    names,
    key = 'ec',
  }: { readonly names?: string; readonly key?: 'ec' | 'rsa' | 'ed25519' | undefined } = {},
): string {
  const algorithm =
    key === 'ec' ? ['ec', '-pkeyopt', 'ec_paramgen_curve:P-256'] : key === 'rsa' ? ['rsa:2048'] : ['ed25519'];
  const pem = execFileSync(
    'openssl',
    [
      'req',
      '-new',
      '-newkey',
      ...algorithm,
      '-nodes',
      '-keyout',
      join(dir, 'key.pem'),
      '-subj',
      subject,
      ...(names ? ['-addext', `subjectAltName=${names}`] : []),
    ],
    { stdio: ['ignore', 'pipe', 'ignore'] },
  );
  return pem.toString('base64');
}

async function start(t: TestContext, options: SigningOptions = {}): Promise<TestWorld> {
  const world = await startTestWorld([
    certificateSigningRequestSigningController({ clusterSigner: ca, ...options }),
    certificateSigningRequestApprovingController,
    certificateSigningRequestCleanerController,
  ]);
  t.after(() => world.stop());
  return world;
}

interface Asked {
  readonly name: string;
  readonly subject?: string;
  readonly names?: string;
  readonly signer?: string;
  readonly usages?: string[];
  readonly expirationSeconds?: number;
  readonly api?: Client;
  readonly request?: string;
  readonly key?: 'ec' | 'rsa' | 'ed25519';
}

function create(
  world: TestWorld,
  {
    name,
    subject = '/O=dev/CN=jane',
    names,
    signer = 'kubernetes.io/kube-apiserver-client',
    usages = ['client auth'],
    expirationSeconds,
    api = world.api,
    request,
    key,
  }: Asked,
): Promise<CertificateSigningRequest> {
  return api.create(certificateSigningRequests, {
    metadata: { name },
    spec: {
      request: request ?? requested(subject, { ...(names ? { names } : {}), key }),
      signerName: signer,
      usages,
      ...(expirationSeconds === undefined ? {} : { expirationSeconds }),
    },
  });
}

async function decide(world: TestWorld, name: string, type = 'Approved'): Promise<void> {
  const request = await world.api.get(certificateSigningRequests, { name });
  await world.api.updateSubresource(
    certificateSigningRequests,
    { ...request, status: { conditions: [{ type, status: 'True', reason: 'Test', message: 'decided' }] } },
    'approval',
  );
}

async function issued(world: TestWorld, name: string): Promise<X509Certificate> {
  const text = await world.until(
    `${name} is issued`,
    async () => (await world.api.get(certificateSigningRequests, { name })).status?.certificate,
  );
  return new X509Certificate(Buffer.from(text, 'base64'));
}

async function failure(world: TestWorld, asked: Asked): Promise<string> {
  await create(world, asked);
  await decide(world, asked.name);
  const failed = await world.until(`${asked.name} fails`, async () =>
    (await world.api.get(certificateSigningRequests, { name: asked.name })).status?.conditions?.find(
      ({ type }) => type === 'Failed',
    ),
  );
  assert.equal(failed.reason, 'SignerValidationFailure');
  return failed.message ?? '';
}

describe('certificate signing requests', () => {
  it('are signed once approved, verified with OpenSSL', async (t) => {
    const world = await start(t);
    for (const key of ['ec', 'rsa', 'ed25519'] as const) {
      await create(world, { name: key, key, subject: '/O=dev/O=ops/CN=jane, "the" doe', usages: CLIENT });
      await decide(world, key);
      const certificate = await issued(world, key);
      assert.ok(certificate.verify(new X509Certificate(ca.certificate).publicKey), key);
      assert.equal(certificate.ca, false);
      assert.ok(
        Math.abs(Date.parse(certificate.validTo) - Date.parse(certificate.validFrom) - 365 * 24 * HOUR_MS) <
          2000,
      );
      const path = join(dir, `${key}.crt`);
      writeFileSync(path, certificate.toString());
      assert.match(
        execFileSync(
          'openssl',
          ['verify', '-no_check_time', '-purpose', 'sslclient', '-CAfile', caPath, path],
          { encoding: 'utf8' },
        ),
        /: OK/,
      );
      const text = execFileSync('openssl', ['x509', '-in', path, '-noout', '-text', '-nameopt', 'RFC2253'], {
        encoding: 'utf8',
      });
      assert.match(text, /Subject: CN=jane\\, \\"the\\" doe,O=ops,O=dev/);
      assert.match(text, /X509v3 Key Usage: critical\s+Digital Signature, Key Encipherment\s/);
      assert.match(text, /X509v3 Extended Key Usage:\s+TLS Web Client Authentication\s/);
      assert.match(text, /X509v3 Authority Key Identifier/);
    }
  });

  it('keep every kind of subject alternative name and the requested lifetime, within bounds', async (t) => {
    const world = await start(t, { clusterSigningDurationMs: 24 * HOUR_MS });
    const serving = {
      subject: '/O=system:nodes/CN=system:node:a',
      signer: 'kubernetes.io/kubelet-serving',
      usages: ['digital signature', 'server auth'],
    };
    await create(world, {
      name: 'serving',
      ...serving,
      names: 'DNS:a,DNS:*.a.example,IP:10.0.0.1,IP:fd00::1',
      expirationSeconds: 600,
    });
    await create(world, { name: 'long', expirationSeconds: 864_000 });
    await create(world, {
      name: 'all',
      signer: 'kubernetes.io/kube-apiserver-client',
      names: 'DNS:a,IP:10.0.0.1,email:a@b.c,URI:spiffe://x/y',
    });
    for (const name of ['serving', 'long', 'all']) await decide(world, name);
    const certificate = await issued(world, 'serving');
    assert.equal(
      certificate.subjectAltName,
      'DNS:a, DNS:*.a.example, IP Address:10.0.0.1, IP Address:FD00:0:0:0:0:0:0:1',
    );
    const leftMs = Date.parse(certificate.validTo) - world.clock.now();
    assert.ok(leftMs > 9 * 60_000 && leftMs <= 600_000, String(leftMs));
    const long = await issued(world, 'long');
    assert.equal(Date.parse(long.validTo) - Date.parse(long.validFrom), 24 * HOUR_MS);
    assert.equal(
      (await issued(world, 'all')).subjectAltName,
      'DNS:a, email:a@b.c, IP Address:10.0.0.1, URI:spiffe://x/y',
    );
  });

  it("fail with the signer's reason", async (t) => {
    const world = await start(t);
    const client = 'kubernetes.io/kube-apiserver-client',
      kubelet = 'kubernetes.io/kube-apiserver-client-kubelet',
      serving = 'kubernetes.io/kubelet-serving';
    const node = '/O=system:nodes/CN=system:node:a';
    const cases: readonly (readonly [Omit<Asked, 'name'>, string])[] = [
      [{ signer: client, usages: ['server auth'] }, 'invalid usage for client certificate: server auth'],
      [
        { signer: client, usages: ['digital signature'] },
        'missing required usage for client certificate: client auth',
      ],
      [{ signer: kubelet, usages: CLIENT }, 'subject organization is not system:nodes'],
      [
        { signer: kubelet, usages: CLIENT, subject: '/O=system:nodes/O=x/CN=system:node:a' },
        'subject organization is not system:nodes',
      ],
      [
        { signer: kubelet, usages: CLIENT, subject: '/O=system:nodes+O=system:masters/CN=system:node:a' },
        'subject organization is not system:nodes',
      ],
      [
        { signer: kubelet, usages: CLIENT, subject: '/O=system:nodes/CN=system:node:a/CN=root' },
        'subject common name does not begin with system:node:',
      ],
      [
        { signer: kubelet, usages: CLIENT, subject: '/O=system:nodes/CN=a' },
        'subject common name does not begin with system:node:',
      ],
      [
        { signer: kubelet, usages: CLIENT, subject: node, names: 'DNS:a' },
        'DNS subjectAltNames are not allowed',
      ],
      [
        { signer: kubelet, usages: CLIENT, subject: node, names: 'IP:10.0.0.1' },
        'IP subjectAltNames are not allowed',
      ],
      [
        { signer: kubelet, usages: CLIENT, subject: node, names: 'email:a@b.c' },
        'Email subjectAltNames are not allowed',
      ],
      [
        { signer: kubelet, usages: CLIENT, subject: node, names: 'URI:http://a' },
        'URI subjectAltNames are not allowed',
      ],
      [
        { signer: kubelet, usages: ['client auth'], subject: node },
        'usages did not match [client auth digital signature key encipherment]',
      ],
      [
        { signer: serving, usages: ['digital signature', 'server auth'], subject: node },
        'DNS or IP subjectAltName is required',
      ],
      [
        { signer: serving, usages: CLIENT, subject: node, names: 'DNS:a' },
        'usages did not match [digital signature key encipherment server auth]',
      ],
      [
        {
          signer: serving,
          usages: ['digital signature', 'server auth'],
          subject: '/O=system:nodes/CN=a',
          names: 'DNS:a',
        },
        'subject common name does not begin with system:node:',
      ],
    ];
    for (const [index, [asked, message]] of cases.entries())
      assert.equal(await failure(world, { name: `case-${index}`, ...asked }), message);
    const forged = Buffer.from(requested('/CN=jane'), 'base64').toString();
    const [head, body = '', tail] = forged.split(/(?<=REQUEST-----\n)|(?=-----END)/);
    const der = Buffer.from(body, 'base64');
    der[der.indexOf('jane')]! ^= 1;
    // The API server rejects these.
    await assert.rejects(
      failure(world, {
        name: 'forged',
        request: Buffer.from(`${head}${der.toString('base64')}\n${tail}`).toString('base64'),
      }),
      /spec\.request: Invalid value: .*x509: ECDSA verification failure/,
    );
  });

  it('are ignored when they are for other signers, denied or without a key; a signer may have its own keys', async (t) => {
    const own = authority('own');
    let keys = ca;
    const world = await startTestWorld([
      certificateSigningRequestSigningController({
        clusterSigners: { 'kubernetes.io/kube-apiserver-client': () => keys },
      }),
    ]);
    t.after(() => world.stop());
    await create(world, { name: 'foreign', signer: 'example.com/mine' });
    await create(world, {
      name: 'keyless',
      signer: 'kubernetes.io/kubelet-serving',
      subject: '/O=system:nodes/CN=system:node:a',
      names: 'DNS:a',
      usages: ['digital signature', 'server auth'],
    });
    await create(world, { name: 'denied' });
    await create(world, { name: 'first' });
    await create(world, { name: 'second' });
    for (const name of ['foreign', 'keyless', 'first']) await decide(world, name);
    await decide(world, 'denied', 'Denied');
    assert.ok((await issued(world, 'first')).verify(new X509Certificate(ca.certificate).publicKey));
    keys = own;
    await decide(world, 'second');
    assert.ok((await issued(world, 'second')).verify(new X509Certificate(own.certificate).publicKey));
    for (const name of ['foreign', 'keyless', 'denied']) {
      const { status } = await world.api.get(certificateSigningRequests, { name });
      assert.deepEqual([status?.certificate, status?.conditions?.length], [undefined, 1], name);
    }
  });

  it('of kubelets are approved for joining nodes and for renewal; serving certificates are not', async (t) => {
    const world = await start(t);
    const joining = world.test.clientAs(BOOTSTRAPPER),
      node = world.test.clientAs({ name: 'system:node:a', groups: ['system:nodes', 'system:authenticated'] });
    const outsider = world.test.clientAs({ name: 'eve', groups: ['system:authenticated'] });
    const kubelet = {
      signer: 'kubernetes.io/kube-apiserver-client-kubelet',
      subject: '/O=system:nodes/CN=system:node:a',
      usages: CLIENT,
    };
    await create(world, { name: 'joins', ...kubelet, api: joining });
    await create(world, { name: 'renews', ...kubelet, api: node });
    await create(world, { name: 'admin', ...kubelet });
    await create(world, {
      name: 'serves',
      ...kubelet,
      signer: 'kubernetes.io/kubelet-serving',
      usages: ['digital signature', 'server auth'],
      names: 'DNS:a',
      api: node,
    });
    await assert.rejects(
      create(world, { name: 'other', ...kubelet, subject: '/O=system:nodes/CN=system:node:b', api: node }),
      (error) => isStatusError(error, 'Forbidden'),
    );
    await assert.rejects(create(world, { name: 'none', ...kubelet, api: outsider }), (error) =>
      isStatusError(error, 'Forbidden'),
    );
    for (const [name, self] of [
      ['joins', ''],
      ['renews', 'self '],
      ['admin', ''],
    ] as const) {
      assert.equal((await issued(world, name)).subject, 'O=system:nodes\nCN=system:node:a');
      const [approved] = (await world.api.get(certificateSigningRequests, { name })).status!.conditions!;
      assert.deepEqual(
        [approved?.reason, approved?.message],
        ['AutoApproved', `Auto approving ${self}kubelet client certificate after SubjectAccessReview.`],
      );
    }
    await world.pass(2000);
    assert.equal(
      (await world.api.get(certificateSigningRequests, { name: 'serves' })).status?.conditions,
      undefined,
    );
  });

  it('support every verb and the approval and status subresources, as in the conformance test', async (t) => {
    const { api, until } = await startTestWorld([]).then((world) => {
      t.after(() => world.stop());
      return world;
    });
    const call = async (method: string, path: string, body?: unknown): Promise<Record<string, never>> => {
      const response = await api.transport.request({
        method,
        path,
        headers: { 'content-type': method === 'PATCH' ? 'application/merge-patch+json' : 'application/json' },
        ...(body === undefined ? {} : { body: JSON.stringify(body) }),
      });
      const answer = JSON.parse((await response.bytes()).toString()) as Record<string, never>;
      assert.ok(response.status < 300, `${method} ${path}: ${JSON.stringify(answer)}`);
      return answer;
    };
    const groups = (await call('GET', '/apis')) as unknown as {
      groups: { name: string; versions: { version: string }[] }[];
    };
    assert.ok(
      groups.groups
        .find(({ name }) => name === 'certificates.k8s.io')
        ?.versions.some(({ version }) => version === 'v1'),
    );
    const listed = (await call('GET', '/apis/certificates.k8s.io/v1')) as unknown as {
      resources: { name: string; verbs: string[] }[];
    };
    const verbs = Object.fromEntries(
      listed.resources.map((resource) => [resource.name, resource.verbs.toSorted()]),
    );
    assert.deepEqual(verbs['certificatesigningrequests'], [
      'create',
      'delete',
      'deletecollection',
      'get',
      'list',
      'patch',
      'update',
      'watch',
    ]);
    assert.deepEqual(
      [verbs['certificatesigningrequests/approval'], verbs['certificatesigningrequests/status']],
      Array(2).fill(['get', 'patch', 'update']),
    );

    const path = '/apis/certificates.k8s.io/v1/certificatesigningrequests';
    const make = (): Promise<CertificateSigningRequest> =>
      api.create(certificateSigningRequests, {
        metadata: { generateName: 'e2e-', labels: { special: 'yes' } },
        spec: {
          request: requested('/CN=e2e'),
          signerName: 'example.com/e2e',
          expirationSeconds: 3600,
          usages: ['digital signature', 'key encipherment', 'server auth'],
        },
      });
    const created = await make();
    await make();
    await make();
    const name = created.metadata!.name!;
    const seen: string[] = [];
    const stop = new AbortController();
    t.after(() => stop.abort());
    void (async () => {
      for await (const { type, object } of api.watch(certificateSigningRequests, {
        resourceVersion: created.metadata!.resourceVersion!,
        fieldSelector: `metadata.name=${name}`,
        signal: stop.signal,
      }))
        seen.push(`${type} ${JSON.stringify(object.metadata?.annotations ?? {})}`);
    })().catch(() => {});
    assert.equal(
      (await api.list(certificateSigningRequests, { labelSelector: 'special=yes' })).items.length,
      3,
    );
    const patched = await api.patch(
      certificateSigningRequests,
      { name },
      { type: 'merge', patch: { metadata: { annotations: { patched: 'true' } } } },
    );
    await api.update(certificateSigningRequests, {
      ...patched,
      metadata: { ...patched.metadata, annotations: { ...patched.metadata?.annotations, updated: 'true' } },
    });
    await until(
      'both changes are seen',
      () =>
        seen.length === 2 &&
        seen.every((text) => text.startsWith('MODIFIED')) &&
        seen[1]!.includes('updated'),
    );

    assert.equal(
      ((await call('GET', `${path}/${name}/approval`))['metadata'] as unknown as { name: string }).name,
      name,
    );
    const approval = (await call('PATCH', `${path}/${name}/approval`, {
      metadata: { annotations: { patchedapproval: 'patched' } },
      status: { conditions: [{ type: 'ApprovalPatch', status: 'True', reason: 'e2e' }] },
    })) as unknown as CertificateSigningRequest;
    assert.deepEqual(
      [
        approval.metadata?.annotations?.['patchedapproval'],
        approval.status?.conditions?.map(({ type }) => type),
      ],
      ['patched', ['ApprovalPatch']],
    );
    const approved = await api.updateSubresource(
      certificateSigningRequests,
      {
        ...approval,
        status: {
          conditions: [
            ...approval.status!.conditions!,
            { type: 'Approved', status: 'True', reason: 'E2E', message: 'set from an e2e test' },
          ],
        },
      },
      'approval',
    );
    assert.equal(approved.status?.conditions?.length, 2);

    assert.equal(
      ((await call('GET', `${path}/${name}/status`))['metadata'] as unknown as { name: string }).name,
      name,
    );
    const certificate = Buffer.from(ca.certificate).toString('base64');
    const status = (await call('PATCH', `${path}/${name}/status`, {
      metadata: { annotations: { patchedstatus: 'patched' } },
      status: { certificate },
    })) as unknown as CertificateSigningRequest;
    assert.deepEqual(
      [
        status.metadata?.annotations?.['patchedstatus'],
        status.status?.certificate,
        status.status?.conditions?.length,
      ],
      ['patched', certificate, 2],
    );
    const updated = await api.updateStatus(certificateSigningRequests, {
      ...status,
      status: {
        ...status.status,
        conditions: [...status.status!.conditions!, { type: 'StatusUpdate', status: 'True', reason: 'E2E' }],
      },
    });
    assert.equal(updated.status?.conditions?.length, 3);

    // Neither the decision nor the certificate can be changed.
    const refuses = async (
      change: (request: CertificateSigningRequest) => void,
      { subresource, message }: { readonly subresource: string; readonly message: RegExp },
    ): Promise<void> => {
      const next = structuredClone(updated);
      change(next);
      await assert.rejects(
        api.updateSubresource(certificateSigningRequests, next, subresource),
        (error) => isStatusError(error, 'Invalid') && message.test((error as Error).message),
      );
    };
    await refuses(
      ({ status: next }) => {
        next!.conditions = [];
      },
      {
        subresource: 'approval',
        message: /status\.conditions: Forbidden: updates may not remove a condition of type "Approved"/,
      },
    );
    await refuses(
      ({ status: next }) => {
        next!.conditions!.push({ type: 'Denied', status: 'True' });
      },
      { subresource: 'approval', message: /Approved and Denied conditions are mutually exclusive/ },
    );
    await refuses(
      ({ status: next }) => {
        next!.conditions!.push({ type: 'Denied', status: 'True' });
      },
      { subresource: 'status', message: /updates may not add a condition of type "Denied"/ },
    );
    await refuses(
      ({ status: next }) => {
        next!.conditions!.push({ type: 'Failed', status: 'False' });
      },
      { subresource: 'status', message: /status\.conditions\[3\]\.status: Unsupported value: "False"/ },
    );
    await refuses(
      ({ status: next }) => {
        next!.certificate = Buffer.from('no PEM').toString('base64');
      },
      {
        subresource: 'status',
        message:
          /status\.certificate: Forbidden: updates may not modify existing certificate content, status\.certificate: Invalid value: "<certificate data>": must contain at least one CERTIFICATE PEM block/,
      },
    );

    await api.delete(certificateSigningRequests, { name });
    await api.deleteCollection(certificateSigningRequests, { labelSelector: 'special=yes' });
    assert.deepEqual((await api.list(certificateSigningRequests)).items, []);
    await until('the delete is seen', () => seen.some((text) => text.startsWith('DELETED')));
  });

  it('are deleted after their retention period', async (t) => {
    const world = await start(t);
    for (const name of ['pending', 'denied', 'issued']) await create(world, { name });
    await decide(world, 'denied', 'Denied');
    await decide(world, 'issued');
    await issued(world, 'issued');
    const find = (name: string) => world.find(certificateSigningRequests, { name });
    await world.clock.advance(HOUR_MS - 60_000);
    for (const name of ['pending', 'denied', 'issued']) assert.ok(await find(name), name);
    await world.clock.advance(120_000);
    for (const name of ['denied', 'issued'])
      await world.until(`${name} is gone`, async () => !(await find(name)));
    assert.ok(await find('pending'));
    await world.clock.advance(23 * HOUR_MS);
    await world.until('pending is gone', async () => !(await find('pending')));
  });
});
