/** Shared by both kinds of webhook configurations. After upstream's pkg/apis/admissionregistration validation and v1 defaults. */
import type {
  MatchCondition,
  MutatingWebhook,
  RuleWithOperations,
  ValidatingWebhook,
  WebhookClientConfig,
} from '#api/types.ts';
import { parseUrl } from '#machinery/go-url.ts';
import { validateDNS1035Label, validateDNS1123Subdomain } from '#machinery/names.ts';
import { checkLabelSelector, checkOptionalEnum, checkQualifiedName, invalidJoined } from '../checks.ts';
import { type Errors, Path } from '../field-path.ts';

const WEBHOOKS = Path.root('webhooks');
const OPERATIONS = ['*', 'CONNECT', 'CREATE', 'DELETE', 'UPDATE'];
const SCOPES = ['*', 'Cluster', 'Namespaced'];
const SIDE_EFFECTS = ['None', 'NoneOnDryRun'];
const REVIEW_VERSIONS = ['v1', 'v1beta1'];
const CONDITIONS_MAX = 64;

export function defaultWebhook(webhook: MutatingWebhook | ValidatingWebhook): void {
  webhook.failurePolicy ??= 'Fail';
  webhook.matchPolicy ??= 'Equivalent';
  webhook.namespaceSelector ??= {};
  webhook.objectSelector ??= {};
  webhook.timeoutSeconds ??= 10;
  for (const rule of webhook.rules ?? []) rule.scope ??= '*';
  if (webhook.clientConfig?.service) webhook.clientConfig.service.port ??= 443;
}

export function checkWebhooks(
  webhooks: readonly (MutatingWebhook | ValidatingWebhook)[] | undefined,
  errors: Errors,
): void {
  const names = new Set<string>();
  webhooks?.forEach((webhook, i) => {
    const at = WEBHOOKS.index(i);
    checkWebhook(webhook, at, errors);
    if (webhook.name && names.has(webhook.name)) errors.duplicate(at.child('name'), webhook.name);
    names.add(webhook.name);
  });
}

function checkWebhook(webhook: MutatingWebhook | ValidatingWebhook, at: Path, errors: Errors): void {
  checkFullyQualifiedName(webhook.name ?? '', at.child('name'), errors);
  webhook.rules?.forEach((rule, i) => checkRule(rule, at.child('rules').index(i), errors));
  checkOptionalEnum(webhook.failurePolicy, ['Fail', 'Ignore'], at, 'failurePolicy', errors);
  checkOptionalEnum(webhook.matchPolicy, ['Equivalent', 'Exact'], at, 'matchPolicy', errors);
  if (webhook.sideEffects === undefined)
    errors.required(at.child('sideEffects'), `must specify one of ${SIDE_EFFECTS.join(', ')}`);
  else if (!SIDE_EFFECTS.includes(webhook.sideEffects))
    errors.notSupported(at.child('sideEffects'), webhook.sideEffects, SIDE_EFFECTS);
  const seconds = webhook.timeoutSeconds;
  if (seconds !== undefined && (seconds < 1 || seconds > 30))
    errors.invalid(at.child('timeoutSeconds'), seconds, 'the timeout value must be between 1 and 30 seconds');
  checkLabelSelector(webhook.namespaceSelector, at.child('namespaceSelector'), errors);
  checkLabelSelector(webhook.objectSelector, at.child('objectSelector'), errors);
  checkClientConfig(webhook.clientConfig ?? {}, at.child('clientConfig'), errors);
  checkReviewVersions(webhook.admissionReviewVersions ?? [], at.child('admissionReviewVersions'), errors);
  checkMatchConditions(webhook.matchConditions, at.child('matchConditions'), errors);
  if ('reinvocationPolicy' in webhook)
    checkOptionalEnum(webhook.reinvocationPolicy, ['IfNeeded', 'Never'], at, 'reinvocationPolicy', errors);
}

export function checkMatchConditions(
  conditions: readonly MatchCondition[] = [],
  at: Path,
  errors: Errors,
): void {
  const names = new Set<string>();
  if (conditions.length > CONDITIONS_MAX) errors.tooMany(at, conditions.length, CONDITIONS_MAX);
  conditions.forEach((condition, i) => {
    const path = at.index(i);
    if (!condition.expression?.trim()) errors.required(path.child('expression'));
    if (!condition.name) errors.required(path.child('name'));
    else checkQualifiedName(condition.name, path.child('name'), errors);
    if (condition.name && names.has(condition.name)) errors.duplicate(path.child('name'), condition.name);
    names.add(condition.name);
  });
}

function checkFullyQualifiedName(name: string, path: Path, errors: Errors): void {
  if (name === '') {
    errors.required(path);
    return;
  }
  const problems = validateDNS1123Subdomain(name);
  if (problems.length > 0) invalidJoined(path, name, problems, errors);
  else if (name.split('.').length < 3)
    errors.invalid(path, name, 'should be a domain with at least three segments separated by dots');
}

export function checkReviewVersions(versions: readonly string[], path: Path, errors: Errors): void {
  if (versions.length === 0) {
    errors.required(path, `must specify one of ${REVIEW_VERSIONS.join(', ')}`);
    return;
  }
  const seen = new Set<string>();
  versions.forEach((version, i) => {
    if (seen.has(version)) errors.invalid(path.index(i), version, 'duplicate version');
    else errors.invalidEach(path.index(i), version, validateDNS1035Label(version));
    seen.add(version);
  });
  if (!versions.some((version) => REVIEW_VERSIONS.includes(version)))
    errors.invalid(path, versions, `must include at least one of ${REVIEW_VERSIONS.join(', ')}`);
}

