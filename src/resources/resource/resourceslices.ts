/** ResourceSlice: the devices of a driver, on a node or in the whole cluster. */
import { isGiven } from '#machinery/given-empty.ts';
import type { CounterSet, Device, ResourceSlice } from '#api/types.ts';
import { checkDnsSubdomain, checkImmutable, own } from '../checks.ts';
import { checkNodeSelector } from '../core/pod/scheduling.ts';
import { defineResource } from '../define.ts';
import { Errors, SPEC } from '../field-path.ts';
import { checkDriverName } from '../resource-list.ts';
import { formatTime } from '#machinery/time.ts';
import { bumpGeneration, dropUnused, startGeneration } from '../strategy.ts';
import { formatAge, columns, nameOf } from '../tables.ts';
import { convertSlice } from './conversion.ts';
import { checkPoolName, checkSet, driverNameWarnings } from './device-checks.ts';
import { checkCounters, checkSliceDevice } from './slice-devices.ts';

const DEVICES_MAX = 128;
/** Limit for devices with taints or counters, which cost more to validate. */
const HEAVY_DEVICES_MAX = 64;
const COUNTER_SETS_MAX = 8;

export const resourceslices = defineResource<ResourceSlice>({
  group: 'resource.k8s.io',
  plural: 'resourceslices',
  convert: convertSlice,
  prepareForCreate: (slice, { nowMs }) => {
    startGeneration(slice);
    stampTaints(slice, nowMs);
    dropUnusedParts(slice, undefined);
  },
  prepareForUpdate: (next, previous, { nowMs }) => {
    stampTaints(next, nowMs);
    bumpGeneration(next, previous);
    dropUnusedParts(next, previous);
  },
  validate: (slice) => check(slice),
  validateUpdate: (next, previous) => check(next, previous),
  warnings: ({ spec }) => driverNameWarnings(spec?.driver, 'spec.driver'),
  fieldSelectors: {
    'spec.nodeName': ({ spec }) => spec?.nodeName ?? '',
    'spec.driver': ({ spec }) => spec?.driver ?? '',
  },
  unknownFieldSelector: (field, apiVersion) =>
    `field label not supported for ${apiVersion}, Kind=ResourceSlice: ${field}`,
  table: {
    columns: columns('Name', 'Node', 'Driver', 'Pool', 'Age'),
    row: (slice, context) => {
      const { nodeName, allNodes, perDeviceNodeSelection, driver = '', pool } = slice.spec ?? {};
      return [
        nameOf(slice),
        nodeName || (allNodes ? '<all>' : perDeviceNodeSelection ? '<per device>' : '<some>'),
        driver,
        pool?.name ?? '',
        formatAge(slice, context),
      ];
    },
  },
});

/** Fields of disabled features: DRAListTypeAttributes, DRANodeAllocatableResources. */
const OFF = {
  attribute: ['ints', 'strings', 'versions'],
  device: ['nodeAllocatableResourceMappings'],
} as const;

/** Sets timeAdded of new taints. */
function stampTaints({ spec }: ResourceSlice, nowMs: number): void {
  for (const { taints = [] } of spec?.devices ?? [])
    for (const taint of taints) taint.timeAdded ??= formatTime(nowMs);
}

function dropUnusedParts(slice: ResourceSlice, stored: ResourceSlice | undefined): void {
  for (const device of slice.spec?.devices ?? []) {
    const before = stored?.spec?.devices?.find(({ name }) => name === device.name);
    dropUnused(device, before, OFF.device);
    for (const [key, attribute] of Object.entries(device.attributes ?? {}))
      dropUnused(attribute, own(before?.attributes, key), OFF.attribute);
  }
}

function check({ spec }: ResourceSlice, stored?: ResourceSlice): Errors['list'] {
  const errors = new Errors();
  if (!spec) {
    errors.required(SPEC);
    return errors.list;
  }
  const { pool, devices, sharedCounters } = spec,
    at = SPEC.child('pool');
  checkDriverName(spec.driver, SPEC.child('driver'), errors);
  checkPoolName(pool?.name, at.child('name'), errors);
  if ((pool?.resourceSliceCount ?? 0) <= 0)
    errors.invalid(
      at.child('resourceSliceCount'),
      pool?.resourceSliceCount ?? 0,
      'must be greater than zero',
    );
  if ((pool?.generation ?? 0) < 0)
    errors.invalid(at.child('generation'), pool!.generation, 'must be greater than or equal to zero');
  if (stored?.spec) {
    checkImmutable(pool?.name, stored.spec.pool?.name, at.child('name'), errors);
    for (const field of ['driver', 'nodeName'] as const)
      checkImmutable(spec[field], stored.spec[field], SPEC.child(field), errors);
  }
  checkPlace(spec, errors);
  if (isGiven(spec, 'sharedCounters') && isGiven(spec, 'devices'))
    errors.invalid(SPEC, '', 'only one of `sharedCounters` or `devices` is allowed');
  const isHeavy =
    devices?.some(({ taints, consumesCounters }) => taints?.length || consumesCounters?.length) ?? false;
  checkSet<Device>(devices, SPEC.child('devices'), errors, {
    most: isHeavy ? HEAVY_DEVICES_MAX : DEVICES_MAX,
    check: (device, where) =>
      checkSliceDevice(device, { path: where, errors, choosesNodes: spec.perDeviceNodeSelection === true }),
    key: ({ name }) => name ?? '',
  });
  checkSet<CounterSet>(sharedCounters, SPEC.child('sharedCounters'), errors, {
    most: COUNTER_SETS_MAX,
    check: (set, where) => checkCounters(set.name, set.counters, { path: where, nameField: 'name', errors }),
    key: ({ name }) => name ?? '',
  });
  return errors.list;
}

function checkPlace(
  { nodeName, nodeSelector, allNodes, perDeviceNodeSelection }: NonNullable<ResourceSlice['spec']>,
  errors: Errors,
): void {
  const set: string[] = [],
    why = 'exactly one of `nodeName`, `nodeSelector`, `allNodes`, `perDeviceNodeSelection` is required';
  if (nodeName === '')
    errors.invalid(SPEC.child('nodeName'), nodeName, 'must be either unset or set to a non-empty string');
  else if (nodeName !== undefined) {
    set.push('`nodeName`');
    checkDnsSubdomain(nodeName, SPEC, 'nodeName', errors);
  }
  if (nodeSelector) {
    set.push('`nodeSelector`');
    checkNodeSelector(nodeSelector, SPEC.child('nodeSelector'), errors);
    if (nodeSelector.nodeSelectorTerms?.length !== 1)
      errors.invalid(
        SPEC.child('nodeSelector').child('nodeSelectorTerms'),
        nodeSelector.nodeSelectorTerms ?? null,
        'must have exactly one node selector term',
      );
  }
  for (const [field, value] of [
    ['allNodes', allNodes],
    ['perDeviceNodeSelection', perDeviceNodeSelection],
  ] as const) {
    if (value === false) errors.invalid(SPEC.child(field), value, 'must be either unset or set to true');
    else if (value) set.push(`\`${field}\``);
  }
  if (set.length === 0) errors.required(SPEC, why);
  if (set.length > 1) errors.invalid(SPEC, `{${set.join(', ')}}`, `${why}, but multiple fields are set`);
}
