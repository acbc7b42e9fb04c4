/** Administrative access to devices: only in namespaces with the label. Stored requests are kept. */
import type { ResourceClaimSpec, ResourceClaimStatus } from '#api/types.ts';
import { fieldErrors } from '#machinery/errors.ts';
import type { KubeObject } from '#machinery/object.ts';
import type { HookContext } from '../define.ts';
import { type Errors, type Path, SPEC, STATUS } from '../field-path.ts';

const LABEL = 'resource.kubernetes.io/admin-access';
const NAMESPACES = { group: '', resource: 'namespaces' };

/** For a claim or a claim template; upstream uses the paths of a claim for both. */
export function checkAdminAccess(
  spec: ResourceClaimSpec | undefined,
  owner: KubeObject,
  context: HookContext,
  errors: Errors,
): void {
  const asking = spec?.devices?.requests?.findIndex(({ exactly }) => exactly?.adminAccess === true) ?? -1;
  if (asking >= 0)
    requireLabel(
      owner,
      context,
      SPEC.child('devices').child('requests').index(asking).child('adminAccess'),
      errors,
    );
}

export function checkAdminResults(
  status: ResourceClaimStatus,
  stored: ResourceClaimStatus,
  { owner, context }: { readonly owner: KubeObject; readonly context: HookContext },
  errors: Errors,
): void {
  const granted = grantedAt(status);
  if (granted >= 0 && grantedAt(stored) < 0)
    requireLabel(
      owner,
      context,
      STATUS.child('allocation').child('devices').child('results').index(granted).child('adminAccess'),
      errors,
    );
}

function grantedAt({ allocation }: ResourceClaimStatus): number {
  return allocation?.devices?.results?.findIndex(({ adminAccess }) => adminAccess === true) ?? -1;
}

function requireLabel({ metadata }: KubeObject, { find }: HookContext, path: Path, errors: Errors): void {
  const name = metadata?.namespace ?? '';
  const namespace = find(NAMESPACES, { name });
  if (!namespace)
    errors.add([
      fieldErrors.internal(
        path.toString(),
        `could not retrieve namespace to verify admin access: namespaces ${JSON.stringify(name)} not found`,
      ),
    ]);
  else if (namespace.metadata?.labels?.[LABEL] !== 'true')
    errors.forbidden(
      path,
      `admin access to devices requires the \`${LABEL}: true\` label on the containing namespace`,
    );
}
