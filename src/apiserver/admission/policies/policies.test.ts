/** Admission policies as their authors meet them: against a server with nothing but them. */
import assert from 'node:assert/strict';
import { after, afterEach, before, describe, test } from 'node:test';
import type { AuthorizationAttributes } from '#machinery/authorization.ts';
import { startTestServer, type TestResponse, type TestServer } from '../../testing/server.ts';
import type { AdmissionPlugin } from '../plugin.ts';
import { mutatingAdmissionPolicy } from './mutating.ts';
import { validatingAdmissionPolicy } from './validating.ts';

// oxlint-disable-next-line no-explicit-any
type Json = Record<string, any>;

const GROUP = '/apis/admissionregistration.k8s.io/v1';
const DEPLOYMENTS = '/apis/apps/v1/namespaces/default/deployments',
  CONFIGMAPS = '/api/v1/namespaces/default/configmaps';
const ON_DEPLOYMENTS = {
  resourceRules: [
    {
      operations: ['CREATE', 'UPDATE'],
      apiGroups: ['apps'],
      apiVersions: ['v1'],
      resources: ['deployments'],
    },
  ],
};
const ON_CONFIGMAPS = {
  resourceRules: [
    {
      operations: ['CREATE', 'UPDATE', 'DELETE'],
      apiGroups: [''],
      apiVersions: ['v1'],
      resources: ['configmaps'],
    },
  ],
};

/** What is deleted cannot be changed. */
const ON_WRITTEN_CONFIGMAPS = {
  resourceRules: [{ ...ON_CONFIGMAPS.resourceRules[0]!, operations: ['CREATE', 'UPDATE'] }],
};
const ON_NEW_CONFIGMAPS = { resourceRules: [{ ...ON_CONFIGMAPS.resourceRules[0]!, operations: ['CREATE'] }] };

let server: TestServer;
const asked: AuthorizationAttributes[] = [];
const made: string[] = [];

/** What reaches the audit event. */
const annotations: Record<string, string> = {};

function audited(plugin: AdmissionPlugin): AdmissionPlugin {
  return {
    ...plugin,
    validate: (attributes) =>
      plugin.validate!({ ...attributes, annotate: (key, value) => void (annotations[key] ??= value) }),
  };
}

before(async () => {
  server = await startTestServer({
    admission: () => [mutatingAdmissionPolicy(), audited(validatingAdmissionPolicy())],
    // Answers checks of expressions later, as webhooks do.
    authorization: () => ({
      authorize: (attributes) => {
        if (attributes.verb !== 'deploy') return { decision: 'allow', reason: '' };
        asked.push(attributes);
        return Promise.resolve({
          decision: attributes.name === 'allowed' ? 'allow' : 'no-opinion',
          reason: 'not listed',
        } as const);
      },
    }),
  });
  for (const [name, labels] of [
    ['default', { environment: 'test' }],
    ['other', { environment: 'prod' }],
  ] as const)
    await server.request('POST /api/v1/namespaces', { body: { metadata: { name, labels } } });
});
after(() => server.stop());
afterEach(async () => {
  for (const path of made.splice(0).toReversed()) await server.request(`DELETE ${path}`);
  for (const path of [DEPLOYMENTS, CONFIGMAPS, '/api/v1/namespaces/other/configmaps'])
    await server.request(`DELETE ${path}`);
  asked.length = 0;
  for (const key of Object.keys(annotations)) delete annotations[key];
});

async function post(path: string, body: Json): Promise<TestResponse> {
  const response = await server.request(`POST ${path}`, { body });
  if (response.status === 201 && !path.startsWith('/api/v1/namespaces/') && path !== DEPLOYMENTS)
    made.push(`${path}/${response.body.metadata.name}`);
  return response;
}

async function bind(
  kind: 'validating' | 'mutating',
  {
    policy,
    binding = {},
    name = 'policy',
  }: { readonly policy: Json; readonly binding?: Json; readonly name?: string },
): Promise<void> {
  const created = await post(`${GROUP}/${kind}admissionpolicies`, {
    metadata: { name },
    spec: {
      failurePolicy: 'Fail',
      ...(kind === 'mutating' ? { reinvocationPolicy: 'Never' } : {}),
      ...policy,
    },
  });
  assert.equal(created.status, 201, created.text);
  const bound = await post(`${GROUP}/${kind}admissionpolicybindings`, {
    metadata: { name: `${name}-binding` },
    spec: { policyName: name, ...(kind === 'validating' ? { validationActions: ['Deny'] } : {}), ...binding },
  });
  assert.equal(bound.status, 201, bound.text);
}

const validating = (policy: Json, binding: Json = {}, name = 'policy'): Promise<void> =>
  bind('validating', { policy: { matchConstraints: ON_CONFIGMAPS, ...policy }, binding, name });
const mutating = (policy: Json, binding: Json = {}, name = 'policy'): Promise<void> =>
  bind('mutating', { policy: { matchConstraints: ON_WRITTEN_CONFIGMAPS, ...policy }, binding, name });
