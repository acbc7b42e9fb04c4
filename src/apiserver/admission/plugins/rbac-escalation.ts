/** Not an upstream plugin but the escalation check of upstream's storage for roles and bindings. The rules are in authz/escalation.ts. */
import { checkBindingWrite, checkRoleWrite } from '../../authz/escalation.ts';
import type { Authorizer } from '../../authz/authorizer.ts';
import type { RbacAuthorizer } from '../../authz/rbac.ts';
import { RBAC_GROUP, type BindingObject, type RoleObject } from '../../authz/rbac-rules.ts';
import type { AdmissionPlugin } from '../plugin.ts';

const RESOURCES: ReadonlySet<string> = new Set([
  'roles',
  'clusterroles',
  'rolebindings',
  'clusterrolebindings',
]);

export function rbacEscalation(authorizer: Authorizer, rbac: RbacAuthorizer): AdmissionPlugin {
  return {
    name: 'RBACEscalation',
    handles: (operation, { group, resource, subresource }) =>
      (operation === 'CREATE' || operation === 'UPDATE') &&
      group === RBAC_GROUP &&
      subresource === '' &&
      RESOURCES.has(resource),
    async validate({ user, object, oldObject, gvr }) {
      const context = { user, authorizer, rbac };
      const { resource } = gvr;
      if (resource === 'roles' || resource === 'clusterroles')
        return checkRoleWrite(context, {
          role: object as RoleObject,
          previous: oldObject as RoleObject | undefined,
          resource,
        });
      if (resource === 'rolebindings' || resource === 'clusterrolebindings')
        return checkBindingWrite(context, {
          binding: object as BindingObject,
          previous: oldObject as BindingObject | undefined,
          resource,
        });
    },
  };
}
