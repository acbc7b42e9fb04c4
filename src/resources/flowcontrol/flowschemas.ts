/** FlowSchema: assigns requests to priority levels. */
import type { FlowSchema, PolicyRulesWithSubjects } from '#api/types.ts';
import { deepEqual } from '#machinery/json.ts';
import { validateDNS1123Label, validateDNS1123Subdomain } from '#machinery/names.ts';
import { defineResource } from '../define.ts';
import { Errors, type Path, SPEC } from '../field-path.ts';
import { bumpGeneration, keepAllButStatusAndMetadata, keepField, startGeneration } from '../strategy.ts';
import { formatAge, columns, nameOf } from '../tables.ts';
import { validateConditions } from './conditions.ts';
import { MANDATORY_FLOW_SCHEMAS } from './mandatory.ts';

const PRECEDENCE_DEFAULT = 1000;
const PRECEDENCE_MAX = 10000;
const VERBS = ['create', 'delete', 'deletecollection', 'get', 'list', 'patch', 'proxy', 'update', 'watch'];
const SUBJECT_KINDS = ['Group', 'ServiceAccount', 'User'];

export const flowschemas = defineResource<FlowSchema>({
  group: 'flowcontrol.apiserver.k8s.io',
  plural: 'flowschemas',
  written: { status: { without: ['spec', 'metadata'] } },
  applyDefaults: ({ spec }) => {
    if (spec) spec.matchingPrecedence ||= PRECEDENCE_DEFAULT;
  },
  prepareForCreate: (schema) => {
    schema.status = {};
    startGeneration(schema);
    emptyAsNull(schema);
  },
  prepareForUpdate: (next, previous) => {
    emptyAsNull(next);
    keepField(next, previous, 'status');
    bumpGeneration(next, previous);
  },
  validate: (schema) => {
    const errors = new Errors(),
      spec = schema.spec ?? ({} as NonNullable<FlowSchema['spec']>),
      precedence = spec.matchingPrecedence ?? 0;
    if (precedence <= 0)
      errors.invalid(SPEC.child('matchingPrecedence'), precedence, 'must be a positive value');
    if (precedence > PRECEDENCE_MAX)
      errors.invalid(
        SPEC.child('matchingPrecedence'),
        precedence,
        `must not be greater than ${PRECEDENCE_MAX}`,
      );
    if (precedence === 1 && nameOf(schema) !== 'exempt')
      errors.invalid(
        SPEC.child('matchingPrecedence'),
        precedence,
        "only the schema named 'exempt' may have matchingPrecedence 1",
      );
    const distinguisher = spec.distinguisherMethod;
    if (distinguisher && distinguisher.type !== 'ByNamespace' && distinguisher.type !== 'ByUser')
      errors.notSupported(SPEC.child('distinguisherMethod').child('type'), distinguisher, [
        'ByNamespace',
        'ByUser',
      ]);
    const level = spec.priorityLevelConfiguration?.name;
    if (!level)
      errors.required(
        SPEC.child('priorityLevelConfiguration').child('name'),
        'must reference a priority level',
      );
    else
      errors.invalidEach(
        SPEC.child('priorityLevelConfiguration').child('name'),
        level,
        validateDNS1123Subdomain(level),
      );
    spec.rules?.forEach((rule, i) => checkRule(rule, SPEC.child('rules').index(i), errors));
    const fixed = MANDATORY_FLOW_SCHEMAS[nameOf(schema)];
    if (fixed && !deepEqual(spec, fixed))
      errors.invalid(SPEC, spec, `spec of '${nameOf(schema)}' must equal the fixed value`);
    return errors.list;
  },
  status: { prepareForUpdate: keepAllButStatusAndMetadata, validateUpdate: validateConditions },
  table: {
    columns: columns(
      'Name',
      'PriorityLevel',
      'MatchingPrecedence',
      'DistinguisherMethod',
      'Age',
      'MissingPL',
    ),
    row: (schema, context) => {
      const { spec, status } = schema;
      const dangling = status?.conditions?.find(({ type }) => type === 'Dangling')?.status;
      return [
        nameOf(schema),
        spec?.priorityLevelConfiguration?.name ?? '',
        spec?.matchingPrecedence ?? 0,
        spec?.distinguisherMethod?.type ?? '<none>',
        formatAge(schema, context),
        dangling ?? '?',
      ];
    },
  },
});

/** Namespaces are always written, as null when there are none. */
function emptyAsNull({ spec }: FlowSchema): void {
  for (const { resourceRules } of spec?.rules ?? [])
    for (const rule of resourceRules ?? [])
      if (!rule.namespaces?.length) (rule as { namespaces: string[] | null }).namespaces = null;
}

