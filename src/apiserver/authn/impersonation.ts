/**
 * Acting as someone else (Impersonate-* headers), for users that may, after upstream's WithConstrainedImpersonation (KEP-5284; feature gate ConstrainedImpersonation).
 *
 *   whom                                   who they are: verb on identity      what they do: verb on the request's own resource
 *   the node the caller's pod runs on      impersonate:associated-node         impersonate-on:associated-node:VERB
 *   a node                                 impersonate:arbitrary-node          impersonate-on:arbitrary-node:VERB
 *   a service account                      impersonate:serviceaccount          impersonate-on:serviceaccount:VERB
 *   anybody else, groups, uid, extra       impersonate:user-info               impersonate-on:user-info:VERB
 *   anybody                                impersonate                         –
 *
 * The modes are tried in this order and the first that allows decides; the mode that last succeeded for a caller is tried first. If none allows,
 * the first refusal is the response.
 */
import { decodePercent } from '#stdx/percent.ts';
import { statusErrors } from '#machinery/errors.ts';
import { validateDNS1123Label, validateDNS1123Subdomain } from '#machinery/names.ts';
import type { UserInfo } from '#machinery/object.ts';
import { Lru } from '#stdx/lru.ts';
import type { AuthorizationAttributes } from '#machinery/authorization.ts';
import type { Authorizer } from '../authz/authorizer.ts';
import { forbiddenError } from '../authz/forbidden.ts';
import type { RequestContext } from '../context.ts';
import type { ServerCore } from '../server-core.ts';
import type { ApiRequest } from '../http/request.ts';

const SERVICE_ACCOUNT_PREFIX = 'system:serviceaccount:';
const NODE_PREFIX = 'system:node:';
const EXTRA_PREFIX = 'impersonate-extra-';
const NODE_NAME_EXTRA = 'authentication.kubernetes.io/node-name';
const IDENTITY_GROUP = 'authentication.k8s.io';
/** From this number of names on, one check for all of them is tried first. */
const MANY = 4;
const LAST_MODES = 1024;
const LAST_MODE_MS = 10 * 60_000;

/** Throws StatusError 400 for invalid headers, 403 where the caller is not allowed. A request without such headers costs one lookup. */
export function impersonate(
  context: RequestContext,
  core: ServerCore,
  attributesOf: (context: RequestContext) => AuthorizationAttributes,
): void | Promise<void> {
  const { headers } = context.request;
  if (
    headers['impersonate-user'] === undefined &&
    headers['impersonate-group'] === undefined &&
    headers['impersonate-uid'] === undefined &&
    !hasExtra(headers)
  )
    return;
  const wanted = wantedUser(context.request);
  return become(wanted, {
    authorizer: core.authorizer,
    request: attributesOf(context),
    modes: core.constrainedImpersonation ? MODES : PLAIN,
  }).then(({ user, constraint }) => {
    context.impersonator = { user: context.user, constraint };
    context.user = user;
  });
}

function hasExtra(headers: Readonly<Record<string, unknown>>): boolean {
  for (const name in headers) if (name.startsWith(EXTRA_PREFIX)) return true;
  return false;
}

/** An empty name is refused too: the request must not run with the caller's own privileges. */
function wantedUser(request: ApiRequest): UserInfo {
  const { headers } = request;
  const name = headers['impersonate-user'] ?? '';
  const uid = headers['impersonate-uid'];
  const extra = new Map<string, readonly string[]>();
  for (const header of Object.keys(headers)) {
    if (!header.startsWith(EXTRA_PREFIX)) continue;
    const key = decodePercent(header.slice(EXTRA_PREFIX.length)).toLowerCase();
    extra.set(key, [...(extra.get(key) ?? []), ...valuesOf(request, header)]);
  }
  const wanted: UserInfo = {
    name,
    groups: valuesOf(request, 'impersonate-group'),
    ...(uid ? { uid } : {}),
    ...(extra.size > 0 ? { extra: Object.fromEntries(extra) } : {}),
  };
  if (name === '')
    throw statusErrors.badRequest(`requested ${printed(wanted)} without impersonating a user name`);
  return wanted;
}

/** As upstream's message shows a user: in Go's own notation. */
function printed({ name, uid = '', groups, extra = {} }: UserInfo): string {
  const list = (values: readonly string[]): string =>
    values.length === 0
      ? '[]string(nil)'
      : `[]string{${values.map((value) => JSON.stringify(value)).join(', ')}}`;
  const entries = Object.entries(extra)
    .toSorted(([left], [right]) => (left < right ? -1 : 1))
    .map(([key, values]) => `${JSON.stringify(key)}:${list(values)}`);
  return `&user.DefaultInfo{Name:${JSON.stringify(name)}, UID:${JSON.stringify(uid)}, Groups:${list(groups)}, Extra:map[string][]string${entries.length > 0 ? `{${entries.join(', ')}}` : '(nil)'}}`;
}

/** Line by line where the listener provides lines: group names may contain commas. */
function valuesOf(request: ApiRequest, name: string): readonly string[] {
  if (request.headerValues) return request.headerValues(name);
  return (request.headers[name] ?? '')
    .split(',')
    .map((value) => value.trim())
    .filter((value) => value !== '');
}

