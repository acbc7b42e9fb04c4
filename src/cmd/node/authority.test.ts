/** The authority that a node's kubeconfig names, inline or in a file of its own: read, and followed through a rotation. */
import assert from 'node:assert/strict';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test, type TestContext } from 'node:test';
import { configMaps, nodes } from '#client/refs.ts';
import { loadKubeconfig, resolveContext } from '#client/kubeconfig.ts';
import { AUTHORITY_REPORT, parseReport, ROTATION_CONFIG_MAP } from '#component-helpers/authority-report.ts';
import { createAuthority } from '#pki/certificate.ts';
import { publicKeyHash } from '#pki/keys.ts';
import { certificatesIn } from '#pki/pem.ts';
import { realClock } from '#stdx/clock.ts';
import { silentLogger } from '#stdx/log.ts';
import { until } from '#testing/cluster.ts';
import { startTestApi } from '#testing/start-test-api.ts';
import type { RunContext } from '../run-component.ts';
import { requireAuthority, withTrust } from './certificates.ts';

const authority = () =>
  createAuthority({ commonName: 'kubernetes', nowMs: Date.now(), lifetimeMs: 99 * 86_400_000 });

function kubeconfig(t: TestContext, cluster: Readonly<Record<string, string>>): RunContext['connection'] {
  const dir = mkdtempSync(join(tmpdir(), 'capstan-authority-'));
  t.after(() => rmSync(dir, { recursive: true }));
  const file = join(dir, 'kubelet.conf');
  const config = {
    apiVersion: 'v1',
    kind: 'Config',
    'current-context': 'one',
    contexts: [{ name: 'one', context: { cluster: 'one' } }],
    clusters: [{ name: 'one', cluster: { server: 'https://127.0.0.1:1', ...cluster } }],
  };
  writeFileSync(file, JSON.stringify(config));
  const { options } = resolveContext(loadKubeconfig({ path: file }));
  return { options, file } as RunContext['connection'];
}

test('inline, in a file beside the kubeconfig, in none', (t) => {
  const data = Buffer.from('inline').toString('base64');
  assert.equal(requireAuthority(kubeconfig(t, { 'certificate-authority-data': data })), 'inline');
  const beside = kubeconfig(t, { 'certificate-authority': 'ca.crt' });
  assert.throws(() => requireAuthority(beside), /^UserError: certificate-authority of .*ca\.crt/);
  writeFileSync(join(beside.file, '../ca.crt'), 'beside');
  assert.equal(requireAuthority(beside), 'beside');
  assert.throws(() => requireAuthority(kubeconfig(t, {})), /kubelet\.conf names no certificate authority/);
});

test('a rotation reaches the file, but not where the key of the authority is beside it', async (t) => {
  const { api, stop } = await startTestApi();
  t.after(stop);
  const [old, next] = [authority(), authority()].map(({ certificatePem }) => certificatePem);
  const data = { phase: 'overlap', 'ca.crt': `${old}${next}` };
  await api.create(configMaps, { metadata: ROTATION_CONFIG_MAP, data });
  for (const [nodeName, isControlPlane] of [
    ['worker', false],
    ['plane', true],
  ] as const) {
    await api.create(nodes, { metadata: { name: nodeName } });
    const connection = kubeconfig(t, { 'certificate-authority': 'ca.crt' });
    const file = join(connection.file, '../ca.crt');
    writeFileSync(file, old!);
    if (isControlPlane) writeFileSync(join(connection.file, '../ca.key'), 'key');
    const shown: (string | undefined)[] = [];
    const follower = withTrust(
      { name: 'node', start: () => Promise.resolve(), stop: () => Promise.resolve() },
      {
        flags: {},
        nodeName,
        context: { api, connection, clock: realClock, log: silentLogger } as RunContext,
        used: [],
        node: { replaceTls: ({ clientCaPem }) => shown.push(clientCaPem) },
      },
    );
    await follower.start();
    const trusted = async (): Promise<readonly string[]> =>
      parseReport((await api.get(nodes, { name: nodeName })).metadata.annotations?.[AUTHORITY_REPORT])
        ?.trusted ?? [];
    await until('it reports', async () => (await trusted()).length === 2);
    await follower.stop();
    assert.equal(readFileSync(file, 'utf8'), isControlPlane ? old : data['ca.crt']);
    assert.deepEqual(shown, [data['ca.crt']]);
    assert.deepEqual(await trusted(), certificatesIn(data['ca.crt']).map(publicKeyHash).toSorted());
  }
});
