/** The devices of a ResourceSlice: attributes, capacity, counters, taints, node selection. After upstream's pkg/apis/resource/validation. */
import type { CapacityRequestPolicy, Counter, Device, DeviceAttribute, DeviceCapacity } from '#api/types.ts';
import { checkDnsSubdomain } from '../checks.ts';
import { checkNodeSelector } from '../core/pod/scheduling.ts';
import type { Errors, Path } from '../field-path.ts';
import { compareQuantities, parseResourceQuantity } from '../resource-list.ts';
import {
  checkAttributeName,
  checkBindingConditions,
  checkLabel,
  checkList,
  checkSet,
  checkTaint,
} from './device-checks.ts';

const ATTRIBUTES_AND_CAPACITIES_MAX = 32;
const VALUE_MAX = 64;
const TAINTS_MAX = 16;
const CONSUMPTIONS_MAX = 2;
const COUNTERS_MAX = 32;
const VALID_VALUES_MAX = 10;
const NUMBER = '(0|[1-9]\\d*)';
const PRERELEASE = '(0|[1-9]\\d*|\\d*[a-zA-Z-][0-9a-zA-Z-]*)';
const BUILD = '[0-9a-zA-Z-]+';
const SEMVER = new RegExp(
  `^${NUMBER}\\.${NUMBER}\\.${NUMBER}(-${PRERELEASE}(\\.${PRERELEASE})*)?(\\+${BUILD}(\\.${BUILD})*)?$`,
);
const ONE_PLACE =
  'exactly one of `nodeName`, `nodeSelector`, or `allNodes` is required when `perDeviceNodeSelection` is set to true in the ResourceSlice spec';

interface DeviceContext {
  readonly path: Path;
  readonly errors: Errors;
  /** The node is selected per device. */
  readonly choosesNodes: boolean;
}

export function checkSliceDevice(device: Device, context: DeviceContext): void {
  const { path, errors } = context,
    { attributes = {}, capacity = {} } = device;
  checkLabel(device.name, path.child('name'), errors);
  const count = Object.keys(attributes).length + Object.keys(capacity).length;
  if (count > ATTRIBUTES_AND_CAPACITIES_MAX)
    errors.invalid(
      path,
      count,
      `the total number of attributes and capacities must not exceed ${ATTRIBUTES_AND_CAPACITIES_MAX}`,
    );
  for (const [name, attribute] of Object.entries(attributes)) {
    checkAttributeName(name, path.child('attributes'), errors);
    checkAttribute(attribute, path.child('attributes').key(name), errors);
  }
  for (const [name, amount] of Object.entries(capacity)) {
    const at = path.child('capacity').key(name);
    checkAttributeName(name, path.child('capacity'), errors);
    if (!amount.requestPolicy) continue;
    if (device.allowMultipleAllocations === true)
      checkPolicy(amount, amount.requestPolicy, at.child('requestPolicy'), errors);
    else errors.forbidden(at.child('requestPolicy'), 'allowMultipleAllocations must be true');
  }
  checkList(device.taints, path.child('taints'), errors, {
    most: TAINTS_MAX,
    check: (taint, at) => checkTaint(taint, at, errors),
  });
  checkSet(device.consumesCounters, path.child('consumesCounters'), errors, {
    most: CONSUMPTIONS_MAX,
    check: ({ counterSet, counters }, at) =>
      checkCounters(counterSet, counters, { path: at, nameField: 'counterSet', errors }),
    key: ({ counterSet }) => counterSet ?? '',
  });
  checkPlace(device, context);
  checkBindingConditions(device, path, errors);
}

export function checkCounters(
  name: string | undefined,
  counters: Readonly<Record<string, Counter>> | undefined,
  { path, nameField, errors }: { readonly path: Path; readonly nameField: string; readonly errors: Errors },
): void {
  if (!name) errors.required(path.child(nameField));
  else checkLabel(name, path.child(nameField), errors);
  const names = Object.keys(counters ?? {}),
    at = path.child('counters');
  if (names.length === 0) errors.required(at);
  else if (names.length > COUNTERS_MAX) errors.tooMany(at, names.length, COUNTERS_MAX);
  else for (const counter of names) checkLabel(counter, at, errors);
}

function checkAttribute(attribute: DeviceAttribute, path: Path, errors: Errors): void {
  const values = [attribute.bool, attribute.int, attribute.string, attribute.version].filter(
    (value) => value !== undefined,
  );
  if ((attribute.string ?? '').length > VALUE_MAX) errors.tooLong(path.child('string'), VALUE_MAX);
  if (attribute.version !== undefined) {
    if (!SEMVER.test(attribute.version))
      errors.invalid(
        path.child('version'),
        attribute.version,
        'must be a string compatible with semver.org spec 2.0.0',
      );
    if (attribute.version.length > VALUE_MAX) errors.tooLong(path.child('version'), VALUE_MAX);
  }
  if (values.length !== 1)
    errors.invalid(path, values.length === 0 ? '' : attribute, 'exactly one value must be specified');
}

