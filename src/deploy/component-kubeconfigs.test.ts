/** Which kubeconfigs a cluster's directory holds, and what they are allowed. */
import assert from 'node:assert/strict';
import { X509Certificate } from 'node:crypto';
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { writeComponentKubeconfigs } from './component-kubeconfigs.ts';
import type { DataDir } from './data-dir.ts';
import { ensurePki } from './pki/pki.ts';

test('no kubeconfig is in system:masters, and simulated nodes have one only where they may run', async () => {
  const dir = mkdtempSync(join(tmpdir(), 'capstan-kubeconfigs-'));
  try {
    const nowMs = Date.UTC(2026, 0, 1);
    const pki = await ensurePki({
      dir: join(dir, 'pki'),
      apiServer: { hostName: 'host', serviceIP: '10.96.0.1', bindAddresses: [] },
      nowMs,
    });
    const where = { kubeconfigs: join(dir, 'kubeconfigs') } as DataDir;
    const write = (simulatedNodes: boolean): ReturnType<typeof writeComponentKubeconfigs> =>
      writeComponentKubeconfigs(where, { server: 'https://127.0.0.1:6443', pki, nowMs, simulatedNodes });
    const { paths } = await write(true);
    for (const [name, path] of Object.entries(paths)) {
      const data = /client-certificate-data: (\S+)/.exec(readFileSync(path, 'utf8'))![1]!;
      const { subject } = new X509Certificate(Buffer.from(data, 'base64'));
      assert.doesNotMatch(subject, /system:masters|cluster-admins/, name);
    }
    const simulated = paths['simulated-nodes']!;
    writeFileSync(simulated, 'of an earlier version');
    assert.equal((await write(false)).paths['simulated-nodes'], undefined);
    assert.equal(existsSync(simulated), false);
  } finally {
    rmSync(dir, { recursive: true, force: true });
  }
});
