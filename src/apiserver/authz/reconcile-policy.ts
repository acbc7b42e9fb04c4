/**
 * Restores the required content of RBAC roles and bindings, after upstream's reconciliation of its bootstrap policy:
 *
 *   absent → created · autoupdate annotation "false" → unchanged · otherwise missing rules, subjects, labels and annotations are
 *   added, extra ones stay · a binding to another role is recreated
 */
import { isStatusError } from '#machinery/errors.ts';
import type { KubeObject } from '#machinery/object.ts';
import type { GroupResource, InternalApi } from '../registry/loopback-client.ts';
import {
  RBAC_GROUP,
  type BindingObject,
  type RbacSubject,
  type RoleObject,
  type RoleRef,
} from './rbac-rules.ts';
import { uncoveredRules } from './rule-sets.ts';

/** "false": an administrator keeps the object as it is. */
export const AUTO_UPDATE_ANNOTATION = 'rbac.authorization.kubernetes.io/autoupdate';

export interface PolicyObject {
  readonly resource: 'clusterroles' | 'clusterrolebindings' | 'roles' | 'rolebindings';
  /** A role or a binding, by the resource. */
  readonly object: KubeObject;
}

/** Safe to run on several servers at a time; writes nothing where nothing is missing. */
export async function reconcilePolicy(
  internal: InternalApi,
  { resource, object }: PolicyObject,
): Promise<void> {
  const kind = { group: RBAC_GROUP, resource };
  if (resource === 'clusterroles' || resource === 'roles')
    await reconcileRole(internal, kind, object as RoleObject);
  else await reconcileBinding(internal, kind, object as BindingObject);
}

async function reconcileRole(internal: InternalApi, kind: GroupResource, wanted: RoleObject): Promise<void> {
  if (await createIfAbsent(internal, kind, wanted)) return;
  await modifyIfNeeded(internal, kind, {
    wanted,
    complete: (role: RoleObject) => {
      const labelled = addMetadata(role, wanted);
      if (wanted.aggregationRule) {
        const selectors = role.aggregationRule?.clusterRoleSelectors ?? [];
        const known = new Set(selectors.map((selector) => JSON.stringify(selector)));
        const missing = (wanted.aggregationRule.clusterRoleSelectors ?? []).filter(
          (selector) => !known.has(JSON.stringify(selector)),
        );
        if (missing.length > 0) role.aggregationRule = { clusterRoleSelectors: [...selectors, ...missing] };
        return labelled || missing.length > 0;
      }
      const missing = uncoveredRules(role.rules ?? [], wanted.rules ?? []).rules;
      if (missing.length > 0) role.rules = [...(role.rules ?? []), ...missing];
      return labelled || missing.length > 0;
    },
  });
}

async function reconcileBinding(
  internal: InternalApi,
  kind: GroupResource,
  wanted: BindingObject,
): Promise<void> {
  if (await createIfAbsent(internal, kind, wanted)) return;
  const stored = internal.get(kind, nameOf(wanted)) as BindingObject | undefined;
  if (stored && !isProtected(stored) && !sameRoleRef(stored.roleRef, wanted.roleRef)) {
    await internal.delete(kind, nameOf(wanted));
    await createIfAbsent(internal, kind, wanted);
    return;
  }
  await modifyIfNeeded(internal, kind, {
    wanted,
    complete: (binding: BindingObject) => {
      const labelled = addMetadata(binding, wanted);
      const known = new Set((binding.subjects ?? []).map(subjectId));
      const missing = (wanted.subjects ?? []).filter((subject) => !known.has(subjectId(subject)));
      if (missing.length > 0) binding.subjects = [...(binding.subjects ?? []), ...missing];
      return labelled || missing.length > 0;
    },
  });
}

function sameRoleRef(left: RoleRef | undefined, right: RoleRef | undefined): boolean {
  return left?.kind === right?.kind && left?.name === right?.name;
}

function subjectId(subject: RbacSubject): string {
  return JSON.stringify([subject.kind, subject.namespace ?? '', subject.name]);
}

/** Whether it was created: another server may have been faster. */
export async function createIfAbsent(
  internal: InternalApi,
  kind: GroupResource,
  object: KubeObject,
): Promise<boolean> {
  if (internal.get(kind, nameOf(object))) return false;
  try {
    await internal.create(kind, object);
    return true;
  } catch (error) {
    if (isStatusError(error, 'AlreadyExists')) return false;
    throw error;
  }
}

/** Reads the stored object first, so that a start of a complete cluster writes nothing. complete returns whether it mutated its argument. */
async function modifyIfNeeded<T extends KubeObject>(
  internal: InternalApi,
  kind: GroupResource,
  step: { readonly wanted: T; complete(object: T): boolean },
): Promise<void> {
  const stored = internal.get(kind, nameOf(step.wanted));
  if (!stored || isProtected(stored) || !step.complete(structuredClone(stored) as T)) return;
  await internal.modify(
    kind,
    nameOf(step.wanted),
    (object) => !isProtected(object) && step.complete(object as T),
  );
}

function isProtected(object: KubeObject): boolean {
  return object.metadata?.annotations?.[AUTO_UPDATE_ANNOTATION] === 'false';
}

function addMetadata(object: KubeObject, wanted: KubeObject): boolean {
  const meta = (object.metadata ??= {});
  const missing = (
    has: Readonly<Record<string, string>> | undefined,
    wants: Readonly<Record<string, string>> | undefined,
  ): boolean => Object.keys(wants ?? {}).some((key) => has?.[key] === undefined);
  const changed =
    missing(meta.labels, wanted.metadata?.labels) || missing(meta.annotations, wanted.metadata?.annotations);
  if (changed) {
    meta.labels = { ...wanted.metadata?.labels, ...meta.labels };
    meta.annotations = { ...wanted.metadata?.annotations, ...meta.annotations };
  }
  return changed;
}

function nameOf(object: KubeObject): { readonly name: string; readonly namespace: string | undefined } {
  return { name: object.metadata?.name ?? '', namespace: object.metadata?.namespace };
}
