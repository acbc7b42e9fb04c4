import assert from 'node:assert/strict';
import { createDecipheriv } from 'node:crypto';
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { after, before, it } from 'node:test';
import type { Client } from '#client/client.ts';
import { roleBindings, roles, secrets } from '#client/refs.ts';
import { timeMs } from '#machinery/time.ts';
import { startTestApi, type TestApi } from '#testing/start-test-api.ts';
import { downloadCertificates } from './download-certs.ts';
import { CERTS_SECRET, createCertificateKey, sharedFiles, type SharedFile } from './kubeadm-certs.ts';
import { uploadCertificates } from './upload-certs.ts';

let dir: string;
let test: TestApi;
let joining: Client;
before(async () => {
  dir = mkdtempSync(join(tmpdir(), 'capstan-upload-certs-'));
  test = await startTestApi();
  joining = test.clientAs({
    name: 'system:bootstrap:abcdef',
    groups: [
      'system:bootstrappers:kubeadm:default-node-token',
      'system:bootstrappers',
      'system:authenticated',
    ],
  });
});
after(async () => {
  await test.stop();
  rmSync(dir, { recursive: true });
});

function machine(name: string): readonly SharedFile[] {
  const pki = join(dir, name, 'pki');
  return sharedFiles({ pki, etcdPki: join(pki, 'etcd') });
}
function write(files: readonly SharedFile[], except: readonly string[] = []): void {
  for (const { name, path } of files) {
    mkdirSync(dirname(path), { recursive: true });
    if (!except.includes(name)) writeFileSync(path, `content of ${name}\n`);
  }
}
const upload = (files: readonly SharedFile[], certificateKey: string): Promise<void> =>
  uploadCertificates({ api: test.api, files, certificateKey, nowMs: Date.now() });

it('carries the authorities from one control plane to the next, as kubeadm stores them', async () => {
  const [first, second] = [machine('first'), machine('second')];
  const key = createCertificateKey();
  assert.match(key, /^[0-9a-f]{64}$/);
  write(first);
  await upload(first, key);
  const secret = await test.api.get(secrets, CERTS_SECRET);
  assert.deepEqual(Object.keys(secret.data!).toSorted(), [
    'backup-identity.key',
    'backup-recipients.pub',
    'ca.crt',
    'ca.key',
    'encryption-config.key',
    'etcd-ca.crt',
    'etcd-ca.key',
    'front-proxy-ca.crt',
    'front-proxy-ca.key',
    'sa.key',
    'sa.pub',
  ]);
  // As Go's aesgcm.Open(nil, data[:12], data[12:], nil) reads it.
  const stored = Buffer.from(secret.data!['sa.key']!, 'base64');
  const open = createDecipheriv('aes-256-gcm', Buffer.from(key, 'hex'), stored.subarray(0, 12));
  open.setAuthTag(stored.subarray(-16));
  assert.equal(`${open.update(stored.subarray(12, -16))}${open.final()}`, 'content of sa.key\n');

  const written = await downloadCertificates({ api: joining, files: second, certificateKey: key });
  assert.equal(written.length, 11);
  for (const { path, name } of second) {
    assert.equal(readFileSync(path, 'utf8'), `content of ${name}\n`);
    assert.equal(statSync(path).mode & 0o777, name.endsWith('.key') ? 0o600 : 0o644, name);
  }
  assert.deepEqual(await downloadCertificates({ api: joining, files: second, certificateKey: key }), []);
});

it('belongs to a token of two hours that authenticates nobody', async () => {
  const { metadata } = await test.api.get(secrets, CERTS_SECRET);
  const [owner, ...more] = metadata.ownerReferences!;
  assert.deepEqual(more, []);
  const token = await test.api.get(secrets, { name: owner!.name, namespace: 'kube-system' });
  assert.equal(token.metadata.uid, owner!.uid);
  assert.equal(token.type, 'bootstrap.kubernetes.io/token');
  const text = (name: string): string => Buffer.from(token.data![name] ?? '', 'base64').toString();
  assert.match(text('token-id'), /^[a-z0-9]{6}$/);
  assert.match(text('token-secret'), /^[a-z0-9]{16}$/);
  assert.equal(text('usage-bootstrap-authentication'), '');
  const leftMs = timeMs(text('expiration'))! - Date.now();
  assert.ok(leftMs > 7_100_000 && leftMs <= 7_200_000, String(leftMs));
});