const configMap = (data: Json = {}, metadata: Json = {}): Json => ({
  metadata: { name: 'config', ...metadata },
  data,
});
const deployment = (replicas: number, more: Json = {}): Json => ({
  metadata: { name: 'web', ...more },
  spec: {
    replicas,
    selector: { matchLabels: { app: 'web' } },
    template: { metadata: { labels: { app: 'web' } }, spec: { containers: [{ name: 'c', image: 'nginx' }] } },
  },
});

/** Polls: the status is written soon after the policy. */
async function statusOf(name: string): Promise<Json> {
  for (;;) {
    const { body } = await server.request(`GET ${GROUP}/validatingadmissionpolicies/${name}`);
    if (body.status?.observedGeneration === body.metadata.generation) return body.status;
    await new Promise((resolve) => {
      setImmediate(resolve);
    });
  }
}

describe('ValidatingAdmissionPolicy', () => {
  test("denies what does not hold, in upstream's words", async () => {
    await validating({
      matchConstraints: ON_DEPLOYMENTS,
      validations: [{ expression: 'object.spec.replicas <= 5' }],
    });
    const refused = await post(DEPLOYMENTS, deployment(6));
    assert.equal(refused.status, 422);
    assert.equal(refused.body.reason, 'Invalid');
    assert.equal(
      refused.body.message,
      "deployments.apps \"web\" is forbidden: ValidatingAdmissionPolicy 'policy' with binding 'policy-binding' denied request: failed expression: object.spec.replicas <= 5",
    );
    assert.deepEqual(refused.body.details, {
      name: 'web',
      group: 'apps',
      kind: 'deployments',
      causes: [
        {
          message:
            "ValidatingAdmissionPolicy 'policy' with binding 'policy-binding' denied request: failed expression: object.spec.replicas <= 5",
        },
      ],
    });
    assert.equal((await post(DEPLOYMENTS, deployment(5))).status, 201);
    const patched = await server.request(`PATCH ${DEPLOYMENTS}/web`, {
      body: { spec: { replicas: 7 } },
      headers: { 'content-type': 'application/merge-patch+json' },
    });
    assert.equal(patched.status, 422);
  });

  test('messages, computed ones, and reasons with their codes', async () => {
    await validating({
      validations: [
        { expression: '!("plain" in object.data)', message: 'no plain' },
        {
          expression: '!("made" in object.data)',
          messageExpression: '"made of " + object.data.made',
          reason: 'Forbidden',
        },
        {
          expression: '!("broken" in object.data)',
          messageExpression: 'string(object.data.missing)',
          message: 'fallback',
          reason: 'RequestEntityTooLarge',
        },
        { expression: '!("lines" in object.data)', messageExpression: '"a\\nb"', message: 'one line' },
      ],
    });
    for (const [key, code, reason, message] of [
      ['plain', 422, 'Invalid', 'no plain'],
      ['made', 403, 'Forbidden', 'made of stone'],
      ['broken', 413, 'RequestEntityTooLarge', 'fallback'],
      ['lines', 422, 'Invalid', 'one line'],
    ] as const) {
      const { status, body } = await post(CONFIGMAPS, configMap({ [key]: 'stone' }));
      assert.deepEqual([status, body.reason], [code, reason]);
      assert.ok(body.message.endsWith(`denied request: ${message}`), body.message);
    }
  });

  test('expressions refer to variables, which are evaluated when they are read', async () => {
    await validating({
      matchConstraints: ON_DEPLOYMENTS,
      variables: [
        { name: 'replicas', expression: 'object.spec.replicas' },
        { name: 'oddReplicas', expression: 'variables.replicas % 2 == 1' },
        { name: 'broken', expression: 'object.missing.field' },
      ],
      validations: [
        { expression: 'variables.replicas > 1' },
        { expression: 'variables.oddReplicas' },
        { expression: 'variables.replicas < 10 || variables.broken' },
      ],
    });
    assert.match(
      (await post(DEPLOYMENTS, deployment(1))).body.message,
      /failed expression: variables\.replicas > 1/,
    );
    assert.match(
      (await post(DEPLOYMENTS, deployment(2))).body.message,
      /failed expression: variables\.oddReplicas/,
    );
    assert.match(
      (await post(DEPLOYMENTS, deployment(11))).body.message,
      /composited variable "broken" fails to evaluate: no such key: missing/,
    );
    assert.equal((await post(DEPLOYMENTS, deployment(3))).status, 201);
  });

  test('a policy without binding, or whose binding is for other requests, does nothing; changes count at once', async () => {
    await validating(
      { validations: [{ expression: 'false' }] },
      { matchResources: { namespaceSelector: { matchLabels: { environment: 'prod' } } } },
    );
    assert.equal((await post(CONFIGMAPS, configMap())).status, 201);
    const elsewhere = '/api/v1/namespaces/other/configmaps';
    assert.equal((await post(elsewhere, configMap())).status, 422);
    await server.request(`DELETE ${GROUP}/validatingadmissionpolicybindings/policy-binding`);
    assert.equal((await post(elsewhere, configMap())).status, 201);
  });

  test('excluded resources, object selectors, names and match conditions', async () => {
    await validating({
      matchConstraints: {
        ...ON_CONFIGMAPS,
        excludeResourceRules: [
          {
            operations: ['*'],
            apiGroups: [''],
            apiVersions: ['*'],
            resources: ['configmaps'],
            resourceNames: ['free'],
          },
        ],
        objectSelector: { matchExpressions: [{ key: 'skip', operator: 'DoesNotExist' }] },
      },
      matchConditions: [
        { name: 'not-admin', expression: '!("trusted" in request.userInfo.groups)' },
        { name: 'no-marker', expression: '!has(object.data) || !("marker" in object.data)' },
      ],
      validations: [{ expression: 'false' }],
    });
    assert.equal((await post(CONFIGMAPS, configMap())).status, 422);
    assert.equal((await post(CONFIGMAPS, configMap({}, { name: 'free' }))).status, 201);
    assert.equal(
      (await post(CONFIGMAPS, configMap({}, { name: 'labelled', labels: { skip: 'yes' } }))).status,
      201,
    );
    assert.equal((await post(CONFIGMAPS, configMap({ marker: '1' }, { name: 'marked' }))).status, 201);
  });

  test('errors deny under Fail and pass under Ignore', async () => {
    await validating({ validations: [{ expression: 'object.data.missing == "x"' }] });
    assert.match(
      (await post(CONFIGMAPS, configMap({ a: 'b' }))).body.message,
      /denied request: expression 'object\.data\.missing == "x"' resulted in error: no such key: missing$/,
    );
    await server.request(`PATCH ${GROUP}/validatingadmissionpolicies/policy`, {
      body: { spec: { failurePolicy: 'Ignore' } },
      headers: { 'content-type': 'application/merge-patch+json' },
    });
    assert.equal((await post(CONFIGMAPS, configMap({ a: 'b' }))).status, 201);
  });

  test('actions: warnings beside denial by another binding, nothing for audit alone', async () => {
    await validating(
      { validations: [{ expression: '!("bad" in object.data)', message: 'bad key' }] },
      { validationActions: ['Warn', 'Audit'] },
    );
    const warned = await post(CONFIGMAPS, configMap({ bad: '1' }));
    assert.equal(warned.status, 201);
    assert.equal(
      warned.headers['warning'],
      "299 - \"Validation failed for ValidatingAdmissionPolicy 'policy' with binding 'policy-binding': bad key\"",
    );
  });

  test('audit: annotations of what was seen, and of what was only to be audited', async () => {
    await validating(
      {
        validations: [{ expression: '!("bad" in object.data)', message: 'bad key' }],
        auditAnnotations: [
          { key: 'size', valueExpression: '"has " + string(size(object.data)) + " keys"' },
          { key: 'never', valueExpression: 'null' },
          { key: 'long', valueExpression: 'string(object.data.long)' },
        ],
      },
      { validationActions: ['Audit'] },
    );
    assert.equal((await post(CONFIGMAPS, configMap({ bad: '1', long: 'ä'.repeat(8000) }))).status, 201);
    assert.equal(annotations['policy/size'], 'has 2 keys');
    assert.equal(annotations['policy/never'], undefined);
    assert.equal(Buffer.byteLength(annotations['policy/long']!), 10 * 1024);
    assert.deepEqual(JSON.parse(annotations['validation.policy.admission.k8s.io/validation_failure']!), [
      {
        message: 'bad key',
        policy: 'policy',
        binding: 'policy-binding',
        expressionIndex: '0',
        validationActions: ['Audit'],
      },
    ]);
    await server.request(`PATCH ${GROUP}/validatingadmissionpolicybindings/policy-binding`, {
      body: { spec: { validationActions: ['Deny'] } },
      headers: { 'content-type': 'application/merge-patch+json' },
    });
    assert.match(
      (await post(CONFIGMAPS, configMap({ a: '1' }, { name: 'short' }))).body.message,
      /expression 'string\(object\.data\.long\)' resulted in error: no such key: long$/,
    );
  });

  test('deletions have an old object alone', async () => {
    await validating({
      validations: [
        {
          expression: 'request.operation != "DELETE" || (object == null && oldObject.data.keep != "yes")',
          message: 'is kept',
        },
      ],
    });
    await post(CONFIGMAPS, configMap({ keep: 'yes' }));
    assert.match((await server.request(`DELETE ${CONFIGMAPS}/config`)).body.message, /is kept$/);
    await server.request(`PUT ${CONFIGMAPS}/config`, { body: configMap({ keep: 'no' }) });
    assert.equal((await server.request(`DELETE ${CONFIGMAPS}/config`)).status, 200);
  });

  test('namespaceObject, request and authorizer', async () => {
    await validating({
      validations: [
        {
          expression:
            'namespaceObject.metadata.labels.environment == "test" && namespaceObject.metadata.name == request.namespace',
        },
        {
          expression:
            'request.kind.kind == "ConfigMap" && request.resource.resource == "configmaps" && request.userInfo.username == "admin" && request.dryRun == false && request.name == object.metadata.name',
        },
        {
          expression:
            'authorizer.group("example.com").resource("apps").namespace(request.namespace).name(object.metadata.name).check("deploy").allowed()',
          messageExpression: '"may not deploy " + object.metadata.name',
        },
        { expression: 'authorizer.requestResource.check("create").allowed()' },
      ],
    });
    assert.equal((await post(CONFIGMAPS, configMap({}, { name: 'allowed' }))).status, 201);
    assert.match(
      (await post(CONFIGMAPS, configMap({}, { name: 'config' }))).body.message,
      /may not deploy config$/,
    );
    assert.deepEqual(
      asked.map(({ group, resource, namespace, name, user }) => [
        group,
        resource,
        namespace,
        name,
        user.name,
      ]),
      [
        ['example.com', 'apps', 'default', 'allowed', 'admin'],
        ['example.com', 'apps', 'default', 'config', 'admin'],
      ],
    );
  });

  test('subresources and other versions are seen as the rule asks', async () => {
    await validating({
      matchConstraints: {
        resourceRules: [
          { operations: ['*'], apiGroups: ['apps'], apiVersions: ['v1'], resources: ['deployments/scale'] },
        ],
      },
      validations: [
        {
          expression: 'object.kind == "Scale" && request.subResource == "scale" && object.spec.replicas < 5',
        },
      ],
    });
    await post(DEPLOYMENTS, deployment(9));
    const scale = (replicas: number): Promise<TestResponse> =>
      server.request(`PATCH ${DEPLOYMENTS}/web/scale`, {
        body: { spec: { replicas } },
        headers: { 'content-type': 'application/merge-patch+json' },
      });
    assert.equal((await scale(6)).status, 422);
    assert.equal((await scale(4)).status, 200);
    await validating(
      {
        matchConstraints: {
          resourceRules: [
            { operations: ['*'], apiGroups: ['autoscaling'], apiVersions: ['v1'], resources: ['*'] },
          ],
        },
        validations: [
          {
            expression:
              'object.apiVersion == "autoscaling/v1" && object.spec.targetCPUUtilizationPercentage < 50 && request.requestKind.version == "v2" && request.kind.version == "v1"',
          },
        ],
      },
      {},
      'versions',
    );
    const autoscaler = (averageUtilization: number): Json => ({
      metadata: { name: 'web' },
      spec: {
        maxReplicas: 3,
        scaleTargetRef: { kind: 'Deployment', name: 'web', apiVersion: 'apps/v1' },
        metrics: [
          {
            type: 'Resource',
            resource: { name: 'cpu', target: { type: 'Utilization', averageUtilization } },
          },
        ],
      },
    });
    const path = '/apis/autoscaling/v2/namespaces/default/horizontalpodautoscalers';
    assert.equal((await server.request(`POST ${path}`, { body: autoscaler(60) })).status, 422);
    assert.equal((await server.request(`POST ${path}`, { body: autoscaler(40) })).status, 201);
    assert.equal((await server.request(`DELETE ${path}/web`)).status, 422, 'a deletion has no object');
    await server.request(`DELETE ${GROUP}/validatingadmissionpolicybindings/versions-binding`);
    assert.equal((await server.request(`DELETE ${path}/web`)).status, 200);
  });

  test('policies never see policies', async () => {
    await validating({
      matchConstraints: {
        resourceRules: [{ operations: ['*'], apiGroups: ['*'], apiVersions: ['*'], resources: ['*'] }],
      },
      validations: [{ expression: 'false' }],
    });
    assert.equal((await post(CONFIGMAPS, configMap())).status, 422);
    assert.equal((await server.request(`DELETE ${GROUP}/validatingadmissionpolicies/policy`)).status, 200);
    assert.equal((await post(CONFIGMAPS, configMap())).status, 201);
  });

  test("parameters: by name, by selector, missing, of the request's namespace, of other kinds", async () => {
    await post('/api/v1/namespaces/default/secrets', {
      metadata: { name: 'limits', labels: { role: 'limits' }, annotations: { max: '3' } },
    });
    const param = (
      paramRef: Json | undefined,
      expression = 'params == null || size(object.data) <= int(params.metadata.annotations.max)',
    ): Promise<void> =>
      validating(
        {
          matchConstraints: ON_NEW_CONFIGMAPS,
          paramKind: { apiVersion: 'v1', kind: 'Secret' },
          validations: [{ expression }],
        },
        paramRef ? { paramRef } : {},
      );
    const clear = async (): Promise<void> => {
      for (const path of made.splice(0).toReversed()) await server.request(`DELETE ${path}`);
    };
    const many = configMap({ a: '1', b: '2', c: '3', d: '4' });
    for (const paramRef of [
      { name: 'limits', parameterNotFoundAction: 'Deny' },
      { selector: { matchLabels: { role: 'limits' } }, parameterNotFoundAction: 'Allow' },
      { name: 'limits', namespace: 'default', parameterNotFoundAction: 'Deny' },
    ]) {
      await param(paramRef);
      assert.equal((await post(CONFIGMAPS, many)).status, 422, JSON.stringify(paramRef));
      assert.equal((await post(CONFIGMAPS, configMap({ a: '1' }))).status, 201);
      await server.request(`DELETE ${CONFIGMAPS}/config`);
      await clear();
    }
    await param({ name: 'none', parameterNotFoundAction: 'Deny' });
    assert.match(
      (await post(CONFIGMAPS, many)).body.message,
      /ValidatingAdmissionPolicy 'policy' with binding 'policy-binding' denied request: failed to configure binding: no params found for policy binding with `Deny` parameterNotFoundAction$/,
    );
    await clear();
    await param({ name: 'none', parameterNotFoundAction: 'Allow' });
    assert.equal((await post(CONFIGMAPS, many)).status, 201);
    await clear();
    await param(undefined);
    assert.equal((await post(CONFIGMAPS, configMap({ a: '1' }, { name: 'other' }))).status, 201);
    await clear();
    await validating(
      { paramKind: { apiVersion: 'example.com/v1', kind: 'Unheard' }, validations: [{ expression: 'true' }] },
      { paramRef: { name: 'x', parameterNotFoundAction: 'Allow' } },
    );
    assert.match(
      (await post(CONFIGMAPS, { ...many, metadata: { name: 'unheard' } })).body.message,
      /failed to configure policy: failed to find resource referenced by paramKind: 'example\.com\/v1, Kind=Unheard'/,
    );
    await server.request('DELETE /api/v1/namespaces/default/secrets/limits');
  });

  test('custom resources are parameters and objects like any other', async () => {
    await post('/apis/apiextensions.k8s.io/v1/customresourcedefinitions', {
      metadata: { name: 'limits.example.com' },
      spec: {
        group: 'example.com',
        scope: 'Namespaced',
        names: { plural: 'limits', singular: 'limit', kind: 'Limit', listKind: 'LimitList' },
        versions: [
          {
            name: 'v1',
            served: true,
            storage: true,
            schema: {
              openAPIV3Schema: {
                type: 'object',
                properties: { spec: { type: 'object', properties: { max: { type: 'integer' } } } },
              },
            },
          },
        ],
      },
    });
    await validating(
      {
        paramKind: { apiVersion: 'example.com/v1', kind: 'Limit' },
        validations: [{ expression: 'size(object.data) <= params.spec.max' }],
      },
      { paramRef: { name: 'max', parameterNotFoundAction: 'Deny' } },
    );
    assert.equal(
      (
        await server.request('POST /apis/example.com/v1/namespaces/default/limits', {
          body: { apiVersion: 'example.com/v1', kind: 'Limit', metadata: { name: 'max' }, spec: { max: 1 } },
        })
      ).status,
      201,
    );
    assert.equal((await post(CONFIGMAPS, configMap({ a: '1', b: '2' }))).status, 422);
    assert.equal((await post(CONFIGMAPS, configMap({ a: '1' }))).status, 201);
    await validating(
      {
        matchConstraints: {
          resourceRules: [
            {
              operations: ['CREATE'],
              apiGroups: ['example.com'],
              apiVersions: ['v1'],
              resources: ['limits'],
            },
          ],
        },
        validations: [{ expression: 'object.spec.max < 100' }, { expression: 'object.spec.maximum > 1' }],
      },
      {},
      'custom',
    );
    assert.equal(
      (
        await server.request('POST /apis/example.com/v1/namespaces/default/limits', {
          body: {
            apiVersion: 'example.com/v1',
            kind: 'Limit',
            metadata: { name: 'big' },
            spec: { max: 100 },
          },
        })
      ).status,
      422,
    );
    assert.deepEqual(
      (await statusOf('custom')).typeChecking.expressionWarnings.map(
        ({ fieldRef, warning }: Json) => `${fieldRef} ${warning.split('\n')[0]}`,
      ),
      [
        "spec.validations[1].expression example.com/v1, Kind=Limit: ERROR: <input>:1:12: undefined field 'maximum'",
      ],
    );
  });

  test('expressions are type-checked against the kinds the policy names', async () => {
    await validating({
      matchConstraints: ON_DEPLOYMENTS,
      variables: [{ name: 'replicas', expression: 'object.spec.replicas' }],
      validations: [
        { expression: "object.spec.replicas > '1'", message: 'wants more' },
        {
          expression: 'object.spec.replicas > 1',
          messageExpression: '"wants more than " + string(object.spec.maxReplicas)',
        },
        {
          expression:
            'variables.replicas < 100 && object.metadata.namespace != "x" && object.spec.template.spec.containers.all(c, c.image.startsWith("registry/"))',
        },
      ],
    });
    const {
      typeChecking: { expressionWarnings },
    } = await statusOf('policy');
    assert.deepEqual(
      expressionWarnings.map(({ fieldRef }: Json) => fieldRef),
      ['spec.validations[0].expression', 'spec.validations[1].messageExpression'],
    );
    assert.match(
      expressionWarnings[0].warning,
      /^apps\/v1, Kind=Deployment: ERROR: <input>:1:22: found no matching overload for '_>_' applied to '\(int, string\)'/,
    );
    assert.match(
      expressionWarnings[1].warning,
      /^apps\/v1, Kind=Deployment: ERROR: <input>:1:40: undefined field 'maxReplicas'/,
    );
    await validating({ validations: [{ expression: 'has(object.data)' }] }, {}, 'fine');
    assert.deepEqual((await statusOf('fine')).typeChecking, {});
  });

  test('what does not compile is refused where it stands', async () => {
    const refusal = async (spec: Json, kind = 'validating'): Promise<string[]> => {
      const { status, body } = await post(`${GROUP}/${kind}admissionpolicies`, {
        metadata: { name: 'refused' },
        spec: {
          matchConstraints: kind === 'mutating' ? ON_WRITTEN_CONFIGMAPS : ON_CONFIGMAPS,
          ...(kind === 'mutating'
            ? { reinvocationPolicy: 'Never' }
            : { validations: [{ expression: 'true' }] }),
          ...spec,
        },
      });
      assert.equal(status, 422, JSON.stringify(spec));
      return body.details.causes.map(({ field, message }: Json) => `${field}: ${message.split('\n')[0]}`);
    };
    assert.deepEqual(
      await refusal({
        validations: [
          { expression: 'object.x ==' },
          { expression: '1' },
          { expression: 'true', messageExpression: '3' },
        ],
      }),
      [
        "spec.validations[0].expression: Invalid value: \"object.x ==\": compilation failed: ERROR: <input>:1:12: Syntax error: mismatched input '<EOF>' expecting {'[', '{', '(', '.', '-', '!', 'true', 'false', 'null', NUM_FLOAT, NUM_INT, NUM_UINT, STRING, BYTES, IDENTIFIER}",
        'spec.validations[1].expression: Invalid value: "1": must evaluate to bool but got int',
        'spec.validations[2].messageExpression: Invalid value: "3": must evaluate to string but got int',
      ],
    );
    assert.deepEqual(
      await refusal({
        variables: [
          { name: 'a', expression: 'variables.a' },
          { name: 'b', expression: 'variables.c' },
          { name: 'c', expression: 'true' },
          { name: 'in-valid', expression: '1' },
        ],
      }),
      [
        'spec.variables[3].name: Invalid value: "in-valid": must be a valid CEL identifier',
        'spec.variables[0].expression: Invalid value: "variables.a": compilation failed: ERROR: <input>:1:10: undefined field \'a\'',
        'spec.variables[1].expression: Invalid value: "variables.c": compilation failed: ERROR: <input>:1:10: undefined field \'c\'',
      ],
    );
    assert.deepEqual(await refusal({ matchConditions: [{ expression: 'nope' }] }), [
      "spec.matchConditions[0].expression: Invalid value: \"nope\": compilation failed: ERROR: <input>:1:1: undeclared reference to 'nope' (in container '')",
      'spec.matchConditions[0].name: Required value',
    ]);
    assert.deepEqual(await refusal({ matchConditions: [{ name: 'c', expression: 'params.x' }] }), [
      "spec.matchConditions[0].expression: Invalid value: \"params.x\": compilation failed: ERROR: <input>:1:1: undeclared reference to 'params' (in container '')",
    ]);
    assert.deepEqual(await refusal({ auditAnnotations: [{ key: 'k', valueExpression: '1' }] }), [
      'spec.auditAnnotations[0].valueExpression: Invalid value: "1": must evaluate to one of [string null_type] but got int',
    ]);
    assert.deepEqual(await refusal({ validations: [{ expression: 'request.nope == ""' }] }), [
      'spec.validations[0].expression: Invalid value: "request.nope == \\"\\"": compilation failed: ERROR: <input>:1:8: undefined field \'nope\'',
    ]);
    assert.deepEqual(
      await refusal(
        {
          mutations: [
            { patchType: 'ApplyConfiguration', applyConfiguration: { expression: 'Other{a: 1}' } },
            { patchType: 'JSONPatch', jsonPatch: { expression: '[JSONPatch{op: "add", where: "/"}]' } },
            { patchType: 'JSONPatch', jsonPatch: { expression: 'Object{}' } },
          ],
        },
        'mutating',
      ),
      [
        "spec.mutations[0].applyConfiguration.expression: Invalid value: \"Other{a: 1}\": compilation failed: ERROR: <input>:1:6: undeclared reference to 'Other' (in container '')",
        'spec.mutations[1].jsonPatch.expression: Invalid value: "[JSONPatch{op: \\"add\\", where: \\"/\\"}]": compilation failed: ERROR: <input>:1:23: undefined field \'where\'',
        'spec.mutations[2].jsonPatch.expression: Invalid value: "Object{}": must evaluate to list(JSONPatch) but got Object',
      ],
    );
  });

  test('attacks on the evaluator end in its budget', async () => {
    const data = Object.fromEntries(Array.from({ length: 2000 }, (_, i) => [`k${i}`, 'v']));
    const bombs = [
      'object.data.all(a, object.data.all(b, object.data.all(c, a != b + c)))',
      'variables.double20.size() > 0',
      'variables.text20.size() > 0',
      'object.data.exists(a, object.data.exists(b, a + b == "")) || true',
      '"a".replace("", "x", 9223372036854775807) == "xax" && variables.kilo.replace("x", variables.kilo).replace("x", variables.kilo).size() > 0',
      '[variables.kilo, variables.kilo].map(a, [variables.kilo].map(b, variables.kilo.replace("x", variables.kilo))).size() > 0 && variables.kilo.replace("x", variables.kilo).replace("x", variables.kilo).contains("y")',
    ];
    const doubled = (name: string, seed: string): Json[] => [
      { name: `${name}0`, expression: seed },
      ...Array.from({ length: 40 }, (_, i) => ({
        name: `${name}${i + 1}`,
        expression: `variables.${name}${i} + variables.${name}${i}`,
      })),
    ];
    const variables = [
      ...doubled('double', '[1, 2]'),
      ...doubled('text', '"abcdefgh"'),
      {
        name: 'kilo',
        expression: '"x".replace("x", "xxxxxxxxxx").replace("x", "xxxxxxxxxx").replace("x", "xxxxxxxxxx")',
      },
    ];
    for (const bomb of bombs) {
      await validating({
        variables,
        validations: [
          { expression: bomb.replaceAll(/\b(double|text)20\b/g, (_, name: string) => `${name}40`) },
        ],
      });
      const { status, body } = await post(CONFIGMAPS, configMap(data));
      assert.equal(status, 422, bomb);
      assert.match(body.message, /cost limit exceeded|running out of cost budget/, bomb);
      for (const path of made.splice(0).toReversed()) await server.request(`DELETE ${path}`);
    }
    await validating({ validations: [{ expression: 'object.data.s.matches("^(a+)+$")' }] });
    assert.equal((await post(CONFIGMAPS, configMap({ s: `${'a'.repeat(50_000)}!` }))).status, 422);
  });

  test('decisions and match conditions are counted', async () => {
    await validating(
      {
        matchConditions: [{ name: 'no-skip', expression: '!("skip" in object.data)' }],
        validations: [{ expression: '!("bad" in object.data)' }],
      },
      {},
      'counted',
    );
    await validating(
      { failurePolicy: 'Ignore', validations: [{ expression: 'object.data.missing == ""' }] },
      {},
      'ignored',
    );
    await post(CONFIGMAPS, configMap({ bad: '1' }));
    await post(CONFIGMAPS, configMap({ skip: '1' }));
    const { text } = await server.request('GET /metrics');
    for (const line of [
      'apiserver_validating_admission_policy_check_total{enforcement_action="deny",error_type="no_error",policy="counted",policy_binding="counted-binding"} 1',
      'apiserver_validating_admission_policy_check_total{enforcement_action="allow",error_type="invalid_error",policy="ignored",policy_binding="ignored-binding"} 2',
      'apiserver_admission_match_condition_exclusions_total{kind="policy",name="counted",operation="CREATE",type="validate"} 1',
    ])
      assert.ok(text.includes(`${line}\n`), line);
  });

  test('the status is a subresource of its own', async () => {
    await validating({ validations: [{ expression: 'has(object.data)' }] });
    await statusOf('policy');
    const path = `${GROUP}/validatingadmissionpolicies/policy`;
    const condition = {
      type: 'Ready',
      status: 'True',
      reason: 'Checked',
      message: '',
      lastTransitionTime: '2026-01-02T03:04:05Z',
    };
    const { status, body } = await server.request(`PATCH ${path}/status`, {
      body: { spec: { failurePolicy: 'Ignore' }, status: { conditions: [condition] } },
      headers: { 'content-type': 'application/merge-patch+json' },
    });
    assert.equal(status, 200);
    assert.deepEqual(
      [
        body.status.conditions,
        body.status.typeChecking,
        body.status.observedGeneration,
        body.spec.failurePolicy,
      ],
      [[condition], {}, 1, 'Fail'],
    );
    const changed = await server.request(`PATCH ${path}`, {
      body: { spec: { failurePolicy: 'Ignore' }, status: { conditions: [] } },
      headers: { 'content-type': 'application/merge-patch+json' },
    });
    assert.deepEqual([changed.body.metadata.generation, changed.body.status.conditions], [2, [condition]]);
    assert.deepEqual(
      [(await statusOf('policy')).observedGeneration, (await statusOf('policy')).conditions],
      [2, [condition]],
    );
  });
});

