import assert from 'node:assert/strict';
import { test } from 'node:test';
import { create, row } from '../testing/write-case.ts';

const PATH = 'coordination.k8s.io/leasecandidates';
const candidate = (spec: object): object => ({ metadata: { name: 'c', namespace: 'd' }, spec });
const SPEC = {
  leaseName: 'l',
  binaryVersion: '1.36.0',
  emulationVersion: '1.35.0',
  strategy: 'OldestEmulationVersion',
};

test('requires lease, strategy and versions', () => {
  assert.deepEqual(create(PATH, candidate(SPEC)).errors, []);
  assert.deepEqual(create(PATH, candidate({})).errors, [
    'spec.leaseName: Required value',
    'spec.binaryVersion: Required value',
    'spec.strategy: Required value',
  ]);
});

test('versions are semantic, and the emulation version is not newer', () => {
  assert.deepEqual(create(PATH, candidate({ ...SPEC, binaryVersion: '1.36' })).errors, [
    'spec.binaryVersion: Invalid value: "1.36": must be a valid semantic version',
    'spec.binaryVersion: Invalid value: "1.36": must be greater than or equal to `emulationVersion`',
  ]);
  assert.deepEqual(create(PATH, candidate({ ...SPEC, emulationVersion: '1.37.0' })).errors, [
    'spec.binaryVersion: Invalid value: "1.36.0": must be greater than or equal to `emulationVersion`',
  ]);
  assert.deepEqual(create(PATH, candidate({ ...SPEC, emulationVersion: '0.0.0' })).errors, [
    "spec.emulationVersion: Required value: must be specified when `strategy` is 'OldestEmulationVersion'",
  ]);
});

test('table row', () => {
  const { LeaseName, BinaryVersion, EmulationVersion } = row(PATH, candidate(SPEC));
  assert.deepEqual([LeaseName, BinaryVersion, EmulationVersion], ['l', '1.36.0', '1.35.0']);
});
