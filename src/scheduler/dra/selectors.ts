/** CEL selectors of classes and requests, with the results remembered: what a device is does not depend on what is allocated. */
import type { DeviceSelector } from '#api/generated/types/resource-v1.ts';
import {
  compileDeviceSelector,
  selectableDevice,
  type DeviceSelectorExpression,
  type SelectableDevice,
} from '#cel/device-selector.ts';
import { AllocationError } from './allocation-error.ts';
import type { PoolDevice } from './device-pools.ts';

/** Compiled expressions, and results of one device; when one is full, it is emptied. */
const MAX_EXPRESSIONS = 256;
const MAX_RESULTS = 64;

interface KnownDevice {
  readonly seen: SelectableDevice;
  readonly results: Map<string, boolean>;
}

const expressions = new Map<string, DeviceSelectorExpression | Error>();
/** By the device of a slice, which is replaced with it. */
const devices = new WeakMap<object, KnownDevice>();

/** owner: 'class gpus' or 'claim default/c', for messages. Throws AllocationError, in upstream's words. */
export function selectorsMatch(
  { id, driver, device }: PoolDevice,
  {
    selectors = [],
    owner,
  }: { readonly selectors: readonly DeviceSelector[] | undefined; readonly owner: string },
): boolean {
  for (const [index, { cel }] of selectors.entries()) {
    const source = cel?.expression ?? '';
    const known = devices.get(device)?.results.get(source);
    if (known === false) return false;
    if (known) continue;
    const expression = compile(source);
    if (expression instanceof Error)
      throw new AllocationError(`${owner}: selector #${index}: CEL compile error: ${expression.message}`);
    try {
      if (!evaluate(source, { expression, driver, device })) return false;
    } catch (error) {
      throw new AllocationError(
        `${owner}: selector #${index} on device ${id}: CEL runtime error: ${error instanceof Error ? error.message : String(error)}`,
      );
    }
  }
  return true;
}

function evaluate(
  source: string,
  {
    expression,
    driver,
    device,
  }: Pick<PoolDevice, 'driver' | 'device'> & { readonly expression: DeviceSelectorExpression },
): boolean {
  let known = devices.get(device);
  if (!known) devices.set(device, (known = { seen: selectableDevice(driver, device), results: new Map() }));
  const result = expression.matches(known.seen);
  if (known.results.size >= MAX_RESULTS) known.results.clear();
  known.results.set(source, result);
  return result;
}

function compile(source: string): DeviceSelectorExpression | Error {
  const known = expressions.get(source);
  if (known) return known;
  if (expressions.size >= MAX_EXPRESSIONS) expressions.clear();
  const expression = compileDeviceSelector(source);
  expressions.set(source, expression);
  return expression;
}
