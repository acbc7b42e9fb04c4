/** The kubelet API's certificate in DIR/pki, followed while the node runs. */
import assert from 'node:assert/strict';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { createAuthority } from '#pki/certificate.ts';
import { ensureNodeCertificates } from '#deploy/pki/pki.ts';
import { realClock } from '#stdx/clock.ts';
import { createLogger } from '#stdx/log.ts';
import { until } from '#testing/cluster.ts';
import { followServing, issueServing } from './serving-certificate.ts';

const DAY = 86_400_000;

test('a renewed certificate and changed authorities are taken up, halves and damage are not', async (t) => {
  const pkiDir = mkdtempSync(join(tmpdir(), 'capstan-serving-'));
  t.after(() => rmSync(pkiDir, { recursive: true, force: true }));
  const ca = createAuthority({ commonName: 'kubernetes', nowMs: Date.now(), lifetimeMs: 3650 * DAY });
  writeFileSync(join(pkiDir, 'ca.crt'), ca.certificatePem);
  writeFileSync(join(pkiDir, 'ca.key'), ca.keyPem);
  const names = { nodeName: 'n1', addresses: ['192.0.2.8'] };
  const first = await issueServing({ pkiDir, caPem: ca.certificatePem, ...names, nowMs: Date.now() });
  const taken: Parameters<Parameters<typeof followServing>[0]['replace']>[0][] = [];
  const lines: string[] = [];
  const followed = followServing({
    pkiDir,
    nodeName: 'n1',
    current: { ...first, clientCaPem: ca.certificatePem },
    replace: (next) => void taken.push(next),
    clock: realClock,
    log: createLogger({ write: (line) => void lines.push(line) }),
  });
  t.after(() => followed.close());
  const file = join(pkiDir, 'nodes/n1/kubelet.crt');
  const firstText = readFileSync(file, 'utf8');

  writeFileSync(file, 'damaged');
  await until('the damage is reported', () =>
    lines.some((line) => line.includes('keeping the previous one')),
  );
  writeFileSync(file, firstText);
  await until('the first is back', () => taken.length === 1);

  await ensureNodeCertificates({ dir: pkiDir, ca }, { ...names, nowMs: Date.now() + 300 * DAY });
  await until('the renewed one is in use', () => taken.length === 2);
  assert.equal(taken[1]!.certificatePem, readFileSync(file, 'utf8'));
  assert.notEqual(taken[1]!.certificatePem, first.certificatePem);

  const next = createAuthority({ commonName: 'kubernetes', nowMs: Date.now(), lifetimeMs: 3650 * DAY });
  writeFileSync(join(pkiDir, 'ca.crt'), ca.certificatePem + next.certificatePem);
  await until('both authorities are believed', () => taken.length === 3);
  assert.equal(taken[2]!.clientCaPem, ca.certificatePem + next.certificatePem);

  const other = createAuthority({ commonName: 'other', nowMs: Date.now(), lifetimeMs: DAY });
  const told = lines.length;
  writeFileSync(join(pkiDir, 'nodes/n1/kubelet.key'), other.keyPem);
  await until('halves are told', () => lines.slice(told).some((line) => line.includes('does not belong to')));
  assert.equal(taken.length, 3);
});

test('what was renewed between reading and watching is taken up at once', async (t) => {
  const pkiDir = mkdtempSync(join(tmpdir(), 'capstan-serving-'));
  t.after(() => rmSync(pkiDir, { recursive: true, force: true }));
  const ca = createAuthority({ commonName: 'kubernetes', nowMs: Date.now(), lifetimeMs: 3650 * DAY });
  writeFileSync(join(pkiDir, 'ca.crt'), ca.certificatePem);
  const names = { nodeName: 'n1', addresses: [] };
  const before = await ensureNodeCertificates({ dir: pkiDir, ca }, { ...names, nowMs: Date.now() });
  await ensureNodeCertificates({ dir: pkiDir, ca }, { ...names, nowMs: Date.now() + 300 * DAY });
  const taken: string[] = [];
  const followed = followServing({
    pkiDir,
    nodeName: 'n1',
    current: { ...before.serving, clientCaPem: ca.certificatePem },
    replace: ({ certificatePem }) => void taken.push(certificatePem),
    clock: realClock,
    log: createLogger({ write: () => {} }),
  });
  t.after(() => followed.close());
  assert.deepEqual(taken, [readFileSync(join(pkiDir, 'nodes/n1/kubelet.crt'), 'utf8')]);
});
