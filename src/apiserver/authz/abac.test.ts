/** Policy files of ABAC: what they allow, and how bad lines are refused. */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import type { UserInfo } from '#machinery/object.ts';
import { AbacAuthorizer, parseAbacPolicies, readAbacFile } from './abac.ts';
import type { AuthorizationAttributes } from '#machinery/authorization.ts';

const user = (name: string, ...groups: string[]): UserInfo => ({
  name,
  groups: [...groups, 'system:authenticated'],
});
const policy = (spec: object): string =>
  JSON.stringify({ apiVersion: 'abac.authorization.kubernetes.io/v1beta1', kind: 'Policy', spec });
const resource = (
  who: UserInfo,
  verb: string,
  what: Partial<AuthorizationAttributes> = {},
): AuthorizationAttributes => ({
  user: who,
  verb,
  isResourceRequest: true,
  group: '',
  version: 'v1',
  resource: 'pods',
  subresource: '',
  namespace: 'blue',
  name: '',
  path: '',
  ...what,
});
const path = (who: UserInfo, verb: string, where: string): AuthorizationAttributes =>
  resource(who, verb, { isResourceRequest: false, resource: '', namespace: '', path: where });

const FILE = [
  '# who may what',
  '',
  policy({ user: 'alice', namespace: '*', resource: '*', apiGroup: '*', nonResourcePath: '*' }),
  `  ${policy({ user: 'bob', namespace: 'blue', resource: 'pods', readonly: true })}`,
  policy({ group: 'ops', namespace: '*', resource: 'deployments', apiGroup: 'apps' }),
  policy({ user: 'carol', group: 'ops', namespace: 'red', resource: '*', apiGroup: '*' }),
  policy({ user: '*', nonResourcePath: '/version', readonly: true }),
  policy({ group: 'probes', nonResourcePath: '/healthz*' }),
  policy({ namespace: '*', resource: '*', apiGroup: '*' }),
].join('\n');

const cases: readonly (readonly [allowed: boolean, request: AuthorizationAttributes])[] = [
  [true, resource(user('alice'), 'delete', { group: 'apps', resource: 'deployments', namespace: '' })],
  [true, path(user('alice'), 'post', '/anything')],
  [true, resource(user('bob'), 'get')],
  [true, resource(user('bob'), 'list')],
  [true, resource(user('bob'), 'watch')],
  [true, resource(user('bob'), 'get', { subresource: 'log' })],
  [false, resource(user('bob'), 'create')],
  [false, resource(user('bob'), 'deletecollection')],
  [false, resource(user('bob'), 'get', { namespace: 'red' })],
  [false, resource(user('bob'), 'get', { resource: 'secrets' })],
  [false, resource(user('bob'), 'get', { group: 'apps' })],
  [false, resource(user('bob'), 'get', { namespace: '' })],
  [
    true,
    resource(user('dave', 'ops'), 'update', { group: 'apps', resource: 'deployments', namespace: 'any' }),
  ],
  [false, resource(user('dave', 'ops'), 'update', { group: '', resource: 'deployments' })],
  [true, resource(user('carol', 'ops'), 'create', { namespace: 'red' })],
  [false, resource(user('carol'), 'create', { namespace: 'red' })],
  [false, resource(user('dave', 'ops'), 'create', { namespace: 'red' })],
  [true, path(user('anyone'), 'get', '/version')],
  [false, path(user('anyone'), 'post', '/version')],
  [false, path(user('anyone'), 'get', '/version/x')],
  [false, path({ name: 'system:anonymous', groups: ['system:unauthenticated'] }, 'get', '/version')],
  [true, path(user('p', 'probes'), 'get', '/healthz/etcd')],
  [true, path(user('p', 'probes'), 'get', '/healthz')],
  [false, path(user('p', 'probes'), 'get', '/readyz')],
  [false, resource(user('nobody'), 'get')],
];

test('policies of version v1beta1', () => {
  const authorizer = new AbacAuthorizer(parseAbacPolicies(FILE, 'f'));
  for (const [allowed, request] of cases)
    assert.equal(
      authorizer.authorize(request).decision,
      allowed ? 'allow' : 'no-opinion',
      JSON.stringify(request),
    );
  assert.equal(authorizer.authorize(resource(user('nobody'), 'get')).reason, 'No policy matched.');
});

