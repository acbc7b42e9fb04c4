/**
 * Random policies and requests: the indexed, compiled evaluators answer what an obvious one answers, which goes through every binding and every
 * rule with the words of the documentation. Policies are also changed step by step, as the watches change the index. AUTHZ_SEED=N repeats a run.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { UserInfo } from '#machinery/object.ts';
import { seededRandom, type Random } from '#stdx/random.ts';
import { AbacAuthorizer, parseAbacPolicies } from './abac.ts';
import type { AuthorizationAttributes } from '#machinery/authorization.ts';
import { RbacIndex } from './rbac-index.ts';
import type { BindingObject, PolicyRule, RbacSubject, RoleObject } from './rbac-rules.ts';
import { RbacAuthorizer } from './rbac.ts';

const POLICIES = 1000;
const REQUESTS = 40;
const SEED = Number(process.env['AUTHZ_SEED'] ?? Math.floor(Math.random() * 2 ** 31));

const VERBS = ['get', 'list', 'create'],
  API_GROUPS = ['', 'apps'],
  RESOURCES = ['pods', 'secrets'],
  PARTS = ['', '', 'log', 'status', 'scale'];
const NAMES = ['', '', 'a', 'b'],
  NAMESPACES = ['', 'red', 'blue'],
  USERS = ['jane', 'joe', 'system:serviceaccount:red:bot', 'system:serviceaccount:blue:bot'],
  GROUPS = ['devs', 'ops', 'system:authenticated'];
const PATHS = ['/', '/healthz', '/healthz/etcd', '/healthzy', '/api', '/api/v1', '/metrics'],
  PATTERNS = ['*', '/healthz', '/healthz*', '/healthz/*', '/api*', '/metrics', '/*', '/x**'];

class Dice {
  readonly #random: Random;
  constructor(seed: number) {
    this.#random = seededRandom(seed);
  }
  below(limit: number): number {
    return Math.floor(this.#random() * limit);
  }
  chance(share: number): boolean {
    return this.#random() < share;
  }
  one<T>(list: readonly T[]): T {
    return list[this.below(list.length)]!;
  }
  some<T>(list: readonly T[], most = 3): T[] {
    return Array.from({ length: this.below(most + 1) }, () => this.one(list));
  }
}

function randomUser(dice: Dice): UserInfo {
  return { name: dice.one(USERS), groups: [...new Set(dice.some(GROUPS, 2))] };
}

function randomRequest(dice: Dice): AuthorizationAttributes {
  const user = randomUser(dice);
  const verb = dice.one([...VERBS, '*']);
  if (dice.chance(0.25))
    return {
      user,
      verb,
      isResourceRequest: false,
      group: '',
      version: '',
      resource: '',
      subresource: '',
      namespace: '',
      name: '',
      path: dice.one(PATHS),
    };
  return {
    user,
    verb,
    isResourceRequest: true,
    group: dice.one(API_GROUPS),
    version: 'v1',
    resource: dice.one(RESOURCES),
    subresource: dice.one(PARTS),
    namespace: dice.one(NAMESPACES),
    name: dice.one(NAMES),
    path: '',
  };
}

// ----------------------------------------------------------------------------------------------------------------- RBAC

function randomRule(dice: Dice): PolicyRule {
  const verbs = dice.some([...VERBS, '*']);
  if (dice.chance(0.2)) return { verbs, nonResourceURLs: dice.some(PATTERNS) };
  const resources = dice.some([
    ...RESOURCES,
    ...RESOURCES.flatMap((resource) => ['log', 'status'].map((part) => `${resource}/${part}`)),
    '*',
    '*/log',
    '*/scale',
    'pods/*',
    'po*',
  ]);
  return {
    verbs,
    apiGroups: dice.some([...API_GROUPS, '*']),
    resources,
    ...(dice.chance(0.25) ? { resourceNames: dice.some(['a', 'b', '*']) } : {}),
  };
}

function randomSubject(dice: Dice): RbacSubject {
  const kind = dice.one(['User', 'Group', 'ServiceAccount']);
  if (kind === 'ServiceAccount')
    return { kind, name: 'bot', ...(dice.chance(0.7) ? { namespace: dice.one(['red', 'blue']) } : {}) };
  return { kind, apiGroup: 'rbac.authorization.k8s.io', name: dice.one(kind === 'User' ? USERS : GROUPS) };
}

const ROLE_NAMES = ['r1', 'r2', 'r3'];

interface World {
  readonly roles: Map<string, RoleObject>;
  readonly bindings: Map<string, BindingObject>;
}

