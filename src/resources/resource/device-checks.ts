/** Validation shared by devices, requests and allocations: names, taints, configuration, bounded lists. After upstream's pkg/apis/resource/validation. */
import {
  validateCIdentifier,
  validateDNS1123Label,
  validateDNS1123Subdomain,
  validateLabelValue,
} from '#machinery/names.ts';
import { checkQualifiedName } from '../checks.ts';
import type { Errors, Path } from '../field-path.ts';
import { checkDriverName } from '../resource-list.ts';

const POOL_NAME_MAX = 253;
const ID_MAX = 32;
const EXPRESSION_MAX = 10 * 1024;
const SELECTORS_MAX = 32;
const BINDING_CONDITIONS_MAX = 4;
export const CONFIG_MAX = 32;
const EFFECTS = ['NoExecute', 'NoSchedule', 'None'];

type Check<T> = (item: T, path: Path) => void;

/** Items of a list that is too long are not validated. */
export function checkList<T>(
  items: readonly T[] | undefined,
  path: Path,
  errors: Errors,
  { most, check }: { readonly most: number; readonly check: Check<T> },
): boolean {
  if (!items) return true;
  if (items.length > most) {
    errors.tooMany(path, items.length, most);
    return false;
  }
  items.forEach((item, i) => check(item, path.index(i)));
  return true;
}

export function checkSet<T>(
  items: readonly T[] | undefined,
  path: Path,
  errors: Errors,
  {
    most,
    check,
    key,
  }: { readonly most: number; readonly check: Check<T>; readonly key: (item: T) => string },
): void {
  if (!checkList(items, path, errors, { most, check })) return;
  const seen = new Set<string>();
  items?.forEach((item, i) => {
    if (seen.has(key(item))) errors.duplicate(path.index(i), key(item));
    seen.add(key(item));
  });
}

export function checkLabel(name: string | undefined, path: Path, errors: Errors): void {
  errors.invalidEach(path, name ?? '', validateDNS1123Label(name ?? ''));
}

export function checkPoolName(name: string | undefined, path: Path, errors: Errors): void {
  if (!name) {
    errors.required(path);
    return;
  }
  if (name.length > POOL_NAME_MAX) errors.tooLong(path, POOL_NAME_MAX);
  for (const part of name.split('/')) errors.invalidEach(path, part, validateDNS1123Subdomain(part));
}

/** 'model' or 'example.com/model' */
export function checkAttributeName(name: string, path: Path, errors: Errors): void {
  const parts = name.split('/');
  if (parts.length === 1) checkIdentifier(name, path, errors);
  if (parts.length !== 2) return;
  const [domain = '', id = ''] = parts;
  if (domain === '') errors.invalid(path, '', 'the domain must not be empty');
  else checkDriverName(domain, path, errors);
  if (id === '') errors.invalid(path, '', 'the name must not be empty');
  else checkIdentifier(id, path, errors);
}

export function checkFullAttributeName(name: string, path: Path, errors: Errors): void {
  checkAttributeName(name, path, errors);
  if (!name.includes('/'))
    errors.invalid(path, name, 'a fully qualified name must be a domain and a name separated by a slash');
}

function checkIdentifier(id: string, path: Path, errors: Errors): void {
  if (id.length > ID_MAX) errors.tooLong(path, ID_MAX);
  errors.invalidEach(path, id, validateCIdentifier(id));
}

interface Selector {
  cel?: { expression?: string };
}

/** The API server compiles the expressions. */
export function checkSelectors(selectors: readonly Selector[] | undefined, path: Path, errors: Errors): void {
  checkList(selectors, path, errors, {
    most: SELECTORS_MAX,
    check: ({ cel }, at) => {
      if (!cel) errors.required(at.child('cel'));
      else if ((cel.expression ?? '').length > EXPRESSION_MAX)
        errors.tooLong(at.child('cel').child('expression'), EXPRESSION_MAX);
    },
  });
}

interface Configuration {
  opaque?: { driver?: string; parameters?: unknown };
}

export function checkConfiguration({ opaque }: Configuration, path: Path, errors: Errors): void {
  const at = path.child('opaque');
  if (!opaque) {
    errors.required(at);
    return;
  }
  checkDriverName(opaque.driver, at.child('driver'), errors);
  checkRawObject(opaque.parameters, at.child('parameters'), errors);
}

const RAW_MAX_BYTES = 10 * 1024;

export function checkRawObject(value: unknown, path: Path, errors: Errors): void {
  if (value === undefined || value === null) errors.required(path);
  else if (Buffer.byteLength(JSON.stringify(value)) > RAW_MAX_BYTES) errors.tooLong(path, RAW_MAX_BYTES);
  else if (typeof value !== 'object' || Array.isArray(value))
    errors.invalid(path, '<value omitted>', 'must be a valid JSON object');
}

interface Taint {
  key?: string;
  value?: string;
  effect?: string;
}

export function checkTaint({ key = '', value = '', effect = '' }: Taint, path: Path, errors: Errors): void {
  checkQualifiedName(key, path.child('key'), errors);
  errors.invalidEach(path.child('value'), value, validateLabelValue(value));
  if (effect === '') errors.required(path.child('effect'));
  else if (!EFFECTS.includes(effect)) errors.notSupported(path.child('effect'), effect, EFFECTS);
}

interface Toleration extends Taint {
  operator?: string;
}

export function checkToleration(
  { key, operator, value = '', effect }: Toleration,
  path: Path,
  errors: Errors,
): void {
  if (key) checkQualifiedName(key, path.child('key'), errors);
  if (operator === 'Exists') {
    if (value !== '') errors.invalid(path.child('value'), value, 'must be empty for operator `Exists`');
  } else if (operator === 'Equal') errors.invalidEach(path.child('value'), value, validateLabelValue(value));
  else if (!operator) errors.required(path.child('operator'));
  else errors.notSupported(path.child('operator'), operator, ['Equal', 'Exists']);
  if (effect && !EFFECTS.includes(effect)) errors.notSupported(path.child('effect'), effect, EFFECTS);
}

interface Binding {
  bindingConditions?: string[];
  bindingFailureConditions?: string[];
}

export function checkBindingConditions(
  { bindingConditions = [], bindingFailureConditions = [] }: Binding,
  path: Path,
  errors: Errors,
): void {
  const at = path.child('bindingConditions'),
    failuresAt = path.child('bindingFailureConditions');
  const check: Check<string> = (name, where) => checkQualifiedName(name, where, errors);
  checkSet(bindingConditions, at, errors, { most: BINDING_CONDITIONS_MAX, check, key: (name) => name });
  checkSet(bindingFailureConditions, failuresAt, errors, {
    most: BINDING_CONDITIONS_MAX,
    check,
    key: (name) => name,
  });
  bindingFailureConditions.forEach((name, i) => {
    if (bindingConditions.includes(name))
      errors.invalid(
        failuresAt.index(i),
        name,
        'bindingFailureConditions must not overlap with bindingConditions',
      );
  });
  if (bindingConditions.length === 0 && bindingFailureConditions.length > 0)
    errors.invalid(at, null, 'bindingConditions are required to use bindingFailureConditions');
  if (bindingFailureConditions.length === 0 && bindingConditions.length > 0)
    errors.invalid(failuresAt, null, 'bindingFailureConditions are required to use bindingConditions');
}

export function driverNameWarnings(name: string | undefined, path: string): string[] {
  return name !== undefined && name !== name.toLowerCase()
    ? [`${path}: driver names should be lowercase; ${JSON.stringify(name)} contains uppercase characters`]
    : [];
}
