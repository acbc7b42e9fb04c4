import assert from 'node:assert/strict';
import { X509Certificate } from 'node:crypto';
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { machinePaths } from '#deploy/machine/paths.ts';
import { machineFile } from '#deploy/machine/record.ts';
import { CERTIFICATES } from '#deploy/phases/certificate-list.ts';
import { createMissing } from '#deploy/phases/certificates.ts';
import { kubeletClientPath, writeKubeletClient } from '#deploy/phases/kubelet-client.ts';
import { issueCertificate, type KeyPair } from '#pki/certificate.ts';
import { readPair } from '#pki/chain.ts';
import { FakeClock } from '#stdx/testing/fake-clock.ts';
import { silentLogger } from '#stdx/log.ts';
import { keepCertificates } from './certificate-renewal.ts';

const DAY_MS = 86_400_000;

test('what is due is renewed before anything starts, and a damaged file keeps nothing from starting', async (t) => {
  const paths = machinePaths({ rootfs: mkdtempSync(join(tmpdir(), 'capstan-renewal-')) });
  t.after(() => rmSync(paths.rootfs, { recursive: true }));
  const machine = machineFile(paths);
  machine.update((record) => ({
    ...record,
    role: 'control-plane',
    etcd: { name: 'm1', peerURL: 'https://10.0.0.1:2380' },
  }));
  const clock = new FakeClock(Date.now());
  await createMissing(CERTIFICATES, {
    dir: paths.pki,
    names: { nodeName: 'm1', advertiseAddress: '10.0.0.1', serviceAddresses: [], dnsDomain: 'cluster.local' },
    nowMs: clock.now() - 400 * DAY_MS,
  });
  const endMs = (name: string): number =>
    Date.parse(new X509Certificate(readFileSync(join(paths.pki, name), 'utf8')).validTo);
  assert.ok(endMs('etcd/server.crt') < clock.now());
  const kubelet = issueCertificate(pairIn(paths.pki, 'ca'), {
    subject: { commonName: 'system:node:m1', organizations: ['system:nodes'] },
    usages: ['clientAuth'],
    nowMs: clock.now() - 400 * DAY_MS,
    lifetimeMs: 365 * DAY_MS,
  });
  mkdirSync(paths.kubeletPki, { recursive: true });
  await writeKubeletClient(paths.kubeletPki, kubelet);
  const end = await keepCertificates({ paths, machine, clock, log: silentLogger });
  t.after(end);
  for (const name of ['apiserver.crt', 'etcd/server.crt', 'front-proxy-client.crt'])
    assert.ok(endMs(name) > clock.now() + 300 * DAY_MS, name);
  const { certificates, ...next } = readPair(readFileSync(kubeletClientPath(paths.kubeletPki), 'utf8'));
  assert.equal(next.keyPem, kubelet.keyPem);
  assert.equal(certificates[0]!.subject, new X509Certificate(kubelet.certificatePem).subject);
  assert.ok(certificates[0]!.validToDate.getTime() > clock.now() + 300 * DAY_MS);
  assert.equal(readdirSync(paths.kubeletPki).length, 2, 'the file and the link');
  const authority = endMs('ca.crt');
  writeFileSync(join(paths.pki, 'apiserver.crt'), 'nonsense');
  (await keepCertificates({ paths, machine, clock, log: silentLogger }))();
  assert.equal(readFileSync(join(paths.pki, 'apiserver.crt'), 'utf8'), 'nonsense');
  assert.equal(endMs('ca.crt'), authority);
});

function pairIn(dir: string, name: string): KeyPair {
  const [certificatePem = '', keyPem = ''] = ['crt', 'key'].map((end) =>
    readFileSync(join(dir, `${name}.${end}`), 'utf8'),
  );
  return { certificatePem, keyPem };
}
