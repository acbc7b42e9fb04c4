import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { KubeObject } from '#machinery/object.ts';
import { resourceFacts } from './resources.ts';
import { deployments, pods } from './refs.ts';
import type { Ref } from './ref.ts';
import type { Deployment, Pod } from './types.ts';

function nameOf<T extends KubeObject>(_ref: Ref<T>, object: T): string | undefined {
  return object.metadata?.name;
}

test('kinds are assignable to KubeObject, and references carry their type', () => {
  const pod: Pod = {
    metadata: { name: 'web' },
    spec: { containers: [{ name: 'c', resources: { limits: { cpu: '1' } } }] },
  };
  const deployment: Deployment = {
    metadata: { name: 'web' },
    spec: {
      selector: { matchLabels: { app: 'web' } },
      template: { spec: { containers: [{ name: 'c', ports: [{ containerPort: 80 }] }] } },
    },
  };
  const objects: KubeObject[] = [pod, deployment];
  assert.deepEqual(
    objects.map((object) => object.metadata?.name),
    ['web', 'web'],
  );
  assert.equal(nameOf(pods, pod), nameOf(deployments, deployment));
});

test('discovery facts know subresources and the kinds they answer with', () => {
  const facts = resourceFacts({ group: '', version: 'v1', resource: 'pods' });
  assert.deepEqual(facts?.shortNames, ['po']);
  const eviction = facts?.subresources?.find(({ name }) => name === 'eviction');
  assert.deepEqual(eviction, {
    name: 'eviction',
    kind: 'Eviction',
    group: 'policy',
    version: 'v1',
    verbs: ['create'],
  });
});
