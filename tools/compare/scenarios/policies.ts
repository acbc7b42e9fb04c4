/** Admission policies and webhook configurations: expressions good and bad, and what policies in force do. */
import { steps } from '../paths.ts';
import type { RunNames, Scenario, Step } from '../scenario.ts';

const GROUP = '/apis/admissionregistration.k8s.io/v1';
const EXPRESSIONS = [
  'object.metadata.name == "x"',
  'object.metadata.name',
  'object.',
  '',
  ' ',
  '1',
  'true',
  'nope',
  'object.spec.replicas > 5',
  'object.spec.nope > 5',
  'oldObject == null',
  'request.operation == "CREATE"',
  'request.nope',
  'request.userInfo.groups.exists(g, g == "x")',
  'params.data.x == "y"',
  'params == null',
  'namespaceObject.metadata.labels.a == "b"',
  'variables.v == 1',
  'variables.w == 1',
  'authorizer.group("").resource("pods").namespace("x").check("get").allowed()',
  'authorizer.serviceAccount("a","b").path("/x").check("get").reason()',
  'authorizer.requestResource.check("x").allowed()',
  'object.spec.template.spec.containers.all(c, c.image.startsWith("x"))',
  'object.spec.template.spec.containers.all(c, object.spec.template.spec.containers.all(d, object.spec.template.spec.containers.all(e, c == d)))',
  'has(object.spec)',
  'quantity("1Gi").asInteger() > 1',
  'size(object.metadata.labels) > 0',
  '"a" + 1 == "a1"',
  'object.spec.replicas == "x"',
  'self.a',
  'dyn(object).x',
  'object.metadata.?labels.?a.orValue("") == "x"',
];

export function policies({ token, namespace }: RunNames): Scenario[] {
  const refused = (about: string, path: string, body: object): Scenario => ({
    name: `policies/${about}`,
    area: 'admissionregistration.k8s.io',
    steps: [steps.post(`${GROUP}/${path}?dryRun=All&fieldValidation=Strict`, body)],
  });
  const rules = (resource: string, group = ''): object => ({
    resourceRules: [
      { apiGroups: [group], apiVersions: ['v1'], resources: [resource], operations: ['CREATE', 'UPDATE'] },
    ],
  });
  const policy = (spec: object): object => ({
    apiVersion: 'admissionregistration.k8s.io/v1',
    kind: 'ValidatingAdmissionPolicy',
    metadata: { name: `${token}-p` },
    spec: {
      matchConstraints: rules('deployments', 'apps'),
      variables: [{ name: 'v', expression: '1' }],
      ...spec,
    },
  });
  const mutating = (spec: object): object => ({
    apiVersion: 'admissionregistration.k8s.io/v1',
    kind: 'MutatingAdmissionPolicy',
    metadata: { name: `${token}-m` },
    spec: { matchConstraints: rules('deployments', 'apps'), reinvocationPolicy: 'Never', ...spec },
  });
  const patches = [
    'Object{}',
    'Object{metadata: Object.metadata{labels: {"a": "b"}}}',
    'Object{spec: Object.spec{replicas: 5}}',
    'Object{spec: Object.spec{nope: 5}}',
    'Object{spec: Object.spec{replicas: "x"}}',
    'Nope{}',
    '{"a": 1}',
    '5',
    'Object{',
    '',
    '[JSONPatch{op: "add", path: "/x", value: 1}]',
    '[JSONPatch{op: "nope", path: "/x"}]',
    'JSONPatch{op: "add"}',
    '[]',
    '[1]',
    '[JSONPatch{op: "add", path: "/metadata/labels/" + jsonpatch.escapeKey("a/b"), value: "x"}]',
  ];
  return [
    ...EXPRESSIONS.flatMap((expression) => [
      refused(
        `validation ${expression}`,
        'validatingadmissionpolicies',
        policy({ validations: [{ expression }] }),
      ),
      refused(
        `validation with params ${expression}`,
        'validatingadmissionpolicies',
        policy({ paramKind: { apiVersion: 'v1', kind: 'ConfigMap' }, validations: [{ expression }] }),
      ),
      refused(
        `match condition ${expression}`,
        'validatingadmissionpolicies',
        policy({ validations: [{ expression: 'true' }], matchConditions: [{ name: 'm', expression }] }),
      ),
      refused(
        `message ${expression}`,
        'validatingadmissionpolicies',
        policy({ validations: [{ expression: 'true', messageExpression: expression }] }),
      ),
      refused(
        `variable ${expression}`,
        'validatingadmissionpolicies',
        policy({ variables: [{ name: 'w', expression }], validations: [{ expression: 'true' }] }),
      ),
      refused(
        `audit ${expression}`,
        'validatingadmissionpolicies',
        policy({ auditAnnotations: [{ key: 'k', valueExpression: expression }] }),
      ),
    ]),
    ...patches.flatMap((expression) => [
      refused(
        `apply configuration ${expression}`,
        'mutatingadmissionpolicies',
        mutating({ mutations: [{ patchType: 'ApplyConfiguration', applyConfiguration: { expression } }] }),
      ),
      refused(
        `json patch ${expression}`,
        'mutatingadmissionpolicies',
        mutating({ mutations: [{ patchType: 'JSONPatch', jsonPatch: { expression } }] }),
      ),
    ]),
    ...EXPRESSIONS.slice(0, 12).map((expression) =>
      refused(`webhook condition ${expression}`, 'validatingwebhookconfigurations', {
        apiVersion: 'admissionregistration.k8s.io/v1',
        kind: 'ValidatingWebhookConfiguration',
        metadata: { name: `${token}-w` },
        webhooks: [
          {
            name: 'a.example.com',
            clientConfig: { url: 'https://127.0.0.1:1/x' },
            sideEffects: 'None',
            admissionReviewVersions: ['v1'],
            rules: [],
            matchConditions: [{ name: 'm', expression }],
          },
        ],
      }),
    ),
    typeChecking(token, policy),
    validating(token),
    mutation(token),
    webhooks(token),
    cleanUp(namespace),
  ];
}