describe('MutatingAdmissionPolicy', () => {
  const apply = (expression: string): Json => ({
    patchType: 'ApplyConfiguration',
    applyConfiguration: { expression },
  });
  const patch = (expression: string): Json => ({ patchType: 'JSONPatch', jsonPatch: { expression } });

  test('merges configurations as server-side apply does', async () => {
    await mutating({
      matchConstraints: ON_DEPLOYMENTS,
      mutations: [
        apply(`Object{
      metadata: Object.metadata{labels: {"team": request.userInfo.username}}, // who
      spec: Object.spec{template: Object.spec.template{spec: Object.spec.template.spec{
        initContainers: [Object.spec.template.spec.initContainers{name: "proxy", image: "proxy:1"}],
        containers: object.spec.template.spec.containers.map(c, Object.spec.template.spec.containers{name: c.name, imagePullPolicy: "Always"})
      }}}
    }`),
      ],
    });
    const { body } = await post(DEPLOYMENTS, deployment(1, { labels: { own: 'kept' } }));
    assert.deepEqual(body.metadata.labels, { own: 'kept', team: 'admin' });
    const { containers, initContainers } = body.spec.template.spec;
    assert.equal(containers.length, 1);
    assert.deepEqual(
      [
        containers[0].image,
        containers[0].imagePullPolicy,
        initContainers[0].name,
        initContainers[0].terminationMessagePath,
      ],
      ['nginx', 'Always', 'proxy', '/dev/termination-log'],
    );
  });

  test('applies JSON patches, with escaped keys, one mutation after the other', async () => {
    await mutating({
      variables: [{ name: 'key', expression: '"example.com/a.b"' }],
      mutations: [
        patch(
          '(has(object.metadata.annotations) ? [] : [JSONPatch{op: "add", path: "/metadata/annotations", value: {}}]) + [JSONPatch{op: "add", path: "/metadata/annotations/" + jsonpatch.escapeKey(variables.key), value: "1"}, JSONPatch{op: "test", path: "/data/a", value: "x"}, JSONPatch{op: "copy", from: "/data/a", path: "/data/b"}]',
        ),
        apply('Object{metadata: Object.metadata{labels: {"size": string(size(object.data))}}}'),
      ],
    });
    const { body, text } = await post(CONFIGMAPS, configMap({ a: 'x' }));
    assert.ok(body.data, text);
    assert.deepEqual(
      [body.metadata.annotations, body.data, body.metadata.labels],
      [{ 'example.com/a.b': '1' }, { a: 'x', b: 'x' }, { size: '2' }],
    );
    const refused = await post(CONFIGMAPS, configMap({ a: 'y' }, { name: 'second' }));
    assert.deepEqual([refused.status, refused.body.reason], [403, 'Invalid']);
    assert.match(
      refused.body.message,
      /^policy 'policy' with binding 'policy-binding' denied request: JSON Patch: /,
    );
  });

  test('what cannot be merged, misplaced types and errors are refused, or pass under Ignore', async () => {
    for (const [expression, problem] of [
      [
        'Object{metadata: Object.spec{}}',
        /unexpected type name "Object\.spec", expected "Object\.metadata", which matches field name path from root Object type/,
      ],
      [
        'Object{spec: Object.spec{template: Object.spec.template{spec: Object.spec.template.spec{containers: [Object.spec.template.spec.containers{name: "c", args: ["x"]}]}}}}',
        /may not mutate atomic arrays, maps or structs: \.spec\.template\.spec\.containers\[0\]\.args/,
      ],
      ['Object{metadata: Object.metadata{name: object.missing}}', /resulted in error: no such key: missing/],
      [
        'Object{spec: Object.spec{replicas: "three"}}',
        /policy 'policy' with binding 'policy-binding' denied request: .*replicas/,
      ],
    ] as const) {
      await mutating({ matchConstraints: ON_DEPLOYMENTS, mutations: [apply(expression)] });
      assert.match((await post(DEPLOYMENTS, deployment(1))).body.message, problem);
      await server.request(`PATCH ${GROUP}/mutatingadmissionpolicies/policy`, {
        body: { spec: { failurePolicy: 'Ignore' } },
        headers: { 'content-type': 'application/merge-patch+json' },
      });
      assert.equal((await post(DEPLOYMENTS, deployment(1))).status, 201);
      await server.request(`DELETE ${DEPLOYMENTS}/web`);
      for (const path of made.splice(0).toReversed()) await server.request(`DELETE ${path}`);
    }
  });

  test('policies see what others changed, again when they ask for it', async () => {
    const count = (name: string): Json =>
      patch(
        `[JSONPatch{op: "add", path: "/data/${name}", value: has(object.data.${name}) ? object.data.${name} + "x" : "x"}]`,
      );
    await mutating({ mutations: [count('a')], reinvocationPolicy: 'IfNeeded' }, {}, 'a');
    await mutating({ mutations: [count('b')] }, {}, 'b');
    const { body } = await post(CONFIGMAPS, configMap({ k: 'v' }));
    assert.deepEqual(body.data, { k: 'v', a: 'xx', b: 'x' });
  });

  test('the validating policies see what the mutating made', async () => {
    await mutating({
      mutations: [apply('Object{metadata: Object.metadata{labels: {"made": "yes"}}}')],
      matchConditions: [{ name: 'unless-told', expression: '!has(object.data) || !("raw" in object.data)' }],
    });
    await validating(
      {
        validations: [{ expression: 'has(object.metadata.labels) && object.metadata.labels.made == "yes"' }],
      },
      {},
      'check',
    );
    assert.equal((await post(CONFIGMAPS, configMap())).status, 201);
    assert.equal((await post(CONFIGMAPS, configMap({ raw: '1' }, { name: 'raw' }))).status, 422);
  });

  test('parameters and optional fields', async () => {
    await post(CONFIGMAPS, { metadata: { name: 'defaults' }, data: { team: 'blue' } });
    await mutating(
      {
        paramKind: { apiVersion: 'v1', kind: 'ConfigMap' },
        mutations: [
          apply(
            'Object{metadata: Object.metadata{labels: {"team": params.data.team}, ?annotations: object.?data.?note.optMap(n, {"note": n})}}',
          ),
        ],
      },
      { paramRef: { name: 'defaults', parameterNotFoundAction: 'Deny' } },
    );
    const plain = await post(CONFIGMAPS, configMap({}));
    assert.deepEqual(
      [plain.body.metadata.labels, plain.body.metadata.annotations],
      [{ team: 'blue' }, undefined],
    );
    assert.deepEqual(
      (await post(CONFIGMAPS, configMap({ note: 'x' }, { name: 'noted' }))).body.metadata.annotations,
      { note: 'x' },
    );
  });
});
