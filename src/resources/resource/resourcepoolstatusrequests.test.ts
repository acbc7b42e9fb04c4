import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { KubeObject } from '#machinery/object.ts';
import { create, row } from '../testing/write-case.ts';

const PATH = 'resource.k8s.io/resourcepoolstatusrequests';
const request = (spec: object, status?: object): object => ({
  metadata: { name: 'r' },
  spec,
  ...(status ? { status } : {}),
});

test('requires a driver, accepts at most 100 pools, and has no status on create', () => {
  const { object, errors } = create<KubeObject>(PATH, request({ driver: 'd.example.com' }, { poolCount: 1 }));
  assert.deepEqual(errors, []);
  assert.deepEqual(object['spec'], { driver: 'd.example.com', limit: 100 });
  assert.equal(object['status'], undefined);
  assert.deepEqual(create(PATH, request({})).errors, ['spec.driver: Required value']);
});

test('the table row counts the devices of all pools once they are known', () => {
  const spec = { driver: 'd.example.com' };
  const pending = row(PATH, request(spec));
  assert.deepEqual([pending['Total'], pending['Status']], ['-', 'Pending']);
  const pools = [
    { totalDevices: 4, availableDevices: 1, allocatedDevices: 3, unavailableDevices: 0 },
    { validationError: 'two drivers' },
  ];
  const conditions = [{ type: 'Complete', status: 'True', lastTransitionTime: '2026-01-02T03:04:00Z' }];
  const done = row(PATH, request(spec, { poolCount: 3, pools, conditions }));
  assert.deepEqual(
    [done['Total'], done['Available'], done['Allocated'], done['Errors'], done['Status'], done['Completed']],
    ['4', '1', '3', '1', 'Complete (2/3 pools)', '5s'],
  );
  const failed = [{ type: 'Failed', status: 'True', lastTransitionTime: '2026-01-02T03:04:00Z' }];
  assert.equal(row(PATH, request(spec, { conditions: failed }))['Status'], 'Failed');
});
