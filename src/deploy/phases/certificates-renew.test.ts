/** Renewal, checks and requests over kubeadm's layout and a data directory, by a clock that is handed in. */
import assert from 'node:assert/strict';
import { execFileSync, spawnSync } from 'node:child_process';
import { X509Certificate } from 'node:crypto';
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, test } from 'node:test';
import { createAuthority, issueCertificate, signLeaf, type KeyPair } from '#pki/certificate.ts';
import { readRequest } from '#pki/request.ts';
import { publicKeyHash } from '#pki/keys.ts';
import { altNamesOf } from '#pki/read.ts';
import { createPublicKey } from 'node:crypto';
import { publishCertificates } from '../cluster-certificates.ts';
import { dataDir, UserError } from '../data-dir.ts';
import { writeKubeconfig } from '../pki/kubeconfig.ts';
import { ensurePki } from '../pki/pki.ts';
import { CERTIFICATES, type MachineNames } from './certificate-list.ts';
import { dataDirCertificates, kubeadmCertificates, type CertificateSet } from './certificate-files.ts';
import { inspectCertificates } from './certificates-check.ts';
import { renewAll, renewDue, renewNamed } from './certificates-renew.ts';
import { renewMachineCertificates } from './certificates-renewal.ts';
import { generateRequests } from './certificates-requests.ts';
import { createMissing } from './certificates.ts';

const NOW = Date.UTC(2026, 0, 15);
const DAY = 86_400_000;
const folders: string[] = [];
const skip = spawnSync('openssl', ['version']).status === 0 ? false : 'openssl is not installed';
afterEach(() => {
  for (const dir of folders.splice(0)) rmSync(dir, { recursive: true, force: true });
});

const names: MachineNames = {
  nodeName: 'cp1',
  advertiseAddress: '192.0.2.1',
  serviceAddresses: ['10.96.0.1'],
  dnsDomain: 'cluster.local',
};

interface Machine {
  readonly root: string;
  readonly certDir: string;
  readonly set: CertificateSet;
}

async function machine({ nowMs = NOW } = {}): Promise<Machine> {
  const root = mkdtempSync(join(tmpdir(), 'capstan-renew-'));
  folders.push(root);
  const certDir = join(root, 'pki');
  await createMissing(CERTIFICATES, { dir: certDir, names, nowMs });
  const ca = pairAt(certDir, 'ca');
  await writeKubeconfig(join(root, 'admin.conf'), {
    server: 'https://127.0.0.1:6443',
    caPem: ca.certificatePem,
    clusterName: 'kubernetes',
    userName: 'kubernetes-admin',
    credentials: {
      certificate: issueCertificate(ca, {
        subject: { commonName: 'kubernetes-admin', organizations: ['kubeadm:cluster-admins'] },
        usages: ['clientAuth'],
        nowMs,
        lifetimeMs: 365 * DAY,
      }),
    },
  });
  return { root, certDir, set: kubeadmCertificates({ certDir, kubeconfigDir: root }) };
}

function pairAt(dir: string, name: string): KeyPair {
  return {
    certificatePem: readFileSync(join(dir, `${name}.crt`), 'utf8'),
    keyPem: readFileSync(join(dir, `${name}.key`), 'utf8'),
  };
}

const leafNames = (set: CertificateSet): string[] =>
  set.files.filter(({ kind }) => kind === 'leaf').map(({ name }) => name);

test('renewing all keeps names, usages and keys, and says what is not there', async () => {
  const { set, certDir } = await machine();
  const before = pairAt(certDir, 'etcd/server');
  const { renewed, skipped } = await renewAll(set, { nowMs: NOW + 100 * DAY });
  assert.deepEqual(renewed, [...leafNames(set), 'admin.conf']);
  assert.equal(skipped.length, 5);
  assert.match(skipped.join(), /scheduler\.conf is missing/);
  const after = pairAt(certDir, 'etcd/server');
  assert.equal(after.keyPem, before.keyPem);
  const [old, next] = [before, after].map(({ certificatePem }) => new X509Certificate(certificatePem));
  assert.equal(next!.validToDate.getTime() - old!.validToDate.getTime(), 100 * DAY);
  assert.deepEqual(altNamesOf(next!), altNamesOf(old!));
  assert.deepEqual([next!.keyUsage, next!.subject], [old!.keyUsage, old!.subject]);
  assert.deepEqual(
    (await inspectCertificates(set, { nowMs: NOW + 100 * DAY })).flatMap((row) => row.problems),
    [],
  );
});

