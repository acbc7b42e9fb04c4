/** ResourcePoolStatusRequest: queries once how many devices of a driver's pools are available. */
import { age } from '#machinery/time.ts';
import type { KubeObject } from '#machinery/object.ts';
import { defineResource } from '../define.ts';
import { Errors, SPEC } from '../field-path.ts';
import { checkDriverName } from '../resource-list.ts';
import { keepField } from '../strategy.ts';
import { columns, nameOf } from '../tables.ts';
import { checkPoolName } from './device-checks.ts';

const DEFAULT_LIMIT = 100;

interface Spec {
  driver?: string;
  poolName?: string;
  limit?: number;
}
interface Pool {
  readonly totalDevices?: number;
  readonly availableDevices?: number;
  readonly allocatedDevices?: number;
  readonly unavailableDevices?: number;
  readonly validationError?: string;
}
interface Status {
  readonly poolCount?: number;
  readonly pools?: readonly Pool[];
  readonly conditions?: readonly {
    readonly type: string;
    readonly status: string;
    readonly lastTransitionTime: string;
  }[];
}

export const resourcepoolstatusrequests = defineResource({
  group: 'resource.k8s.io',
  plural: 'resourcepoolstatusrequests',
  allowUnconditionalUpdate: false,
  applyDefaults: (request) => {
    const spec = (request['spec'] ??= {}) as Spec;
    spec.limit ??= DEFAULT_LIMIT;
  },
  prepareForCreate: (request) => void delete request['status'],
  prepareForUpdate: (next, previous) => keepField(next, previous, 'status'),
  validate: (request) => {
    const errors = new Errors(),
      { driver = '', poolName } = (request['spec'] ?? {}) as Spec;
    if (driver === '') errors.required(SPEC.child('driver'));
    else checkDriverName(driver, SPEC.child('driver'), errors);
    if (poolName !== undefined) checkPoolName(poolName, SPEC.child('poolName'), errors);
    return errors.list;
  },
  table: {
    columns: columns(
      'Name',
      'Driver',
      'Total',
      'Available',
      'Allocated',
      'Unavailable',
      'Errors',
      'Pools:integer',
      'Status',
      'Completed',
    ),
    row: (request, { nowMs }) => [
      nameOf(request),
      ((request['spec'] ?? {}) as Spec).driver ?? '',
      ...countsOf(request['status'] as Status | undefined),
      ...progressOf(request, nowMs),
    ],
  },
});

function isTrue({ conditions = [] }: Status, type: string): boolean {
  return conditions.some((condition) => condition.type === type && condition.status === 'True');
}

function countsOf(status: Status | undefined): string[] {
  if (!status || isTrue(status, 'Failed')) return ['-', '-', '-', '-', '-'];
  const { pools = [] } = status;
  const sum = (of: (pool: Pool) => number | undefined): string =>
    String(pools.reduce((total, pool) => total + (of(pool) ?? 0), 0));
  return [
    sum((pool) => pool.totalDevices),
    sum((pool) => pool.availableDevices),
    sum((pool) => pool.allocatedDevices),
    sum((pool) => pool.unavailableDevices),
    sum((pool) => (pool.validationError === undefined ? 0 : 1)),
  ];
}

/** Pools, what has become of it, and when. */
function progressOf(request: KubeObject, nowMs: number): [number, string, string] {
  const status = (request['status'] ?? {}) as Status,
    { poolCount = 0, pools = [], conditions = [] } = status;
  if (isTrue(status, 'Failed')) return [poolCount, 'Failed', '<none>'];
  if (!isTrue(status, 'Complete')) return [poolCount, 'Pending', '<none>'];
  const { lastTransitionTime } = conditions.find(({ type }) => type === 'Complete')!;
  return [
    poolCount,
    poolCount > pools.length ? `Complete (${pools.length}/${poolCount} pools)` : 'Complete',
    age(lastTransitionTime, nowMs),
  ];
}
