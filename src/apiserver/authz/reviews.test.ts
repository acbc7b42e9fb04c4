import assert from 'node:assert/strict';
import { test } from 'node:test';
import { createAuthorization } from './authorization.ts';
import { bootstrapPolicy } from './bootstrap-policy.ts';
import { FakeInternal } from './testing/loopback-client.ts';
import {
  reviewLocalSubjectAccess,
  reviewSelfSubjectAccess,
  reviewSelfSubjectRules,
  reviewSubjectAccess,
} from './reviews.ts';

async function setUp(): Promise<ReturnType<typeof createAuthorization>> {
  const internal = new FakeInternal();
  const authorization = createAuthorization({ internal });
  await bootstrapPolicy(internal);
  return authorization;
}

test('access reviews answer what the authorizer decides', async () => {
  const { authorizer, stop } = await setUp();
  const scheduler = { user: 'system:kube-scheduler', resourceAttributes: { verb: 'list', resource: 'pods' } };
  assert.deepEqual((await reviewSubjectAccess(authorizer, { spec: scheduler }))['status'], {
    allowed: true,
    reason:
      'RBAC: allowed by ClusterRoleBinding "system:kube-scheduler" of ClusterRole "system:kube-scheduler" to User "system:kube-scheduler"',
  });
  assert.deepEqual(
    (
      await reviewSubjectAccess(authorizer, {
        spec: { user: 'x', nonResourceAttributes: { path: '/metrics', verb: 'get' } },
      })
    )['status'],
    { allowed: false },
  );
  assert.deepEqual(
    (
      await reviewSelfSubjectAccess(
        authorizer,
        { spec: { resourceAttributes: { verb: '*', resource: '*', group: '*' } } },
        { name: 'root', groups: ['system:masters'] },
      )
    )['status'],
    { allowed: true },
  );
  assert.equal(
    (
      (
        await reviewLocalSubjectAccess(
          authorizer,
          {
            spec: { ...scheduler, resourceAttributes: { verb: 'list', resource: 'pods', namespace: 'red' } },
          },
          'red',
        )
      )['status'] as { allowed: boolean }
    ).allowed,
    true,
  );
  stop();
});

test('malformed reviews are refused', async () => {
  const { authorizer, stop } = await setUp();
  await assert.rejects(reviewSubjectAccess(authorizer, { spec: {} }), {
    message:
      '.authorization.k8s.io "" is invalid: [spec.resourceAttributes: Invalid value: null: exactly one of nonResourceAttributes or resourceAttributes must be specified, spec.user: Invalid value: "": at least one of user or group must be specified]',
  });
  await assert.rejects(
    reviewLocalSubjectAccess(
      authorizer,
      { spec: { user: 'x', resourceAttributes: { namespace: 'blue' } } },
      'red',
    ),
    /must match metadata.namespace/,
  );
  stop();
});

test('selectors of reviews: refused where malformed, told where they cannot be used', async () => {
  const { authorizer, stop } = await setUp();
  const review = (resourceAttributes: object, metadata = {}): Promise<{ status: unknown }> =>
    reviewSubjectAccess(authorizer, {
      metadata,
      spec: { user: 'x', resourceAttributes: { resource: 'pods', ...resourceAttributes } },
    }) as never;
  const refused: readonly (readonly [object, RegExp])[] = [
    [
      { fieldSelector: {} },
      /spec\.resourceAttributes\.fieldSelector\.requirements: Required value: when spec\.resourceAttributes\.fieldSelector is specified, requirements or rawSelector is required/,
    ],
    [
      { fieldSelector: { rawSelector: 'a=b', requirements: [{ key: 'a', operator: 'In', values: ['b'] }] } },
      /rawSelector: Invalid value: "a=b": may not specified at the same time as requirements/,
    ],
    [
      { fieldSelector: { requirements: [{ key: '', operator: 'In', values: [] }] } },
      /requirements\[0\]\.key: Required value: must be specified, .*values: Required value: must be specified when `operator` is 'In' or 'NotIn'/,
    ],
    [
      { labelSelector: { requirements: [{ key: '', operator: 'Far', values: ['é'] }] } },
      /requirements\[0\]\.key: Invalid value: "": name part must be non-empty, .*values\[0\]: Invalid value: "é": a valid label must be/,
    ],
    [
      { labelSelector: { requirements: [{ key: 'a', operator: 'Exists', values: ['b'] }] } },
      /values: Forbidden: may not be specified when `operator` is 'Exists' or 'DoesNotExist'/,
    ],
  ];
  for (const [attributes, says] of refused) await assert.rejects(review(attributes), says);
  await assert.rejects(review({}, { name: 'x' }), /metadata: Invalid value: .*: must be empty/);
  assert.deepEqual((await review({ fieldSelector: { rawSelector: 'a' } })).status, {
    allowed: false,
    evaluationError: 'spec.resourceAttributes.fieldSelector ignored due to parse error',
  });
  assert.deepEqual(
    (
      await review({
        labelSelector: {
          requirements: [
            { key: 'a', operator: 'Near', values: ['b'] },
            { key: 'a', operator: 'Exists' },
          ],
        },
      })
    ).status,
    {
      allowed: false,
      evaluationError: 'spec.resourceAttributes.labelSelector partially ignored due to parse error',
    },
  );
  stop();
});

test('rules reviews list what is held, and say what cannot be listed', async () => {
  const { authorizer, stop } = await setUp();
  const status = (
    await reviewSelfSubjectRules(
      authorizer,
      { spec: { namespace: 'red' } },
      { name: 'jane', groups: ['system:authenticated'] },
    )
  )['status'] as { incomplete: boolean; resourceRules: unknown[]; nonResourceRules: unknown[] };
  assert.equal(status.incomplete, false);
  assert.ok(status.resourceRules.some((rule) => JSON.stringify(rule).includes('selfsubjectaccessreviews')));
  assert.ok(status.nonResourceRules.length >= 2);
  const node = (
    await reviewSelfSubjectRules(
      authorizer,
      { spec: { namespace: 'red' } },
      { name: 'system:node:n', groups: ['system:nodes'] },
    )
  )['status'] as { incomplete: boolean; evaluationError: string };
  assert.deepEqual(
    [node.incomplete, node.evaluationError],
    [true, 'node authorizer does not support user rule resolution'],
  );
  stop();
});