test('only what is due is renewed: by its age, or because another authority signed it', async () => {
  const { set, certDir } = await machine();
  const at = (day: number) => renewDue(set, { nowMs: NOW + day * DAY, jitter: () => 0 });
  assert.deepEqual((await at(243)).renewed, []);
  assert.deepEqual((await at(244)).renewed.length, 8);
  assert.deepEqual((await at(245)).renewed, []);
  // The cluster's authority was replaced by one with another key.
  const next = createAuthority({ commonName: 'kubernetes', nowMs: NOW, lifetimeMs: 3650 * DAY });
  writeFileSync(join(certDir, 'ca.key'), next.keyPem);
  writeFileSync(join(certDir, 'ca.crt'), next.certificatePem + pairAt(certDir, 'ca').certificatePem);
  assert.deepEqual((await at(245)).renewed, ['apiserver', 'apiserver-kubelet-client', 'admin.conf']);
});

test('a clock that was ahead and is right again, and one that is behind: what is renewed serves by the right one', async () => {
  const { set, certDir } = await machine();
  const valid = (nowMs: number): boolean => {
    const { certificatePem } = pairAt(certDir, 'apiserver');
    const { validFromDate, validToDate } = new X509Certificate(certificatePem);
    return validFromDate.getTime() <= nowMs && nowMs < validToDate.getTime();
  };
  const renew = (nowMs: number) => renewDue(set, { nowMs, jitter: () => 0 });
  await renew(NOW + 400 * DAY);
  assert.equal(valid(NOW), false);
  assert.equal((await renew(NOW)).renewed.length, 8);
  assert.ok(valid(NOW));
  await renew(NOW - 400 * DAY);
  assert.ok(valid(NOW) && valid(NOW - 400 * DAY));
});

test('a cluster that was off past the end of every leaf comes back', async () => {
  const { set } = await machine();
  const nowMs = NOW + 1000 * DAY;
  assert.match(
    (await inspectCertificates(set, { nowMs })).flatMap((row) => row.problems).join(),
    /expired on/,
  );
  await renewDue(set, { nowMs });
  assert.deepEqual(
    (await inspectCertificates(set, { nowMs })).flatMap((row) => row.problems),
    [],
  );
});

test('what cannot be renewed is refused by name before anything is written', async () => {
  const { set, certDir } = await machine();
  const refused = async (wanted: readonly string[], says: RegExp): Promise<void> => {
    const before = readFileSync(join(certDir, 'apiserver.crt'), 'utf8');
    await assert.rejects(
      renewNamed(set, { names: ['apiserver', ...wanted], nowMs: NOW + DAY }),
      (error: Error) => {
        assert.ok(error instanceof UserError);
        assert.match(error.message, says);
        return true;
      },
    );
    assert.equal(readFileSync(join(certDir, 'apiserver.crt'), 'utf8'), before);
  };
  await refused(['apisever'], /There is no certificate "apisever"; there are apiserver, .*etcd-server/);
  await refused(['etcd-ca'], /"etcd-ca" is an authority: .*rotate-ca/);
  await refused(['scheduler.conf'], /scheduler\.conf is missing/);
  const theirs = createAuthority({ commonName: 'corp', nowMs: NOW, lifetimeMs: 99 * DAY });
  const foreign = issueCertificate(theirs, {
    subject: { commonName: 'front-proxy-client' },
    usages: ['clientAuth'],
    nowMs: NOW,
    lifetimeMs: DAY,
    keyPem: pairAt(certDir, 'front-proxy-client').keyPem,
  });
  writeFileSync(join(certDir, 'front-proxy-client.crt'), foreign.certificatePem);
  await refused(
    ['front-proxy-client'],
    /was issued by CN=corp and not by .*front-proxy-ca\.crt: its issuer renews it/,
  );
  writeFileSync(join(certDir, 'etcd/peer.crt'), 'damaged');
  await refused(['etcd/peer'], /etcd\/peer\.crt is damaged: restore it from a copy/);
  assert.equal(readFileSync(join(certDir, 'etcd/peer.crt'), 'utf8'), 'damaged');
  writeFileSync(join(certDir, 'etcd/server.key'), pairAt(certDir, 'etcd/healthcheck-client').keyPem);
  await refused(['etcd-server'], /etcd\/server\.crt does not belong to .*etcd\/server\.key/);
  const rows = await inspectCertificates(set, { nowMs: NOW });
  const problem = (name: string): string => rows.find((row) => row.name === name)!.problems.join();
  assert.match(problem('front-proxy-client'), /was not issued by front-proxy-ca/);
  assert.match(problem('etcd-peer'), /is damaged/);
  assert.match(problem('etcd-server'), /does not belong/);
});

