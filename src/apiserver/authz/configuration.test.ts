/** AuthorizationConfiguration files: what is read, what is refused with which path, and match conditions. */
import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, describe, test } from 'node:test';
import { AuthorizationConfigurationError, parseAuthorizationConfiguration } from './configuration.ts';
import { compileMatchConditions } from './match-conditions.ts';
import type { AccessReviewSpec } from './review-spec.ts';

const dir = mkdtempSync(join(tmpdir(), 'capstan-authz-'));
const kubeConfigFile = join(dir, 'kubeconfig');
writeFileSync(kubeConfigFile, '');
after(() => rmSync(dir, { recursive: true, force: true }));

const HEAD = { apiVersion: 'apiserver.config.k8s.io/v1', kind: 'AuthorizationConfiguration' };
const WEBHOOK = {
  timeout: '3s',
  subjectAccessReviewVersion: 'v1',
  matchConditionSubjectAccessReviewVersion: 'v1',
  failurePolicy: 'Deny',
  connectionInfo: { type: 'KubeConfigFile', kubeConfigFile },
  matchConditions: [{ expression: 'has(request.resourceAttributes)' }],
};
const hook = (changes: object = {}, name = 'hook'): object => ({
  type: 'Webhook',
  name,
  webhook: { ...WEBHOOK, ...changes },
});
const parse = (
  authorizers: unknown,
  head: object = HEAD,
): ReturnType<typeof parseAuthorizationConfiguration> =>
  parseAuthorizationConfiguration(JSON.stringify({ ...head, authorizers }), compileMatchConditions);

test('order, names and defaults', () => {
  const [first, node, rbac] = parse([hook(), { type: 'Node', name: 'node' }, { type: 'RBAC', name: 'rbac' }]);
  assert.deepEqual([first?.name, node?.type, rbac?.type], ['hook', 'Node', 'RBAC']);
  assert.deepEqual(
    { ...first?.webhook, matchConditions: undefined },
    {
      authorizedTtlMs: 300_000,
      unauthorizedTtlMs: 30_000,
      timeoutMs: 3000,
      subjectAccessReviewVersion: 'v1',
      failurePolicy: 'Deny',
      kubeConfigFile,
      matchConditions: undefined,
    },
  );
  const [, second] = parse([
    hook({}, 'a.example'),
    hook(
      { authorizedTTL: '1m30s', cacheUnauthorizedRequests: false, subjectAccessReviewVersion: 'v1beta1' },
      'b.example',
    ),
  ]);
  assert.equal(second?.webhook?.authorizedTtlMs, 90_000);
  assert.equal(second?.webhook?.unauthorizedTtlMs, 0);
});

test('YAML, and older versions', () => {
  const text =
    'apiVersion: apiserver.config.k8s.io/v1beta1\nkind: AuthorizationConfiguration\nauthorizers:\n- type: RBAC\n  name: rbac\n';
  assert.deepEqual(parseAuthorizationConfiguration(text, compileMatchConditions), [
    { type: 'RBAC', name: 'rbac' },
  ]);
});