it('lets those who join read that Secret and no other', async () => {
  const name = { name: 'kubeadm:kubeadm-certs', namespace: 'kube-system' };
  assert.deepEqual((await test.api.get(roles, name)).rules, [
    { apiGroups: [''], resources: ['secrets'], resourceNames: ['kubeadm-certs'], verbs: ['get'] },
  ]);
  assert.equal((await test.api.get(roleBindings, name)).subjects?.length, 1);
  await assert.rejects(joining.list(secrets, { namespace: 'kube-system' }), /forbidden/);
});

it('replaces an earlier upload, and says so to the old key', async () => {
  const files = machine('first');
  const [old, key] = [createCertificateKey(), createCertificateKey()];
  await upload(files, old);
  await upload(files, key);
  const third = machine('third');
  await assert.rejects(
    downloadCertificates({ api: joining, files: third, certificateKey: old }),
    /"ca\.crt" in the Secret kubeadm-certs cannot be decrypted with this certificate key.*upload-certs/,
  );
  assert.ok(!existsSync(third[0]!.path));
  await assert.rejects(
    downloadCertificates({ api: joining, files: third, certificateKey: 'secret-stuff' }),
    (error: Error) => /64 hexadecimal digits/.test(error.message) && !error.message.includes('secret-stuff'),
  );
  assert.equal((await downloadCertificates({ api: joining, files: third, certificateKey: key })).length, 11);
});

it('leaves the files of another cluster, and leaves out keys that an external authority keeps', async () => {
  const [files, joined, other] = [machine('external'), machine('joined'), machine('other')];
  const key = createCertificateKey();
  write(files, ['ca.key', 'front-proxy-ca.key']);
  await upload(files, key);
  const written = await downloadCertificates({ api: joining, files: joined, certificateKey: key });
  assert.ok(!written.includes('ca.key') && written.includes('ca.crt'));
  mkdirSync(dirname(other[0]!.path), { recursive: true });
  writeFileSync(other[0]!.path, 'of another cluster\n');
  await assert.rejects(
    downloadCertificates({ api: joining, files: other, certificateKey: key }),
    /ca\.crt is of another cluster: nothing was written/,
  );
  assert.ok(!other.slice(1).some(({ path }) => existsSync(path)));
});

it('carries the key of backups, where the cluster has one; a machine keeps its own', async () => {
  const [files, joined, own] = [machine('with-backups'), machine('joined-backups'), machine('own-key')];
  const key = createCertificateKey();
  const identity = ({ path }: SharedFile): boolean => path.endsWith('backup-identity.txt');
  write(files, []);
  const { path } = own.find(identity)!;
  mkdirSync(dirname(path), { recursive: true });
  writeFileSync(path, 'own\n');
  await upload(files, key);
  await downloadCertificates({ api: joining, files: joined, certificateKey: key });
  const [from, to] = [files, joined].map((all) => all.find(identity)!.path);
  assert.equal(readFileSync(to!, 'utf8'), readFileSync(from!, 'utf8'));
  assert.equal(statSync(to!).mode & 0o777, 0o600);
  await downloadCertificates({ api: joining, files: own, certificateKey: key });
  assert.equal(readFileSync(path, 'utf8'), 'own\n');
  // As kubeadm, or an older Capstan, uploads.
  await upload(
    files.filter(({ optional }) => !optional),
    key,
  );
  await downloadCertificates({ api: joining, files: machine('of-kubeadm'), certificateKey: key });
});

it('names the client files of an external etcd as kubeadm does', () => {
  const etcd = { caFile: '/x/ca.pem', certFile: '/x/c.pem', keyFile: '/x/k.pem' };
  assert.deepEqual(sharedFiles({ pki: '/p', etcdPki: '/p/etcd' }, etcd).slice(6, 9), [
    { name: 'external-etcd-ca.crt', path: '/x/ca.pem' },
    { name: 'external-etcd.crt', path: '/x/c.pem' },
    { name: 'external-etcd.key', path: '/x/k.pem' },
  ]);
});

it('says that the Secret has expired', async () => {
  await test.api.delete(secrets, CERTS_SECRET);
  await assert.rejects(
    downloadCertificates({ api: joining, files: machine('late'), certificateKey: createCertificateKey() }),
    /This Secret might have expired\. Upload again/,
  );
});
