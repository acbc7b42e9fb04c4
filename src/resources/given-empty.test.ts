import assert from 'node:assert/strict';
import { test } from 'node:test';
import { schemaForKind } from '#api/schemas.ts';
import { decodeObject } from '#machinery/decode.ts';
import { parseApiVersion, type KubeObject } from '#machinery/object.ts';
import { createDecoded } from './testing/write-case.ts';
import { semanticEqual } from './strategy.ts';

const metadata = { name: 'x', namespace: 'default' };
const container = { name: 'c', image: 'i' };
const pod = (spec: object): KubeObject =>
  ({ apiVersion: 'v1', kind: 'Pod', metadata, spec: { containers: [container], ...spec } }) as KubeObject;
const ephemeral = (more: object): KubeObject =>
  pod({ ephemeralContainers: [{ name: 'e', image: 'i', ...more }] });
const NOT_EPHEMERAL = 'Forbidden: cannot be set for an Ephemeral Container';
const template = (more: object): KubeObject =>
  ({
    apiVersion: 'resource.k8s.io/v1',
    kind: 'ResourceClaimTemplate',
    metadata,
    spec: { metadata: more, spec: {} },
  }) as KubeObject;
const scaler = (scaleUp: object): KubeObject =>
  ({
    apiVersion: 'autoscaling/v2',
    kind: 'HorizontalPodAutoscaler',
    metadata,
    spec: {
      maxReplicas: 1,
      scaleTargetRef: { apiVersion: 'apps/v1', kind: 'Deployment', name: 'd' },
      behavior: { scaleUp },
    },
  }) as KubeObject;

const cases: readonly (readonly [what: string, path: string, body: KubeObject, ...errors: string[]])[] = [
  [
    'claims of a whole pod',
    'pods',
    pod({ resources: { claims: [] } }),
    'spec.resources.claims: Forbidden: claims may not be set for Resources at pod-level',
  ],
  [
    'fields of ephemeral containers',
    'pods',
    ephemeral({ ports: [], resources: { limits: {} } }),
    `spec.ephemeralContainers[0].ports: ${NOT_EPHEMERAL}`,
    `spec.ephemeralContainers[0].resources: ${NOT_EPHEMERAL}`,
    'spec.ephemeralContainers: Forbidden: cannot be set on create',
  ],
  [
    'fields that any pod may have',
    'pods',
    pod({ volumes: [], nodeSelector: {}, tolerations: [], resources: {} }),
  ],
  [
    'scaling policies',
    'autoscaling/horizontalpodautoscalers',
    scaler({ policies: [] }),
    'spec.behavior.scaleUp.policies: Required value: must specify at least one Policy',
  ],
  ['no scaling policies', 'autoscaling/horizontalpodautoscalers', scaler({})],
  [
    'metadata of claim templates',
    'resource.k8s.io/resourceclaimtemplates',
    template({ finalizers: [], labels: {} }),
    'spec.metadata.finalizers: Forbidden: cannot be set',
  ],
];

for (const [what, path, body, ...errors] of cases) {
  test(`given but empty: ${what}`, () => {
    const schema = schemaForKind({ ...parseApiVersion(body.apiVersion!), kind: body.kind! })!;
    assert.deepEqual(
      createDecoded(path, decodeObject(schema, structuredClone(body), 'strict').object).errors,
      errors,
    );
  });
}

test('an empty object differs from an absent one, an empty list does not', () => {
  const pairs: [unknown, unknown, boolean][] = [
    [{}, undefined, false],
    [{ a: {} }, {}, false],
    [{ a: [] }, {}, true],
    [{ a: null }, {}, true],
    [{ a: {} }, { a: {} }, true],
  ];
  for (const [left, right, equal] of pairs)
    assert.deepEqual(
      [semanticEqual(left, right), semanticEqual(right, left)],
      [equal, equal],
      JSON.stringify([left, right]),
    );
});
