import assert from 'node:assert/strict';
import { X509Certificate } from 'node:crypto';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { machinePaths } from '#deploy/machine/paths.ts';
import { machineFile } from '#deploy/machine/record.ts';
import { CERTIFICATES } from '#deploy/phases/certificate-list.ts';
import { createMissing } from '#deploy/phases/certificates.ts';
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
  const end = await keepCertificates({ paths, machine, clock, log: silentLogger });
  t.after(end);
  for (const name of ['apiserver.crt', 'etcd/server.crt', 'front-proxy-client.crt'])
    assert.ok(endMs(name) > clock.now() + 300 * DAY_MS, name);
  const authority = endMs('ca.crt');
  writeFileSync(join(paths.pki, 'apiserver.crt'), 'nonsense');
  (await keepCertificates({ paths, machine, clock, log: silentLogger }))();
  assert.equal(readFileSync(join(paths.pki, 'apiserver.crt'), 'utf8'), 'nonsense');
  assert.equal(endMs('ca.crt'), authority);
});
