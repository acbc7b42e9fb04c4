/** Device requests of claims and claim templates: defaults and checks. CEL selectors are compiled by the API server. */
import type { ResourceClaimSpec } from '#api/types.ts';
import { validateDNS1123Label } from '#machinery/names.ts';
import { checkDnsSubdomain } from '../checks.ts';
import type { Errors, Path } from '../field-path.ts';

const REQUESTS_MAX = 32;
const MODES = ['All', 'ExactCount'];

type Json = Record<string, any>;

export function defaultClaimRequests(spec: ResourceClaimSpec | undefined): void {
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
  const requests = spec?.devices?.requests ?? [], at = path.child('devices').child('requests'), names = new Set<string>();
  if (requests.length > REQUESTS_MAX) errors.tooMany(at, requests.length, REQUESTS_MAX);
  requests.forEach((request, i) => {
    const one = at.index(i);
    checkRequestName(request.name, one.child('name'), errors, names);
    if (request.exactly && request.firstAvailable?.length) errors.invalid(one, request, 'exactly one of `exactly` or `firstAvailable` is required, but multiple fields are set');
    else if (request.exactly) checkExact(request.exactly, one.child('exactly'), errors);
    else if (request.firstAvailable?.length) {
      const subNames = new Set<string>();
      request.firstAvailable.forEach((sub, j) => {
        checkRequestName(sub.name, one.child('firstAvailable').index(j).child('name'), errors, subNames);
        checkExact(sub, one.child('firstAvailable').index(j), errors);
      });
    } else errors.required(one, 'exactly one of `exactly` or `firstAvailable` is required');
  });
  spec?.devices?.constraints?.forEach((constraint, i) => constraint.requests?.forEach((name, j) => {
    if (!names.has(name.split('/')[0]!)) errors.invalid(path.child('devices').child('constraints').index(i).child('requests').index(j), name, 'must be the name of a request in the claim or the name of a request and a subrequest separated by \'/\'');
  }));
}

function checkRequestName(name: string | undefined, path: Path, errors: Errors, names: Set<string>): void {
  if (!name) errors.required(path);
  else if (names.has(name)) errors.duplicate(path, name);
  else errors.invalidEach(path, name, validateDNS1123Label(name));
  names.add(name ?? '');
}

function checkExact(exact: Json, path: Path, errors: Errors): void {
  if (!exact['deviceClassName']) errors.required(path.child('deviceClassName'));
  else checkDnsSubdomain(exact['deviceClassName'], path, 'deviceClassName', errors);
  const mode = exact['allocationMode'], count = exact['count'] ?? 0;
  if (mode === 'All') {
    if (count !== 0) errors.invalid(path.child('count'), count, `must not be specified when allocationMode is 'All'`);
  } else if (mode === 'ExactCount') {
    if (count <= 0) errors.invalid(path.child('count'), count, 'must be greater than zero');
  } else errors.notSupported(path.child('allocationMode'), mode ?? '', MODES);
  exact['selectors']?.forEach((selector: Json, i: number) => {
    if (!selector['cel']) errors.required(path.child('selectors').index(i).child('cel'));
    else if (!selector['cel'].expression) errors.required(path.child('selectors').index(i).child('cel').child('expression'));
  });
}
