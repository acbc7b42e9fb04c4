/** kubeadm's layout: made, adopted, from the user's root or intermediate, or from an external authority. */
import assert from 'node:assert/strict';
import { execFileSync, spawnSync } from 'node:child_process';
import { X509Certificate } from 'node:crypto';
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { afterEach, test } from 'node:test';
import { createAuthority, type KeyPair } from '#pki/certificate.ts';
import { altNamesOf, readSubject } from '#pki/read.ts';
import { UserError } from '../data-dir.ts';
import { CERTIFICATES, certificatesFor, partName, type MachineNames } from './certificate-list.ts';
import { createMissing, type CertificateOptions } from './certificates.ts';

const NOW = Date.now();
const DAY = 86_400_000;
const folders: string[] = [];
const skip = spawnSync('openssl', ['version']).status === 0 ? false : 'openssl is not installed';
afterEach(() => {
  for (const dir of folders.splice(0)) rmSync(dir, { recursive: true, force: true });
});

const names: MachineNames = {
  nodeName: 'cp1',
  advertiseAddress: '192.0.2.1',
  serviceAddresses: ['10.96.0.1', 'fd00:10::1'],
  dnsDomain: 'cluster.local',
  controlPlaneHost: 'api.example.org',
  certSANs: ['203.0.113.9'],
};

function options(changes: Partial<CertificateOptions> = {}): CertificateOptions {
  const dir = mkdtempSync(join(tmpdir(), 'capstan-certificates-'));
  folders.push(dir);
  return { dir: join(dir, 'pki'), names, nowMs: NOW, ...changes };
}

function put(dir: string, name: string, { certificatePem, keyPem }: Partial<KeyPair>): void {
  mkdirSync(dirname(join(dir, name)), { recursive: true });
  if (certificatePem !== undefined) writeFileSync(join(dir, `${name}.crt`), certificatePem);
  if (keyPem !== undefined) writeFileSync(join(dir, `${name}.key`), keyPem);
}

const read = (dir: string, file: string): string => readFileSync(join(dir, file), 'utf8');
const certificate = (dir: string, name: string): X509Certificate =>
  new X509Certificate(read(dir, `${name}.crt`));

test("every entry of kubeadm's list is made once", async () => {
  const where = options();
  const first = await createMissing(CERTIFICATES, where);
  assert.deepEqual(
    first.made,
    CERTIFICATES.map(({ name }) => name),
  );
  assert.deepEqual(CERTIFICATES.map(partName), [
    'ca',
    'apiserver',
    'apiserver-kubelet-client',
    'front-proxy-ca',
    'front-proxy-client',
    'etcd-ca',
    'etcd-server',
    'etcd-peer',
    'etcd-healthcheck-client',
    'apiserver-etcd-client',
    'sa',
  ]);
  const second = await createMissing(CERTIFICATES, where);
  assert.deepEqual([second.made, second.changes, second.warnings], [[], [], []]);
  assert.deepEqual(second.ends, first.ends);
  assert.deepEqual(readSubject(certificate(where.dir, 'etcd/peer')), {
    commonName: 'cp1',
    organizations: [],
  });
  const { dnsNames, ipAddresses } = altNamesOf(certificate(where.dir, 'apiserver'));
  assert.deepEqual(dnsNames.toSorted(), [
    'api.example.org',
    'cp1',
    'kubernetes',
    'kubernetes.default',
    'kubernetes.default.svc',
    'kubernetes.default.svc.cluster.local',
    'localhost',
  ]);
  assert.deepEqual(ipAddresses, ['10.96.0.1', 'fd00:10::1', '192.0.2.1', '127.0.0.1', '::1', '203.0.113.9']);
});

test('external etcd leaves its certificates out, and one part alone makes its authority too', async () => {
  const where = options();
  const { made } = await createMissing(certificatesFor({ externalEtcd: true }), where);
  assert.equal(
    made.some((name) => name.includes('etcd')),
    false,
  );
  const alone = options();
  await createMissing(
    CERTIFICATES.filter(({ name }) => name === 'etcd/server'),
    alone,
  );
  assert.equal(existsSync(join(alone.dir, 'etcd/ca.key')), true);
  assert.equal(existsSync(join(alone.dir, 'ca.key')), false);
});

