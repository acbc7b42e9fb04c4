/** ResourceSlice: devices that a driver offers, of a node or the whole cluster. */
import type { ResourceSlice } from '#api/types.ts';
import { checkDnsSubdomain, checkImmutable } from '../checks.ts';
import { checkNodeSelector } from '../core/pod/scheduling.ts';
import { defineResource } from '../define.ts';
import { Errors, SPEC } from '../field-path.ts';
import { checkDriverName } from '../resource-list.ts';
import { bumpGeneration, startGeneration } from '../strategy.ts';
import { ageOf, columns, nameOf } from '../tables.ts';
import { convertSlice } from './conversion.ts';

const DEVICES_MAX = 128;

export const resourceslices = defineResource<ResourceSlice>({
  group: 'resource.k8s.io',
  plural: 'resourceslices',
  convert: convertSlice,
  prepareForCreate: startGeneration,
  prepareForUpdate: (next, previous) => bumpGeneration(next, previous),
  validate: (slice) => check(slice),
  validateUpdate: (next, previous) => {
    const errors = new Errors();
    for (const field of ['driver', 'nodeName'] as const) checkImmutable(next.spec?.[field], previous.spec?.[field], SPEC.child(field), errors);
    checkImmutable(next.spec?.pool?.name, previous.spec?.pool?.name, SPEC.child('pool').child('name'), errors);
    return [...check(next), ...errors.list];
  },
  fieldSelectors: { 'spec.nodeName': ({ spec }) => spec?.nodeName ?? '', 'spec.driver': ({ spec }) => spec?.driver ?? '' },
  table: {
    columns: columns('Name', 'Node', 'Driver', 'Pool', 'Age'),
    row: (slice, context) => {
      const { nodeName, allNodes, perDeviceNodeSelection, driver = '', pool } = slice.spec ?? {};
      return [nameOf(slice), nodeName || (allNodes ? '<all>' : perDeviceNodeSelection ? '<per device>' : '<some>'), driver, pool?.name ?? '', ageOf(slice, context)];
    },
  },
});

function check(slice: ResourceSlice): Errors['list'] {
  const errors = new Errors(), spec = slice.spec;
  if (!spec) { errors.required(SPEC); return errors.list; }
  checkDriverName(spec.driver, SPEC.child('driver'), errors);
  if (!spec.pool?.name) errors.required(SPEC.child('pool').child('name'));
  if ((spec.pool?.resourceSliceCount ?? 0) <= 0) errors.invalid(SPEC.child('pool').child('resourceSliceCount'), spec.pool?.resourceSliceCount ?? 0, 'must be greater than zero');
  const places = [spec.nodeName, spec.nodeSelector, spec.allNodes, spec.perDeviceNodeSelection].filter(Boolean).length;
  if (places !== 1) errors.list.push({ type: places === 0 ? 'FieldValueRequired' : 'FieldValueInvalid', field: 'spec', badValue: spec, detail: 'exactly one of `nodeName`, `nodeSelector`, `allNodes`, `perDeviceNodeSelection` is required' });
  if (spec.nodeName) checkDnsSubdomain(spec.nodeName, SPEC, 'nodeName', errors);
  if (spec.nodeSelector) checkNodeSelector(spec.nodeSelector, SPEC.child('nodeSelector'), errors);
  const devices = spec.devices ?? [], names = new Set<string>();
  if (devices.length > DEVICES_MAX) errors.tooMany(SPEC.child('devices'), devices.length, DEVICES_MAX);
  devices.forEach(({ name }, i) => {
    if (!name) errors.required(SPEC.child('devices').index(i).child('name'));
    else if (names.has(name)) errors.duplicate(SPEC.child('devices').index(i), name);
    names.add(name);
  });
  return errors.list;
}