/** A pause, since policies come into force soon after rather than at once. */
function pause(): Step {
  return steps.get('/api/v1/namespaces?watch=1&timeoutSeconds=3&fieldSelector=metadata.name%3Dnone', {
    quiet: true,
  });
}

function cleanUp(namespace: string): Scenario {
  return {
    name: 'policies/what is left',
    area: 'admissionregistration.k8s.io',
    steps: [steps.get(`/api/v1/namespaces/${namespace}`)],
  };
}

function typeChecking(token: string, policy: (spec: object) => object): Scenario {
  const path = `${GROUP}/validatingadmissionpolicies`;
  return {
    name: 'policies/type checking',
    area: 'admissionregistration.k8s.io',
    steps: [
      steps.post(path, policy({ validations: [{ expression: 'object.spec.nope == 1' }] })),
      pause(),
      steps.patch('merge', `${path}/${token}-p/status`, {
        body: {
          status: {
            observedGeneration: 1,
            typeChecking: { expressionWarnings: [{ fieldRef: 'x', warning: 'y' }] },
          },
        },
      }),
      steps.get(`${path}/${token}-p`, {
        headers: { accept: 'application/json;as=Table;v=v1;g=meta.k8s.io' },
      }),
      steps.remove(`${path}/${token}-p`),
    ],
  };
}

