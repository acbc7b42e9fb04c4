/** Expressions as policies in the wild have them, each of which holds for one object; and match conditions. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { compileExpression } from '#cel/compile-expression.ts';
import {
  POLICY_VARIABLES_WITH_PARAMS,
  WEBHOOK_VARIABLES,
} from '#resources/admissionregistration/expressions.ts';
import { MatchConditions } from './expressions.ts';

const object = {
  apiVersion: 'v1',
  kind: 'Pod',
  metadata: {
    name: 'x',
    namespace: 'ns',
    labels: { app: 'web', n: '4' },
    annotations: {},
    creationTimestamp: '2026-01-01T00:00:00Z',
  },
  spec: {
    replicas: 3,
    x: 'str',
    hostNetwork: false,
    securityContext: { runAsNonRoot: true },
    ports: [{ port: 80 }, { port: 443 }],
    resources: { requests: { storage: '1Gi', cpu: '100m' } },
    containers: [
      { name: 'a', image: 'reg/a:1', ports: [{ containerPort: 80 }] },
      { name: 'b', image: 'reg/b', securityContext: { privileged: false } },
    ],
  },
};
const values = {
  object,
  oldObject: structuredClone(object),
  params: { data: { x: 'a,b' }, maxReplicas: 5 },
  namespaceObject: { metadata: { name: 'ns', labels: { environment: 'test' } }, spec: {}, status: {} },
  request: {
    name: 'x',
    namespace: 'ns',
    operation: 'CREATE',
    dryRun: false,
    kind: { group: '', version: 'v1', kind: 'Pod' },
    resource: { group: '', version: 'v1', resource: 'pods' },
    userInfo: { username: 'u', groups: ['system:masters'], extra: { key: ['v'] } },
    options: { kind: 'CreateOptions', fieldManager: 'kubectl' },
  },
};

test('everyday expressions', () => {
  for (const source of [
    'object.spec.containers.all(c, !has(c.securityContext) || !has(c.securityContext.privileged) || c.securityContext.privileged == false)',
    "!has(object.metadata.labels) || !('x' in object.metadata.labels)",
    "object.metadata.namespace.matches('^n.*')",
    "request.userInfo.groups.exists(g, g == 'system:masters')",
    '(oldObject != null ? oldObject.spec.replicas : 0) <= object.spec.replicas',
    'object.spec.containers.map(c, c.image).all(i, i.startsWith("reg/"))',
    'quantity(object.spec.resources.requests.storage).isLessThan(quantity("5Gi"))',
    "has(object.metadata.annotations) && !('x' in object.metadata.annotations)",
    'object.metadata.?labels[?"env"].orValue("prod") == "prod"',
    'string(params.maxReplicas) == "5"',
    "namespaceObject.metadata.labels['environment'] == 'test'",
    "params.data['x'].split(',').exists(p, p == 'b')",
    'object.spec.containers.filter(c, has(c.ports)).map(c, c.ports).flatten().size() == 1',
    '"name-" + object.metadata.name == "name-x"',
    'type(object.spec.x) == string',
    'object.spec.ports.exists(p, p.port in [80, 443])',
    "!(request.operation in ['DELETE'])",
    'has(object.spec.securityContext.runAsNonRoot) && object.spec.securityContext.runAsNonRoot == true',
    'oldObject == null || object.spec == oldObject.spec',
    'object.spec.containers[0].image.contains("a") && object.metadata.name.lowerAscii() == "x"',
    'request.dryRun != true',
    'request.options.?fieldManager.orValue("") == "kubectl"',
    'request.userInfo.extra["key"][0] == "v"',
    'int(object.metadata.labels.n) > 3 && double(object.spec.replicas) > 2.5',
    'timestamp(object.metadata.creationTimestamp) < timestamp("2027-01-01T00:00:00Z")',
    'has(request.namespace) && !request.namespace.startsWith("kube-")',
    'request.resource.group == ""',
    '!optional.none().hasValue()',
    'object.spec.?replicas == optional.of(3)',
    'object.spec.replicas > 2.5',
    'object.spec.replicas == 3.0',
    'object.spec.x != 3',
    'object.spec.x == null || true',
    'object.spec.containers.exists_one(c, c.name == "a")',
    'object.spec.containers.map(c, c.name) == ["a", "b"]',
    'object.spec.containers.map(c, has(c.ports), c.name)[0] == "a"',
    'object.metadata.labels.all(k, v, k.size() < 63 && v.size() < 63)',
    '[object.spec.replicas, params.maxReplicas].max() == 5',
    '[1, 2, 3].sum() == 6',
    'object.spec.containers.map(c, c.name).isSorted()',
    "('a' + 'b').size() == 2",
    'object.spec.replicas in [1, 3]',
    'object.kind == "Pod" ? true : false',
    "object.spec.containers.all(c, c.image.find(':[^/]+$') != ':latest')",
    "object.metadata.name.matches(r'^[a-z]+$')",
    '"%d of %s".format([object.spec.replicas, object.metadata.name]) == "3 of x"',
    '!format.dns1123Label().validate(object.metadata.name).hasValue()',
    'object.spec.containers.map(c, {"n": c.name})[0].n == "a"',
    'duration("1h") > duration("30m")',
    "request.userInfo.?uid.orValue('') == ''",
    'object.?status.?phase.hasValue() == false',
    "object.metadata.labels.exists(k, k.startsWith('a')) // comment",
    'namespaceObject != null',
    '1u == uint(1)',
    'b"abc".size() == 3',
    'object.spec.replicas - 1 >= 2 && -object.spec.replicas < 0',
    "sets.contains(['a','b'], object.spec.containers.map(c, c.name))",
    "object.spec.containers.map(c, c.name).join(',') == 'a,b'",
  ])
    assert.equal(
      compileExpression(source, { variables: POLICY_VARIABLES_WITH_PARAMS, result: 'bool' }).evaluate(values),
      true,
      source,
    );
});

test('match conditions: one that does not hold decides; errors by failurePolicy; a budget of their own', () => {
  const outcome = (expressions: readonly string[], failurePolicy = 'Fail'): unknown =>
    new MatchConditions(
      expressions.map((expression, i) => ({ name: `c${i}`, expression })),
      { variables: WEBHOOK_VARIABLES, failurePolicy },
    ).evaluate(values);
  assert.deepEqual(outcome(['true', 'request.name == "x"']), { outcome: 'match' });
  assert.deepEqual(outcome(['object.missing == 1', 'false']), { outcome: 'no-match', condition: 'c1' });
  assert.deepEqual(outcome(['object.missing == 1']), {
    outcome: 'error',
    message: "expression 'object.missing == 1' resulted in error: no such key: missing",
  });
  assert.deepEqual(outcome(['object.missing == 1'], 'Ignore'), { outcome: 'no-match' });
  assert.match(
    JSON.stringify(outcome(['nonsense'])),
    /compilation error: compilation failed: ERROR: <input>:1:1: undeclared reference to 'nonsense'/,
  );
  const bomb = 'lists.range(1000).all(a, lists.range(1000).all(b, a + b >= 0))';
  assert.match(JSON.stringify(outcome([bomb, bomb, bomb, bomb])), /cost limit exceeded/);
});