/** One change, to the plain world and to the index alike. */
function change(dice: Dice, world: World, index: RbacIndex): void {
  const namespace = dice.one(NAMESPACES);
  const metadata = { ...(namespace === '' ? {} : { namespace }), name: dice.one(ROLE_NAMES) };
  const key = `${namespace}/${metadata.name}`;
  if (dice.chance(0.5)) {
    const role: RoleObject = {
      metadata,
      rules: Array.from({ length: 1 + dice.below(5) }, () => randomRule(dice)),
    };
    if (dice.chance(0.85)) {
      world.roles.set(key, role);
      index.setRole(role);
    } else {
      world.roles.delete(key);
      index.deleteRole(role);
    }
    return;
  }
  const kind = namespace === '' || dice.chance(0.5) ? 'ClusterRole' : 'Role';
  const binding: BindingObject = {
    metadata,
    roleRef: { apiGroup: 'rbac.authorization.k8s.io', kind, name: dice.one(ROLE_NAMES) },
    subjects: Array.from({ length: dice.below(5) }, () => randomSubject(dice)),
  };
  if (dice.chance(0.85)) {
    world.bindings.set(key, binding);
    index.setBinding(binding);
  } else {
    world.bindings.delete(key);
    index.deleteBinding(binding);
  }
}

function obviousRbac(world: World, request: AuthorizationAttributes): boolean {
  for (const binding of world.bindings.values()) {
    const bindingNamespace = binding.metadata?.namespace ?? '';
    if (bindingNamespace !== '' && !(request.isResourceRequest && request.namespace === bindingNamespace))
      continue;
    const { kind, name } = binding.roleRef!;
    const role = world.roles.get(kind === 'ClusterRole' ? `/${name}` : `${bindingNamespace}/${name}`);
    if (!role) continue;
    for (const subject of binding.subjects ?? [])
      for (const rule of role.rules ?? [])
        if (obviousSubject(subject, bindingNamespace, request.user) && obviousRule(rule, request))
          return true;
  }
  return false;
}

function obviousSubject(subject: RbacSubject, bindingNamespace: string, user: UserInfo): boolean {
  if (subject.kind === 'User') return subject.name === user.name;
  if (subject.kind === 'Group') return user.groups.includes(subject.name);
  const namespace = subject.namespace ?? bindingNamespace;
  return namespace !== '' && user.name === `system:serviceaccount:${namespace}:${subject.name}`;
}

function obviousRule(rule: PolicyRule, request: AuthorizationAttributes): boolean {
  const verbs = rule.verbs ?? [];
  if (!verbs.includes('*') && !verbs.includes(request.verb)) return false;
  if (!request.isResourceRequest) {
    for (const pattern of rule.nonResourceURLs ?? []) {
      if (pattern === '*' || pattern === request.path) return true;
      let prefix = pattern;
      while (prefix.endsWith('*')) prefix = prefix.slice(0, -1);
      if (prefix !== pattern && request.path.startsWith(prefix)) return true;
    }
    return false;
  }
  const groups = rule.apiGroups ?? [];
  if (!groups.includes('*') && !groups.includes(request.group)) return false;
  if (rule.resourceNames && rule.resourceNames.length > 0 && !rule.resourceNames.includes(request.name))
    return false;
  for (const resource of rule.resources ?? []) {
    if (resource === '*') return true;
    if (request.subresource === '' && resource === request.resource) return true;
    if (
      request.subresource !== '' &&
      (resource === `${request.resource}/${request.subresource}` || resource === `*/${request.subresource}`)
    )
      return true;
  }
  return false;
}

test(`RBAC: ${POLICIES} random policies, changed step by step`, () => {
  let allowed = 0;
  for (let policy = 0; policy < POLICIES; policy++) {
    const dice = new Dice(SEED + policy);
    const world: World = { roles: new Map(), bindings: new Map() };
    const index = new RbacIndex();
    const authorizer = new RbacAuthorizer(index);
    for (let step = 10 + dice.below(30); step > 0; step--) change(dice, world, index);
    for (let i = 0; i < REQUESTS; i++) {
      if (i % 10 === 9) change(dice, world, index);
      const request = randomRequest(dice);
      const expected = obviousRbac(world, request);
      if (expected) allowed++;
      const { decision } = authorizer.authorize(request);
      if (decision !== (expected ? 'allow' : 'no-opinion'))
        assert.fail(
          `AUTHZ_SEED=${SEED + policy} disagrees on ${JSON.stringify(request)} with ${JSON.stringify([...world.roles.values(), ...world.bindings.values()])}`,
        );
      assertRulesAgree(authorizer, world, request);
    }
  }
  const share = allowed / (POLICIES * REQUESTS);
  assert.ok(share > 0.05 && share < 0.95, `AUTHZ_SEED=${SEED}: a share of ${share} allowed tests little`);
});

