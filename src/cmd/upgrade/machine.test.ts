/** One machine's part of an upgrade, on its files alone: no supervisor runs. */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, statSync, truncateSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, test } from 'node:test';
import { defaultCluster } from '#deploy/config/defaults.ts';
import { apiServerService, schedulerService } from '#deploy/machine/component-services.ts';
import { machinePaths, type MachinePaths } from '#deploy/machine/paths.ts';
import { PROGRAM_DIR } from '#deploy/machine/program.ts';
import { machineFile, type MachineRecord } from '#deploy/machine/record.ts';
import type { ServiceSpec } from '#deploy/machine/services.ts';
import { auditLogsOf } from '../doctor/machine-facts.ts';
import { superviseCommand } from '../machine/supervise.ts';
import { runUpgradeNode } from './node.ts';

let paths: MachinePaths;
const print = (): void => {};

beforeEach(() => {
  paths = machinePaths({ rootfs: mkdtempSync(join(tmpdir(), 'capstan-machine-')) });
  const cluster = defaultCluster({}, { kubernetesVersion: 'v1.36.0' });
  const local = { advertiseAddress: '10.0.0.1', bindPort: 6443 };
  machineFile(paths).update((record) => ({
    ...record,
    role: 'control-plane',
    nodeName: 'm1',
    ...local,
    services: [
      apiServerService({ paths, cluster, local, startSeconds: 7 }),
      schedulerService({ paths, cluster }),
    ],
  }));
});
afterEach(() => rmSync(paths.rootfs, { recursive: true, force: true }));

const record = (): MachineRecord => machineFile(paths).read();
const apiServerWords = (): readonly string[] => {
  const [service] = record().services;
  return 'capstan' in service!.run ? service!.run.capstan : [];
};
const step = (name: Parameters<typeof runUpgradeNode>[0]['step'], emulatedVersion?: string): Promise<void> =>
  runUpgradeNode({ rootfs: paths.rootfs, step: name, emulatedVersion }, print);

test('steps of an upgrade change the record, and rollback is what it was', async () => {
  const before = record().services;
  await step('rollback');
  assert.deepEqual(record().services, before, 'nothing was begun');
  await step('control-plane', '1.35');
  assert.equal(record().services[0]!.checkout, PROGRAM_DIR);
  assert.ok(apiServerWords().includes('--emulated-version=1.35'));
  await step('control-plane', '1.35');
  await step('raise');
  assert.ok(!apiServerWords().some((word) => word.startsWith('--emulated-version')));
  await step('rollback');
  assert.deepEqual(record().services, before);
  await assert.rejects(
    runUpgradeNode({ rootfs: paths.rootfs, step: 'node', program: '/nowhere' }, print),
    /\/nowhere is no program of Capstan/,
  );
  writeFileSync(join(paths.capstan, 'upgrade.json'), '{');
  await assert.rejects(step('raise'), /upgrade\.json is damaged: it was left as it is/);
});

const isRoot = process.getuid?.() === 0;
const PAGE_BYTES = 4_096;

test(
  'a disk that is full at any of its writes: the machine stays as it is, and the step is done once there is room',
  { skip: !isRoot },
  async () => {
    const text = readFileSync(paths.machineFile, 'utf8');
    // Of its own, as small as a disk can be.
    execFileSync('mount', ['-t', 'tmpfs', '-o', 'size=256k', 'full', paths.capstan]);
    const ballast = join(paths.capstan, 'ballast');
    let refused = 0;
    try {
      writeFileSync(paths.machineFile, text);
      assert.throws(() => writeFileSync(ballast, Buffer.alloc(2 ** 20)), /ENOSPC/);
      for (
        let size = statSync(ballast).size;
        record().services[0]!.checkout === undefined;
        size -= PAGE_BYTES
      ) {
        truncateSync(ballast, size);
        await step('control-plane', '1.35').catch((error: Error) => {
          assert.match(
            error.message,
            /^The disk that holds .* is full: free some space and run this again; nothing was lost/,
          );
          assert.equal(readFileSync(paths.machineFile, 'utf8'), text);
          refused += 1;
        });
      }
      assert.ok(refused >= 2, `${refused} writes`);
      assert.equal(record().services[0]!.checkout, PROGRAM_DIR);
      await step('rollback');
      assert.deepEqual(record().services, (JSON.parse(text) as MachineRecord).services);
    } finally {
      execFileSync('umount', [paths.capstan]);
    }
  },
);

test('units name the program that they are asked to, with its own Node.js where it has one', () => {
  const words = superviseCommand({ rootfs: '/' }, { only: 'etcd', program: '/opt/old' });
  assert.deepEqual(words.slice(-3), ['/opt/old/src/cli/main.ts', 'supervise', '--only=etcd']);
  assert.equal(superviseCommand({ rootfs: '/' }).at(-2), join(PROGRAM_DIR, 'src/cli/main.ts'));
});

test('audit logs of the API server: its path and what was rotated', () => {
  const dir = join(paths.rootfs, 'logs');
  mkdirSync(dir);
  for (const file of ['audit.log', 'audit-2026.log.gz', 'audit-2026.log', 'other.log'])
    writeFileSync(join(dir, file), '');
  const service = (...words: string[]): ServiceSpec => ({ name: 'apiserver', run: { capstan: words } });
  assert.deepEqual(
    auditLogsOf([service(`--audit-log-path=${join(dir, 'audit.log')}`)]),
    ['audit-2026.log', 'audit-2026.log.gz', 'audit.log'].map((file) => join(dir, file)),
  );
  assert.deepEqual(auditLogsOf([service('--audit-log-path=-')]), []);
  assert.deepEqual(auditLogsOf([]), []);
});

test('a machine of no cluster is refused', async () => {
  const rootfs = join(paths.rootfs, 'other');
  await assert.rejects(runUpgradeNode({ rootfs, step: 'node' }, print), /is of no cluster of init or join/);
});