/** A policy bound to one namespace; then requests that it judges. */
function validating(token: string): Scenario {
  const namespace = `${token}-vap`;
  const base = `/api/v1/namespaces/${namespace}`;
  const resourceRules = [
    { apiGroups: [''], apiVersions: ['v1'], resources: ['configmaps'], operations: ['*'] },
  ];
  const policy = (name: string, spec: object): Step =>
    steps.post(`${GROUP}/validatingadmissionpolicies`, {
      apiVersion: 'admissionregistration.k8s.io/v1',
      kind: 'ValidatingAdmissionPolicy',
      metadata: { name: `${token}-${name}` },
      spec: { matchConstraints: { resourceRules }, ...spec },
    });
  const bind = (name: string, spec: object): Step =>
    steps.post(`${GROUP}/validatingadmissionpolicybindings`, {
      apiVersion: 'admissionregistration.k8s.io/v1',
      kind: 'ValidatingAdmissionPolicyBinding',
      metadata: { name: `${token}-${name}` },
      spec: {
        policyName: `${token}-${name}`,
        validationActions: ['Deny'],
        matchResources: { namespaceSelector: { matchLabels: { 'kubernetes.io/metadata.name': namespace } } },
        ...spec,
      },
    });
  const make = (name: string, data: object = {}): Step =>
    steps.post(`${base}/configmaps`, {
      apiVersion: 'v1',
      kind: 'ConfigMap',
      metadata: { name, labels: { n: name } },
      data,
    });
  const names = ['plain', 'warn', 'params', 'fails', 'ignored', 'reason', 'delete'];
  return {
    name: 'policies/validating in force',
    area: 'admissionregistration.k8s.io',
    steps: [
      steps.post(
        '/api/v1/namespaces',
        { apiVersion: 'v1', kind: 'Namespace', metadata: { name: namespace } },
        { must: true },
      ),
      make('params', { limit: '3' }),
      make('kept'),
      policy('plain', {
        validations: [
          {
            expression: 'object == null || !has(object.data) || !("deny" in object.data)',
            message: 'deny is denied',
          },
          {
            expression: 'object == null || !has(object.data) || !("other" in object.data)',
            messageExpression: '"other is " + object.data.other',
          },
        ],
      }),
      bind('plain', {}),
      policy('warn', {
        validations: [{ expression: 'object == null || !object.metadata.name.startsWith("warn")' }],
        auditAnnotations: [{ key: 'k', valueExpression: '"v"' }],
      }),
      bind('warn', { validationActions: ['Warn', 'Audit'] }),
      policy('params', {
        paramKind: { apiVersion: 'v1', kind: 'ConfigMap' },
        matchConditions: [{ name: 'm', expression: 'request.name.startsWith("param-")' }],
        validations: [
          {
            expression: 'size(object.metadata.name) < int(params.data.limit)',
            messageExpression: '"limit " + params.data.limit',
          },
        ],
      }),
      bind('params', { paramRef: { name: 'params', namespace, parameterNotFoundAction: 'Deny' } }),
      policy('fails', {
        matchConditions: [{ name: 'm', expression: 'request.name.startsWith("fail")' }],
        validations: [{ expression: 'object.data.absent == "x"' }],
      }),
      bind('fails', {}),
      policy('ignored', {
        failurePolicy: 'Ignore',
        matchConditions: [{ name: 'm', expression: 'request.name.startsWith("ignore")' }],
        validations: [{ expression: 'object.data.absent == "x"' }],
      }),
      bind('ignored', {}),
      policy('reason', {
        matchConditions: [{ name: 'm', expression: 'request.name.startsWith("reason")' }],
        validations: [
          { expression: 'false', reason: 'Unauthorized' },
          { expression: 'false', reason: 'RequestEntityTooLarge', message: 'big' },
        ],
      }),
      bind('reason', {}),
      policy('delete', {
        matchConditions: [{ name: 'm', expression: 'request.operation == "DELETE"' }],
        validations: [{ expression: 'oldObject.metadata.name != "kept"', message: 'kept is kept' }],
      }),
      bind('delete', {}),
      pause(),
      make('a'),
      make('b', { deny: 'x' }),
      make('c', { other: 'y' }),
      make('d', { deny: 'x', other: 'y' }),
      make('warned'),
      make('param-toolong'),
      make('fail'),
      make('ignore'),
      make('reason'),
      steps.patch('merge', `${base}/configmaps/a`, { body: { data: { deny: 'x' } } }),
      steps.patch('apply', `${base}/configmaps/e?fieldManager=m`, {
        body: { apiVersion: 'v1', kind: 'ConfigMap', metadata: { name: 'e' }, data: { deny: 'x' } },
      }),
      steps.remove(`${base}/configmaps/kept`),
      steps.remove(`${base}/configmaps`),
      steps.get(`${base}/configmaps`),
      steps.remove(`${base}/configmaps/params`),
      pause(),
      make('param-x'),
      ...names.flatMap((name) => [
        steps.remove(`${GROUP}/validatingadmissionpolicybindings/${token}-${name}`),
        steps.remove(`${GROUP}/validatingadmissionpolicies/${token}-${name}`),
      ]),
    ],
  };
}