test('keys and lifetimes are those that are asked for', async () => {
  const where = options({ algorithm: 'RSA-2048', authorityLifetimeMs: 100 * DAY, leafLifetimeMs: 10 * DAY });
  await createMissing(CERTIFICATES.slice(0, 2), where);
  assert.equal(certificate(where.dir, 'apiserver').publicKey.asymmetricKeyType, 'rsa');
  assert.equal(certificate(where.dir, 'ca').validToDate.getTime() - NOW < 101 * DAY, true);
  assert.equal(certificate(where.dir, 'apiserver').validToDate.getTime() - NOW < 11 * DAY, true);
});

test(
  "the user's root or intermediate signs, and leaves of an intermediate bring their chain",
  { skip },
  async () => {
    const root = createAuthority({ commonName: 'corp root', nowMs: NOW, lifetimeMs: 900 * DAY });
    const middle = createAuthority({
      commonName: 'corp cluster',
      nowMs: NOW,
      lifetimeMs: 500 * DAY,
      parent: root,
      algorithm: 'RSA-2048',
    });
    for (const authority of [root, middle]) {
      const where = options();
      put(where.dir, 'ca', { ...authority, certificatePem: authority.certificatePem + root.certificatePem });
      const { made } = await createMissing(CERTIFICATES, where);
      assert.equal(made.includes('ca'), false);
      writeFileSync(join(where.dir, 'root.crt'), root.certificatePem);
      execFileSync('openssl', [
        'verify',
        '-x509_strict',
        '-purpose',
        'sslserver',
        '-CAfile',
        join(where.dir, 'root.crt'),
        '-untrusted',
        join(where.dir, 'apiserver.crt'),
        join(where.dir, 'apiserver.crt'),
      ]);
      assert.deepEqual((await createMissing(CERTIFICATES, where)).made, []);
    }
  },
);

test('an external authority: what is signed is used, what lacks is named, and nothing is made in its place', async () => {
  const where = options();
  await createMissing(CERTIFICATES, where);
  for (const name of ['ca', 'front-proxy-ca', 'etcd/ca']) rmSync(join(where.dir, `${name}.key`));
  assert.deepEqual((await createMissing(CERTIFICATES, where)).made, []);
  // Due, but good: used on, and told of once its end is near.
  const due = await createMissing(CERTIFICATES, { ...where, nowMs: NOW + 350 * DAY });
  assert.deepEqual(due.made, []);
  assert.match(due.warnings.map(({ message }) => message).join(), /apiserver\.crt ends on .*generate-csr/);
  rmSync(join(where.dir, 'apiserver.crt'));
  await assert.rejects(createMissing(CERTIFICATES, where), (error: UserError) => {
    assert.ok(error instanceof UserError);
    assert.match(
      error.message,
      /apiserver\.crt is missing, and the key of its authority is not on this machine: .*generate-csr/,
    );
    return true;
  });
});

test('a damaged file is refused and kept', async () => {
  for (const file of ['ca.key', 'etcd/peer.crt', 'front-proxy-client.key', 'sa.key']) {
    const where = options();
    await createMissing(CERTIFICATES, where);
    writeFileSync(join(where.dir, file), 'damaged');
    await assert.rejects(
      createMissing(CERTIFICATES, where),
      new RegExp(`${file.replace('.', '\\.')} is damaged`),
    );
    assert.equal(read(where.dir, file), 'damaged');
  }
});

test('an authority of a cluster that runs is not recreated', async () => {
  const where = options({ mayCreate: false });
  await assert.rejects(
    createMissing(CERTIFICATES, where),
    /ca\.crt is missing, though this cluster has run before/,
  );
  assert.equal(existsSync(join(where.dir, 'ca.crt')), false);
});
