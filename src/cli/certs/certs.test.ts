/** The commands over a folder in kubeadm's layout, as a user calls them. */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { CERTIFICATES } from '#deploy/phases/certificate-list.ts';
import { readRequest } from '#pki/request.ts';
import { createMissing } from '#deploy/phases/certificates.ts';

const ROOT = join(import.meta.dirname, '../../..');
const rootfs = mkdtempSync(join(tmpdir(), 'capstan-certs-'));
const certDir = join(rootfs, 'etc/kubernetes/pki');

function certs(...words: readonly string[]): {
  readonly status: number | null;
  readonly stdout: string;
  readonly stderr: string;
} {
  return spawnSync(join(ROOT, 'capstan'), ['certs', ...words, '--rootfs', rootfs], { encoding: 'utf8' });
}

before(async () => {
  await createMissing(CERTIFICATES, {
    dir: certDir,
    nowMs: Date.now(),
    names: {
      nodeName: 'cp1',
      advertiseAddress: '192.0.2.1',
      serviceAddresses: ['10.96.0.1'],
      dnsDomain: 'cluster.local',
    },
  });
});
after(() => rmSync(rootfs, { recursive: true, force: true }));

test("check-expiration prints kubeadm's two tables", () => {
  const { stdout } = certs('check-expiration');
  assert.match(
    stdout,
    /^CERTIFICATE +EXPIRES +RESIDUAL TIME +CERTIFICATE AUTHORITY +EXTERNALLY MANAGED\napiserver +\w{3} \d\d, \d{4} \d\d:\d\d UTC +364d +ca +no$/m,
  );
  assert.match(stdout, /^etcd-ca +\w{3} \d\d, \d{4} \d\d:\d\d UTC +9y +no$/m);
  const [first] = JSON.parse(certs('list', '-o', 'json').stdout) as { readonly publicKeyHash: string }[];
  assert.match(first!.publicKeyHash, /^sha256:[0-9a-f]{64}$/);
});

test('renew says what it did, and what it did not', () => {
  const before = readFileSync(join(certDir, 'apiserver.crt'), 'utf8');
  const { status, stdout } = certs('renew', 'apiserver', 'etcd-peer', '--validity', '48h');
  assert.equal(status, 0);
  assert.match(stdout, /certificate apiserver renewed\ncertificate etcd-peer renewed\n/);
  assert.notEqual(readFileSync(join(certDir, 'apiserver.crt'), 'utf8'), before);
  assert.match(certs('check-expiration').stdout, /^apiserver .* 47h|^apiserver .* 1d/m);
  assert.match(certs('renew', 'all').stdout, /skipped: .*admin\.conf is missing/);
  const refused = certs('renew', 'admin.conf');
  assert.equal(refused.status, 1);
  assert.match(refused.stderr, /^capstan: .*admin\.conf is missing/m);
  assert.match(
    certs('renew', 'apiserver', '--validity', '5').stderr,
    /--validity is "5"; it should be a duration/,
  );
});

test('check fails for what is damaged, and a folder without certificates is named', () => {
  assert.equal(certs('check').status, 0);
  writeFileSync(join(certDir, 'etcd/server.key'), 'damaged');
  const { status, stdout } = certs('check');
  assert.equal(status, 1);
  assert.match(stdout, /problem: .*etcd\/server\.key is damaged: restore it from a copy/);
  const empty = certs('check', '--cert-dir', '/nowhere');
  assert.match(empty.stderr, /There are no certificates in .*nowhere: ca\.crt is not there/);
});

test('generate-csr writes keys and requests by the configuration, and refuses a wrong one', () => {
  const config = join(rootfs, 'config.yaml');
  const text = [
    'apiVersion: kubeadm.k8s.io/v1beta4',
    'kind: ClusterConfiguration',
    'controlPlaneEndpoint: api.example.org:6443',
    'certificatesDir: /srv/pki',
    'etcd: {external: {endpoints: [https://192.0.2.9:2379]}}',
    '---',
    'apiVersion: kubeadm.k8s.io/v1beta4',
    'kind: InitConfiguration',
    'localAPIEndpoint: {advertiseAddress: 192.0.2.1}',
    'nodeRegistration: {name: cp9}',
  ].join('\n');
  writeFileSync(config, text);
  const { status, stdout, stderr } = certs('generate-csr', '--config', config);
  assert.equal(status, 0, stderr);
  assert.equal(stdout.includes('etcd'), false);
  const request = readRequest(readFileSync(join(rootfs, 'srv/pki/apiserver.csr'), 'utf8'));
  assert.ok(
    request.altNames.dnsNames.includes('api.example.org') && request.altNames.dnsNames.includes('cp9'),
  );
  assert.ok(request.altNames.ipAddresses.includes('10.96.0.1'));
  writeFileSync(config, `${text}\nnope: 1\n`);
  assert.equal(certs('generate-csr', '--config', config).status, 1);
});