/** The list of rules for a user and the decisions about it never differ. */
function assertRulesAgree(authorizer: RbacAuthorizer, world: World, request: AuthorizationAttributes): void {
  const { rules } = authorizer.resolve(request.user, request.isResourceRequest ? request.namespace : '');
  if (rules.some((rule) => obviousRule(rule, request)) !== obviousRbac(world, request))
    assert.fail(`AUTHZ_SEED=${SEED}: the listed rules disagree on ${JSON.stringify(request)}`);
}

// ----------------------------------------------------------------------------------------------------------------- ABAC

type Line = Readonly<Record<string, string | boolean>>;

function randomLine(dice: Dice): Line {
  const line: Record<string, string | boolean> = {};
  const maybe = (name: string, values: readonly string[], share: number): void => {
    if (dice.chance(share)) line[name] = dice.one(values);
  };
  maybe('user', [...USERS, '*'], 0.6);
  maybe('group', [...GROUPS, '*'], 0.4);
  if (dice.chance(0.4)) line['readonly'] = dice.chance(0.7);
  maybe('namespace', ['red', 'blue', '*'], 0.7);
  maybe('resource', [...RESOURCES, '*'], 0.7);
  return line;
}

function randomVersionedLine(dice: Dice): Line {
  const line = { ...randomLine(dice) };
  if (dice.chance(0.6)) line['apiGroup'] = dice.one([...API_GROUPS, '*']);
  if (dice.chance(0.3)) line['nonResourcePath'] = dice.one(PATTERNS);
  return line;
}

interface AbacLine {
  readonly versioned: boolean;
  readonly fields: Line;
}

function obviousAbac(lines: readonly AbacLine[], request: AuthorizationAttributes): boolean {
  return lines.some(({ versioned, fields }) => {
    const text = (name: string): string => (fields[name] as string | undefined) ?? '';
    const everybody =
      text('user') === '*' ||
      text('group') === '*' ||
      (!versioned && text('user') === '' && text('group') === '');
    if (everybody) {
      if (!request.user.groups.includes('system:authenticated')) return false;
    } else {
      if (text('user') === '' && text('group') === '') return false;
      if (text('user') !== '' && text('user') !== request.user.name) return false;
      if (text('group') !== '' && !request.user.groups.includes(text('group'))) return false;
    }
    if (fields['readonly'] === true && !['get', 'list', 'watch'].includes(request.verb)) return false;
    if (!request.isResourceRequest) {
      const pattern = versioned
        ? text('nonResourcePath')
        : text('namespace') === '' && text('resource') === ''
          ? '*'
          : '';
      return obviousRule({ verbs: ['*'], nonResourceURLs: [pattern] }, request);
    }
    const fits = (name: string, value: string): boolean =>
      text(name) === '*' || text(name) === value || (!versioned && text(name) === '');
    return (
      fits('namespace', request.namespace) &&
      fits('resource', request.resource) &&
      (!versioned || fits('apiGroup', request.group))
    );
  });
}

test(`ABAC: ${POLICIES} random policy files`, () => {
  let allowed = 0;
  for (let policy = 0; policy < POLICIES; policy++) {
    const dice = new Dice(SEED + policy);
    const lines = Array.from({ length: dice.below(6) }, (): AbacLine =>
      dice.chance(0.7)
        ? { versioned: true, fields: randomVersionedLine(dice) }
        : { versioned: false, fields: randomLine(dice) },
    );
    const text = lines
      .map(({ versioned, fields }) =>
        JSON.stringify(
          versioned
            ? { apiVersion: 'abac.authorization.kubernetes.io/v1beta1', kind: 'Policy', spec: fields }
            : fields,
        ),
      )
      .join('\n');
    const authorizer = new AbacAuthorizer(parseAbacPolicies(text, 'random'));
    for (let i = 0; i < REQUESTS; i++) {
      const request = randomRequest(dice);
      const expected = obviousAbac(lines, request);
      if (expected) allowed++;
      if (authorizer.authorize(request).decision !== (expected ? 'allow' : 'no-opinion'))
        assert.fail(`AUTHZ_SEED=${SEED + policy} disagrees on ${JSON.stringify(request)} with\n${text}`);
    }
  }
  const share = allowed / (POLICIES * REQUESTS);
  assert.ok(share > 0.05 && share < 0.95, `AUTHZ_SEED=${SEED}: a share of ${share} allowed tests little`);
});
