import assert from 'node:assert/strict';
import { test } from 'node:test';
import { toStructural } from '#machinery/structural.ts';
import { AuthorizerChecks, type AuthorizerOptions } from './authorizer.ts';
import { CelCompileError, CelCostError, CelRuntimeError } from './errors.ts';
import { compileExpression } from './compile-expression.ts';

type AuthorizationAttributes = Parameters<AuthorizerOptions['authorizer']['authorize']>[0];
type AuthorizationDecision = Awaited<ReturnType<AuthorizerOptions['authorizer']['authorize']>>;

const variables = { object: 'dyn', params: 'dyn', name: 'string', claims: 'map' } as const;
const evaluate = (source: string, values: Record<string, unknown> = {}): unknown =>
  compileExpression(source, { variables }).evaluate(values);
const refusal = (source: string, result?: string): string => {
  try {
    compileExpression(source, { variables, ...(result ? { result } : {}) });
  } catch (error) {
    assert.ok(error instanceof CelCompileError);
    return error.message;
  }
  return '';
};

test('values are JSON, in and out', () => {
  const object = {
    spec: { replicas: 3, ratio: 0.5, template: { labels: { app: 'web' } }, list: [1, 'a', null] },
    metadata: { name: 'x', namespace: 'ns' },
  };
  for (const [source, expected] of [
    ['object.spec.replicas <= 5', true],
    ['object.spec.replicas * 2', 6],
    ['object.spec.ratio + 0.25', 0.75],
    ['object.metadata.namespace', 'ns'],
    ['object.spec', object.spec],
    ['object.spec.template.labels.all(k, k == "app")', true],
    ['has(object.spec.missing)', false],
    ['object.?spec.?replicas.orValue(1)', 3],
    ['object.?status.?replicas.orValue(1)', 1],
    ['object.spec.list[2] == null', true],
    ['{"a": dyn([1, dyn(2.5), dyn("x")]), "b": dyn({"c": true})}', { a: [1, 2.5, 'x'], b: { c: true } }],
    ['object.spec.list.map(x, string(type(x) == int))', ['true', 'false', 'false']],
    ['duration("90s")', '90s'],
    ['timestamp("2026-01-02T03:04:05Z")', '2026-01-02T03:04:05Z'],
    ['"replicas" in object.spec', true],
    ['object.spec.template == {"labels": {"app": "web"}}', true],
    ['size(object.spec)', 4],
    ['params == null', true],
    ['claims["groups"]', ['a']],
    ['claims.email_verified', true],
  ] as const)
    assert.deepEqual(
      evaluate(source, { object, params: null, name: 'n', claims: { groups: ['a'], email_verified: true } }),
      expected,
      source,
    );
});

