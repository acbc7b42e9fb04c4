import assert from 'node:assert/strict';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { after, describe, test } from 'node:test';
import { UserError } from '../data-dir.ts';
import { machinePaths } from './paths.ts';
import { lockMachine, machineFile, type MachineRecord, type MachineRole } from './record.ts';
import { withService } from './services.ts';

const rootfs = mkdtempSync(join(tmpdir(), 'capstan-record-'));
after(() => rmSync(rootfs, { recursive: true }));
const paths = machinePaths({ rootfs });

test('every path lies below --rootfs', () => {
  assert.equal(paths.pki, join(rootfs, 'etc/kubernetes/pki'));
  assert.equal(paths.kubeconfig('admin'), join(rootfs, 'etc/kubernetes/admin.conf'));
  assert.equal(machinePaths({ rootfs, certificatesDir: '/srv/pki' }).etcdPki, join(rootfs, 'srv/pki/etcd'));
  assert.equal(machinePaths().machineFile, '/var/lib/capstan/machine.json');
  assert.throws(() => machinePaths({ rootfs: '' }), /--rootfs is empty/);
});

test('read before it was written, updated, removed', () => {
  const file = machineFile(paths);
  const role: MachineRole = 'worker';
  assert.equal(file.exists(), false);
  assert.deepEqual(file.read().seeds, []);
  file.update((record): MachineRecord => ({ ...record, role, seeds: ['10.0.0.1:6443'] }));
  assert.equal(machineFile(paths).read().role, 'worker');
  assert.equal(statSync(paths.machineFile).mode & 0o777, 0o600);
  file.remove();
  assert.equal(file.exists(), false);
});

describe('a file that cannot be used is refused and kept', () => {
  const cases: readonly (readonly [what: string, text: string, says: RegExp])[] = [
    ['cut off', '{"format":1,', /is damaged \(.*\): it was left as it is/],
    ['no format', '{}', /damaged \(no format number\)/],
    ['newer', '{"format":2}', /written by a newer Capstan \(format 2; this program reads up to 1\)/],
    ['role', '{"format":1,"role":"king"}', /"role" should be control-plane, worker or witness/],
    ['seeds', '{"format":1,"seeds":"a"}', /"seeds" should be a list of texts/],
    ['services', '{"format":1,"services":[{"name":"etcd"}]}', /"services" should be a list of services/],
    ['phases', '{"format":1,"phases":{"init":"certs"}}', /"phases" should have a list of names/],
  ];
  for (const [what, text, says] of cases)
    test(what, () => {
      mkdirSync(dirname(paths.machineFile), { recursive: true });
      writeFileSync(paths.machineFile, text);
      const file = machineFile(paths);
      assert.throws(
        () => file.read(),
        (error) => error instanceof UserError && says.test(error.message),
      );
      assert.throws(() => file.update((record) => record));
      assert.equal(readFileSync(paths.machineFile, 'utf8'), text);
    });
});

test('one command changes a machine at a time', () => {
  const held = lockMachine(paths);
  assert.throws(() => lockMachine(paths), new RegExp(`Process ${process.pid} is changing this machine`));
  held.release();
  lockMachine(paths).release();
});

test('services keep the order in which they start', () => {
  const run = { capstan: [] };
  const services = withService(withService([], { name: 'node', run }), { name: 'etcd', run });
  const again = withService(services, { name: 'node', run: { capstan: ['node'] } });
  assert.deepEqual(
    again.map(({ name }) => name),
    ['etcd', 'node'],
  );
  assert.deepEqual(again[1]?.run, { capstan: ['node'] });
});
