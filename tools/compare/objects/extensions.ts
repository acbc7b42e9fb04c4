/** apiextensions.k8s.io and apiregistration.k8s.io. */
import type { Bases } from './base-table.ts';

export const widgetSchema = {
  type: 'object',
  properties: {
    spec: {
      type: 'object',
      required: ['size'],
      'x-kubernetes-validations': [
        { rule: 'self.size < 100', message: 'too big' },
        {
          rule: 'self.size >= oldSelf.size',
          messageExpression: '"shrank: " + self.pattern',
          reason: 'FieldValueForbidden',
          fieldPath: '.size',
        },
      ],
      properties: {
        size: { type: 'integer', minimum: 0 },
        color: { type: 'string', enum: ['red', 'blue'], default: 'red' },
        pattern: { type: 'string', pattern: '^a+$', maxLength: 20 },
        parts: {
          type: 'array',
          maxItems: 5,
          items: {
            type: 'object',
            required: ['name'],
            properties: {
              name: { type: 'string', maxLength: 50 },
              n: { 'x-kubernetes-int-or-string': true },
            },
          },
          'x-kubernetes-list-type': 'map',
          'x-kubernetes-list-map-keys': ['name'],
        },
        set: {
          type: 'array',
          maxItems: 4,
          items: { type: 'string', maxLength: 50 },
          'x-kubernetes-list-type': 'set',
        },
        free: { type: 'object', 'x-kubernetes-preserve-unknown-fields': true },
        map: { type: 'object', additionalProperties: { type: 'number', nullable: true } },
        at: { type: 'string', format: 'date-time' },
        ip: { type: 'string', format: 'ipv4' },
        one: { type: 'integer', oneOf: [{ minimum: 5 }, { maximum: 3 }] },
        embedded: {
          type: 'object',
          'x-kubernetes-embedded-resource': true,
          'x-kubernetes-preserve-unknown-fields': true,
        },
      },
    },
    status: { type: 'object', properties: { replicas: { type: 'integer' }, phase: { type: 'string' } } },
  },
};

const names = { plural: 'NAMEs', singular: 'NAME', kind: 'NaMe', listKind: 'NaMeList' };

export const extensionBases: Bases = {
  'apiextensions.k8s.io/v1/CustomResourceDefinition': {
    small: {
      spec: {
        group: 'example.com',
        scope: 'Namespaced',
        names,
        versions: [
          { name: 'v1', served: true, storage: true, schema: { openAPIV3Schema: { type: 'object' } } },
        ],
      },
    },
    rich: {
      spec: {
        group: 'example.com',
        scope: 'Cluster',
        names: { ...names, shortNames: ['nm'], categories: ['all'] },
        preserveUnknownFields: false,
        conversion: {
          strategy: 'Webhook',
          webhook: {
            clientConfig: { service: { namespace: 'n', name: 's', path: '/p', port: 443 } },
            conversionReviewVersions: ['v1'],
          },
        },
        versions: [
          {
            name: 'v1',
            served: true,
            storage: true,
            schema: { openAPIV3Schema: widgetSchema },
            subresources: {
              status: {},
              scale: {
                specReplicasPath: '.spec.size',
                statusReplicasPath: '.status.replicas',
                labelSelectorPath: '.status.phase',
              },
            },
            additionalPrinterColumns: [
              { name: 'Size', type: 'integer', jsonPath: '.spec.size', priority: 1, format: 'int32' },
            ],
            selectableFields: [{ jsonPath: '.spec.color' }],
          },
          {
            name: 'v1beta1',
            served: true,
            storage: false,
            deprecated: true,
            deprecationWarning: 'old',
            schema: { openAPIV3Schema: widgetSchema },
          },
        ],
      },
    },
  },
  'apiregistration.k8s.io/v1/APIService': {
    small: {
      spec: {
        group: 'NAME.example.com',
        version: 'v1',
        groupPriorityMinimum: 1,
        versionPriority: 1,
        service: { name: 's', namespace: 'absent' },
        insecureSkipTLSVerify: true,
      },
    },
    rich: {
      spec: {
        group: 'NAME.example.com',
        version: 'v1',
        groupPriorityMinimum: 100,
        versionPriority: 15,
        service: { name: 's', namespace: 'absent', port: 8443 },
        caBundle: 'AAEC',
      },
    },
  },
};