function mutation(token: string): Scenario {
  const namespace = `${token}-map`;
  const base = `/api/v1/namespaces/${namespace}`;
  const policy = (name: string, spec: object): Step =>
    steps.post(`${GROUP}/mutatingadmissionpolicies`, {
      apiVersion: 'admissionregistration.k8s.io/v1',
      kind: 'MutatingAdmissionPolicy',
      metadata: { name: `${token}-${name}` },
      spec: {
        reinvocationPolicy: 'Never',
        matchConstraints: {
          resourceRules: [
            {
              apiGroups: [''],
              apiVersions: ['v1'],
              resources: ['configmaps'],
              operations: ['CREATE', 'UPDATE'],
            },
          ],
        },
        matchConditions: [{ name: 'm', expression: `request.name.startsWith("${name}")` }],
        ...spec,
      },
    });
  const bind = (name: string): Step =>
    steps.post(`${GROUP}/mutatingadmissionpolicybindings`, {
      apiVersion: 'admissionregistration.k8s.io/v1',
      kind: 'MutatingAdmissionPolicyBinding',
      metadata: { name: `${token}-${name}` },
      spec: {
        policyName: `${token}-${name}`,
        matchResources: { namespaceSelector: { matchLabels: { 'kubernetes.io/metadata.name': namespace } } },
      },
    });
  const kinds: Readonly<Record<string, object>> = {
    applied: {
      mutations: [
        {
          patchType: 'ApplyConfiguration',
          applyConfiguration: {
            expression:
              'Object{metadata: Object.metadata{labels: {"added": "yes"}}, data: {"n": object.metadata.name}}',
          },
        },
      ],
    },
    patched: {
      mutations: [
        {
          patchType: 'JSONPatch',
          jsonPatch: { expression: '[JSONPatch{op: "add", path: "/data", value: {"p": "q"}}]' },
        },
      ],
    },
    badpath: {
      mutations: [
        {
          patchType: 'JSONPatch',
          jsonPatch: { expression: '[JSONPatch{op: "remove", path: "/data/nope"}]' },
        },
      ],
    },
    badtype: {
      mutations: [
        {
          patchType: 'JSONPatch',
          jsonPatch: { expression: '[JSONPatch{op: "add", path: "/data", value: "x"}]' },
        },
      ],
    },
    error: {
      mutations: [
        {
          patchType: 'ApplyConfiguration',
          applyConfiguration: { expression: 'Object{data: {"n": object.data.absent}}' },
        },
      ],
    },
    quiet: {
      failurePolicy: 'Ignore',
      mutations: [
        {
          patchType: 'ApplyConfiguration',
          applyConfiguration: { expression: 'Object{data: {"n": object.data.absent}}' },
        },
      ],
    },
    renames: {
      mutations: [
        {
          patchType: 'JSONPatch',
          jsonPatch: { expression: '[JSONPatch{op: "replace", path: "/metadata/name", value: "z"}]' },
        },
      ],
    },
  };
  return {
    name: 'policies/mutating in force',
    area: 'admissionregistration.k8s.io',
    steps: [
      steps.post(
        '/api/v1/namespaces',
        { apiVersion: 'v1', kind: 'Namespace', metadata: { name: namespace } },
        { must: true },
      ),
      ...Object.entries(kinds).flatMap(([name, spec]) => [policy(name, spec), bind(name)]),
      pause(),
      ...Object.keys(kinds).flatMap((name) => [
        steps.post(`${base}/configmaps`, {
          apiVersion: 'v1',
          kind: 'ConfigMap',
          metadata: { name: `${name}-x` },
          data: { own: '1' },
        }),
        steps.patch('merge', `${base}/configmaps/${name}-x`, { body: { data: { more: '2' } } }),
        steps.patch('apply', `${base}/configmaps/${name}-y?fieldManager=m`, {
          body: { apiVersion: 'v1', kind: 'ConfigMap', metadata: { name: `${name}-y` } },
        }),
        steps.get(`${base}/configmaps/${name}-y`),
      ]),
      ...Object.keys(kinds).flatMap((name) => [
        steps.remove(`${GROUP}/mutatingadmissionpolicybindings/${token}-${name}`),
        steps.remove(`${GROUP}/mutatingadmissionpolicies/${token}-${name}`),
      ]),
    ],
  };
}

