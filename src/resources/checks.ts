/**
 * Checks that many kinds share, after upstream's validation of names, labels, numbers and addresses. Each takes the value, its
 * path and the error list; none allocates for a valid value, apart from the Path of its field.
 */
import { isIP, isIPv4, isIPv6 } from 'node:net';
import {
  regexProblem,
  validateConfigMapKey,
  validateDNS1123Label,
  validateDNS1123Subdomain,
  validateLabelValue,
  validateLegacyCIDR,
  validateLegacyIP,
  validatePercent,
  validatePortName,
  validateQualifiedName,
} from '#machinery/names.ts';
import { formatIP, parseIP } from '#machinery/ip.ts';
import type { Condition, LabelSelector } from '#api/types.ts';
import { semanticEqual } from './strategy.ts';
import type { Errors, Path } from './field-path.ts';

export const NEGATIVE = 'must be greater than or equal to 0';
export const NOT_POSITIVE = 'must be greater than zero';
export const IMMUTABLE = 'field is immutable';
export const MAX_INT32 = 2147483647;

export const PROTOCOLS = ['SCTP', 'TCP', 'UDP'] as const;

export function between(low: number, high: number): string {
  return `must be between ${low} and ${high}, inclusive`;
}

export function checkNonNegative(value: number | undefined, path: Path, field: string, errors: Errors): void {
  if (value !== undefined && value < 0) errors.invalid(path.child(field), value, NEGATIVE);
}

/** One 'Invalid value' for all problems, as in some of upstream's checks. */
export function invalidJoined(path: Path, value: string, problems: readonly string[], errors: Errors): void {
  if (problems.length > 0) errors.invalid(path, value, problems.join(','));
}

/** Required and one of the values. */
export function checkEnum(
  value: string | undefined,
  valid: readonly string[],
  path: Path,
  field: string,
  errors: Errors,
): void {
  if (value === undefined || value === '') errors.required(path.child(field));
  else if (!valid.includes(value)) errors.notSupported(path.child(field), value, valid);
}

/** One of the values when set. */
export function checkOptionalEnum(
  value: string | undefined,
  valid: readonly string[],
  path: Path,
  field: string,
  errors: Errors,
): void {
  if (value !== undefined && !valid.includes(value)) errors.notSupported(path.child(field), value, valid);
}

export function checkImmutable(next: unknown, previous: unknown, path: Path, errors: Errors): void {
  if (!semanticEqual(next, previous)) errors.invalid(path, next, IMMUTABLE);
}

export function checkDnsLabel(value: string, path: Path, field: string, errors: Errors): void {
  const problems = validateDNS1123Label(value);
  if (problems.length > 0) errors.invalidEach(path.child(field), value, problems);
}

export function checkDnsSubdomain(value: string, path: Path, field: string, errors: Errors): void {
  const problems = validateDNS1123Subdomain(value);
  if (problems.length > 0) errors.invalidEach(path.child(field), value, problems);
}

/** The name of another object: required, a DNS subdomain. */
export function checkObjectName(value: string | undefined, path: Path, field: string, errors: Errors): void {
  if (value === undefined || value === '') errors.required(path.child(field));
  else checkDnsSubdomain(value, path, field, errors);
}

export function checkQualifiedName(value: string, path: Path, errors: Errors): void {
  const problems = validateQualifiedName(value);
  if (problems.length > 0) errors.invalidEach(path, value, problems);
}

const HTTP_PATH = "[A-Za-z0-9/\\-._~%!$&'()*+,;=:]+";
const HTTP_PATH_PATTERN = new RegExp(`^${HTTP_PATH}$`);

/** 'acme.io/foo' */
export function checkDomainPrefixedPath(value: string, path: Path, errors: Errors): void {
  if (value === '') {
    errors.required(path);
    return;
  }
  const slash = value.indexOf('/'),
    domain = value.slice(0, Math.max(slash, 0)),
    rest = value.slice(slash + 1);
  if (domain === '' || rest === '') {
    errors.invalid(path, value, 'must be a domain-prefixed path (such as "acme.io/foo")');
    return;
  }
  errors.invalidEach(path, domain, validateDNS1123Subdomain(domain));
  if (!HTTP_PATH_PATTERN.test(rest)) errors.invalid(path, rest, regexProblem('Invalid path', HTTP_PATH));
}

export function checkConfigMapKey(value: string, path: Path, errors: Errors): void {
  const problems = validateConfigMapKey(value);
  if (problems.length > 0) errors.invalidEach(path, value, problems);
}

export function checkLabelValue(value: string, path: Path, errors: Errors): void {
  const problems = validateLabelValue(value);
  if (problems.length > 0) errors.invalidEach(path, value, problems);
}

export function checkLabels(labels: Record<string, string> | undefined, path: Path, errors: Errors): void {
  for (const key in labels) {
    checkQualifiedName(key, path, errors);
    checkLabelValue(labels[key]!, path, errors);
  }
}

const ANNOTATIONS_MAX_BYTES = 256 * 1024;

