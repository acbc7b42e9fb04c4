/** Constraints of a claim over its devices: matchAttribute and distinctAttribute. Monotonic: what is violated stays violated when devices are added. */
import type { DeviceAttribute, DeviceConstraint } from '#api/generated/types/resource-v1.ts';
import type { PoolDevice } from './device-pools.ts';

export interface Constraint {
  /** False: the device would violate it. Otherwise the device counts until remove() is called. */
  add(request: RequestName, device: PoolDevice): boolean;
  remove(request: RequestName, device: PoolDevice): void;
}

export interface RequestName {
  /** 'request', also of a subrequest. */
  readonly base: string;
  /** 'request' or 'request/subrequest'. */
  readonly full: string;
}

/** Undefined: a kind that is not known. */
export function constraintOf(constraint: DeviceConstraint): Constraint | undefined {
  const { requests = [], matchAttribute, distinctAttribute } = constraint;
  if (matchAttribute !== undefined) return new SameValue(requests, matchAttribute);
  if (distinctAttribute !== undefined) return new DistinctValues(requests, distinctAttribute);
  return undefined;
}

abstract class AttributeConstraint implements Constraint {
  readonly #requests: ReadonlySet<string>;
  readonly #attribute: string;

  constructor(requests: readonly string[], attribute: string) {
    this.#requests = new Set(requests);
    this.#attribute = attribute;
  }

  add(request: RequestName, device: PoolDevice): boolean {
    if (!this.#concerns(request)) return true;
    const value = attributeText(device, this.#attribute);
    return value !== undefined && this.addValue(value);
  }

  remove(request: RequestName, device: PoolDevice): void {
    if (!this.#concerns(request)) return;
    const value = attributeText(device, this.#attribute);
    if (value !== undefined) this.removeValue(value);
  }

  protected abstract addValue(value: string): boolean;
  protected abstract removeValue(value: string): void;

  #concerns({ base, full }: RequestName): boolean {
    return this.#requests.size === 0 || this.#requests.has(base) || this.#requests.has(full);
  }
}

class SameValue extends AttributeConstraint {
  #value: string | undefined;
  #devices = 0;

  protected addValue(value: string): boolean {
    if (this.#devices > 0 && value !== this.#value) return false;
    this.#value = value;
    this.#devices += 1;
    return true;
  }

  protected removeValue(): void {
    this.#devices -= 1;
  }
}

class DistinctValues extends AttributeConstraint {
  readonly #values = new Set<string>();

  protected addValue(value: string): boolean {
    if (this.#values.has(value)) return false;
    this.#values.add(value);
    return true;
  }

  protected removeValue(value: string): void {
    this.#values.delete(value);
  }
}

/** Equal for equal values of one type. A name in the driver's domain also means the name without a domain. */
function attributeText({ device, driver }: PoolDevice, name: string): string | undefined {
  const attributes = device.attributes ?? {};
  const slash = name.indexOf('/');
  const own = slash >= 0 && name.slice(0, slash) === driver ? name.slice(slash + 1) : undefined;
  const attribute = attributes[name] ?? (own === undefined ? undefined : attributes[own]);
  return attribute && textOf(attribute);
}

function textOf({ string, int, bool, version }: DeviceAttribute): string | undefined {
  if (string !== undefined) return `string ${string}`;
  if (int !== undefined) return `int ${int}`;
  if (bool !== undefined) return `bool ${bool}`;
  // A semantic version has one spelling.
  return version === undefined ? undefined : `version ${version}`;
}