function checkRule(rule: PolicyRulesWithSubjects, path: Path, errors: Errors): void {
  const { subjects = [], resourceRules = [], nonResourceRules = [] } = rule;
  if (subjects.length === 0)
    errors.required(path.child('subjects'), 'subjects must contain at least one value');
  subjects.forEach((subject, i) => {
    const at = path.child('subjects').index(i);
    if (SUBJECT_KINDS.includes(subject.kind)) {
      for (const [field, kind] of SUBJECT_FIELDS)
        if (kind !== subject.kind && subject[field])
          errors.forbidden(at.child(field), `${field} is forbidden when subject kind is not '${kind}'`);
    }
    if (subject.kind === 'ServiceAccount') {
      const account = subject.serviceAccount;
      if (!account) {
        errors.required(
          at.child('serviceAccount'),
          "serviceAccount is required when subject kind is 'ServiceAccount'",
        );
        return;
      }
      if (!account.name) errors.required(at.child('serviceAccount').child('name'));
      else if (account.name !== '*')
        errors.invalidEach(
          at.child('serviceAccount').child('name'),
          account.name,
          validateDNS1123Subdomain(account.name),
        );
      if (account.namespace)
        errors.invalidEach(
          at.child('serviceAccount').child('namespace'),
          account.namespace,
          validateDNS1123Label(account.namespace),
        );
      else
        errors.required(
          at.child('serviceAccount').child('namespace'),
          'must specify namespace for service account',
        );
    } else if (subject.kind === 'User') checkNamed(subject.user, at, errors, 'User');
    else if (subject.kind === 'Group') checkNamed(subject.group, at, errors, 'Group');
    else errors.notSupported(at.child('kind'), subject.kind ?? '', SUBJECT_KINDS);
  });
  if (resourceRules.length === 0 && nonResourceRules.length === 0)
    errors.required(path, 'at least one of resourceRules and nonResourceRules has to be non-empty');
  resourceRules.forEach((resourceRule, i) => {
    const at = path.child('resourceRules').index(i);
    const { verbs, apiGroups, resources, namespaces, clusterScope } = resourceRule;
    checkVerbs(verbs, at.child('verbs'), errors);
    checkWildcards(apiGroups, at.child('apiGroups'), errors, {
      none: 'resource rules must supply at least one api group',
      others: 'api groups',
    });
    checkWildcards(resources, at.child('resources'), errors, {
      none: 'resource rules must supply at least one resource',
      others: 'resources',
    });
    if (namespaces?.length) checkNamespaces(namespaces, at.child('namespaces'), errors);
    else if (!clusterScope)
      errors.required(
        at.child('namespaces'),
        'resource rules that are not cluster scoped must supply at least one namespace',
      );
  });
  nonResourceRules.forEach((urlRule, i) => {
    const at = path.child('nonResourceRules').index(i);
    checkVerbs(urlRule.verbs, at.child('verbs'), errors);
    const urls = urlRule.nonResourceURLs ?? [],
      hasWildcard = urls.includes('*');
    checkWildcards(urls, at.child('nonResourceURLs'), errors, {
      none: 'nonResourceURLs must contain at least one value',
      others: 'non-resource URLs',
    });
    if (!hasWildcard)
      urls.forEach((url, j) => checkUrlPath(url, at.child('nonResourceURLs').index(j), errors));
  });
}

const SUBJECT_FIELDS = [
  ['serviceAccount', 'ServiceAccount'],
  ['group', 'Group'],
  ['user', 'User'],
] as const;

function checkNamed(
  subject: { readonly name?: string } | undefined,
  at: Path,
  errors: Errors,
  kind: 'User' | 'Group',
): void {
  const field = kind.toLowerCase();
  if (!subject) errors.required(at.child(field), `${field} is required when subject kind is '${kind}'`);
  else if (!subject.name) errors.required(at.child(field).child('name'));
}

function checkWildcards(
  values: readonly string[] | undefined,
  path: Path,
  errors: Errors,
  { none, others }: { readonly none: string; readonly others: string },
): void {
  if (!values?.length) errors.required(path, none);
  else if (values.length > 1 && values.includes('*'))
    errors.invalid(path, values, `if '*' is present, must not specify other ${others}`);
}

function checkVerbs(verbs: readonly string[] | undefined, path: Path, errors: Errors): void {
  checkWildcards(verbs, path, errors, { none: 'verbs must contain at least one value', others: 'verbs' });
  if (verbs?.length && !verbs.includes('*') && verbs.some((verb) => !VERBS.includes(verb)))
    errors.notSupported(path, verbs, VERBS);
}

function checkNamespaces(namespaces: readonly string[], path: Path, errors: Errors): void {
  if (namespaces.length > 1 && namespaces.includes('*'))
    errors.invalid(path, namespaces, "if '*' is present, must not specify other namespaces");
  namespaces.forEach((namespace, i) => {
    if (namespace !== '*')
      errors.invalidEach(
        path.index(i),
        namespace,
        validateDNS1123Label(namespace).map(
          (problem) => `each member of this list must be '*' or a DNS-1123 label; ${problem}`,
        ),
      );
  });
}

/** '/healthz', '/apis/*' */
function checkUrlPath(url: string, path: Path, errors: Errors): void {
  const refuse = (detail: string): void => errors.invalid(path, url, detail);
  if (url === '') refuse('must not be empty');
  else if (url === '/') return;
  else if (!url.startsWith('/')) refuse('must start with slash');
  else if (url.includes(' ')) refuse('must not contain white-space');
  else if (url.includes('//')) refuse('must not contain double slash');
  else if (url.includes('*') && (!url.endsWith('/*') || url.indexOf('*') < url.length - 1))
    refuse('wildcard can only do suffix matching');
}
