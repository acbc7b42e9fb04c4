/** What roles and bindings have in common: their rules, subjects and references. After upstream's pkg/apis/rbac validation and defaults. */
import type { PolicyRule, RoleRef, Subject } from '#api/types.ts';
import { validateDNS1123Subdomain, validatePathSegmentName } from '#machinery/names.ts';
import { type Errors, Path } from '../field-path.ts';

const GROUP = 'rbac.authorization.k8s.io';
const ROLE_REF = Path.root('roleRef');
const SUBJECTS = Path.root('subjects');

export function checkRules(rules: readonly PolicyRule[] | undefined, errors: Errors, namespaced: boolean): void {
  rules?.forEach((rule, i) => checkRule(rule, Path.root('rules').index(i), errors, namespaced));
}

function checkRule(rule: PolicyRule, path: Path, errors: Errors, namespaced: boolean): void {
  const { verbs = [], apiGroups = [], resources = [], resourceNames = [], nonResourceURLs = [] } = rule;
  if (verbs.length === 0) errors.required(path.child('verbs'), 'verbs must contain at least one value');
  if (nonResourceURLs.length > 0) {
    if (namespaced) errors.invalid(path.child('nonResourceURLs'), nonResourceURLs, 'namespaced rules cannot apply to non-resource URLs');
    if (apiGroups.length + resources.length + resourceNames.length > 0) errors.invalid(path.child('nonResourceURLs'), nonResourceURLs, 'rules cannot apply to both regular resources and non-resource URLs');
    return;
  }
  if (apiGroups.length === 0) errors.required(path.child('apiGroups'), 'resource rules must supply at least one api group');
  if (resources.length === 0) errors.required(path.child('resources'), 'resource rules must supply at least one resource');
}

export function defaultBinding(binding: { roleRef?: RoleRef; subjects?: Subject[] }): void {
  if (binding.roleRef) binding.roleRef.apiGroup ||= GROUP;
  for (const subject of binding.subjects ?? []) {
    if (subject.apiGroup) continue;
    if (subject.kind === 'User' || subject.kind === 'Group') subject.apiGroup = GROUP;
  }
}

export function checkBinding(binding: { roleRef?: RoleRef; subjects?: Subject[] }, errors: Errors, kinds: readonly string[], namespaced: boolean): void {
  const ref = binding.roleRef ?? ({} as RoleRef);
  if (ref.apiGroup !== GROUP) errors.notSupported(ROLE_REF.child('apiGroup'), ref.apiGroup ?? '', [GROUP]);
  if (!kinds.includes(ref.kind)) errors.notSupported(ROLE_REF.child('kind'), ref.kind ?? '', kinds);
  if (!ref.name) errors.required(ROLE_REF.child('name'));
  else errors.invalidEach(ROLE_REF.child('name'), ref.name, validatePathSegmentName(ref.name));
  binding.subjects?.forEach((subject, i) => checkSubject(subject, SUBJECTS.index(i), errors, namespaced));
}

function checkSubject(subject: Subject, path: Path, errors: Errors, namespaced: boolean): void {
  if (!subject.name) errors.required(path.child('name'));
  switch (subject.kind) {
    case 'ServiceAccount':
      if (subject.name) errors.invalidEach(path.child('name'), subject.name, validateDNS1123Subdomain(subject.name));
      if (subject.apiGroup) errors.notSupported(path.child('apiGroup'), subject.apiGroup, ['']);
      if (!namespaced && !subject.namespace) errors.required(path.child('namespace'));
      return;
    case 'User': case 'Group':
      if (subject.apiGroup !== GROUP) errors.notSupported(path.child('apiGroup'), subject.apiGroup ?? '', [GROUP]);
      return;
    default: errors.notSupported(path.child('kind'), subject.kind ?? '', ['ServiceAccount', 'User', 'Group']);
  }
}

export function checkSameRoleRef(next: { roleRef?: RoleRef }, previous: { roleRef?: RoleRef }, errors: Errors): void {
  const { roleRef: a } = next, { roleRef: b } = previous;
  if (a?.apiGroup !== b?.apiGroup || a?.kind !== b?.kind || a?.name !== b?.name) errors.invalid(ROLE_REF, a, 'cannot change roleRef');
}

/** 'Kind/name' of the role, and users, groups and service accounts as three lists: the cells of bindings. */
export function bindingCells({ roleRef, subjects = [] }: { roleRef?: RoleRef; subjects?: Subject[] }): { role: string; users: string; groups: string; accounts: string } {
  const of = (kind: string, text: (subject: Subject) => string): string => subjects.filter((subject) => subject.kind === kind).map(text).join(', ');
  return {
    role: `${roleRef?.kind ?? ''}/${roleRef?.name ?? ''}`, users: of('User', ({ name }) => name), groups: of('Group', ({ name }) => name),
    accounts: of('ServiceAccount', ({ namespace, name }) => (namespace ? `${namespace}/${name}` : name)),
  };
}