test('the rest of a kubeconfig stays as it was written', async () => {
  const { set, root } = await machine();
  const path = join(root, 'admin.conf');
  writeFileSync(path, `# mine\n${readFileSync(path, 'utf8')}\n- name: other\n  user: {token: abc}\n`);
  const lines = (): string[] => readFileSync(path, 'utf8').split('\n');
  const before = lines();
  await renewNamed(set, { names: ['admin.conf'], nowMs: NOW + DAY });
  const changed = lines().filter((line, index) => line !== before[index]);
  assert.equal(changed.length, 1);
  assert.match(changed[0]!, /^ {4}client-certificate-data: /);
});

test('an external authority: requests out, certificates in', { skip }, async () => {
  const { set, certDir, root } = await machine({ nowMs: Date.now() });
  const authorities = Object.fromEntries(
    ['ca', 'front-proxy-ca', 'etcd/ca'].map((name) => [name, pairAt(certDir, name)]),
  );
  for (const name of Object.keys(authorities)) rmSync(join(certDir, `${name}.key`));
  rmSync(join(certDir, 'apiserver.crt'));
  await assert.rejects(
    renewNamed(set, { names: ['admin.conf'], nowMs: Date.now() }),
    /admin\.conf: the key of its authority is not on this machine; .*generate-csr.*admin\.conf\.crt/,
  );
  const paths = await generateRequests({ certDir, kubeconfigDir: root, names });
  assert.equal(paths.length, 7 + 6);
  for (const path of paths)
    execFileSync('openssl', ['req', '-verify', '-noout', '-in', path], { stdio: 'ignore' });
  const signed = (path: string, authority: KeyPair): string => {
    const request = readRequest(readFileSync(path, 'utf8'));
    return signLeaf(authority, {
      ...request,
      publicKey: createPublicKey({ key: request.publicKey, format: 'der', type: 'spki' }),
      keyUsages: 1,
      extendedKeyUsages: ['1.3.6.1.5.5.7.3.1', '1.3.6.1.5.5.7.3.2'],
      notBeforeMs: Date.now() - DAY,
      notAfterMs: Date.now() + 500 * DAY,
    });
  };
  writeFileSync(join(certDir, 'apiserver.crt'), signed(join(certDir, 'apiserver.csr'), authorities['ca']!));
  writeFileSync(join(root, 'admin.conf.crt'), signed(join(root, 'admin.conf.csr'), authorities['ca']!));
  const { renewed } = await renewNamed(set, { names: ['admin.conf'], nowMs: Date.now() });
  assert.deepEqual(renewed, ['admin.conf']);
  const result = await createMissing(CERTIFICATES, { dir: certDir, names, nowMs: Date.now() });
  assert.deepEqual(result.made, []);
  const rows = await inspectCertificates(set, { nowMs: Date.now() });
  assert.deepEqual(
    rows.flatMap(({ problems }) => problems),
    [],
  );
  assert.equal(
    rows.every(({ isExternal }) => isExternal),
    true,
  );
});