test("what does not compile says where, in cel-go's words", () => {
  assert.equal(
    refusal('foo == 1'),
    "ERROR: <input>:1:1: undeclared reference to 'foo' (in container '')\n | foo == 1\n | ^",
  );
  assert.match(refusal('name + 1'), /found no matching overload for '_\+_' applied to '\(string, int\)'/);
  assert.match(refusal('unheardOf(name)'), /undeclared reference to 'unheardOf' \(in container ''\)/);
  assert.match(
    refusal('name.startsWith(1)'),
    /found no matching overload for 'startsWith' applied to 'string\.\(int\)'/,
  );
  assert.match(refusal('name ='), /Syntax error/);
  assert.match(
    refusal('name == "" ? 1 : name'),
    /^ERROR: <input>:1:12: found no matching overload for '_\?_:_' applied to '\(bool, int, string\)'/,
  );
  assert.equal(refusal('name', 'bool'), 'must evaluate to bool but got string');
  assert.equal(refusal('object.spec', 'bool'), 'must evaluate to bool but got dyn');
  assert.equal(refusal('[]', 'list<string>'), 'must evaluate to list(string) but got list(dyn)');
  assert.equal(refusal('[1]', 'list<string>'), 'must evaluate to list(string) but got list(int)');
  assert.equal(refusal('{}', 'list<string>'), 'must evaluate to list(string) but got map(dyn, dyn)');
  assert.match(
    refusal('[name].sum() > 1'),
    /found no matching overload for 'sum' applied to 'list\(string\)\.\(\)'/,
  );
  for (const [source, words] of [
    ['[1, name]', "1:5: expected type 'int' but found 'string'"],
    ['{"a": 1, "b": "x"}', "1:15: expected type 'int' but found 'string'"],
    ['timestamp("x")', '1:11: invalid timestamp argument'],
    ['duration("x")', '1:10: invalid duration argument'],
    ['name[0]', "1:5: found no matching overload for '_[_]' applied to '(string, int)'"],
    ['[1].all(x, x)', "1:12: expected type 'bool' but found 'int'"],
    ['name.quote()', "1:11: undeclared reference to 'quote'"],
    ['name.json()', "1:10: undeclared reference to 'json'"],
  ] as const)
    assert.ok(refusal(source).includes(words), refusal(source));
  assert.equal(
    refusal('"%s %d".format([name, 1])', 'string') +
      refusal('string(timestamp("2020-01-01T00:00:00Z"))', 'string'),
    '',
  );
  assert.match(refusal('name.x'), /1:5: type 'string' does not support field selection/);
  for (const [source, words] of [
    ['name +', "mismatched input '<EOF>' expecting {'[', '{', '(', '.', '-'"],
    ['size(name', "missing ')' at '<EOF>'"],
    ['name.', "no viable alternative at input '.'"],
    ['true ? 1', "mismatched input '<EOF>' expecting ':'"],
    ['name)', "extraneous input ')' expecting <EOF>"],
  ] as const)
    assert.ok(refusal(source).includes(`Syntax error: ${words}`), source);
});

test('a schema says which fields there are', () => {
  const typed = {
    request: toStructural({
      type: 'object',
      properties: {
        name: { type: 'string' },
        userInfo: { type: 'object', properties: { groups: { type: 'array', items: { type: 'string' } } } },
      },
    }),
  };
  const admins = compileExpression('"admins" in request.userInfo.groups && request != null', {
    variables: typed,
    result: 'bool',
  });
  assert.equal(admins.evaluate({ request: { name: 'x', userInfo: { groups: ['admins'] } } }), true);
  assert.throws(
    () => compileExpression('request.nome == ""', { variables: typed }),
    /undefined field 'nome'/,
  );
});

test('errors of evaluation', () => {
  assert.throws(
    () => evaluate('object.a.b', { object: { a: {} } }),
    (error: unknown) => error instanceof CelRuntimeError && error.message === 'no such key: b',
  );
  assert.throws(() => evaluate('1 / object.n', { object: { n: 0 } }), /division by zero/);
  assert.throws(() => evaluate('object.list[3]', { object: { list: [1] } }), /index out of bounds: 3/);
  assert.throws(() => evaluate('object.a < "x"', { object: { a: 1 } }), /no such overload/);
  assert.throws(() => evaluate('type(name)', { name: 'x' }), CelRuntimeError);
});

test('expressions run out of their budget, also inside operators that absorb errors', () => {
  const list = Array.from({ length: 1000 }, (_, i) => i);
  for (const source of [
    'object.all(a, object.all(b, object.all(c, a + b + c >= 0)))',
    'object.map(a, object.map(b, a)).size() == object.map(a, object.map(b, b)).size()',
    'object.exists(a, object.exists(b, object.exists(c, a + b + c < 0))) || true',
  ]) {
    assert.throws(
      () => evaluate(source, { object: list }),
      (error: unknown) => error instanceof CelCostError && /actual cost limit exceeded/.test(error.message),
      source,
    );
  }
  const budget = { remaining: 1000 };
  const cheap = compileExpression('object.size() > 0', { variables });
  assert.equal(cheap.evaluate({ object: list }, { budget }), true);
  assert.ok(budget.remaining < 1000 && budget.remaining > 900);
  assert.throws(() => cheap.evaluate({ object: list }, { budget: { remaining: 0 } }), CelCostError);
  const started = performance.now();
  assert.equal(evaluate('name.matches("^(a+)+$")', { name: `${'a'.repeat(5000)}!` }), false);
  assert.ok(performance.now() - started < 5000);
});

