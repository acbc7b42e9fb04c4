/** Resource names and quantities (cpu, memory, hugepages-2Mi, example.com/gpu), and where each is allowed. After upstream's core helpers. */
import { compareQuantities as compare, parseQuantity, type Quantity } from '#machinery/quantity.ts';
import { validateDNS1123Subdomain, validateQualifiedName } from '#machinery/names.ts';
import { NEGATIVE, NOT_POSITIVE } from './checks.ts';
import type { Errors, Path } from './field-path.ts';

const CONTAINER = new Set(['cpu', 'memory', 'ephemeral-storage']);
const OBJECT_COUNT = [
  'pods',
  'services',
  'replicationcontrollers',
  'resourcequotas',
  'secrets',
  'configmaps',
  'persistentvolumeclaims',
  'services.nodeports',
  'services.loadbalancers',
];
const QUOTA = new Set([
  'cpu',
  'memory',
  'ephemeral-storage',
  'requests.cpu',
  'requests.memory',
  'requests.storage',
  'requests.ephemeral-storage',
  'limits.cpu',
  'limits.memory',
  'limits.ephemeral-storage',
  ...OBJECT_COUNT,
]);
const STANDARD = new Set([...QUOTA, 'storage', 'requests.hugepages-']);
const INTEGER = new Set(OBJECT_COUNT);
const POD_LEVEL = new Set(['cpu', 'memory']);

export function isHugePages(name: string): boolean {
  return name.startsWith('hugepages-');
}

export function isNative(name: string): boolean {
  return !name.includes('/') || name.includes('kubernetes.io/');
}

export function isExtended(name: string): boolean {
  return (
    !isNative(name) && !name.startsWith('requests.') && validateQualifiedName(`requests.${name}`).length === 0
  );
}

/** Requests may be lower than limits. */
export function isOvercommitAllowed(name: string): boolean {
  return isNative(name) && !isHugePages(name);
}

export function isStandardQuotaName(name: string): boolean {
  return QUOTA.has(name) || isHugePages(name) || name.startsWith('requests.hugepages-');
}

function isStandardName(name: string): boolean {
  return STANDARD.has(name) || isHugePages(name) || name.startsWith('requests.hugepages-');
}

function isInteger(name: string): boolean {
  return INTEGER.has(name) || isExtended(name);
}

/** A quantity that was already validated by decoding. */
export function parseResourceQuantity(value: string | number): Quantity {
  return parseQuantity(String(value));
}

export function compareQuantities(left: string | number, right: string | number): number {
  return left === right ? 0 : compare(left, right);
}

export function checkResourceName(name: string, path: Path, errors: Errors): boolean {
  if (CONTAINER.has(name)) return true;
  const problems = validateQualifiedName(name);
  if (problems.length > 0) {
    errors.invalidEach(path, name, problems);
    return false;
  }
  if (name.includes('/') || isStandardName(name)) return true;
  errors.invalid(path, name, 'must be a standard resource type or fully qualified');
  return false;
}

export function checkContainerResourceName(name: string, path: Path, errors: Errors): void {
  if (CONTAINER.has(name)) return;
  checkResourceName(name, path, errors);
  if (!name.includes('/')) {
    if (!isHugePages(name)) errors.invalid(path, name, 'must be a standard resource for containers');
  } else if (!isNative(name) && !isExtended(name)) {
    errors.invalid(path, name, "doesn't follow extended resource name standard");
  }
}

export function checkPodResourceName(name: string, path: Path, errors: Errors): void {
  if (POD_LEVEL.has(name) || !checkResourceName(name, path, errors) || isHugePages(name)) return;
  errors.notSupported(path, name, ['cpu', 'hugepages-', 'memory']);
}

function checkQuotaResourceName(name: string, path: Path, errors: Errors): void {
  checkResourceName(name, path, errors);
  if (!name.includes('/') && !isStandardQuotaName(name))
    errors.invalid(path, name, 'must be a standard resource for quota');
}

/** Plain digits with a unit, the usual case, are neither negative nor fractional, and need no parsing. */
const PLAIN = /^[0-9]+(?:[KMGTPE]i?|k)?$/;

export function checkQuantity(name: string, value: string | number, path: Path, errors: Errors): void {
  if (typeof value === 'string' && PLAIN.test(value)) return;
  const quantity = parseResourceQuantity(value);
  if (quantity.sign < 0) errors.invalid(path, quantity.toString(), NEGATIVE);
  if (isInteger(name) && quantity.milliValue() % 1000 !== 0)
    errors.invalid(path, quantity.toString(), 'must be an integer');
}

export function checkPositiveQuantity(
  value: string | number,
  path: Path,
  errors: Errors,
  detail = NOT_POSITIVE,
): boolean {
  const quantity = parseResourceQuantity(value);
  if (quantity.sign > 0) return true;
  errors.invalid(path, quantity.toString(), detail);
  return false;
}

/** The name of a CSI driver or similar: always a subdomain. */
export function checkDriverName(name: string | undefined, path: Path, errors: Errors): void {
  if (!name) {
    errors.required(path);
    return;
  }
  if (name.length > 63) errors.tooLong(path, 63);
  errors.invalidEach(path, name, validateDNS1123Subdomain(name.toLowerCase()));
}

export function hugePagesProblem(name: string, value: string | number): string | undefined {
  const size = name.slice('hugepages-'.length);
  let page: bigint;
  try {
    page = BigInt(parseResourceQuantity(size).value());
  } catch {
    return `${parseResourceQuantity(value).toString()} is not positive integer multiple of ${name}`;
  }
  const asked = BigInt(parseResourceQuantity(value).value());
  return page > 0n && asked % page === 0n
    ? undefined
    : `${parseResourceQuantity(value).toString()} is not positive integer multiple of ${name}`;
}

/** Limits or usage of a quota. */
export function checkQuotaAmounts(
  amounts: Readonly<Record<string, string | number>> | undefined,
  path: Path,
  errors: Errors,
): void {
  for (const name in amounts) {
    checkQuotaResourceName(name, path.key(name), errors);
    checkQuantity(name, amounts[name]!, path.key(name), errors);
  }
}
