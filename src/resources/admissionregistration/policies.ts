/** What admission policies and their bindings share. CEL expressions are compiled, and so checked, by the API server. */
import type { KubeObject } from '#machinery/object.ts';
import { checkLabelSelector } from '../checks.ts';
import { type Errors, type Path, SPEC } from '../field-path.ts';

type Json = Record<string, any>;

export function specOf(object: KubeObject): Json {
  return (object['spec'] ??= {}) as Json;
}

export function defaultMatchResources(match: Json | undefined): void {
  if (!match) return;
  match['matchPolicy'] ??= 'Equivalent';
  match['namespaceSelector'] ??= {};
  match['objectSelector'] ??= {};
  for (const rule of [...(match['resourceRules'] ?? []), ...(match['excludeResourceRules'] ?? [])]) rule.scope ??= '*';
}

export function checkMatchResources(match: Json | undefined, path: Path, errors: Errors): void {
  if (!match) return;
  const policies = ['Equivalent', 'Exact'];
  if (match['matchPolicy'] && !policies.includes(match['matchPolicy'])) errors.notSupported(path.child('matchPolicy'), match['matchPolicy'], policies);
  checkLabelSelector(match['namespaceSelector'], path.child('namespaceSelector'), errors);
  checkLabelSelector(match['objectSelector'], path.child('objectSelector'), errors);
  for (const field of ['resourceRules', 'excludeResourceRules']) {
    match[field]?.forEach((rule: Json, i: number) => {
      for (const list of ['operations', 'apiGroups', 'apiVersions', 'resources']) if (!rule[list]?.length) errors.required(path.child(field).index(i).child(list));
    });
  }
}

export function checkPolicy(spec: Json, errors: Errors): void {
  const constraints = spec['matchConstraints'];
  if (!constraints) errors.required(SPEC.child('matchConstraints'));
  else {
    checkMatchResources(constraints, SPEC.child('matchConstraints'), errors);
    if (!constraints['resourceRules']?.length) errors.required(SPEC.child('matchConstraints').child('resourceRules'));
  }
  const kind = spec['paramKind'];
  if (kind && !kind['apiVersion']) errors.required(SPEC.child('paramKind').child('apiVersion'));
  if (kind && !kind['kind']) errors.required(SPEC.child('paramKind').child('kind'));
  if (spec['failurePolicy'] !== undefined && !['Fail', 'Ignore'].includes(spec['failurePolicy'])) errors.notSupported(SPEC.child('failurePolicy'), spec['failurePolicy'], ['Fail', 'Ignore']);
  spec['variables']?.forEach((variable: Json, i: number) => checkNamedExpression(variable, SPEC.child('variables').index(i), errors));
  spec['matchConditions']?.forEach((condition: Json, i: number) => checkNamedExpression(condition, SPEC.child('matchConditions').index(i), errors));
}

function checkNamedExpression(entry: Json, path: Path, errors: Errors): void {
  if (!entry['name']) errors.required(path.child('name'));
  if (!entry['expression']?.trim()) errors.required(path.child('expression'));
}

export function checkBinding(spec: Json, errors: Errors): void {
  if (!spec['policyName']) errors.required(SPEC.child('policyName'));
  checkMatchResources(spec['matchResources'], SPEC.child('matchResources'), errors);
  const ref = spec['paramRef'], path = SPEC.child('paramRef');
  if (!ref) return;
  if (ref['name'] && ref['selector']) errors.forbidden(path.child('name'), 'name and selector are mutually exclusive');
  if (!ref['name'] && !ref['selector']) errors.required(path, 'one of name or selector must be specified');
  checkLabelSelector(ref['selector'], path.child('selector'), errors);
  if (!ref['parameterNotFoundAction']) errors.required(path.child('parameterNotFoundAction'));
  else if (!['Allow', 'Deny'].includes(ref['parameterNotFoundAction'])) errors.notSupported(path.child('parameterNotFoundAction'), ref['parameterNotFoundAction'], ['Deny', 'Allow']);
}
