/** Webhook configurations and admission policies. */
import { selector } from './pods.ts';
import type { Bases } from './base-table.ts';

const rules = [{ apiGroups: ['none'], apiVersions: ['v1'], resources: ['none'], operations: ['CREATE'] }];
const smallWebhook = {
  name: 'a.example.com',
  clientConfig: { url: 'https://127.0.0.1:1/x' },
  sideEffects: 'None',
  admissionReviewVersions: ['v1'],
  rules,
};
const richWebhook = {
  name: 'b.example.com',
  clientConfig: { service: { namespace: 'n', name: 's', path: '/p', port: 8443 }, caBundle: '' },
  sideEffects: 'NoneOnDryRun',
  admissionReviewVersions: ['v1', 'v1beta1'],
  rules: [
    {
      apiGroups: ['apps'],
      apiVersions: ['v1'],
      resources: ['none', 'none/status'],
      operations: ['CREATE', 'UPDATE'],
      scope: 'Namespaced',
    },
  ],
  failurePolicy: 'Ignore',
  matchPolicy: 'Exact',
  namespaceSelector: selector,
  objectSelector: selector,
  timeoutSeconds: 5,
  matchConditions: [{ name: 'c', expression: 'request.operation == "CREATE"' }],
};
const resourceRules = [
  { apiGroups: ['none'], apiVersions: ['v1'], resources: ['none'], operations: ['CREATE'] },
];
const mutating = {
  small: {
    spec: {
      matchConstraints: { resourceRules },
      reinvocationPolicy: 'Never',
      mutations: [
        {
          patchType: 'ApplyConfiguration',
          applyConfiguration: { expression: 'Object{metadata: Object.metadata{labels: {"a": "b"}}}' },
        },
      ],
    },
  },
  rich: {
    spec: {
      failurePolicy: 'Ignore',
      reinvocationPolicy: 'IfNeeded',
      paramKind: { apiVersion: 'v1', kind: 'ConfigMap' },
      matchConditions: [{ name: 'c', expression: 'true' }],
      variables: [{ name: 'v', expression: '1 + 1' }],
      matchConstraints: {
        resourceRules: [{ ...resourceRules[0], resourceNames: ['x'], scope: '*' }],
        excludeResourceRules: resourceRules,
        namespaceSelector: selector,
        objectSelector: selector,
        matchPolicy: 'Exact',
      },
      mutations: [
        {
          patchType: 'JSONPatch',
          jsonPatch: {
            expression: '[JSONPatch{op: "add", path: "/metadata/labels/a", value: string(variables.v)}]',
          },
        },
      ],
    },
  },
};
const mutatingBinding = {
  small: { spec: { policyName: 'p' } },
  rich: {
    spec: {
      policyName: 'p',
      paramRef: { name: 'n', namespace: 'ns', parameterNotFoundAction: 'Deny' },
      matchResources: { resourceRules, namespaceSelector: selector },
    },
  },
};

export const admissionBases: Bases = {
  'admissionregistration.k8s.io/v1/MutatingWebhookConfiguration': {
    small: { webhooks: [smallWebhook] },
    rich: { webhooks: [{ ...richWebhook, reinvocationPolicy: 'IfNeeded' }, smallWebhook] },
  },
  'admissionregistration.k8s.io/v1/ValidatingWebhookConfiguration': {
    small: { webhooks: [smallWebhook] },
    rich: { webhooks: [richWebhook, smallWebhook] },
  },
  'admissionregistration.k8s.io/v1/ValidatingAdmissionPolicy': {
    small: {
      spec: {
        matchConstraints: { resourceRules },
        validations: [{ expression: 'object.metadata.name != "x"' }],
      },
    },
    rich: {
      spec: {
        failurePolicy: 'Ignore',
        paramKind: { apiVersion: 'v1', kind: 'ConfigMap' },
        matchConditions: [{ name: 'c', expression: 'request.userInfo.username != "x"' }],
        variables: [{ name: 'v', expression: 'object.metadata.name' }],
        matchConstraints: {
          resourceRules: [{ ...resourceRules[0], scope: 'Cluster' }],
          excludeResourceRules: resourceRules,
          namespaceSelector: selector,
          objectSelector: selector,
          matchPolicy: 'Equivalent',
        },
        validations: [
          {
            expression: 'variables.v != params.data.x',
            message: 'no',
            reason: 'Forbidden',
            messageExpression: '"no " + variables.v',
          },
        ],
        auditAnnotations: [{ key: 'k', valueExpression: '"v"' }],
      },
    },
  },
  'admissionregistration.k8s.io/v1/ValidatingAdmissionPolicyBinding': {
    small: { spec: { policyName: 'p', validationActions: ['Deny'] } },
    rich: {
      spec: {
        policyName: 'p',
        validationActions: ['Warn', 'Audit'],
        paramRef: { selector, parameterNotFoundAction: 'Allow' },
        matchResources: { resourceRules, objectSelector: selector },
      },
    },
  },
  ...Object.fromEntries(
    ['v1', 'v1beta1', 'v1alpha1'].flatMap((version) => [
      [`admissionregistration.k8s.io/${version}/MutatingAdmissionPolicy`, mutating],
      [`admissionregistration.k8s.io/${version}/MutatingAdmissionPolicyBinding`, mutatingBinding],
    ]),
  ),
};
