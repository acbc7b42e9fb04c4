/** FlowSchema: which requests belong to which priority level. */
import type { FlowSchema, PolicyRulesWithSubjects } from '#api/types.ts';
import { deepEqual } from '#machinery/json.ts';
import { validateDNS1123Label, validateDNS1123Subdomain } from '#machinery/names.ts';
import { defineResource } from '../define.ts';
import { Errors, type Path, SPEC } from '../field-path.ts';
import { bumpGeneration, keepAllButStatusAndMetadata, keepField, startGeneration } from '../strategy.ts';
import { ageOf, columns, nameOf } from '../tables.ts';
import { MANDATORY_FLOW_SCHEMAS } from './mandatory.ts';

const PRECEDENCE_DEFAULT = 1000;
const PRECEDENCE_MAX = 10000;
const VERBS = ['*', 'get', 'list', 'create', 'update', 'delete', 'deletecollection', 'patch', 'watch', 'proxy'];
const SUBJECT_KINDS = ['Group', 'ServiceAccount', 'User'];

export const flowschemas = defineResource<FlowSchema>({
  group: 'flowcontrol.apiserver.k8s.io',
  plural: 'flowschemas',
  applyDefaults: ({ spec }) => { if (spec) spec.matchingPrecedence ||= PRECEDENCE_DEFAULT; },
  prepareForCreate: (schema) => {
    schema.status = {};
    startGeneration(schema);
  },
  prepareForUpdate: (next, previous) => {
    keepField(next, previous, 'status');
    bumpGeneration(next, previous);
  },
  validate: (schema) => {
    const errors = new Errors(), spec = schema.spec ?? ({} as NonNullable<FlowSchema['spec']>), precedence = spec.matchingPrecedence ?? 0;
    if (precedence <= 0) errors.invalid(SPEC.child('matchingPrecedence'), precedence, 'must be a positive value');
    if (precedence > PRECEDENCE_MAX) errors.invalid(SPEC.child('matchingPrecedence'), precedence, `must not be greater than ${PRECEDENCE_MAX}`);
    if (precedence === 1 && nameOf(schema) !== 'exempt') errors.invalid(SPEC.child('matchingPrecedence'), precedence, "only the schema named 'exempt' may have matchingPrecedence 1");
    const distinguisher = spec.distinguisherMethod;
    if (distinguisher && distinguisher.type !== 'ByNamespace' && distinguisher.type !== 'ByUser') errors.notSupported(SPEC.child('distinguisherMethod').child('type'), distinguisher, ['ByNamespace', 'ByUser']);
    const level = spec.priorityLevelConfiguration?.name;
    if (!level) errors.required(SPEC.child('priorityLevelConfiguration').child('name'), 'must reference a priority level');
    else errors.invalidEach(SPEC.child('priorityLevelConfiguration').child('name'), level, validateDNS1123Subdomain(level));
    spec.rules?.forEach((rule, i) => checkRule(rule, SPEC.child('rules').index(i), errors));
    const fixed = MANDATORY_FLOW_SCHEMAS[nameOf(schema)];
    if (fixed && !deepEqual(spec, fixed)) errors.invalid(SPEC, spec, `spec of '${nameOf(schema)}' must equal the fixed value`);
    return errors.list;
  },
  status: { prepareForUpdate: keepAllButStatusAndMetadata },
  table: {
    columns: columns('Name', 'PriorityLevel', 'MatchingPrecedence', 'DistinguisherMethod', 'Age', 'MissingPL'),
    row: (schema, context) => {
      const { spec, status } = schema;
      const dangling = status?.conditions?.find(({ type }) => type === 'Dangling')?.status;
      return [
        nameOf(schema), spec?.priorityLevelConfiguration?.name ?? '', spec?.matchingPrecedence ?? 0, spec?.distinguisherMethod?.type ?? '<none>', ageOf(schema, context), dangling ?? '?',
      ];
    },
  },
});

function checkRule(rule: PolicyRulesWithSubjects, path: Path, errors: Errors): void {
  const { subjects = [], resourceRules = [], nonResourceRules = [] } = rule;
  if (subjects.length === 0) errors.required(path.child('subjects'), 'subjects must contain at least one value');
  subjects.forEach((subject, i) => {
    const at = path.child('subjects').index(i);
    if (subject.kind === 'ServiceAccount') {
      const account = subject.serviceAccount;
      if (!account) { errors.required(at.child('serviceAccount'), 'serviceAccount is required when subject kind is \'ServiceAccount\''); return; }
      if (!account.name) errors.required(at.child('serviceAccount').child('name'));
      else if (account.name !== '*') errors.invalidEach(at.child('serviceAccount').child('name'), account.name, validateDNS1123Subdomain(account.name));
      if (account.namespace) errors.invalidEach(at.child('serviceAccount').child('namespace'), account.namespace, validateDNS1123Label(account.namespace));
      else errors.required(at.child('serviceAccount').child('namespace'), 'must specify namespace for service account');
    } else if (subject.kind === 'User') {
      if (!subject.user?.name) errors.required(subject.user ? at.child('user').child('name') : at.child('user'), 'user is required when subject kind is \'User\'');
    } else if (subject.kind === 'Group') {
      if (!subject.group?.name) errors.required(subject.group ? at.child('group').child('name') : at.child('group'), 'group is required when subject kind is \'Group\'');
    } else errors.notSupported(at.child('kind'), subject.kind ?? '', SUBJECT_KINDS);
  });
  if (resourceRules.length === 0 && nonResourceRules.length === 0) errors.required(path, 'at least one of resourceRules and nonResourceRules has to be non-empty');
  resourceRules.forEach((resourceRule, i) => {
    const at = path.child('resourceRules').index(i);
    checkWildcards(resourceRule.verbs, at.child('verbs'), errors, VERBS);
    checkWildcards(resourceRule.apiGroups, at.child('apiGroups'), errors);
    checkWildcards(resourceRule.resources, at.child('resources'), errors);
    if (!resourceRule.namespaces?.length && !resourceRule.clusterScope) errors.required(at.child('namespaces'), 'resource rules that are not cluster scoped must supply at least one namespace');
  });
  nonResourceRules.forEach((urlRule, i) => {
    const at = path.child('nonResourceRules').index(i);
    checkWildcards(urlRule.verbs, at.child('verbs'), errors, VERBS);
    checkWildcards(urlRule.nonResourceURLs, at.child('nonResourceURLs'), errors);
  });
}

function checkWildcards(values: readonly string[] | undefined, path: Path, errors: Errors, supported?: readonly string[]): void {
  if (!values?.length) { errors.required(path, 'must contain at least one value'); return; }
  if (values.length > 1 && values.includes('*')) errors.invalid(path, values, "if '*' is present, must not specify other values");
  if (supported && values.some((value) => !supported.includes(value))) errors.notSupported(path, values, supported);
}