// ---------------------------------------------------------------------------------------------------------------- modes

interface Asking {
  readonly authorizer: Authorizer;
  /** Authorization attributes of the caller's own request. */ readonly request: AuthorizationAttributes;
  readonly modes: readonly Mode[];
}
interface Impersonated {
  readonly user: UserInfo;
  readonly constraint: string;
}

interface Mode {
  /** '' = the plain verb. */
  readonly name: string;
  suits(wanted: UserInfo, requestor: UserInfo): boolean;
}

const MODES: readonly Mode[] = [
  {
    name: 'associated-node',
    suits: (wanted, requestor) => onlyNamed(wanted) && isAssociatedNode(wanted, requestor),
  },
  { name: 'arbitrary-node', suits: (wanted) => onlyNamed(wanted) && nodeOf(wanted.name) !== undefined },
  {
    name: 'serviceaccount',
    suits: (wanted) => onlyNamed(wanted) && serviceAccountOf(wanted.name) !== undefined,
  },
  {
    name: 'user-info',
    suits: (wanted) => nodeOf(wanted.name) === undefined && serviceAccountOf(wanted.name) === undefined,
  },
  { name: '', suits: () => true },
];

const PLAIN = MODES.filter(({ name }) => name === '');

/** Of each server: caller → the mode that let them through last. */
const lastModesOf = new WeakMap<Authorizer, Lru<string, Mode>>();

async function become(wanted: UserInfo, asking: Asking): Promise<Impersonated> {
  const { user: requestor } = asking.request;
  let lastModes = lastModesOf.get(asking.authorizer);
  if (!lastModes)
    lastModesOf.set(asking.authorizer, (lastModes = new Lru({ maximum: LAST_MODES, ttlMs: LAST_MODE_MS })));
  const last = lastModes.get(requestor.name);
  let refused: unknown;
  for (const mode of last ? [last, ...asking.modes.filter((other) => other !== last)] : asking.modes) {
    if (!mode.suits(wanted, requestor)) continue;
    try {
      const impersonated = await impersonateByMode(mode, wanted, asking);
      lastModes.set(requestor.name, mode);
      return impersonated;
    } catch (error) {
      refused ??= error;
    }
  }
  throw refused;
}

async function impersonateByMode(
  mode: Mode,
  wanted: UserInfo,
  { authorizer, request }: Asking,
): Promise<Impersonated> {
  const constrained = mode.name !== '';
  const verb = constrained ? `impersonate:${mode.name}` : 'impersonate';
  const isAssociated = mode.name === 'associated-node';
  // Of an associated node, the binding was checked: what makes the caller's pods differ is no part of the question.
  const user = isAssociated ? withoutExtraValues(request.user) : request.user;
  if (constrained)
    await demand(authorizer, { ...request, user, verb: `impersonate-on:${mode.name}:${request.verb}` });
  const identity: Identity = {
    authorizer,
    user,
    verb,
    group: constrained ? IDENTITY_GROUP : '',
    constrained,
  };
  const name = await mayBeNamed(wanted, { identity, anyName: isAssociated });
  if (wanted.uid !== undefined)
    await mayHave(identity, { group: IDENTITY_GROUP, resource: 'uids', name: wanted.uid });
  await mayBeInGroups(wanted.groups, identity);
  await mayHaveExtra(wanted.extra ?? {}, identity);
  return {
    user: withImpliedGroups({ ...wanted, groups: name.groups ?? wanted.groups }),
    constraint: constrained ? verb : '',
  };
}

interface Identity {
  readonly authorizer: Authorizer;
  readonly user: UserInfo;
  readonly verb: string;
  /** API group of users and groups. */ readonly group: string;
  readonly constrained: boolean;
}
interface Target {
  readonly group: string;
  readonly resource: string;
  readonly subresource?: string;
  readonly namespace?: string;
  readonly name: string;
}

/** groups: those that a node or service account always has. */
async function mayBeNamed(
  wanted: UserInfo,
  { identity, anyName }: { readonly identity: Identity; readonly anyName: boolean },
): Promise<{ readonly groups?: readonly string[] }> {
  const { group, constrained } = identity;
  const node = constrained ? nodeOf(wanted.name) : undefined;
  const account = serviceAccountOf(wanted.name);
  if (node !== undefined) {
    await mayHave(identity, { group, resource: 'nodes', name: anyName ? '*' : node });
    return { groups: ['system:nodes'] };
  }
  if (account) {
    await mayHave(identity, { group, resource: 'serviceaccounts', ...account });
    return wanted.groups.length === 0
      ? { groups: ['system:serviceaccounts', `system:serviceaccounts:${account.namespace}`] }
      : {};
  }
  await mayHave(identity, { group, resource: 'users', name: wanted.name });
  return {};
}