test('lines without a version: what is left out is everything', () => {
  const allows = (line: object, request: AuthorizationAttributes): boolean =>
    new AbacAuthorizer(parseAbacPolicies(JSON.stringify(line), 'f')).authorize(request).decision === 'allow';
  assert.equal(
    allows({ user: 'bob' }, resource(user('bob'), 'create', { group: 'x', resource: 'y', namespace: 'z' })),
    true,
  );
  assert.equal(allows({ user: 'bob' }, path(user('bob'), 'get', '/x')), true);
  assert.equal(allows({ user: 'bob', resource: 'pods' }, path(user('bob'), 'get', '/x')), false);
  assert.equal(
    allows({ user: 'bob', namespace: 'blue', readonly: true }, resource(user('bob'), 'get')),
    true,
  );
  assert.equal(
    allows({ user: 'bob', namespace: 'blue', readonly: true }, resource(user('bob'), 'update')),
    false,
  );
  assert.equal(allows({ readonly: true }, resource(user('who'), 'list')), true);
  assert.equal(allows({ user: '*', resource: 'pods' }, resource(user('who'), 'list')), true);
  assert.equal(
    allows(
      { readonly: true },
      resource({ name: 'system:anonymous', groups: ['system:unauthenticated'] }, 'list'),
    ),
    false,
  );
});

test('the rules of a user in a namespace', () => {
  const authorizer = new AbacAuthorizer(parseAbacPolicies(FILE, 'f'));
  assert.deepEqual(authorizer.rulesFor(user('bob'), 'blue').resourceRules, [
    { verbs: ['get', 'list', 'watch'], apiGroups: [''], resources: ['pods'] },
  ]);
  assert.deepEqual(authorizer.rulesFor(user('alice'), 'any'), {
    resourceRules: [{ verbs: ['*'], apiGroups: ['*'], resources: ['*'] }],
    nonResourceRules: [{ verbs: ['*'], nonResourceURLs: ['*'] }],
    incomplete: false,
  });
});

describe('bad lines are refused with their number', () => {
  const bad: readonly (readonly [line: string, says: RegExp])[] = [
    ['{"user": "bob"', /line 3: \{"user": "bob": it is not a JSON object: /],
    ['[]', /line 3: \[\]: the line is \[\]; it should be a JSON object$/],
    ['"x"', /it should be a JSON object$/],
    [
      '{"apiVersion": "v1", "kind": "Policy"}',
      /apiVersion is "v1"; it should be "abac\.authorization\.kubernetes\.io\/v1beta1"$/,
    ],
    ['{"kind": "Policy", "spec": {}}', /apiVersion is absent; it should be/],
    [
      '{"apiVersion": "abac.authorization.kubernetes.io/v1beta1", "kind": "Role"}',
      /kind is "Role"; it should be "Policy"$/,
    ],
    [
      policy({ user: 'bob', readOnly: true }),
      /unknown field "spec\.readOnly"; there are user, group, readonly,/,
    ],
    [policy({ user: 7 }), /spec\.user is 7; it should be a text$/],
    [policy({ user: 'bob', readonly: 'yes' }), /spec\.readonly is "yes"; it should be true or false$/],
    [
      '{"apiVersion": "abac.authorization.kubernetes.io/v1beta1", "kind": "Policy", "spec": []}',
      /spec is \[\]; it should be a JSON object$/,
    ],
    ['{"user": "bob", "apiGroup": "*"}', /unknown field "apiGroup"/],
    [policy({ user: 'x'.repeat(70_000) }), /the line is longer than 65536 bytes$/],
  ];
  for (const [line, says] of bad) {
    test(line.slice(0, 80), () =>
      assert.throws(
        () => parseAbacPolicies(`# comment\n\n${line}\n`, 'p.jsonl'),
        (error: Error) => {
          assert.match(error.message, /^error reading policy file p\.jsonl, line 3: /);
          assert.match(error.message, says);
          return true;
        },
      ),
    );
  }
  test('an absent file', () =>
    assert.throws(
      () => readAbacFile('/nonexistent/p'),
      /--authorization-policy-file \/nonexistent\/p cannot be read: ENOENT/,
    ));
});