describe('refused', () => {
  const bad: readonly {
    readonly name: string;
    readonly authorizers: unknown;
    readonly says: RegExp;
    readonly head?: object;
  }[] = [
    {
      name: 'nothing',
      authorizers: [],
      says: /^authorizers: Required value: at least one authorization mode must be defined$/,
    },
    { name: 'no type', authorizers: [{ name: 'x' }], says: /^authorizers\[0\]\.type: Required value$/ },
    {
      name: 'an unknown type',
      authorizers: [{ type: 'LDAP', name: 'ldap' }],
      says: /^authorizers\[0\]\.type: Unsupported value: "LDAP": supported values: "ABAC", "AlwaysAllow", "AlwaysDeny", "Node", "RBAC", "Webhook"$/,
    },
    {
      name: 'a type twice',
      authorizers: [
        { type: 'RBAC', name: 'rbac' },
        { type: 'RBAC', name: 'rbac2' },
      ],
      says: /^authorizers\[1\]\.type: Duplicate value: "RBAC"$/,
    },
    { name: 'no name', authorizers: [hook({}, '')], says: /^authorizers\[0\]\.name: Required value$/ },
    {
      name: 'a name twice',
      authorizers: [hook(), hook()],
      says: /^authorizers\[1\]\.name: Duplicate value: "hook"$/,
    },
    {
      name: 'a bad name',
      authorizers: [hook({}, 'Bad Name')],
      says: /^authorizers\[0\]\.name: Invalid value: "Bad Name": authorizer name is invalid: a lowercase RFC 1123 subdomain/,
    },
    {
      name: "another's name",
      authorizers: [{ type: 'RBAC', name: 'mine' }],
      says: /^expected name rbac for authorizer RBAC instead of mine$/,
    },
    {
      name: 'a webhook without settings',
      authorizers: [{ type: 'Webhook', name: 'hook' }],
      says: /^authorizers\[0\]\.webhook: Required value: required when type=Webhook$/,
    },
    {
      name: 'settings without a webhook',
      authorizers: [{ type: 'RBAC', name: 'rbac', webhook: WEBHOOK }],
      says: /^authorizers\[0\]\.webhook: Invalid value: "non-null": may only be specified when type=Webhook$/,
    },
    {
      name: 'no timeout',
      authorizers: [hook({ timeout: undefined })],
      says: /^authorizers\[0\]\.timeout: Required value$/,
    },
    {
      name: 'a long timeout',
      authorizers: [hook({ timeout: '31s' })],
      says: /^authorizers\[0\]\.timeout: Invalid value: "31s": must be > 0s and <= 30s$/,
    },
    {
      name: 'a negative time to live',
      authorizers: [hook({ authorizedTTL: '-5s' })],
      says: /^authorizers\[0\]\.authorizedTTL: Invalid value: "-5s": must be > 0s$/,
    },
    {
      name: 'no duration',
      authorizers: [hook({ timeout: 3 })],
      says: /: json: cannot unmarshal number into Go struct field WebhookConfiguration\.authorizers\.webhook\.timeout of type string$/,
    },
    {
      name: 'a bad duration',
      authorizers: [hook({ timeout: '3 s' })],
      says: /: time: unknown unit " s" in duration "3 s"$/,
    },
    {
      name: 'no version of reviews',
      authorizers: [hook({ subjectAccessReviewVersion: '' })],
      says: /^authorizers\[0\]\.subjectAccessReviewVersion: Required value$/,
    },
    {
      name: 'an unknown version of reviews',
      authorizers: [hook({ subjectAccessReviewVersion: 'v2' })],
      says: /^authorizers\[0\]\.subjectAccessReviewVersion: Unsupported value: "v2": supported values: "v1", "v1beta1"$/,
    },
    {
      name: 'conditions without a version',
      authorizers: [hook({ matchConditionSubjectAccessReviewVersion: '' })],
      says: /^authorizers\[0\]\.matchConditionSubjectAccessReviewVersion: Required value: required if match conditions are specified$/,
    },
    {
      name: 'no failure policy',
      authorizers: [hook({ failurePolicy: '' })],
      says: /^authorizers\[0\]\.failurePolicy: Required value$/,
    },
    {
      name: 'an unknown failure policy',
      authorizers: [hook({ failurePolicy: 'Allow' })],
      says: /^authorizers\[0\]\.failurePolicy: Unsupported value: "Allow": supported values: "NoOpinion", "Deny"$/,
    },
    {
      name: 'no connection',
      authorizers: [hook({ connectionInfo: undefined })],
      says: /^authorizers\[0\]\.connectionInfo\.type: Required value$/,
    },
    {
      name: 'a connection from inside a cluster',
      authorizers: [hook({ connectionInfo: { type: 'InClusterConfig' } })],
      says: /^authorizers\[0\]\.connectionInfo\.type: Invalid value: "InClusterConfig": is not supported by this server: use KubeConfigFile$/,
    },
    {
      name: 'a relative file',
      authorizers: [hook({ connectionInfo: { type: 'KubeConfigFile', kubeConfigFile: 'k' } })],
      says: /^authorizers\[0\]\.connectionInfo\.kubeConfigFile: Invalid value: "k": must be an absolute path$/,
    },
    {
      name: 'an absent file',
      authorizers: [hook({ connectionInfo: { type: 'KubeConfigFile', kubeConfigFile: '/nonexistent/k' } })],
      says: /^authorizers\[0\]\.connectionInfo\.kubeConfigFile: Invalid value: "\/nonexistent\/k": error loading file: ENOENT/,
    },
    {
      name: 'a folder',
      authorizers: [hook({ connectionInfo: { type: 'KubeConfigFile', kubeConfigFile: dir } })],
      says: /must be a regular file$/,
    },
    {
      name: 'an empty condition',
      authorizers: [hook({ matchConditions: [{ expression: ' ' }] })],
      says: /^authorizers\[0\]\.matchConditions\[0\]\.expression: Required value$/,
    },
    {
      name: 'a condition twice',
      authorizers: [hook({ matchConditions: [{ expression: 'true' }, { expression: 'true' }] })],
      says: /^authorizers\[0\]\.matchConditions\[1\]\.expression: Duplicate value: "true"$/,
    },
    {
      name: 'a condition that does not compile',
      authorizers: [hook({ matchConditions: [{ expression: 'request.usr == "x"' }] })],
      says: /^authorizers\[0\]\.matchConditions\[0\]\.expression: Invalid value: "request\.usr == \\"x\\"": compilation failed: ERROR: <input>:1:8: undefined field 'usr'/,
    },
    {
      name: 'a condition that is no yes or no',
      authorizers: [hook({ matchConditions: [{ expression: 'request.user' }] })],
      says: /^authorizers\[0\]\.matchConditions\[0\]\.expression: Invalid value: "request\.user": must evaluate to bool but got string$/,
    },
    {
      name: 'too many conditions',
      authorizers: [
        hook({
          matchConditions: Array.from({ length: 65 }, (_, index) => ({ expression: `${index} == 1` })),
        }),
      ],
      says: /^authorizers\[0\]\.matchConditions: Too many: 65: must have at most 64 items$/,
    },
    {
      name: 'an unknown field',
      authorizers: [hook({ timeoutSeconds: 3 })],
      says: /strict decoding error: unknown field "authorizers\[0\]\.webhook\.timeoutSeconds"$/,
    },
    {
      name: 'several things',
      authorizers: [{ type: 'X', name: 'x' }, hook({ timeout: undefined, failurePolicy: '' })],
      says: /^\[authorizers\[0\]\.type: .*, authorizers\[1\]\.timeout: Required value, authorizers\[1\]\.failurePolicy: Required value\]$/,
    },
    {
      name: 'no kind',
      authorizers: [],
      head: { apiVersion: 'apiserver.config.k8s.io/v1' },
      says: /^failed to load AuthorizationConfiguration from file: Object 'Kind' is missing$/,
    },
    {
      name: 'another kind',
      authorizers: [],
      head: { ...HEAD, kind: 'AuthenticationConfiguration' },
      says: /no kind "AuthenticationConfiguration" is registered for version "apiserver\.config\.k8s\.io\/v1"/,
    },
    {
      name: 'another version',
      authorizers: [],
      head: { ...HEAD, apiVersion: 'apiserver.config.k8s.io/v9' },
      says: /no kind "AuthorizationConfiguration" is registered for version "apiserver\.config\.k8s\.io\/v9"/,
    },
  ];
  for (const { name, authorizers, says, head } of bad) {
    test(name, () =>
      assert.throws(
        () => parse(authorizers, head),
        (error: Error) => {
          assert.ok(error instanceof AuthorizationConfigurationError, error.stack);
          assert.match(error.message, says);
          return true;
        },
      ),
    );
  }
  test('no YAML', () =>
    assert.throws(
      () => parseAuthorizationConfiguration('a: [', compileMatchConditions),
      /failed to load AuthorizationConfiguration from file/,
    ));
  test('an empty file', () =>
    assert.throws(() => parseAuthorizationConfiguration('', compileMatchConditions), /: the file is empty$/));
});