test('the authorizer is asked once per question, now or later', async () => {
  const asked: AuthorizationAttributes[] = [];
  const decide = (attributes: AuthorizationAttributes): AuthorizationDecision => {
    asked.push(attributes);
    return attributes.verb === 'get'
      ? { decision: 'allow', reason: 'reads' }
      : { decision: 'no-opinion', reason: 'no' };
  };
  const expression = compileExpression(
    "authorizer.group('apps').resource('deployments').subresource('scale').namespace('ns').name('web').check('get').allowed() && !authorizer.requestResource.check('delete').allowed()",
    { variables: { authorizer: 'authorizer' } },
  );
  const request = { group: '', resource: 'pods', subresource: '', namespace: 'ns', name: 'p' };
  for (const later of [false, true]) {
    asked.length = 0;
    const authorizer = new AuthorizerChecks({
      authorizer: {
        authorize: (attributes) => (later ? Promise.resolve(decide(attributes)) : decide(attributes)),
      },
      user: { name: 'jane', groups: ['dev'] },
      request,
    });
    const run = (): unknown => expression.evaluate({ authorizer });
    const result = authorizer.resolving(run);
    assert.equal(result instanceof Promise, later);
    assert.equal(await result, true);
    assert.equal(authorizer.resolving(run), true);
    assert.deepEqual(
      asked.map(({ verb, group, resource, subresource, name }) => [verb, group, resource, subresource, name]),
      [
        ['get', 'apps', 'deployments', 'scale', 'web'],
        ['delete', '', 'pods', '', 'p'],
      ],
    );
  }
});

test('checks of others, of paths, with selectors, that fail, and too many', async () => {
  const checks = new AuthorizerChecks({
    user: { name: 'jane', groups: [] },
    authorizer: {
      authorize: async ({ user, path, fieldSelector }) => {
        if (path === '/broken') throw new Error('webhook is down');
        if (path === '/healthz')
          return {
            decision: user.name === 'system:serviceaccount:ns:sa' ? 'allow' : 'no-opinion',
            reason: '',
          };
        return { decision: fieldSelector?.[0]?.values[0] === 'n1' ? 'allow' : 'no-opinion', reason: 'node' };
      },
    },
  });
  const holds = async (source: string): Promise<unknown> => {
    const expression = compileExpression(source, { variables: { authorizer: 'authorizer' } });
    return checks.resolving(() => expression.evaluate({ authorizer: checks }));
  };
  assert.equal(
    await holds(
      "authorizer.serviceAccount('ns', 'sa').path('/healthz').check('get').allowed() && !authorizer.path('/healthz').check('get').allowed()",
    ),
    true,
  );
  assert.equal(
    await holds(
      "authorizer.group('').resource('pods').fieldSelector('spec.nodeName=n1').check('list').allowed()",
    ),
    true,
  );
  assert.equal(await holds("authorizer.group('').resource('pods').check('list').reason()"), 'node');
  assert.equal(
    await holds(
      "authorizer.path('/broken').check('get').errored() && authorizer.path('/broken').check('get').error() == 'webhook is down'",
    ),
    true,
  );
  assert.equal(await holds("authorizer.path('/broken').check('put').allowed() || true"), true);
  await assert.rejects(
    holds("[1, 2, 3].all(i, !authorizer.path('/' + string(i)).check('get').allowed())"),
    CelCostError,
  );
  await assert.rejects(holds("authorizer.path('').check('get').allowed()"), /path must not be empty/);
});

test('an expression may have so many characters', () => {
  assert.equal(
    refusal(`1${'+1'.repeat(50_000)}`),
    'ERROR: <input>:-1:0: expression code point size exceeds limit: size: 100001, limit 100000',
  );
  const before = process.threadCpuUsage();
  assert.throws(
    () => compileExpression(`1${'*/'.repeat(49_000)}`, { variables, constructs: true }),
    CelCompileError,
  );
  const { user, system } = process.threadCpuUsage(before);
  assert.ok(user + system < 500_000, `${(user + system) / 1000} ms`);
});
