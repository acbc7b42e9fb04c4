/** The auth part of conformance that concerns objects: certificate requests, service accounts, the root authority. Tokens and their projection are in sig-auth.test.ts. */
import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import 'reflect-metadata';
import { Pkcs10CertificateRequestGenerator } from '@peculiar/x509';
import { inDiscovery, showLifecycle } from './lifecycle.ts';
import { startWorld, until, type Json, type World } from './world.ts';

describe('conformance: auth', () => {
  let world: World;
  let namespace: string;
  before(async () => {
    world = await startWorld();
    namespace = await world.namespace();
  });
  after(async () => world?.stop());

  it('CertificateSigningRequest API', async () => {
    const request = await signingRequest();
    const plural = 'certificatesigningrequests';
    const object = (): Json => ({
      spec: {
        request,
        signerName: 'example.com/e2e',
        usages: ['client auth', 'digital signature', 'key encipherment'],
        expirationSeconds: 3600,
      },
    });
    await showLifecycle(world, {
      group: 'certificates.k8s.io',
      plural,
      kind: 'CertificateSigningRequest',
      object,
      status: { patch: { certificate: await ownCertificate() } },
    });
    await inDiscovery(world, {
      group: 'certificates.k8s.io',
      plural: `${plural}/approval`,
      verbs: ['get', 'patch', 'update'],
    });
    const path = `/apis/certificates.k8s.io/v1/${plural}`;
    await world.post(path, { metadata: { name: 'approved' }, ...object() });
    const read = await world.get(`${path}/approved/approval`);
    read.status.conditions = [
      { type: 'Approved', status: 'True', reason: 'E2E', message: 'Set from an e2e test' },
    ];
    assert.equal((await world.put(`${path}/approved/approval`, read)).status.conditions[0].type, 'Approved');
    const patched = await world.patch(`${path}/approved/approval`, {
      metadata: { annotations: { patchedapproval: 'true' } },
      status: {
        conditions: [
          { type: 'ApprovalPatch', status: 'True', reason: 'E2E' },
          { type: 'Approved', status: 'True', reason: 'E2E', message: 'Set from an e2e test' },
        ],
      },
    });
    assert.deepEqual(
      patched.status.conditions.map(({ type }: Json) => type),
      ['ApprovalPatch', 'Approved'],
    );
    assert.equal(patched.metadata.annotations.patchedapproval, 'true');
    await world.del(`${path}/approved`);
  });

  it('RootCA ConfigMap test', async () => {
    const path = `/api/v1/namespaces/${namespace}/configmaps/kube-root-ca.crt`;
    const made = await until('it to be made', async () => {
      const { status, body } = await world.send(`GET ${path}`);
      return status === 200 ? (body as Json) : undefined;
    });
    assert.equal(made.data['ca.crt'], world.pki.ca.certificatePem);
    await world.del(path);
    await until('it to be made again', async () => (await world.send(`GET ${path}`)).status === 200);
    await world.patch(path, { data: { 'ca.crt': '', other: 'x' } });
    await world.reaches(
      path,
      ({ data }) => data['ca.crt'] === world.pki.ca.certificatePem && data.other === undefined,
    );
  });

  it('ServiceAccount lifecycle test', async () => {
    const path = `/api/v1/namespaces/${namespace}/serviceaccounts`;
    const watch = await world.watch(path, 'labelSelector=test-serviceaccount-static%3Dtrue');
    await world.post(path, { metadata: { name: 'lived', labels: { 'test-serviceaccount-static': 'true' } } });
    await watch.seen('ADDED');
    const patched = await world.patch(`${path}/lived`, { automountServiceAccountToken: false }, 'strategic');
    assert.equal(patched.automountServiceAccountToken, false);
    const [found] = (
      await world.get('/api/v1/serviceaccounts?labelSelector=test-serviceaccount-static%3Dtrue')
    ).items;
    assert.deepEqual([found.metadata.name, found.automountServiceAccountToken], ['lived', false]);
    await world.del(`${path}?labelSelector=test-serviceaccount-static%3Dtrue`);
    await watch.seen('DELETED');
  });

  it('ServiceAccount, update a ServiceAccount', async () => {
    const path = `/api/v1/namespaces/${namespace}/serviceaccounts`;
    const made = await world.post(path, { metadata: { name: 'updated' } });
    assert.equal(
      (await world.put(`${path}/updated`, { ...made, automountServiceAccountToken: true }))
        .automountServiceAccountToken,
      true,
    );
    assert.equal((await world.get(`${path}/updated`)).automountServiceAccountToken, true);
  });

  it('ServiceAccount, create and review token', async () => {
    const path = `/api/v1/namespaces/${namespace}/serviceaccounts`;
    await world.post(path, { metadata: { name: 'reviewed' } });
    const {
      status: { token },
    } = await world.post(`${path}/reviewed/token`, { spec: { expirationSeconds: 600 } });
    assert.ok(token.length > 0);
    const { status } = await world.post('/apis/authentication.k8s.io/v1/tokenreviews', { spec: { token } });
    assert.equal(status.authenticated, true);
    assert.equal(status.error, undefined);
    assert.equal(status.user.username, `system:serviceaccount:${namespace}:reviewed`);
  });

  it('SubjectReview, API Operations', async () => {
    const core = `/api/v1/namespaces/${namespace}`;
    await world.post(`${core}/serviceaccounts`, { metadata: { name: 'reader' } });
    const user = `system:serviceaccount:${namespace}:reader`;
    const resourceAttributes = { namespace, verb: 'list', resource: 'configmaps', version: 'v1' };
    const groups = ['system:authenticated', 'system:serviceaccounts', `system:serviceaccounts:${namespace}`];
    const agree = async (allowed: boolean): Promise<void> => {
      await until(
        `the call of the account to be ${allowed ? 'allowed' : 'refused'}`,
        async () =>
          (await world.send(`GET ${core}/configmaps`, { headers: { 'impersonate-user': user } })).status ===
          (allowed ? 200 : 403),
      );
      for (const [path, kind] of [
        ['/apis/authorization.k8s.io/v1/subjectaccessreviews', 'SubjectAccessReview'],
        [
          `/apis/authorization.k8s.io/v1/namespaces/${namespace}/localsubjectaccessreviews`,
          'LocalSubjectAccessReview',
        ],
      ]) {
        const review = await world.post(path!, {
          kind,
          apiVersion: 'authorization.k8s.io/v1',
          metadata: { namespace: kind!.startsWith('Local') ? namespace : undefined },
          spec: { user, groups, resourceAttributes },
        });
        assert.equal(review.status.allowed, allowed, kind);
      }
    };
    await agree(false);
    await world.post(`/apis/rbac.authorization.k8s.io/v1/namespaces/${namespace}/rolebindings`, {
      metadata: { name: 'reader' },
      roleRef: { apiGroup: 'rbac.authorization.k8s.io', kind: 'ClusterRole', name: 'view' },
      subjects: [{ kind: 'ServiceAccount', name: 'reader', namespace }],
    });
    await agree(true);
  });

  async function ownCertificate(): Promise<string> {
    return Buffer.from(world.pki.clients.admin.certificatePem).toString('base64');
  }
});

async function signingRequest(): Promise<string> {
  const keys = await crypto.subtle.generateKey({ name: 'ECDSA', namedCurve: 'P-256' }, true, [
    'sign',
    'verify',
  ]);
  const request = await Pkcs10CertificateRequestGenerator.create({
    name: 'CN=e2e-example-user,O=e2e-example-org',
    keys,
    signingAlgorithm: { name: 'ECDSA', hash: 'SHA-256' },
  });
  return Buffer.from(request.toString('pem')).toString('base64');
}
