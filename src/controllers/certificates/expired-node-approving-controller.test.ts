/** Which nodes get another certificate for one that has ended, against a real API server with its default roles. */
import assert from 'node:assert/strict';
import { describe, it, type TestContext } from 'node:test';
import type { CertificateSigningRequest } from '#api/types.ts';
import type { Client } from '#client/client.ts';
import { certificateSigningRequests, clusterRoleBindings, nodes, secrets } from '#client/refs.ts';
import { EXPIRED_AT, EXPIRED_NODES, expiredNodeUser } from '#component-helpers/expired-node.ts';
import { isStatusError } from '#machinery/errors.ts';
import { formatTime } from '#machinery/time.ts';
import { generateKeyPem } from '#pki/keys.ts';
import { createRequest } from '#pki/request.ts';
import { startTestWorld, type TestWorld } from '../testing/world.ts';
import { certificateSigningRequestApprovingController } from './certificatesigningrequest-approving-controller.ts';
import { expiredNodeApprovingController } from './expired-node-approving-controller.ts';

const HOUR_MS = 3_600_000;

async function start(t: TestContext): Promise<TestWorld> {
  const world = await startTestWorld([
    certificateSigningRequestApprovingController,
    expiredNodeApprovingController,
  ]);
  t.after(() => world.stop());
  return world;
}

/** The client of a machine whose certificate ended at that time. */
function expired({ clock, test }: TestWorld, nodeName: string, endedMs = clock.now() + HOUR_MS): Client {
  return test.clientAs({
    name: expiredNodeUser(nodeName),
    groups: [EXPIRED_NODES, 'system:authenticated'],
    extra: { [EXPIRED_AT]: [formatTime(endedMs)] },
  });
}

async function ask(
  api: Client,
  { nodeName, organization = 'system:nodes' }: { readonly nodeName: string; readonly organization?: string },
): Promise<string> {
  const pem = createRequest({
    keyPem: generateKeyPem(),
    subject: { commonName: `system:node:${nodeName}`, organizations: [organization] },
  });
  const { metadata } = await api.create(certificateSigningRequests, {
    metadata: { generateName: 'csr-' },
    spec: {
      request: Buffer.from(pem).toString('base64'),
      signerName: 'kubernetes.io/kube-apiserver-client-kubelet',
      usages: ['digital signature', 'client auth'],
    },
  });
  return metadata!.name!;
}

function decided(world: TestWorld, name: string): Promise<readonly [string, string]> {
  return world.until(`a decision on ${name}`, async () => {
    const [condition] = await conditions(world, name);
    return condition && ([condition.type, condition.message ?? ''] as const);
  });
}

async function conditions(
  { api }: TestWorld,
  name: string,
): Promise<NonNullable<NonNullable<CertificateSigningRequest['status']>['conditions']>> {
  return (await api.get(certificateSigningRequests, { name })).status?.conditions ?? [];
}

async function ready({ api }: TestWorld, { name, status }: { name: string; status: string }): Promise<void> {
  const node = await api.get(nodes, { name });
  await api.updateStatus(nodes, { ...node, status: { conditions: [{ type: 'Ready', status }] } });
}

describe('a node whose certificate has ended', () => {
  it('gets another one once nothing runs as it', async (t) => {
    const world = await start(t);
    await world.node('a');
    await ready(world, { name: 'a', status: 'True' });
    const name = await ask(expired(world, 'a'), { nodeName: 'a' });
    await world.pass(12_000);
    assert.deepEqual(await conditions(world, name), []);
    await ready(world, { name: 'a', status: 'Unknown' });
    assert.deepEqual(await decided(world, name), [
      'Approved',
      'Auto approving the client certificate of Node a, whose last one has ended, after SubjectAccessReview.',
    ]);
  });

  it('gets none as another node, for a Node that is gone or newer, nor in another group', async (t) => {
    const world = await start(t);
    for (const name of ['a', 'b']) {
      await world.node(name);
      await ready(world, { name, status: 'Unknown' });
    }
    const again = 'join the machine again with a new token';
    assert.deepEqual(await decided(world, await ask(expired(world, 'a'), { nodeName: 'b' })), [
      'Denied',
      `The expired certificate is that of Node a, and system:node:b is asked for; ${again}`,
    ]);
    assert.deepEqual(await decided(world, await ask(expired(world, 'c'), { nodeName: 'c' })), [
      'Denied',
      `Node c was removed from the cluster; ${again}`,
    ]);
    const before = world.clock.now() - HOUR_MS;
    assert.deepEqual(await decided(world, await ask(expired(world, 'a', before), { nodeName: 'a' })), [
      'Denied',
      `Node a was made after the certificate had ended, for another machine; ${again}`,
    ]);
    assert.deepEqual(
      await decided(world, await ask(expired(world, 'a'), { nodeName: 'a', organization: 'developers' })),
      ['Denied', `This is not the request of a node: subject organization is not system:nodes; ${again}`],
    );
  });

  it('may do nothing else, and waits where an administrator has replaced the binding', async (t) => {
    const world = await start(t);
    await world.node('a');
    await ready(world, { name: 'a', status: 'Unknown' });
    const client = expired(world, 'a');
    for (const attempt of [client.list(secrets), client.list(nodes), client.get(nodes, { name: 'a' })])
      await assert.rejects(attempt, (error) => isStatusError(error, 'Forbidden'));
    const binding = { name: 'capstan:node-autoapprove-expired' };
    const { subjects } = await world.api.get(clusterRoleBindings, binding);
    await world.api.delete(clusterRoleBindings, binding);
    const name = await ask(client, { nodeName: 'a' });
    await world.pass(6_000);
    assert.deepEqual(await conditions(world, name), []);
    await world.api.create(clusterRoleBindings, {
      metadata: binding,
      subjects: subjects ?? [],
      roleRef: { apiGroup: 'rbac.authorization.k8s.io', kind: 'ClusterRole', name: binding.name },
    });
    assert.equal((await decided(world, name))[0], 'Approved');
  });
});
