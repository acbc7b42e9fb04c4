/** A node through a rotation: what it trusts, what it has issued anew, and what it says, against a real API server with a node's rights. */
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { configMaps, nodes, roleBindings, roles } from '#client/refs.ts';
import {
  AUTHORITY_REPORT,
  parseReport,
  ROTATION_CONFIG_MAP,
  type AuthorityReport,
} from '#component-helpers/authority-report.ts';
import { createAuthority, issueCertificate } from '#pki/certificate.ts';
import { publicKeyHash } from '#pki/keys.ts';
import { silentLogger } from '#stdx/log.ts';
import { FakeClock } from '#stdx/testing/fake-clock.ts';
import { startTestApi, type TestApi } from '#testing/start-test-api.ts';
import { X509Certificate } from 'node:crypto';
import { TrustFollower } from './trust-follower.ts';

const DAY = 86_400_000;
const NODE = { name: 'system:node:n1', groups: ['system:nodes', 'system:authenticated'] };
const authority = () =>
  createAuthority({ commonName: 'kubernetes', nowMs: Date.now(), lifetimeMs: 99 * DAY });
const [old, next] = [authority(), authority()];
const hash = (pem: string): string => publicKeyHash(new X509Certificate(pem));
const leaf = (by: typeof old): string =>
  issueCertificate(by, {
    subject: { commonName: NODE.name, organizations: ['system:nodes'] },
    usages: ['clientAuth'],
    nowMs: Date.now(),
    lifetimeMs: DAY,
  }).certificatePem;

let test1: TestApi;
before(async () => {
  test1 = await startTestApi();
  await test1.api.create(nodes, { metadata: { name: 'n1' } });
});
after(() => test1.stop());

async function publish(phase: string, bundle: string): Promise<void> {
  const map = { metadata: ROTATION_CONFIG_MAP, data: { phase, 'ca.crt': bundle } };
  await test1.api.create(configMaps, map).catch(() => test1.api.update(configMaps, map));
}

async function report(): Promise<AuthorityReport | undefined> {
  const { metadata } = await test1.api.get(nodes, { name: 'n1' });
  return parseReport(metadata?.annotations?.[AUTHORITY_REPORT]);
}

test('overlap, issue, drop', async () => {
  let trusted = old.certificatePem;
  let certificate = leaf(old);
  let renewals = 0;
  const follower = new TrustFollower({
    api: test1.clientAs(NODE),
    nodeName: 'n1',
    trusted: () => trusted,
    trust: async (caPem) => void (trusted = caPem),
    used: [{ current: () => certificate, renew: () => void renewals++ }],
    clock: new FakeClock(),
    log: silentLogger,
  });
  // Nobody may read it yet, and nothing is reported.
  await follower.look();
  assert.equal(await report(), undefined);

  const metadata = { name: 'capstan:ca-rotation', namespace: 'kube-system' };
  await test1.api.create(roles, {
    metadata,
    rules: [
      { apiGroups: [''], resources: ['configmaps'], resourceNames: ['capstan-ca-rotation'], verbs: ['get'] },
    ],
  });
  await test1.api.create(roleBindings, {
    metadata,
    roleRef: { apiGroup: 'rbac.authorization.k8s.io', kind: 'Role', name: metadata.name },
    subjects: [{ apiGroup: 'rbac.authorization.k8s.io', kind: 'Group', name: 'system:nodes' }],
  });
  const both = old.certificatePem + next.certificatePem;
  await publish('overlap', both);
  await follower.look();
  assert.equal(trusted, both);
  assert.equal(renewals, 0);
  assert.deepEqual(await report(), {
    trusted: [hash(old.certificatePem), hash(next.certificatePem)].toSorted(),
    used: [hash(old.certificatePem)],
  });

  await publish('issue', next.certificatePem + old.certificatePem);
  await follower.look();
  assert.equal(renewals, 1);
  certificate = leaf(next);
  await follower.look();
  assert.equal(renewals, 1);
  assert.deepEqual((await report())?.used, [hash(next.certificatePem)]);

  await publish('done', next.certificatePem);
  await follower.look();
  assert.equal(trusted, next.certificatePem);
  assert.deepEqual((await report())?.trusted, [hash(next.certificatePem)]);
});
