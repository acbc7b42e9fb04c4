import assert from 'node:assert/strict';
import { after, before, it } from 'node:test';
import {
  clusterRoleBindings,
  endpointSlices,
  namespaces,
  networkPolicies,
  nodes,
  pods,
  secrets,
  serviceCIDRs,
  services,
} from '#client/refs.ts';
import type { Client } from '#client/client.ts';
import { realClock } from '#stdx/clock.ts';
import { startTestApi, type TestApi } from '#testing/start-test-api.ts';
import { nodeIdentity } from '../all-in-one/identities.ts';

let test: TestApi;
let asNode: Client;
before(async () => {
  test = await startTestApi();
  asNode = test.clientAs(nodeIdentity('second'));
});
after(() => test.stop());

it("lets a node's credentials serve its machine's service proxy, network policies and pod network, and no more than that", async () => {
  await test.api.create(nodes, { metadata: { name: 'second' } });
  await asNode.list(services);
  await asNode.list(endpointSlices);
  await asNode.list(serviceCIDRs);
  // Peers of network policies.
  await asNode.list(pods);
  await asNode.list(namespaces);
  await asNode.list(networkPolicies);
  await assert.rejects(asNode.get(pods, { name: 'other', namespace: 'default' }), { reason: 'Forbidden' });
  const own = await asNode.list(nodes, { fieldSelector: 'metadata.name=second' });
  assert.deepEqual(
    own.items.map(({ metadata }) => metadata?.name),
    ['second'],
  );
  await assert.rejects(asNode.list(nodes), { reason: 'Forbidden' });
  await bindToNodes('capstan:node-pod-network');
  // Routes lead to the pods of every node: the authorizer reads the binding from its informer.
  while (!(await asNode.list(nodes).catch(() => undefined))) await realClock.sleep(20);
  await test.api.create(nodes, { metadata: { name: 'third' } });
  await assert.rejects(asNode.get(nodes, { name: 'third' }), { reason: 'Forbidden' });
  await assert.rejects(asNode.delete(nodes, { name: 'third' }), { reason: 'Forbidden' });
  await assert.rejects(asNode.list(secrets), { reason: 'Forbidden' });
});

/** What \`capstan init\` does. */
async function bindToNodes(role: string): Promise<void> {
  const apiGroup = 'rbac.authorization.k8s.io';
  await test.api.create(clusterRoleBindings, {
    metadata: { name: role },
    roleRef: { apiGroup, kind: 'ClusterRole', name: role },
    subjects: [{ apiGroup, kind: 'Group', name: 'system:nodes' }],
  });
}