test('match conditions', () => {
  const outcome = (spec: AccessReviewSpec, ...expressions: string[]): string => {
    const { conditions, errors } = compileMatchConditions(
      expressions.map((expression) => ({ expression, field: 'f' })),
    );
    assert.deepEqual(errors, []);
    return conditions!.evaluate(spec).outcome;
  };
  const pods: AccessReviewSpec = {
    user: 'jane',
    groups: ['devs'],
    extra: { 'example.com/team': ['a'] },
    resourceAttributes: {
      namespace: 'kube-system',
      verb: 'get',
      resource: 'pods',
      fieldSelector: { requirements: [{ key: 'spec.nodeName', operator: 'In', values: ['n1'] }] },
    },
  };
  const path: AccessReviewSpec = { user: 'jane', nonResourceAttributes: { path: '/healthz', verb: 'get' } };
  assert.equal(
    outcome(pods, 'has(request.resourceAttributes)', 'request.resourceAttributes.namespace == "kube-system"'),
    'match',
  );
  assert.equal(
    outcome(
      pods,
      '!("system:masters" in request.groups)',
      "request.extra['example.com/team'][0] == 'a'",
      'request.uid == ""',
    ),
    'match',
  );
  assert.equal(
    outcome(
      pods,
      'request.resourceAttributes.name == "" && request.resourceAttributes.fieldSelector.requirements.exists(r, r.key == "spec.nodeName" && "n1" in r.values)',
    ),
    'match',
  );
  assert.equal(outcome(pods, 'has(request.nonResourceAttributes)'), 'skip');
  assert.equal(outcome(path, 'request.nonResourceAttributes.path.startsWith("/health")'), 'match');
  assert.equal(outcome(path, 'request.resourceAttributes.verb == "get"'), 'error');
  assert.equal(
    outcome(path, 'request.resourceAttributes.verb == "get"', 'request.user == "joe"'),
    'skip',
    'one false outweighs an error',
  );
});