function checkPlace(
  { nodeName, nodeSelector, allNodes }: Device,
  { path, errors, choosesNodes }: DeviceContext,
): void {
  if (!choosesNodes) {
    if (nodeName !== undefined || nodeSelector || allNodes !== undefined)
      errors.invalid(
        path,
        undefined,
        '`nodeName`, `nodeSelector` and `allNodes` can only be set if `perDeviceNodeSelection` is set to true in the ResourceSlice spec',
      );
    return;
  }
  const set: string[] = [];
  if (nodeName === '') errors.invalid(path.child('nodeName'), nodeName, 'must not be empty');
  else if (nodeName !== undefined) {
    set.push('`nodeName`');
    checkDnsSubdomain(nodeName, path, 'nodeName', errors);
  }
  if (nodeSelector) {
    set.push('`nodeSelector`');
    checkNodeSelector(nodeSelector, path.child('nodeSelector'), errors);
  }
  if (allNodes === false)
    errors.invalid(path.child('allNodes'), allNodes, 'must be either unset or set to true');
  else if (allNodes) set.push('`allNodes`');
  if (set.length === 0) errors.required(path, ONE_PLACE);
  if (set.length > 1) errors.invalid(path, `{${set.join(', ')}}`, ONE_PLACE);
}

function checkPolicy(
  { value: most }: DeviceCapacity,
  policy: CapacityRequestPolicy,
  path: Path,
  errors: Errors,
): void {
  const { validValues, validRange } = policy;
  if (validValues?.length && validRange)
    errors.forbidden(
      path,
      'exactly one policy can be specified, cannot specify "validValues" and "validRange" at the same time',
    );
  else if (validValues?.length) {
    if (policy.default === undefined)
      errors.required(path.child('default'), 'required when validValues is defined');
    else
      checkValidValues(validValues, {
        fallback: policy.default,
        most,
        path: path.child('validValues'),
        errors,
      });
  } else if (validRange) {
    if (policy.default === undefined)
      errors.required(path.child('default'), 'required when validRange is defined');
    else checkRange(validRange, { fallback: policy.default, most, path: path.child('validRange'), errors });
  }
}

interface PolicyContext {
  readonly fallback: string;
  readonly most: string;
  readonly path: Path;
  readonly errors: Errors;
}

function checkValidValues(values: readonly string[], { fallback, most, path, errors }: PolicyContext): void {
  values.forEach((value, i) => {
    if (i > 0 && compareQuantities(values[i - 1]!, value) > 0)
      errors.invalid(path.index(i), value, 'values must be sorted in ascending order');
  });
  checkSet(values, path, errors, {
    most: VALID_VALUES_MAX,
    check: (value, at) => {
      if (compareQuantities(value, most) > 0)
        errors.invalid(at, value, `option is larger than capacity value: ${most}`);
    },
    key: (value) => String(parseResourceQuantity(value).value()),
  });
  if (!values.some((value) => compareQuantities(value, fallback) === 0))
    errors.invalid(path, fallback, 'default value is not valid according to the requestPolicy');
}

function checkRange(
  { min, max, step }: NonNullable<CapacityRequestPolicy['validRange']>,
  { fallback, most, path, errors }: PolicyContext,
): void {
  if (min === undefined) {
    errors.required(path.child('min'), 'required when validRange is defined');
    return;
  }
  if (compareQuantities(min, most) > 0)
    errors.invalid(path.child('min'), min, `min is larger than capacity value: ${most}`);
  if (compareQuantities(fallback, min) < 0)
    errors.invalid(path.child('min'), fallback, `default is less than min: ${min}`);
  if (max !== undefined) {
    if (compareQuantities(min, max) > 0)
      errors.invalid(path.child('max'), min, `min is larger than max: ${max}`);
    if (compareQuantities(max, most) > 0)
      errors.invalid(path.child('max'), max, `max is larger than capacity value: ${most}`);
    if (compareQuantities(fallback, max) > 0)
      errors.invalid(path.child('max'), fallback, `default is more than max: ${max}`);
  }
  if (step === undefined) return;
  const at = path.child('step'),
    [from, by] = [parseResourceQuantity(min).value(), parseResourceQuantity(step).value()].map(BigInt) as [
      bigint,
      bigint,
    ];
  if (from + by > BigInt(parseResourceQuantity(most).value()))
    errors.invalid(at, step, `one step ${from + by} is larger than capacity value: ${most}`);
  for (const value of [fallback, max]) {
    if (value !== undefined && by > 0n && (BigInt(parseResourceQuantity(value).value()) - from) % by !== 0n)
      errors.invalid(at, value, `value is not a multiple of a given step (${step}) from (${min})`);
  }
}
