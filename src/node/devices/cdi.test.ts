/** Names of CDI devices, resolved from specifications in directories of the test. */
import assert from 'node:assert/strict';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { resolveCdiDevices } from './cdi.ts';

test('the specification of a device says what a container gets; the later directory wins', async (t) => {
  const dir = mkdtempSync(join(tmpdir(), 'capstan-cdi-'));
  t.after(() => rmSync(dir, { recursive: true }));
  const [first, second] = [join(dir, 'a'), join(dir, 'b')];
  mkdirSync(first);
  mkdirSync(second);
  const spec = (value: string, hooks: object[] = []): string =>
    JSON.stringify({
      cdiVersion: '0.6.0',
      kind: 'v.test/gpu',
      containerEdits: { env: ['ALL=1'] },
      devices: [
        {
          name: 'a',
          containerEdits: {
            env: [`GPU=${value}`],
            deviceNodes: [
              { path: '/dev/gpu', hostPath: '/dev/null', permissions: 'rw' },
              { path: '/dev/zero' },
            ],
            mounts: [{ hostPath: '/usr/lib', containerPath: '/lib/gpu', options: ['ro', 'bind'] }],
          },
        },
        { name: 'hooked', containerEdits: { hooks } },
      ],
    });
  writeFileSync(join(first, 'v.json'), spec('old'));
  writeFileSync(join(second, 'v.yaml'), spec('new', [{ hookName: 'createContainer', path: '/bin/true' }]));
  assert.deepEqual(await resolveCdiDevices(['v.test/gpu=a'], [first, second]), [
    {
      envs: { ALL: '1', GPU: 'new' },
      annotations: {},
      devices: [
        { containerPath: '/dev/gpu', hostPath: '/dev/null', permissions: 'rw' },
        { containerPath: '/dev/zero', hostPath: '/dev/zero', permissions: 'rwm' },
      ],
      mounts: [{ containerPath: '/lib/gpu', hostPath: '/usr/lib', readOnly: true }],
      cdiDevices: [],
    },
  ]);
  await assert.rejects(
    resolveCdiDevices(['v.test/gpu=x'], [first]),
    /unresolvable CDI devices v\.test\/gpu=x/,
  );
  await assert.rejects(
    resolveCdiDevices(['v.test/gpu=hooked'], [second]),
    /has hooks or additional group ids/,
  );
  assert.deepEqual(await resolveCdiDevices([], ['/nowhere']), []);
});