/** Webhooks that nobody answers. */
function webhooks(token: string): Scenario {
  const namespace = `${token}-hook`;
  const base = `/api/v1/namespaces/${namespace}`;
  const hook = (kind: string, name: string, more: object): Step =>
    steps.post(`${GROUP}/${kind.toLowerCase()}s`, {
      apiVersion: 'admissionregistration.k8s.io/v1',
      kind,
      metadata: { name: `${token}-${name}` },
      webhooks: [
        {
          name: `${name}.example.com`,
          clientConfig: { url: 'https://127.0.0.1:9/x' },
          sideEffects: 'None',
          admissionReviewVersions: ['v1'],
          timeoutSeconds: 1,
          namespaceSelector: { matchLabels: { 'kubernetes.io/metadata.name': namespace } },
          objectSelector: { matchLabels: { hook: name } },
          rules: [{ apiGroups: [''], apiVersions: ['v1'], resources: ['configmaps'], operations: ['*'] }],
          ...more,
        },
      ],
    });
  const hooks = ['refused', 'ignored', 'service', 'mutating', 'effects'] as const;
  const make = (name: string, query = ''): Step =>
    steps.post(`${base}/configmaps${query}`, {
      apiVersion: 'v1',
      kind: 'ConfigMap',
      metadata: { name, labels: { hook: name } },
    });
  return {
    name: 'policies/webhooks',
    area: 'admissionregistration.k8s.io',
    steps: [
      steps.post(
        '/api/v1/namespaces',
        { apiVersion: 'v1', kind: 'Namespace', metadata: { name: namespace } },
        { must: true },
      ),
      hook('ValidatingWebhookConfiguration', 'refused', {}),
      hook('ValidatingWebhookConfiguration', 'ignored', { failurePolicy: 'Ignore' }),
      hook('ValidatingWebhookConfiguration', 'service', {
        clientConfig: { service: { namespace: 'absent', name: 'absent' } },
      }),
      hook('MutatingWebhookConfiguration', 'mutating', {}),
      hook('ValidatingWebhookConfiguration', 'effects', {
        sideEffects: 'NoneOnDryRun',
        clientConfig: { service: { namespace: 'absent', name: 'absent', path: '/p', port: 8443 } },
      }),
      pause(),
      ...hooks.flatMap((name) => [make(name), make(name, '?dryRun=All')]),
      ...hooks.map((name) =>
        steps.remove(
          `${GROUP}/${name === 'mutating' ? 'mutating' : 'validating'}webhookconfigurations/${token}-${name}`,
        ),
      ),
    ],
  };
}
