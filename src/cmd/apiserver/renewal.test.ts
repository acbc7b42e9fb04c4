/** Certificates over a year: renewed while the server runs, which goes on with the new ones without a restart. */
import assert from 'node:assert/strict';
import { X509Certificate } from 'node:crypto';
import { chmodSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { connect } from 'node:tls';
import { test } from 'node:test';
import { loadKubeconfig, resolveContext } from '#client/kubeconfig.ts';
import { publishCertificates, renewCertificates } from '#deploy/cluster-certificates.ts';
import { dataDir } from '#deploy/data-dir.ts';
import { ensurePki, type PkiOptions } from '#deploy/pki/pki.ts';
import { CertificateRenewal } from '#deploy/pki/renewal.ts';
import { createLogger, silentLogger } from '#stdx/log.ts';
import { FakeClock } from '#stdx/testing/fake-clock.ts';
import { realClock } from '#stdx/clock.ts';
import { createMemoryStore } from '#storage/drivers/memory.ts';
import { freePort, until } from '#testing/cluster.ts';
import { FollowedConnection } from '../followed-connection.ts';
import { composeApiServer } from './compose.ts';
import { composeOptionsFrom, settingsFrom } from './from-flags.ts';

const DAY_MS = 86_400_000;
const NODE = { name: 'n1', addresses: ['192.0.2.8'] };

test('over a year every certificate is renewed and taken up, nothing is restarted', async (t) => {
  const dir = dataDir(mkdtempSync(join(tmpdir(), 'capstan-year-')));
  t.after(() => rmSync(dir.path, { recursive: true, force: true }));
  // TLS goes by the machine's time: the certificates of the start are about to end by it, those of the renewal are not.
  const clock = new FakeClock(Date.now() - 364 * DAY_MS);
  const port = await freePort();
  const options: PkiOptions = {
    dir: dir.pki,
    apiServer: { hostName: 'box', serviceIP: '10.96.0.1', bindAddresses: ['127.0.0.1'] },
    nowMs: clock.now(),
  };
  const publish = { server: `https://127.0.0.1:${port}`, simulatedNodes: true, node: NODE };
  const pki = await ensurePki(options);
  const initial = await publishCertificates(dir, { ...publish, pki, nowMs: clock.now() });
  const renewal = new CertificateRenewal({
    initial,
    clock,
    log: silentLogger,
    ensure: (nowMs) => renewCertificates(dir, { ...publish, pki: options, nowMs }),
  });
  const lines: string[] = [];
  const server = await composeApiServer({
    store: createMemoryStore({}),
    ...composeOptionsFrom({}, { settings: settingsFrom({}, dir.pki), pki }),
    serviceCIDR: '10.96.0.0/16',
    listen: ['127.0.0.1'],
    port,
    advertiseAddress: '127.0.0.1',
    metrics: () => renewal.metrics(),
    clock: realClock,
    log: createLogger({ write: (line) => void lines.push(line) }),
  });
  t.after(() => server.stop());
  await server.ready();
  // A component that keeps its connection, as `capstan scheduler` does.
  const file = join(dir.kubeconfigs, 'scheduler.kubeconfig');
  const reloads: string[] = [];
  const followed = new FollowedConnection({
    file,
    read: () => resolveContext(loadKubeconfig({ path: file })).options,
    log: createLogger({ write: (line) => void reloads.push(line) }),
  });
  t.after(() => followed.close());
  const transport = followed.open();
  const get = async (path: string): Promise<{ readonly status: number; readonly text: string }> => {
    const { status, bytes } = await transport.request({ method: 'GET', path }).then(async (response) => ({
      status: response.status,
      bytes: await response.bytes(),
    }));
    return { status, text: Buffer.from(bytes).toString() };
  };
  assert.equal((await get('/api/v1/nodes')).status, 200);
  const shown = await serialShown(port);

  renewal.start();
  t.after(() => renewal.stop());
  let failed = 0;
  for (let day = 0; day < 395; day++) {
    await clock.advance(DAY_MS);
    assert.equal(await renewal.look(), true);
    if (day % 10 === 0 && (await get('/version')).status !== 200) failed++;
  }
  assert.equal(failed, 0);

  await until('the new serving certificate is shown', async () => (await serialShown(port)) !== shown);
  await until('the component has read its kubeconfig again', () =>
    reloads.some((line) => line.includes('reloaded')),
  );
  for (const name of ['front-proxy-client', 'apiserver-kubelet-client'])
    await until(`${name} is followed`, () =>
      lines.some((line) => line.includes('reloaded') && line.includes(name)),
    );
  assert.equal((await get('/api/v1/nodes')).status, 200);
  const before = new Map(initial.ends.map(({ name, notAfterMs }) => [name, notAfterMs]));
  const { ends } = await renewCertificates(dir, { ...publish, pki: options, nowMs: clock.now() });
  for (const { name, notAfterMs } of ends) {
    if (name.endsWith('ca')) assert.equal(notAfterMs, before.get(name), name);
    else assert.ok(notAfterMs > before.get(name)! && notAfterMs > clock.now() + 60 * DAY_MS, name);
  }
  assert.ok(ends.length >= 14, `${ends.length} certificates`);
  const end = ends.find(({ name }) => name === 'apiserver')!.notAfterMs / 1000;
  assert.ok(
    renewal.metrics().includes(`capstan_certificate_expiration_timestamp_seconds{name="apiserver"} ${end}`),
  );
  const admin = resolveContext(loadKubeconfig({ path: dir.kubeconfig })).options;
  assert.ok(Date.parse(new X509Certificate(admin.cert!).validTo) > clock.now());
});

test('a failure is logged and tried again, and each warning is reported once', async () => {
  const dir = mkdtempSync(join(tmpdir(), 'capstan-renewal-'));
  const clock = new FakeClock();
  const options: PkiOptions = {
    dir: join(dir, 'pki'),
    apiServer: { hostName: 'box', serviceIP: '10.96.0.1', bindAddresses: [] },
    nowMs: clock.now(),
  };
  const initial = await ensurePki(options);
  const lines: string[] = [];
  let broken = false;
  const renewal = new CertificateRenewal({
    initial,
    clock,
    log: createLogger({ write: (line) => void lines.push(line) }),
    ensure: (nowMs) =>
      broken ? Promise.reject(new Error('the disk is full')) : ensurePki({ ...options, nowMs }),
  });
  try {
    chmodSync(join(dir, 'pki/ca.key'), 0o644);
    assert.equal(await renewal.look(), true);
    assert.equal(await renewal.look(), true);
    assert.equal(lines.filter((line) => line.includes('may be read or written by others')).length, 1);
    broken = true;
    assert.equal(await renewal.look(), false);
    assert.ok(lines.some((line) => line.includes('the disk is full')));
    assert.match(renewal.metrics(), /name="apiserver"\} \d+/);
  } finally {
    await renewal.stop();
    rmSync(dir, { recursive: true, force: true });
  }
});

