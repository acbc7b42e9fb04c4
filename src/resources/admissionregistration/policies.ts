/**
 * What admission policies and their bindings share. CEL expressions are compiled, and so checked, by the API server. After
 * upstream's pkg/apis/admissionregistration validation.
 */
import { fieldErrors } from '#machinery/errors.ts';
import type { KubeObject } from '#machinery/object.ts';
import type { NamedRuleWithOperations, ParamKind, RuleWithOperations, Variable } from '#api/types.ts';
import { validateCIdentifier, validateDNS1035Label, validateDNS1123Subdomain, validatePathSegmentName } from '#machinery/names.ts';
import { checkLabelSelector, eachRepeated } from '../checks.ts';
import { type Errors, type Path, SPEC } from '../field-path.ts';
import { checkMatchConditions, checkRule } from './webhooks.ts';

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
    match[field]?.forEach((rule: NamedRuleWithOperations, i: number) => {
      const at = path.child(field).index(i);
      checkRule(rule as RuleWithOperations, at, errors);
      rule.resourceNames?.forEach((name, j) => errors.invalidEach(at.child('resourceNames').index(j), name, validatePathSegmentName(name)));
      eachRepeated(rule.resourceNames ?? [], (name, j) => errors.duplicate(at.child('resourceNames').index(j), name));
    });
  }
}

export function checkPolicy(spec: Json, errors: Errors): void {
  const constraints = spec['matchConstraints'];
  if (spec['paramKind']) checkParamKind(spec['paramKind'], SPEC.child('paramKind'), errors);
  if (!constraints) errors.required(SPEC.child('matchConstraints'));
  else {
    checkMatchResources(constraints, SPEC.child('matchConstraints'), errors);
    if (!constraints['resourceRules']?.length) errors.required(SPEC.child('matchConstraints').child('resourceRules'));
  }
  if (spec['failurePolicy'] !== undefined && !['Fail', 'Ignore'].includes(spec['failurePolicy'])) errors.notSupported(SPEC.child('failurePolicy'), spec['failurePolicy'], ['Fail', 'Ignore']);
  checkMatchConditions(spec['matchConditions'], SPEC.child('matchConditions'), errors);
  checkVariables(spec['variables'] ?? [], SPEC.child('variables'), errors);
}

function checkParamKind({ apiVersion = '', kind = '' }: ParamKind, path: Path, errors: Errors): void {
  const at = path.child('apiVersion'), parts = apiVersion.split('/'), version = parts.at(-1)!, group = parts.length > 1 ? parts[0]! : '';
  if (apiVersion === '') errors.required(at);
  else if (parts.length > 2) errors.invalid(at, apiVersion, `unexpected GroupVersion string: ${apiVersion}`);
  else {
    if (group !== '') errors.invalidEach(at, group, validateDNS1123Subdomain(group));
    if (version === '') errors.invalid(at, apiVersion, 'version must be specified');
    else errors.invalidEach(at, version, validateDNS1035Label(version));
  }
  if (kind === '') errors.required(path.child('kind'));
  else errors.invalidEach(path.child('kind'), kind, validateDNS1035Label(kind.toLowerCase()).map((problem) => `may have mixed case, but should otherwise match: ${problem}`));
}

/** Upstream has no bound; each variable that others read costs an environment of its own when the policy is compiled. */
const VARIABLES_MAX = 200;

function checkVariables(variables: readonly Variable[], at: Path, errors: Errors): void {
  if (variables.length > VARIABLES_MAX) errors.tooMany(at, variables.length, VARIABLES_MAX);
  variables.forEach(({ name = '', expression = '' }, i) => {
    if (name === '') errors.required(at.index(i).child('name'), 'name is not specified');
    else if (validateCIdentifier(name).length > 0) errors.invalid(at.index(i).child('name'), name, 'must be a valid CEL identifier');
    if (expression.trim() === '') errors.required(at.index(i).child('expression'), 'expression is not specified');
  });
  eachRepeated(variables.map(({ name }) => name ?? ''), (name, i) => errors.duplicate(at.index(i).child('name'), name));
}

export function checkBinding(spec: Json, errors: Errors): void {
  if (!spec['policyName']) errors.required(SPEC.child('policyName'));
  else errors.invalidEach(SPEC.child('policyName'), spec['policyName'], validateDNS1123Subdomain(spec['policyName']));
  checkMatchResources(spec['matchResources'], SPEC.child('matchResources'), errors);
  const ref = spec['paramRef'], path = SPEC.child('paramRef');
  if (!ref) return;
  if (ref['name']) errors.invalidEach(path.child('name'), ref['name'], validatePathSegmentName(ref['name']));
  if (ref['name'] && ref['selector']) for (const field of ['name', 'selector']) errors.forbidden(path.child(field), 'name and selector are mutually exclusive');
  if (!ref['name'] && !ref['selector']) errors.required(path, 'one of name or selector must be specified');
  checkLabelSelector(ref['selector'], path.child('selector'), errors);
  if (!ref['parameterNotFoundAction']) errors.required(path.child('parameterNotFoundAction'));
  else if (!['Allow', 'Deny'].includes(ref['parameterNotFoundAction'])) errors.list.push(fieldErrors.notSupported(path.child('parameterNotFoundAction').toString(), ref['parameterNotFoundAction'], ['Deny', 'Allow']));
}