export function checkAnnotations(
  annotations: Record<string, string> | undefined,
  path: Path,
  errors: Errors,
): void {
  let bytes = 0;
  for (const key in annotations) {
    const problems = validateQualifiedName(key.toLowerCase());
    if (problems.length > 0) errors.invalidEach(path, key, problems);
    bytes += key.length + annotations[key]!.length;
  }
  if (bytes > ANNOTATIONS_MAX_BYTES) errors.tooLong(path, ANNOTATIONS_MAX_BYTES);
}

const SELECTOR_OPERATORS = ['In', 'NotIn', 'Exists', 'DoesNotExist'];

export function checkLabelSelector(selector: LabelSelector | undefined, path: Path, errors: Errors): void {
  if (selector === undefined || selector === null) return;
  if (selector.matchLabels) checkLabels(selector.matchLabels, path.child('matchLabels'), errors);
  selector.matchExpressions?.forEach((requirement, i) => {
    const at = path.child('matchExpressions').index(i);
    const values = requirement.values ?? [];
    if (requirement.operator === 'In' || requirement.operator === 'NotIn') {
      if (values.length === 0)
        errors.required(at.child('values'), "must be specified when `operator` is 'In' or 'NotIn'");
    } else if (requirement.operator === 'Exists' || requirement.operator === 'DoesNotExist') {
      if (values.length > 0)
        errors.forbidden(
          at.child('values'),
          "may not be specified when `operator` is 'Exists' or 'DoesNotExist'",
        );
    } else if (!SELECTOR_OPERATORS.includes(requirement.operator)) {
      errors.invalid(at.child('operator'), requirement.operator, 'not a valid selector operator');
    }
    checkQualifiedName(requirement.key, at.child('key'), errors);
    values.forEach((value, j) => checkLabelValue(value, at.child('values').index(j), errors));
  });
}

/** As in upstream's messages: labels by name. */
export function shownSelector(selector: LabelSelector | undefined): LabelSelector | undefined {
  if (!selector?.matchLabels) return selector;
  return { ...selector, matchLabels: sortedByKey(selector.matchLabels) };
}

export function sortedByKey<T>(map: Readonly<Record<string, T>>): Record<string, T> {
  return Object.fromEntries(Object.entries(map).sort(([a], [b]) => (a < b ? -1 : 1)));
}

export function selectorIsEmpty(selector: LabelSelector | undefined): boolean {
  if (!selector) return true;
  for (const _ in selector.matchLabels) return false;
  return (selector.matchExpressions ?? []).length === 0;
}

export function selectorMatches(
  selector: LabelSelector | undefined,
  labels: Record<string, string> | undefined,
): boolean {
  if (!selector) return false;
  for (const key in selector.matchLabels) if (own(labels, key) !== selector.matchLabels[key]) return false;
  return (selector.matchExpressions ?? []).every(({ key, operator, values }) => {
    const value = own(labels, key);
    switch (operator) {
      case 'In':
        return value !== undefined && (values ?? []).includes(value);
      case 'NotIn':
        return value === undefined || !(values ?? []).includes(value);
      case 'Exists':
        return value !== undefined;
      case 'DoesNotExist':
        return value === undefined;
      default:
        return false;
    }
  });
}

export function mapSelectorMatches(
  selector: Record<string, string> | undefined,
  labels: Record<string, string> | undefined,
): boolean {
  for (const key in selector) if (own(labels, key) !== selector[key]) return false;
  return true;
}

const CONDITION_STATUSES = ['False', 'True', 'Unknown'];
const REASON = '[A-Za-z]([A-Za-z0-9_,:]*[A-Za-z0-9_])?';
const REASON_PATTERN = new RegExp(`^${REASON}$`);
const REASON_MAX_BYTES = 1024;
const CONDITION_MESSAGE_MAX_BYTES = 32 * 1024;

/** metav1.Condition lists of all newer kinds. */
export function checkConditionList(
  conditions: readonly Partial<Condition>[] | undefined,
  path: Path,
  errors: Errors,
): void {
  const types = new Set<string>();
  conditions?.forEach(
    (
      { type = '', status = '', observedGeneration = 0, lastTransitionTime, reason = '', message = '' },
      i,
    ) => {
      const at = path.index(i);
      if (types.has(type)) errors.duplicate(at.child('type'), type);
      types.add(type);
      checkQualifiedName(type, at.child('type'), errors);
      if (!CONDITION_STATUSES.includes(status))
        errors.notSupported(at.child('status'), status, CONDITION_STATUSES);
      if (observedGeneration < 0)
        errors.invalid(
          at.child('observedGeneration'),
          observedGeneration,
          'must be greater than or equal to zero',
        );
      if (!lastTransitionTime) errors.required(at.child('lastTransitionTime'));
      if (reason === '') errors.required(at.child('reason'));
      else if (!REASON_PATTERN.test(reason))
        errors.invalid(
          at.child('reason'),
          reason,
          regexProblem(
            "a condition reason must start with alphabetic character, optionally followed by a string of alphanumeric characters or '_,:', and must end with an alphanumeric character or '_'",
            REASON,
            'my_name',
            'MY_NAME',
            'MyName',
            'ReasonA,ReasonB',
            'ReasonA:ReasonB',
          ),
        );
      if (Buffer.byteLength(reason) > REASON_MAX_BYTES) errors.tooLong(at.child('reason'), REASON_MAX_BYTES);
      if (Buffer.byteLength(message) > CONDITION_MESSAGE_MAX_BYTES)
        errors.tooLong(at.child('message'), CONDITION_MESSAGE_MAX_BYTES);
    },
  );
}

