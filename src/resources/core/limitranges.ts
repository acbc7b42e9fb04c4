/** LimitRange. */
import { randomUUID } from 'node:crypto';
import type { LimitRange, LimitRangeItem, LimitRangeSpec } from '#api/types.ts';
import { checkQualifiedName, own } from '../checks.ts';
import { defineResource } from '../define.ts';
import { Errors, SPEC, type Path } from '../field-path.ts';
import {
  checkContainerResourceName,
  checkResourceName,
  compareQuantities,
  isOvercommitAllowed,
  parseResourceQuantity,
} from '../resource-list.ts';
import { columns, nameOf } from '../tables.ts';

const TYPES = ['Pod', 'Container', 'PersistentVolumeClaim'];
const AMOUNTS = ['max', 'min', 'default', 'defaultRequest', 'maxLimitRequestRatio'] as const;

export const limitranges = defineResource<LimitRange>({
  group: '',
  plural: 'limitranges',
  allowCreateOnUpdate: true,
  applyDefaults: (range) => {
    const spec = (range.spec ??= {} as LimitRangeSpec);
    // Written even when empty.
    if (!spec.limits?.length) spec.limits = null as unknown as LimitRangeItem[];
    else for (const item of spec.limits) if (item.type === 'Container') defaultAmounts(item);
  },
  prepareForCreate: ({ metadata }) => {
    if (metadata && !metadata.name && !metadata.generateName) metadata.name = randomUUID();
  },
  prepareForUpdate: () => {},
  validate: (range) => {
    const errors = new Errors();
    const seen = new Set<string>();
    range.spec?.limits?.forEach((item, i) => {
      const at = SPEC.child('limits').index(i);
      checkType(item.type, at.child('type'), errors);
      if (seen.has(item.type)) errors.duplicate(at.child('type'), item.type);
      seen.add(item.type);
      checkItem(item, at, errors);
    });
    return errors.list;
  },
  table: {
    columns: columns('Name', 'Created At:date'),
    row: (range) => [nameOf(range), range.metadata?.creationTimestamp ?? null],
  },
});

/** Limits default to the maximum, requests to the limit, otherwise to the minimum. */
function defaultAmounts(item: LimitRangeItem): void {
  const defaults = (item.default ??= {}),
    requests = (item.defaultRequest ??= {});
  fill(defaults, item.max);
  fill(requests, defaults);
  fill(requests, item.min);
}

function fill(into: Record<string, string>, from: Record<string, string> | undefined): void {
  for (const name in from) if (!Object.hasOwn(into, name)) into[name] = from[name]!;
}

function checkType(type: string, path: Path, errors: Errors): void {
  const before = errors.list.length;
  checkQualifiedName(type ?? '', path, errors);
  if (errors.list.length === before && !type.includes('/') && !TYPES.includes(type))
    errors.invalid(path, type, 'must be a standard limit type or fully qualified');
}

function checkItem(item: LimitRangeItem, at: Path, errors: Errors): void {
  const isPod = item.type === 'Pod';
  const checkName = isPod || item.type === 'Container' ? checkContainerResourceName : checkResourceName;
  const names = new Set<string>();
  for (const field of AMOUNTS) {
    const amounts = item[field];
    if (isPod && (field === 'default' || field === 'defaultRequest')) {
      if (amounts && Object.keys(amounts).length > 0)
        errors.forbidden(at.child(field), "may not be specified when `type` is 'Pod'");
      continue;
    }
    for (const name in amounts) {
      checkName(name, at.child(field).key(name), errors);
      names.add(name);
    }
  }
  if (
    item.type === 'PersistentVolumeClaim' &&
    item.min?.['storage'] === undefined &&
    item.max?.['storage'] === undefined
  ) {
    errors.required(
      at.child('limits'),
      'either minimum or maximum storage value is required, but neither was provided',
    );
  }
  for (const name of names) checkOrder(item, name, at, errors);
}

function checkOrder(item: LimitRangeItem, name: string, at: Path, errors: Errors): void {
  const isPod = item.type === 'Pod';
  const min = own(item.min, name),
    max = own(item.max, name),
    ratio = own(item.maxLimitRequestRatio, name);
  const limit = isPod ? undefined : own(item.default, name),
    request = isPod ? undefined : own(item.defaultRequest, name);
  const above = (a: string | undefined, b: string | undefined): boolean =>
    a !== undefined && b !== undefined && compareQuantities(a, b) > 0;
  const say = (field: string, value: string | undefined, detail: string): void =>
    errors.invalid(at.child(field).key(name), value, detail);
  if (above(min, max)) say('min', min, `min value ${min} is greater than max value ${max}`);
  if (above(min, request))
    say('defaultRequest', request, `min value ${min} is greater than default request value ${request}`);
  if (above(request, max))
    say('defaultRequest', request, `default request value ${request} is greater than max value ${max}`);
  if (above(request, limit))
    say(
      'defaultRequest',
      request,
      `default request value ${request} is greater than default limit value ${limit}`,
    );
  if (above(min, limit)) say('default', min, `min value ${min} is greater than default value ${limit}`);
  if (above(limit, max)) say('default', max, `default value ${limit} is greater than max value ${max}`);
  if (ratio !== undefined && compareQuantities(ratio, '1') < 0)
    say('maxLimitRequestRatio', ratio, `ratio ${ratio} is less than 1`);
  if (ratio !== undefined && min !== undefined && max !== undefined) {
    const most = parseResourceQuantity(max).milliValue() / parseResourceQuantity(min).milliValue();
    if (parseResourceQuantity(ratio).milliValue() / 1000 > most)
      say('maxLimitRequestRatio', ratio, `ratio ${ratio} is greater than max/min = ${most.toFixed(6)}`);
  }
  if (
    !isOvercommitAllowed(name) &&
    limit !== undefined &&
    request !== undefined &&
    compareQuantities(limit, request) !== 0
  ) {
    say(
      'defaultRequest',
      request,
      `default value ${limit} must equal to defaultRequest value ${request} in ${name}`,
    );
  }
}