/** A client configuration with both or neither gets no further errors. */
export function checkClientConfig({ url, service }: WebhookClientConfig, path: Path, errors: Errors): void {
  if ((url === undefined) === !service) errors.required(path, 'exactly one of url or service is required');
  else if (url !== undefined) checkUrl(url, path.child('url'), errors);
  else checkService(service!, path.child('service'), errors);
}

function checkService(
  { name, namespace, path: urlPath, port = 443 }: NonNullable<WebhookClientConfig['service']>,
  at: Path,
  errors: Errors,
): void {
  // Each is missed under the other's name: upstream's clients know it so.
  if (!namespace) errors.required(at.child('name'));
  if (!name) errors.required(at.child('namespace'));
  if (port < 1 || port > 65535)
    errors.invalid(at.child('port'), port, 'port is not valid: must be between 1 and 65535, inclusive');
  if (urlPath) checkUrlPath(urlPath, at.child('path'), errors);
}

function checkUrlPath(urlPath: string, at: Path, errors: Errors): void {
  if (urlPath === '/') return;
  if (!urlPath.startsWith('/')) errors.invalid(at, urlPath, "must start with a '/'");
  const segments = urlPath.slice(1).split('/');
  if (segments.length > 1 && segments.at(-1) === '') segments.pop();
  segments.forEach((segment, i) => {
    if (segment === '') errors.invalid(at, urlPath, `segment[${i}] may not be empty`);
    else
      errors.invalidEach(
        at,
        urlPath,
        validateDNS1123Subdomain(segment).map((problem) => `segment[${i}]: ${problem}`),
      );
  });
}

const URL_FORM = 'desired format: https://host[/path]';

function checkUrl(text: string, path: Path, errors: Errors): void {
  const { scheme, host, user, fragment, query, problem } = parseUrl(text);
  if (problem !== undefined) {
    errors.required(path, `url must be a valid URL: parse ${JSON.stringify(text)}: ${problem}; ${URL_FORM}`);
    return;
  }
  if (scheme !== 'https') errors.invalid(path, scheme, `'https' is the only allowed URL scheme; ${URL_FORM}`);
  if (host === '') errors.invalid(path, host, `host must be specified; ${URL_FORM}`);
  if (user !== undefined) errors.invalid(path, user, 'user information is not permitted in the URL');
  if (fragment !== '') errors.invalid(path, fragment, 'fragments are not permitted in the URL');
  if (query !== '') errors.invalid(path, query, 'query parameters are not permitted in the URL');
}

export function checkRule(rule: RuleWithOperations, at: Path, errors: Errors): void {
  checkWildcardList(
    rule.operations ?? [],
    at.child('operations'),
    errors,
    "if '*' is present, must not specify other operations",
  );
  rule.operations?.forEach((operation, i) => {
    if (!OPERATIONS.includes(operation))
      errors.notSupported(at.child('operations').index(i), operation, OPERATIONS);
  });
  checkWildcardList(
    rule.apiGroups ?? [],
    at.child('apiGroups'),
    errors,
    "if '*' is present, must not specify other API groups",
  );
  checkWildcardList(
    rule.apiVersions ?? [],
    at.child('apiVersions'),
    errors,
    "if '*' is present, must not specify other API versions",
  );
  rule.apiVersions?.forEach((version, i) => {
    if (version === '') errors.required(at.child('apiVersions').index(i));
  });
  checkRuleResources(rule.resources ?? [], at.child('resources'), errors);
  checkOptionalEnum(rule.scope, SCOPES, at, 'scope', errors);
}

function checkWildcardList(values: readonly string[], path: Path, errors: Errors, alone: string): void {
  if (values.length === 0) errors.required(path);
  if (values.length > 1 && values.includes('*')) errors.invalid(path, values, alone);
}

function checkRuleResources(resources: readonly string[], path: Path, errors: Errors): void {
  if (resources.length === 0) errors.required(path);
  const withAnySubresource = new Set<string>(),
    ofAnyResource = new Set<string>();
  resources.forEach((resource, i) => {
    if (resource === '') {
      errors.required(path.index(i));
      return;
    }
    const slash = resource.indexOf('/');
    if (slash < 0) return;
    const name = resource.slice(0, slash),
      sub = resource.slice(slash + 1);
    if (withAnySubresource.has(name))
      errors.invalid(path.index(i), resource, `if '${name}/*' is present, must not specify ${resource}`);
    if (ofAnyResource.has(sub))
      errors.invalid(path.index(i), resource, `if '*/${sub}' is present, must not specify ${resource}`);
    if (sub === '*') withAnySubresource.add(name);
    if (name === '*') ofAnyResource.add(sub);
  });
  if (resources.length > 1 && resources.includes('*/*'))
    errors.invalid(path, resources, "if '*/*' is present, must not specify other resources");
  // As upstream, the last one without a subresource counts.
  const last = resources.findLast((resource) => resource !== '' && !resource.includes('/'));
  if (last !== '*' && last !== undefined && resources.includes('*'))
    errors.invalid(
      path,
      resources,
      "if '*' is present, must not specify other resources without subresources",
    );
}