function portNumberProblem(port: number | undefined): string | undefined {
  return port !== undefined && Number.isInteger(port) && port >= 1 && port <= 65535
    ? undefined
    : between(1, 65535);
}

export function checkPortNumber(port: number | undefined, path: Path, field: string, errors: Errors): void {
  const problem = portNumberProblem(port);
  if (problem !== undefined) errors.invalid(path.child(field), port ?? 0, problem);
}

export function checkPortName(name: string, path: Path, field: string, errors: Errors): void {
  const problems = validatePortName(name);
  if (problems.length > 0) errors.invalidEach(path.child(field), name, problems);
}

export function checkPortNumberOrName(
  port: number | string | undefined,
  path: Path,
  field: string,
  errors: Errors,
): void {
  if (typeof port === 'string') checkPortName(port, path, field, errors);
  else checkPortNumber(port, path, field, errors);
}

/** kept: values of the stored object, which are accepted even if they are no longer valid. */
export function checkIP(
  value: string | undefined,
  path: Path,
  errors: Errors,
  kept: readonly (string | undefined)[] = [],
): boolean {
  if (kept.includes(value)) return true;
  const problems = validateLegacyIP(value ?? '');
  if (problems.length > 0) errors.invalidEach(path, value ?? '', problems);
  return problems.length === 0;
}

/** kept: as for checkIP. */
export function checkCIDR(
  value: string,
  path: Path,
  errors: Errors,
  kept: readonly (string | undefined)[] = [],
): void {
  if (kept.includes(value)) return;
  const problems = validateLegacyCIDR(value);
  if (problems.length > 0) errors.invalidEach(path, value, problems);
}

/** Endpoints and external IPs must not be node-local addresses. */
export function checkNonSpecialIP(given: string, path: Path, errors: Errors): void {
  const value = isIP(given) === 0 ? plainIP(given) : given;
  if (value === undefined) {
    errors.invalid(path, given, 'must be a valid IP address');
    return;
  }
  const lower = value.toLowerCase();
  if (lower === '0.0.0.0' || lower === '::') errors.invalid(path, value, `may not be unspecified (${value})`);
  if (isIPv4(value) ? value.startsWith('127.') : lower === '::1')
    errors.invalid(path, value, 'may not be in the loopback range (127.0.0.0/8, ::1/128)');
  if (isIPv4(value) ? value.startsWith('169.254.') : /^fe[89ab]/.test(lower))
    errors.invalid(path, value, 'may not be in the link-local range (169.254.0.0/16, fe80::/10)');
  if (isIPv4(value) ? value.startsWith('224.0.0.') : lower.startsWith('ff02:'))
    errors.invalid(path, value, 'may not be in the link-local multicast range (224.0.0.0/24, ff02::/10)');
}

/** Warns of a non-canonical address. */
function plainIP(text: string): string | undefined {
  const address = parseIP(text);
  return address && formatIP(address);
}

/** At most one address (or range) per family. */
export function isDualStack(values: readonly string[]): boolean {
  const sixes = values.filter((value) => isIPv6(value.split('/')[0]!)).length;
  return sixes > 0 && sixes < values.length;
}

const PERCENT = /^[0-9]+%$/;

/** A non-negative count or a percentage. */
export function checkPositiveIntOrPercent(
  value: number | string | undefined,
  path: Path,
  errors: Errors,
): void {
  if (typeof value === 'string') {
    errors.invalidEach(path, value, validatePercent(value));
  } else if (value !== undefined && value < 0) errors.invalid(path, value, NEGATIVE);
}

export function checkAtMost100Percent(value: number | string | undefined, path: Path, errors: Errors): void {
  if (typeof value === 'string' && PERCENT.test(value) && Number.parseInt(value, 10) > 100)
    errors.invalid(path, value, 'must not be greater than 100%');
}

/** 5 → 5, '50%' → 50, '5' → 5, anything else 0: upstream's conversion for zero checks. */
export function intOrPercentValue(value: number | string | undefined): number {
  if (typeof value !== 'string') return value ?? 0;
  return PERCENT.test(value) || /^[-+]?[0-9]+$/.test(value) ? Number.parseInt(value, 10) : 0;
}

/** Calls back for every item that exists in the stored list. */
export function eachRepeated<T>(items: readonly T[], report: (item: T, position: number) => void): void {
  const seen = new Set<T>();
  for (let i = 0; i < items.length; i++) {
    if (seen.has(items[i]!)) report(items[i]!, i);
    seen.add(items[i]!);
  }
}

/** An own entry of a client-provided map: keys such as 'constructor' must not find inherited properties. */
export function own<T>(map: Readonly<Record<string, T>> | undefined, key: string): T | undefined {
  return map !== undefined && Object.hasOwn(map, key) ? map[key] : undefined;
}