test('a file that is damaged while the cluster runs holds up no kubeconfig', async (t) => {
  const dir = dataDir(mkdtempSync(join(tmpdir(), 'capstan-damaged-')));
  t.after(() => rmSync(dir.path, { recursive: true, force: true }));
  const nowMs = Date.now();
  const options: PkiOptions = {
    dir: dir.pki,
    apiServer: { hostName: 'box', serviceIP: '10.96.0.1', bindAddresses: [] },
    nowMs,
  };
  const publish = { server: 'https://127.0.0.1:6443', simulatedNodes: true };
  const pki = await ensurePki(options);
  await publishCertificates(dir, { ...publish, pki, nowMs });
  const endOf = (path: string): number => {
    const { cert } = resolveContext(loadKubeconfig({ path })).options;
    return Date.parse(new X509Certificate(cert!).validTo);
  };
  const schedulerFile = join(dir.kubeconfigs, 'scheduler.kubeconfig');
  const dnsFile = join(dir.kubeconfigs, 'dns.kubeconfig');
  const before = { scheduler: endOf(schedulerFile), dns: endOf(dnsFile), admin: endOf(dir.kubeconfig) };
  for (const file of ['admin.crt', 'front-proxy-ca.key', 'sa.key'])
    writeFileSync(join(dir.pki, file), 'damaged');
  const known = { pki };
  const look = (day: number) =>
    renewCertificates(dir, { ...publish, pki: options, nowMs: nowMs + day * DAY_MS, known });
  const { warnings } = await look(300);
  const told = warnings.map(({ message }) => message).join('\n');
  for (const file of ['admin.crt', 'front-proxy-ca.key', 'sa.key'])
    assert.match(told, new RegExp(`${file} is damaged .*what was there before is used until then`));
  assert.equal(readFileSync(join(dir.pki, 'admin.crt'), 'utf8'), 'damaged');
  assert.ok(endOf(schedulerFile) > before.scheduler && endOf(dnsFile) > before.dns);
  assert.equal(endOf(dir.kubeconfig), before.admin);
});

function serialShown(port: number): Promise<string> {
  return new Promise((resolve, reject) => {
    const socket = connect({ host: '127.0.0.1', port, rejectUnauthorized: false }, () => {
      resolve(socket.getPeerCertificate().serialNumber);
      socket.destroy();
    });
    socket.on('error', reject);
  });
}
