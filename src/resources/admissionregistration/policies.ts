/**
 * Shared by admission policies and their bindings. The API server compiles, and thereby checks, CEL expressions. After
 * upstream's pkg/apis/admissionregistration validation.
 */
import type { KubeObject } from '#machinery/object.ts';
import type { NamedRuleWithOperations, ParamKind, RuleWithOperations, Variable } from '#api/types.ts';
import {
  validateCIdentifier,
  validateDNS1035Label,
  validateDNS1123Subdomain,
  validatePathSegmentName,
} from '#machinery/names.ts';
import { checkLabelSelector, checkOptionalEnum, eachRepeated, invalidJoined } from '../checks.ts';
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
  for (const rule of [...(match['resourceRules'] ?? []), ...(match['excludeResourceRules'] ?? [])])
    rule.scope ??= '*';
}

function checkMatchResources(match: Json | undefined, path: Path, errors: Errors): void {
  if (!match) return;
  checkOptionalEnum(match['matchPolicy'], ['Equivalent', 'Exact'], path, 'matchPolicy', errors);
  checkLabelSelector(match['namespaceSelector'], path.child('namespaceSelector'), errors);
  checkLabelSelector(match['objectSelector'], path.child('objectSelector'), errors);
  for (const field of ['resourceRules', 'excludeResourceRules']) {
    match[field]?.forEach((rule: NamedRuleWithOperations, i: number) => {
      const at = path.child(field).index(i);
      rule.resourceNames?.forEach((name, j) =>
        errors.invalidEach(at.child('resourceNames').index(j), name, validatePathSegmentName(name)),
      );
      eachRepeated(rule.resourceNames ?? [], (name, j) =>
        errors.duplicate(at.child('resourceNames').index(j), name),
      );
      checkRule(rule as RuleWithOperations, at, errors);
    });
  }
}

const MUTATED_OPERATIONS = ['*', 'CONNECT', 'CREATE', 'UPDATE'];

/** Delete requests cannot be mutated. */
export function checkMutatedOperations(match: Json | undefined, path: Path, errors: Errors): void {
  for (const { operations = [] } of (match?.['resourceRules'] ?? []) as readonly RuleWithOperations[]) {
    for (const operation of operations) {
      if (!MUTATED_OPERATIONS.includes(operation))
        errors.notSupported(path.child('resourceRules').child('operations'), operation, MUTATED_OPERATIONS);
    }
  }
}

export function checkPolicy(spec: Json, errors: Errors): void {
  const constraints = spec['matchConstraints'];
  checkOptionalEnum(spec['failurePolicy'], ['Fail', 'Ignore'], SPEC, 'failurePolicy', errors);
  if (spec['paramKind']) checkParamKind(spec['paramKind'], SPEC.child('paramKind'), errors);
  if (!constraints) errors.required(SPEC.child('matchConstraints'));
  else {
    checkMatchResources(constraints, SPEC.child('matchConstraints'), errors);
    if (!constraints['resourceRules']?.length)
      errors.required(SPEC.child('matchConstraints').child('resourceRules'));
  }
  checkMatchConditions(spec['matchConditions'], SPEC.child('matchConditions'), errors);
  checkVariables(spec['variables'] ?? [], SPEC.child('variables'), errors);
}

function checkParamKind({ apiVersion = '', kind = '' }: ParamKind, path: Path, errors: Errors): void {
  const at = path.child('apiVersion'),
    parts = apiVersion.split('/'),
    version = parts.at(-1)!,
    group = parts.length > 1 ? parts[0]! : '';
  if (apiVersion === '') errors.required(at);
  else if (parts.length > 2) errors.invalid(at, apiVersion, `unexpected GroupVersion string: ${apiVersion}`);
  else {
    if (group !== '') invalidJoined(at, group, validateDNS1123Subdomain(group), errors);
    if (version === '') errors.invalid(at, apiVersion, 'version must be specified');
    else invalidJoined(at, version, validateDNS1035Label(version), errors);
  }
  if (kind === '') errors.required(path.child('kind'));
  else {
    const problems = validateDNS1035Label(kind.toLowerCase());
    if (problems.length > 0)
      errors.invalid(
        path.child('kind'),
        kind,
        `may have mixed case, but should otherwise match: ${problems.join(',')}`,
      );
  }
}

/** Names that are not valid in CEL: keywords and reserved words. */
const CEL_RESERVED = new Set([
  'true',
  'false',
  'null',
  'in',
  'as',
  'break',
  'const',
  'continue',
  'else',
  'for',
  'function',
  'if',
  'import',
  'let',
  'loop',
  'package',
  'namespace',
  'return',
  'var',
  'void',
  'while',
]);

/** Upstream has no limit; each variable that others read costs an environment of its own when the policy is compiled. */
const VARIABLES_MAX = 200;

function checkVariables(variables: readonly Variable[], at: Path, errors: Errors): void {
  if (variables.length > VARIABLES_MAX) errors.tooMany(at, variables.length, VARIABLES_MAX);
  variables.forEach(({ name = '', expression = '' }, i) => {
    if (name.trim() === '') errors.required(at.index(i).child('name'), 'name is not specified');
    else if (validateCIdentifier(name).length > 0 || CEL_RESERVED.has(name))
      errors.invalid(at.index(i).child('name'), name, 'must be a valid CEL identifier');
    if (expression.trim() === '')
      errors.required(at.index(i).child('expression'), 'expression is not specified');
  });
}

export function checkBinding(spec: Json, errors: Errors): void {
  if (!spec['policyName']) errors.required(SPEC.child('policyName'));
  else
    errors.invalidEach(
      SPEC.child('policyName'),
      spec['policyName'],
      validateDNS1123Subdomain(spec['policyName']),
    );
  if (spec['paramRef']) checkParamRef(spec['paramRef'], SPEC.child('paramRef'), errors);
  checkMatchResources(spec['matchResources'], SPEC.child('matchResources'), errors);
}

const NOT_BOTH = 'name and selector are mutually exclusive';

function checkParamRef(
  { name, selector, parameterNotFoundAction: action }: Json,
  path: Path,
  errors: Errors,
): void {
  if (name) errors.invalidEach(path.child('name'), name, validatePathSegmentName(name));
  if (name && selector) errors.forbidden(path.child('name'), NOT_BOTH);
  checkLabelSelector(selector, path.child('selector'), errors);
  if (name && selector) errors.forbidden(path.child('selector'), NOT_BOTH);
  if (!name && !selector) errors.required(path, 'one of name or selector must be specified');
  if (!action) errors.required(path.child('parameterNotFoundAction'));
  else if (action !== 'Deny' && action !== 'Allow')
    errors.notSupported(path.child('parameterNotFoundAction'), action, ['Deny', 'Allow']);
}
