/** The definition of ClusterNetworkPolicy on a real API server, with the controller's own permissions. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { networkPolicyDefinitionsController } from '#addons/network-policy/network-policy-definitions-controller.ts';
import type { ResourceRef } from '#client/client.ts';
import { customResourceDefinitions } from '#client/refs.ts';
import { startTestWorld } from '#controllers/testing/world.ts';
import type { KubeObject } from '#machinery/object.ts';

const NAME = 'clusternetworkpolicies.policy.networking.k8s.io';
const POLICIES: ResourceRef<KubeObject> = {
  group: 'policy.networking.k8s.io',
  version: 'v1alpha2',
  plural: 'clusternetworkpolicies',
  kind: 'ClusterNetworkPolicy',
  namespaced: false,
};

test('ClusterNetworkPolicy is installed, comes back, takes what nodes enforce, and is not laid over one that an administrator made', async () => {
  const world = await startTestWorld([networkPolicyDefinitionsController]);
  try {
    const served = (): Promise<unknown> =>
      world.until('it is served', async () => (await world.api.list(POLICIES)) !== undefined);
    await served();
    const create = (egress: object): Promise<unknown> =>
      world.api.create(POLICIES, {
        apiVersion: 'policy.networking.k8s.io/v1alpha2',
        kind: 'ClusterNetworkPolicy',
        metadata: { name: 'egress' },
        spec: { tier: 'Admin', priority: 10, subject: { namespaces: {} }, egress: [egress] },
      } as KubeObject);
    await assert.rejects(create({ action: 'Accept', to: [{ nodes: {} }] }), /spec\.egress\[0\]\.to\[0\]/);
    await assert.rejects(create({ action: 'Allow', to: [{ namespaces: {} }] }), /Unsupported value: "Allow"/);
    await create({
      name: 'dns',
      action: 'Accept',
      to: [{ networks: ['192.0.2.0/24'] }, { pods: { namespaceSelector: {}, podSelector: {} } }],
      protocols: [
        { udp: { destinationPort: { number: 53 } } },
        { tcp: { destinationPort: { range: { start: 1, end: 9 } } } },
      ],
    });
    const { metadata } = await world.api.get(customResourceDefinitions, { name: NAME });
    await world.api.delete(customResourceDefinitions, { name: NAME });
    await world.until('it is back', async () => {
      const found = await world.find(customResourceDefinitions, { name: NAME });
      return found && found.metadata?.uid !== metadata.uid;
    });
    await served();
    const patch = {
      metadata: { labels: { 'app.kubernetes.io/managed-by': 'somebody' } },
      spec: { names: { shortNames: ['theirs'] } },
    };
    await world.api.patch(customResourceDefinitions, { name: NAME }, { type: 'merge', patch });
    await world.pass(120_000);
    const theirs = await world.api.get(customResourceDefinitions, { name: NAME });
    assert.deepEqual(theirs.spec?.names.shortNames, ['theirs']);
  } finally {
    await world.stop();
  }
});
