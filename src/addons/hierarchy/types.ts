/** Which kinds propagate, by the HNCConfiguration and what the API server serves. Roles and RoleBindings always do. Pure. */
import { groupResourceString } from '#machinery/object.ts';
import type { ServedResource } from '#client/discovery.ts';
import type { ResourceSpec, SynchronizationMode } from '#component-helpers/hierarchy/names.ts';

export interface PropagatedType {
  readonly ref: ServedResource;
  readonly mode: SynchronizationMode;
}

interface TypeProblem {
  readonly type: 'BadConfiguration';
  readonly reason: 'ResourceNotFound' | 'ResourceNotNamespaced' | 'MultipleConfigurationsForType';
  readonly message: string;
}

interface Types {
  readonly types: readonly PropagatedType[];
  readonly problems: readonly TypeProblem[];
}

const RBAC = 'rbac.authorization.k8s.io';
const ENFORCED: readonly ResourceSpec[] = [
  { group: RBAC, resource: 'roles' },
  { group: RBAC, resource: 'rolebindings' },
];

export function resolveTypes(asked: readonly ResourceSpec[], served: readonly ServedResource[]): Types {
  const known = new Map<string, PropagatedType>();
  const problems: TypeProblem[] = [];
  const enforced = new Set(ENFORCED.map(nameOf));
  for (const spec of [...ENFORCED, ...asked]) {
    const name = nameOf(spec);
    const before = known.get(name);
    const ref = served.find(({ group, plural }) => group === (spec.group ?? '') && plural === spec.resource);
    const problem = before ? repeated(name, { before, isEnforced: enforced.has(name) }) : lacking(name, ref);
    if (problem) problems.push(problem);
    else known.set(name, { ref: ref!, mode: spec.mode ?? 'Propagate' });
  }
  return { types: [...known.values()], problems };
}

function nameOf({ group = '', resource }: ResourceSpec): string {
  return groupResourceString(resource, group);
}

function repeated(
  name: string,
  { before, isEnforced }: { readonly before: PropagatedType; readonly isEnforced: boolean },
): TypeProblem {
  return {
    type: 'BadConfiguration',
    reason: 'MultipleConfigurationsForType',
    message: isEnforced
      ? `The sync mode for "${name}" is enforced by HNC as "Propagate" and cannot be overridden`
      : `Multiple sync mode settings found for "${name}"; all but one ("${before.mode}") will be ignored`,
  };
}

function lacking(name: string, ref: ServedResource | undefined): TypeProblem | undefined {
  const type = 'BadConfiguration';
  if (!ref) return { type, reason: 'ResourceNotFound', message: `Resource "${name}" not found` };
  if (!ref.namespaced)
    return { type, reason: 'ResourceNotNamespaced', message: `Resource "${name}" is not namespaced` };
  return undefined;
}