test('a request for what is not there brings a key, which is asked for again with', async () => {
  const root = mkdtempSync(join(tmpdir(), 'capstan-renew-'));
  folders.push(root);
  const options = { certDir: join(root, 'pki'), kubeconfigDir: root, names, externalEtcd: true };
  await generateRequests(options);
  assert.equal(existsSync(join(root, 'pki/etcd')), false);
  const key = readFileSync(join(root, 'pki/apiserver.key'), 'utf8');
  await generateRequests(options);
  assert.equal(readFileSync(join(root, 'pki/apiserver.key'), 'utf8'), key);
  assert.equal(existsSync(join(root, 'admin.conf.key')), true);
  writeFileSync(join(root, 'pki/apiserver.key'), 'damaged');
  await assert.rejects(generateRequests(options), /apiserver\.key is damaged/);
});

test("a data directory's certificates, its nodes' and kubeconfigs' too", async () => {
  const root = mkdtempSync(join(tmpdir(), 'capstan-renew-'));
  folders.push(root);
  const dir = dataDir(root);
  const apiServer = { hostName: 'box', serviceIP: '10.96.0.1', bindAddresses: ['0.0.0.0'] };
  const pki = await ensurePki({ dir: dir.pki, nowMs: NOW, apiServer });
  await publishCertificates(dir, {
    pki,
    nowMs: NOW,
    server: 'https://127.0.0.1:6443',
    simulatedNodes: true,
    node: { name: 'n1', addresses: ['192.0.2.8'] },
  });
  const set = await dataDirCertificates(root);
  const rows = await inspectCertificates(set, { nowMs: NOW });
  assert.deepEqual(
    rows.flatMap(({ problems }) => problems),
    [],
  );
  assert.equal(rows.length, 19);
  const ca = rows.find(({ name }) => name === 'ca')?.certificate?.publicKeyHash;
  assert.equal(ca, publicKeyHash(new X509Certificate(pki.ca.certificatePem)));
  const { renewed, skipped } = await renewAll(set, { nowMs: NOW + DAY });
  assert.deepEqual(skipped, []);
  assert.ok(renewed.includes('nodes/n1/kubelet') && renewed.includes('dns.kubeconfig'));
  // What the program itself keeps is content with it.
  const again = await ensurePki({ dir: dir.pki, nowMs: NOW + DAY, apiServer });
  assert.deepEqual(again.changes, []);
});

test('a year of looks: each is renewed once it is due, and a damaged one holds up no other', async () => {
  const { root, certDir } = await machine();
  const paths = { pki: certDir, kubernetes: root, kubeletPki: root };
  writeFileSync(join(certDir, 'etcd/peer.crt'), 'damaged');
  const changes: string[] = [];
  for (let day = 0; day <= 300; day += 10) {
    const state = await renewMachineCertificates(paths, { nowMs: NOW + day * DAY, externalEtcd: false });
    changes.push(...state.changes);
    assert.match(state.warnings.map(({ message }) => message).join(), /etcd\/peer\.crt is damaged/);
    for (const { name, notAfterMs } of state.ends)
      if (!name.endsWith('ca')) assert.ok(notAfterMs > NOW + (day + 60) * DAY, name);
  }
  assert.equal(changes.length, 7);
  assert.equal(readFileSync(join(certDir, 'etcd/peer.crt'), 'utf8'), 'damaged');
});

test('a machine without an authority has nothing to renew', async () => {
  const root = mkdtempSync(join(tmpdir(), 'capstan-renew-'));
  folders.push(root);
  assert.deepEqual(
    await renewMachineCertificates(
      { pki: root, kubernetes: root, kubeletPki: root },
      { nowMs: NOW, externalEtcd: false },
    ),
    { changes: [], warnings: [], ends: [] },
  );
});
