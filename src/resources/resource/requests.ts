/** Device requests of claims and claim templates: defaults and validation. The API server compiles CEL selectors. */
import type { ResourceClaimSpec } from '#api/types.ts';
import { checkDnsSubdomain } from '../checks.ts';
import type { Errors, Path } from '../field-path.ts';
import {
  checkConfiguration,
  checkFullAttributeName,
  checkLabel,
  checkList,
  checkSelectors,
  checkSet,
  checkToleration,
  CONFIG_MAX,
} from './device-checks.ts';

const REQUESTS_MAX = 32;
const CONSTRAINTS_MAX = 32;
const ALTERNATIVES_MAX = 8;
const MODES = ['All', 'ExactCount'];

type Json = Record<string, any>;

export function defaultClaimRequests(spec: ResourceClaimSpec | undefined): void {
  // Always written, as null when there is none.
  if (spec?.devices && !spec.devices.requests?.length) Object.assign(spec.devices, { requests: null });
  for (const request of spec?.devices?.requests ?? []) {
    for (const exact of [request.exactly, ...(request.firstAvailable ?? [])]) {
      if (!exact) continue;
      exact.allocationMode ??= 'ExactCount';
      if (exact.allocationMode === 'ExactCount') exact.count ??= 1;
      for (const toleration of exact.tolerations ?? []) toleration.operator ??= 'Equal';
    }
  }
}

export function checkClaimRequests(spec: ResourceClaimSpec | undefined, path: Path, errors: Errors): void {
  const { requests, constraints, config } = spec?.devices ?? {},
    at = path.child('devices'),
    names = requestNames(spec);
  checkSet<Json>(requests as Json[] | undefined, at.child('requests'), errors, {
    most: REQUESTS_MAX,
    check: (request, where) => checkRequest(request, where, errors),
    key: ({ name }) => name ?? '',
  });
  checkList<Json>(constraints as Json[] | undefined, at.child('constraints'), errors, {
    most: CONSTRAINTS_MAX,
    check: (constraint, where) => checkConstraint(constraint, where, errors, names),
  });
  checkList<Json>(config as Json[] | undefined, at.child('config'), errors, {
    most: CONFIG_MAX,
    check: (item, where) => {
      checkRequestRefs(item['requests'], where.child('requests'), errors, names);
      checkConfiguration(item, where, errors);
    },
  });
}

/** 'request', and 'request/subrequest' of those that offer alternatives. */
export function requestNames(spec: ResourceClaimSpec | undefined): ReadonlySet<string> {
  return new Set(
    (spec?.devices?.requests ?? []).flatMap(({ name, firstAvailable = [] }) => [
      name,
      ...firstAvailable.map((sub) => `${name}/${sub.name}`),
    ]),
  );
}

const NO_SUCH_REQUEST =
  "must be the name of a request in the claim or the name of a request and a subrequest separated by '/'";

export function checkRequestRef(name: string, path: Path, errors: Errors, names: ReadonlySet<string>): void {
  const segments = name.split('/');
  if (segments.length <= 2) for (const segment of segments) checkLabel(segment, path, errors);
  if (!names.has(name)) errors.invalid(path, name, NO_SUCH_REQUEST);
}

export function checkRequestRefs(
  refs: readonly string[] | undefined,
  path: Path,
  errors: Errors,
  names: ReadonlySet<string>,
): void {
  checkSet(refs, path, errors, {
    most: REQUESTS_MAX,
    check: (name, at) => checkRequestRef(name, at, errors, names),
    key: (name) => name,
  });
}

function checkRequest({ name, exactly, firstAvailable }: Json, path: Path, errors: Errors): void {
  checkLabel(name, path.child('name'), errors);
  const hasAlternatives = firstAvailable?.length > 0;
  if (!exactly && !hasAlternatives)
    errors.required(path, 'exactly one of `exactly` or `firstAvailable` is required');
  else if (exactly && hasAlternatives)
    errors.invalid(
      path,
      undefined,
      'exactly one of `exactly` or `firstAvailable` is required, but multiple fields are set',
    );
  else if (exactly) checkExact(exactly, path.child('exactly'), errors);
  else
    checkSet<Json>(firstAvailable, path.child('firstAvailable'), errors, {
      most: ALTERNATIVES_MAX,
      check: (sub, at) => {
        checkLabel(sub['name'], at.child('name'), errors);
        checkExact(sub, at, errors);
      },
      key: (sub) => sub['name'] ?? '',
    });
}

function checkExact(
  { deviceClassName, selectors, allocationMode, count = 0, tolerations }: Json,
  path: Path,
  errors: Errors,
): void {
  if (!deviceClassName) errors.required(path.child('deviceClassName'));
  else checkDnsSubdomain(deviceClassName, path, 'deviceClassName', errors);
  checkSelectors(selectors, path.child('selectors'), errors);
  if (allocationMode === 'All') {
    if (count !== 0)
      errors.invalid(path.child('count'), count, "must not be specified when allocationMode is 'All'");
  } else if (allocationMode === 'ExactCount') {
    if (count <= 0) errors.invalid(path.child('count'), count, 'must be greater than zero');
  } else errors.notSupported(path.child('allocationMode'), allocationMode ?? '', MODES);
  (tolerations as Json[] | undefined)?.forEach((toleration, i) =>
    checkToleration(toleration, path.child('tolerations').index(i), errors),
  );
}

function checkConstraint(
  { requests, matchAttribute, distinctAttribute }: Json,
  path: Path,
  errors: Errors,
  names: ReadonlySet<string>,
): void {
  checkRequestRefs(requests, path.child('requests'), errors, names);
  if (matchAttribute !== undefined)
    checkFullAttributeName(matchAttribute, path.child('matchAttribute'), errors);
  else if (distinctAttribute !== undefined)
    checkFullAttributeName(distinctAttribute, path.child('distinctAttribute'), errors);
  else
    errors.required(
      path,
      'exactly one of "matchAttribute" or "distinctAttribute" is required, but multiple fields are set',
    );
}