async function mayBeInGroups(groups: readonly string[], identity: Identity): Promise<void> {
  const { group, constrained } = identity;
  if (constrained) {
    if (groups.includes(''))
      throw refuse(
        identity,
        { group, resource: 'groups', name: '' },
        'impersonating the empty string group is not allowed',
      );
    if (groups.includes('system:masters'))
      throw refuse(
        identity,
        { group, resource: 'groups', name: 'system:masters' },
        'impersonating the system:masters group is not allowed',
      );
    if (groups.length >= MANY && (await allowed(identity, { group, resource: 'groups', name: '*' }))) return;
  }
  for (const name of groups) await mayHave(identity, { group, resource: 'groups', name });
}

async function mayHaveExtra(
  extra: Readonly<Record<string, readonly string[]>>,
  identity: Identity,
): Promise<void> {
  const entries = Object.entries(extra);
  const group = IDENTITY_GROUP,
    resource = 'userextras';
  if (identity.constrained && entries.length > 0) {
    for (const [key, values] of entries) {
      const problem = extraProblem(key, values);
      if (problem !== undefined) throw refuse(identity, { group, resource, name: '' }, problem);
    }
    const count = entries.reduce((sum, [, values]) => sum + values.length, 0);
    if (count >= MANY && (await allowed(identity, { group, resource, subresource: '*', name: '*' }))) return;
  }
  for (const [subresource, values] of entries)
    for (const name of values) await mayHave(identity, { group, resource, subresource, name });
}

/** Keys as upstream wants them: 'example.com/team', lower case. */
function extraProblem(key: string, values: readonly string[]): string | undefined {
  if (key === '') return 'impersonating the empty string key in extra is not allowed';
  const slash = key.indexOf('/');
  if (
    slash <= 0 ||
    slash === key.length - 1 ||
    validateDNS1123Subdomain(key.slice(0, slash)).length > 0 ||
    !/^[A-Za-z0-9/\-._~%!$&'()*+,;=:]+$/.test(key.slice(slash + 1))
  ) {
    return `impersonating an invalid key in extra is not allowed: extra.key: Invalid value: ${JSON.stringify(key)}: must be a domain-prefixed path (such as "acme.io/foo")`;
  }
  if (values.length === 0) return 'impersonating empty values in extra is not allowed';
  return values.includes('') ? 'impersonating the empty string value in extra is not allowed' : undefined;
}

// ------------------------------------------------------------------------------------------------------------ questions

function questionOf(
  { user, verb }: Identity,
  { subresource = '', namespace = '', ...target }: Target,
): AuthorizationAttributes {
  return { user, verb, isResourceRequest: true, version: 'v1', path: '', subresource, namespace, ...target };
}

async function allowed(identity: Identity, target: Target): Promise<boolean> {
  return (await identity.authorizer.authorize(questionOf(identity, target))).decision === 'allow';
}

function mayHave(identity: Identity, target: Target): Promise<void> {
  return demand(identity.authorizer, questionOf(identity, target));
}

async function demand(authorizer: Authorizer, question: AuthorizationAttributes): Promise<void> {
  const { decision, reason, error } = await authorizer.authorize(question);
  if (decision !== 'allow') throw forbiddenError(question, [error, reason].filter(Boolean).join(': '));
}

function refuse(identity: Identity, target: Target, why: string): Error {
  return forbiddenError(questionOf(identity, target), why);
}

// ---------------------------------------------------------------------------------------------------------------- names

function onlyNamed({ groups, uid, extra }: UserInfo): boolean {
  return groups.length === 0 && uid === undefined && extra === undefined;
}

/** Only a name that a node could have. */
function nodeOf(user: string): string | undefined {
  if (!user.startsWith(NODE_PREFIX)) return undefined;
  const name = user.slice(NODE_PREFIX.length);
  return validateDNS1123Subdomain(name).length === 0 ? name : undefined;
}

function serviceAccountOf(user: string): { readonly namespace: string; readonly name: string } | undefined {
  if (!user.startsWith(SERVICE_ACCOUNT_PREFIX)) return undefined;
  const [namespace = '', name = '', ...rest] = user.slice(SERVICE_ACCOUNT_PREFIX.length).split(':');
  return rest.length === 0 &&
    validateDNS1123Label(namespace).length === 0 &&
    validateDNS1123Subdomain(name).length === 0
    ? { namespace, name }
    : undefined;
}

/** The caller is a service account whose token is bound to that node. */
function isAssociatedNode(wanted: UserInfo, requestor: UserInfo): boolean {
  const node = nodeOf(wanted.name);
  const bound = requestor.extra?.[NODE_NAME_EXTRA];
  return (
    node !== undefined &&
    serviceAccountOf(requestor.name) !== undefined &&
    bound?.length === 1 &&
    bound[0] === node
  );
}

function withoutExtraValues(user: UserInfo): UserInfo {
  return {
    ...user,
    extra: { 'authentication.kubernetes.io/associated-node-keys': Object.keys(user.extra ?? {}).toSorted() },
  };
}

function withImpliedGroups(user: UserInfo): UserInfo {
  const { groups } = user;
  const implied =
    user.name === 'system:anonymous'
      ? 'system:unauthenticated'
      : groups.includes('system:unauthenticated')
        ? undefined
        : 'system:authenticated';
  return implied === undefined || groups.includes(implied) ? user : { ...user, groups: [...groups, implied] };
}
