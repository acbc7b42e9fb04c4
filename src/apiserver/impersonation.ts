/** Acting as someone else (Impersonate-* headers), for users that may, after upstream's WithImpersonation. */
import { statusErrors } from '#machinery/errors.ts';
import type { UserInfo } from '#machinery/object.ts';
import type { AuthorizationAttributes } from './authz/authorizer.ts';
import { forbiddenError } from './authz/forbidden.ts';
import type { RequestContext, ServerCore } from './context.ts';

const SERVICE_ACCOUNT_PREFIX = 'system:serviceaccount:';
const EXTRA_PREFIX = 'impersonate-extra-';

type Target = Pick<AuthorizationAttributes, 'group' | 'resource' | 'subresource' | 'namespace' | 'name'>;

export function impersonate(context: RequestContext, core: ServerCore): void | Promise<void> {
  const { headers } = context.request;
  if (headers['impersonate-user'] === undefined && headers['impersonate-group'] === undefined && headers['impersonate-uid'] === undefined && !hasExtra(headers)) return;
  return become(context, core);
}

function hasExtra(headers: Readonly<Record<string, unknown>>): boolean {
  for (const name in headers) if (name.startsWith(EXTRA_PREFIX)) return true;
  return false;
}

async function become(context: RequestContext, core: ServerCore): Promise<void> {
  const wanted = wantedUser(context.request.headers);
  for (const target of targetsOf(wanted)) {
    const attributes: AuthorizationAttributes = { ...target, user: context.user, verb: 'impersonate', version: 'v1', path: '', isResourceRequest: true };
    const { decision, reason } = await core.authorizer.authorize(attributes);
    if (decision !== 'allow') throw forbiddenError(attributes, reason);
  }
  context.user = withImpliedGroups(wanted);
}

function wantedUser(headers: Readonly<Record<string, string | undefined>>): UserInfo {
  const name = headers['impersonate-user'] ?? '';
  if (name === '') throw statusErrors.badRequest('requested impersonation without impersonating a user');
  const groups = (headers['impersonate-group'] ?? '').split(',').map((group) => group.trim()).filter((group) => group !== '');
  const uid = headers['impersonate-uid'];
  const extra: Record<string, string[]> = {};
  for (const [header, value] of Object.entries(headers)) {
    if (!header.startsWith(EXTRA_PREFIX) || value === undefined) continue;
    let key = header.slice(EXTRA_PREFIX.length);
    try {
      key = decodeURIComponent(key);
    } catch {
      // Taken as it was sent.
    }
    extra[key] = value.split(',').map((item) => item.trim());
  }
  return { name, groups, ...(uid ? { uid } : {}), ...(Object.keys(extra).length > 0 ? { extra } : {}) };
}

function targetsOf({ name, groups, uid, extra }: UserInfo): Target[] {
  const targets: Target[] = [];
  const account = serviceAccountOf(name);
  targets.push(account
    ? { group: '', resource: 'serviceaccounts', subresource: '', namespace: account.namespace, name: account.name }
    : { group: '', resource: 'users', subresource: '', namespace: '', name });
  for (const group of groups) targets.push({ group: '', resource: 'groups', subresource: '', namespace: '', name: group });
  for (const [key, values] of Object.entries(extra ?? {})) {
    for (const value of values) targets.push({ group: 'authentication.k8s.io', resource: 'userextras', subresource: key, namespace: '', name: value });
  }
  if (uid !== undefined) targets.push({ group: 'authentication.k8s.io', resource: 'uids', subresource: '', namespace: '', name: uid });
  return targets;
}

function serviceAccountOf(user: string): { readonly namespace: string; readonly name: string } | undefined {
  if (!user.startsWith(SERVICE_ACCOUNT_PREFIX)) return undefined;
  const [namespace, name, ...rest] = user.slice(SERVICE_ACCOUNT_PREFIX.length).split(':');
  return namespace && name && rest.length === 0 ? { namespace, name } : undefined;
}

function withImpliedGroups(user: UserInfo): UserInfo {
  const account = serviceAccountOf(user.name);
  const groups = [...user.groups];
  if (account && groups.length === 0) groups.push('system:serviceaccounts', `system:serviceaccounts:${account.namespace}`);
  const implied = user.name === 'system:anonymous' ? 'system:unauthenticated' : 'system:authenticated';
  if (!groups.includes('system:authenticated') && !groups.includes('system:unauthenticated')) groups.push(implied);
  return { ...user, groups };
}
