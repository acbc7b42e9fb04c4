/**
 * CEL selectors of devices (DeviceClass, ResourceClaim) as they are evaluated for an allocation. After upstream's
 * dynamic-resource-allocation/cel: attributes and capacities are grouped by domain, names without a domain are in the driver's, and a domain that a
 * device does not have selects an empty map. Whether an expression may be stored is checked in resources/resource/device-selectors.ts.
 */
import type { Device, DeviceAttribute } from '#api/generated/types/resource-v1.ts';
import { parseQuantity } from '#machinery/quantity.ts';
import { compiled } from './on-demand.ts';
import { CelQuantity } from './library/quantities.ts';
import { CelRuntimeError } from './errors.ts';
import { Semver } from './semver.ts';
import { DefaultingMap } from './values.ts';

/** Upstream's CELSelectorExpressionMaxCost, of one evaluation. */
const COST_LIMIT = 1_000_000;
const VARIABLES = {
  device: {
    typeName: 'DRADevice',
    fieldTypes: { driver: 'string', allowMultipleAllocations: 'bool', attributes: 'dyn', capacity: 'dyn' },
  },
} as const;

/** The device as expressions see it, made once per device. */
export interface SelectableDevice {
  readonly driver: () => unknown;
  readonly allowMultipleAllocations: () => unknown;
  readonly attributes: () => unknown;
  readonly capacity: () => unknown;
}

export interface DeviceSelectorExpression {
  /** Throws CelRuntimeError. */
  matches(device: SelectableDevice): boolean;
}

/** The error is a compilation's, with upstream's message. */
export function compileDeviceSelector(source: string): DeviceSelectorExpression | Error {
  const expression = compiled(source, { variables: VARIABLES, binds: true, costLimit: COST_LIMIT });
  if (expression instanceof Error) return expression;
  return {
    matches(device) {
      const result = expression.evaluateCel({ device });
      if (typeof result === 'boolean') return result;
      throw new CelRuntimeError(`CEL result of type ${typeof result} could not be converted to bool`);
    },
  };
}

/** Throws when an attribute has no value of a known type. */
export function selectableDevice(driver: string, device: Device): SelectableDevice {
  const attributes = byDomain(driver, device.attributes, attributeValue);
  const capacity = byDomain(
    driver,
    device.capacity,
    ({ value }) => new CelQuantity(parseQuantity(String(value))),
  );
  const isShared = device.allowMultipleAllocations === true;
  return {
    driver: () => driver,
    allowMultipleAllocations: () => isShared,
    attributes: () => attributes,
    capacity: () => capacity,
  };
}

function byDomain<T>(
  driver: string,
  values: Readonly<Record<string, T>> | undefined,
  convert: (value: T) => unknown,
): DefaultingMap {
  const domains = new Map<string, Map<string, unknown>>();
  for (const [name, value] of Object.entries(values ?? {})) {
    const slash = name.indexOf('/');
    const domain = slash < 0 ? driver : name.slice(0, slash);
    const known = domains.get(domain) ?? new Map<string, unknown>();
    domains.set(domain, known.set(name.slice(slash + 1), convert(value)));
  }
  return new DefaultingMap(domains, new Map());
}

function attributeValue({ int, bool, string, version }: DeviceAttribute): unknown {
  if (int !== undefined) return BigInt(int);
  if (bool !== undefined) return bool;
  if (string !== undefined) return string;
  const parsed = version === undefined ? undefined : Semver.parse(version);
  if (parsed) return parsed;
  throw new CelRuntimeError(
    version === undefined ? 'unsupported attribute value' : `parse semantic version: ${version}`,
  );
}
