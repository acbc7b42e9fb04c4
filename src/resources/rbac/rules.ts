/** Shared by roles and bindings: rules, subjects and references. After upstream's pkg/apis/rbac validation and defaults. */
import type { PolicyRule, RoleRef, Subject } from '#api/types.ts';
import { fieldErrors } from '#machinery/errors.ts';
import { validateDNS1123Subdomain, validatePathSegmentName } from '#machinery/names.ts';
import type { KubeObject } from '#machinery/object.ts';
import type { ResourceBehaviour } from '../define.ts';
import { Errors, Path } from '../field-path.ts';
import { formatAge, columns, nameOf } from '../tables.ts';

const GROUP = 'rbac.authorization.k8s.io';
const ROLE_REF = Path.root('roleRef');
const SUBJECTS = Path.root('subjects');

export function checkRules(
  rules: readonly PolicyRule[] | null | undefined,
  errors: Errors,
  namespaced: boolean,
): void {
  rules?.forEach((rule, i) => checkRule(rule, Path.root('rules').index(i), errors, namespaced));
}

/** A role without rules has null: the field is required, and stored objects have no empty lists. */
export function emptyRulesAsNull(role: KubeObject): void {
  if (!(role['rules'] as readonly PolicyRule[] | null | undefined)?.length) role['rules'] = null;
}

function checkRule(rule: PolicyRule, path: Path, errors: Errors, namespaced: boolean): void {
  const { verbs = [], apiGroups = [], resources = [], resourceNames = [], nonResourceURLs = [] } = rule;
  if (verbs.length === 0) errors.required(path.child('verbs'), 'verbs must contain at least one value');
  if (nonResourceURLs.length > 0) {
    if (namespaced)
      errors.invalid(
        path.child('nonResourceURLs'),
        nonResourceURLs,
        'namespaced rules cannot apply to non-resource URLs',
      );
    if (apiGroups.length + resources.length + resourceNames.length > 0)
      errors.invalid(
        path.child('nonResourceURLs'),
        nonResourceURLs,
        'rules cannot apply to both regular resources and non-resource URLs',
      );
    return;
  }
  if (apiGroups.length === 0)
    errors.required(path.child('apiGroups'), 'resource rules must supply at least one api group');
  if (resources.length === 0)
    errors.required(path.child('resources'), 'resource rules must supply at least one resource');
}

interface Binding extends KubeObject {
  roleRef?: RoleRef;
  subjects?: Subject[];
}

/** Shared by both kinds of bindings. namespaced: they may refer to roles of their namespace. */
export function bindingBehaviour(
  kinds: readonly string[],
  { namespaced }: { readonly namespaced: boolean },
): Omit<ResourceBehaviour<Binding>, 'group' | 'plural'> {
  const validate = (binding: Binding): Errors => {
    const errors = new Errors();
    checkBinding(binding, errors, kinds, namespaced);
    return errors;
  };
  return {
    nameRule: 'path-segment',
    allowCreateOnUpdate: true,
    applyDefaults: defaultBinding,
    prepareForCreate: () => {},
    prepareForUpdate: () => {},
    validate: (binding) => validate(binding).list,
    validateUpdate: (next, previous) => {
      const errors = validate(next);
      checkSameRoleRef(next, previous, errors);
      return errors.list;
    },
    table: {
      columns: columns('Name', 'Role', 'Age', 'Users:wide', 'Groups:wide', 'ServiceAccounts:wide'),
      row: (binding, context) => {
        const { role, users, groups, accounts } = bindingCells(binding);
        return [nameOf(binding), role, formatAge(binding, context), users, groups, accounts];
      },
    },
  };
}

function defaultBinding(binding: Binding): void {
  if (binding.roleRef) binding.roleRef.apiGroup ||= GROUP;
  for (const subject of binding.subjects ?? []) {
    if (subject.apiGroup) continue;
    if (subject.kind === 'User' || subject.kind === 'Group') subject.apiGroup = GROUP;
  }
}

function checkBinding(binding: Binding, errors: Errors, kinds: readonly string[], namespaced: boolean): void {
  const ref = binding.roleRef ?? ({} as RoleRef);
  if (ref.apiGroup !== GROUP) errors.notSupported(ROLE_REF.child('apiGroup'), ref.apiGroup ?? '', [GROUP]);
  if (!kinds.includes(ref.kind)) unknownKind(ROLE_REF, ref.kind, kinds, errors);
  if (!ref.name) errors.required(ROLE_REF.child('name'));
  else errors.invalidEach(ROLE_REF.child('name'), ref.name, validatePathSegmentName(ref.name));
  binding.subjects?.forEach((subject, i) => checkSubject(subject, SUBJECTS.index(i), errors, namespaced));
}

function checkSubject(subject: Subject, path: Path, errors: Errors, namespaced: boolean): void {
  if (!subject.name) errors.required(path.child('name'));
  switch (subject.kind) {
    case 'ServiceAccount':
      if (subject.name)
        errors.invalidEach(path.child('name'), subject.name, validateDNS1123Subdomain(subject.name));
      if (subject.apiGroup) errors.notSupported(path.child('apiGroup'), subject.apiGroup, ['']);
      if (!namespaced && !subject.namespace) errors.required(path.child('namespace'));
      return;
    case 'User':
    case 'Group':
      if (subject.apiGroup !== GROUP)
        errors.notSupported(path.child('apiGroup'), subject.apiGroup ?? '', [GROUP]);
      return;
    default:
      unknownKind(path, subject.kind, ['ServiceAccount', 'User', 'Group'], errors);
  }
}

/** In upstream's order, not sorted. */
function unknownKind(path: Path, kind: string | undefined, known: readonly string[], errors: Errors): void {
  errors.list.push(fieldErrors.notSupported(path.child('kind').toString(), kind ?? '', known));
}

function checkSameRoleRef(next: Binding, previous: Binding, errors: Errors): void {
  const { roleRef: a } = next,
    { roleRef: b } = previous;
  if (a?.apiGroup !== b?.apiGroup || a?.kind !== b?.kind || a?.name !== b?.name)
    errors.invalid(
      ROLE_REF,
      { APIGroup: a?.apiGroup ?? '', Kind: a?.kind ?? '', Name: a?.name ?? '' },
      'cannot change roleRef',
    );
}

/** Table cells of bindings: 'Kind/name' of the role, and users, groups and service accounts as three lists. */
function bindingCells({ roleRef, subjects = [] }: Binding): {
  role: string;
  users: string;
  groups: string;
  accounts: string;
} {
  const of = (kind: string, text: (subject: Subject) => string): string =>
    subjects
      .filter((subject) => subject.kind === kind)
      .map(text)
      .join(', ');
  return {
    role: `${roleRef?.kind ?? ''}/${roleRef?.name ?? ''}`,
    users: of('User', ({ name }) => name),
    groups: of('Group', ({ name }) => name),
    accounts: of('ServiceAccount', ({ namespace, name }) => (namespace ? `${namespace}/${name}` : name)),
  };
}
