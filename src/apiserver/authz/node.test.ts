import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { UserInfo } from '#machinery/object.ts';
import type { AuthorizationAttributes } from '#machinery/authorization.ts';
import { createAuthorization } from './authorization.ts';
import { FakeInternal } from './testing/loopback-client.ts';

const NODE: UserInfo = { name: 'system:node:n1', groups: ['system:nodes', 'system:authenticated'] };
const PODS = { group: '', resource: 'pods' };

function setUp(): {
  internal: FakeInternal;
  may(changes: Partial<AuthorizationAttributes>): Promise<boolean>;
  reason(changes: Partial<AuthorizationAttributes>): Promise<string>;
  stop(): void;
} {
  const internal = new FakeInternal();
  const { authorizer, stop } = createAuthorization({ internal });
  const ask = async (
    changes: Partial<AuthorizationAttributes>,
  ): Promise<{ decision: string; reason: string }> =>
    authorizer.authorize({
      user: NODE,
      verb: 'get',
      isResourceRequest: true,
      group: '',
      version: 'v1',
      resource: 'pods',
      subresource: '',
      namespace: 'red',
      name: '',
      path: '',
      ...changes,
    });
  return {
    internal,
    stop,
    may: async (changes) => (await ask(changes)).decision === 'allow',
    reason: async (changes) => (await ask(changes)).reason,
  };
}

const POD = {
  metadata: { name: 'p', namespace: 'red' },
  spec: {
    nodeName: 'n1',
    serviceAccountName: 'bot',
    imagePullSecrets: [{ name: 'pull' }],
    containers: [
      {
        env: [{ valueFrom: { secretKeyRef: { name: 'env-secret' } } }],
        envFrom: [{ configMapRef: { name: 'env-config' } }],
      },
    ],
    volumes: [
      { name: 'v', secret: { secretName: 'vol-secret' } },
      { name: 'c', persistentVolumeClaim: { claimName: 'claim' } },
      { name: 'p', projected: { sources: [{ configMap: { name: 'projected' } }] } },
    ],
  },
};

test('a node reads only what its pods use', async () => {
  const { internal, may, reason, stop } = setUp();
  assert.equal(await may({ resource: 'secrets', name: 'vol-secret' }), false);
  internal.put(PODS, POD);
  for (const name of ['vol-secret', 'env-secret', 'pull'])
    assert.equal(await may({ resource: 'secrets', name }), true, name);
  for (const name of ['env-config', 'projected'])
    assert.equal(await may({ resource: 'configmaps', name, verb: 'watch' }), true, name);
  assert.equal(await may({ resource: 'secrets', name: 'vol-secret', verb: 'list' }), true);
  assert.equal(await may({ resource: 'persistentvolumeclaims', name: 'claim' }), true);
  assert.equal(
    await may({ resource: 'serviceaccounts', name: 'bot', subresource: 'token', verb: 'create' }),
    true,
  );
  assert.equal(
    await may({ resource: 'serviceaccounts', name: 'default', subresource: 'token', verb: 'create' }),
    false,
  );
  assert.equal(await may({ resource: 'secrets', name: 'other' }), false);
  assert.equal(await may({ resource: 'secrets', name: 'vol-secret', namespace: 'blue' }), false);
  assert.equal(await may({ resource: 'secrets', verb: 'list' }), false);
  assert.equal(
    await reason({ resource: 'secrets', name: 'other' }),
    "no relationship found between node 'n1' and this object",
  );
  internal.put(PODS, { ...POD, metadata: { name: 'q', namespace: 'red' } });
  internal.remove(PODS, { name: 'p', namespace: 'red' });
  assert.equal(await may({ resource: 'secrets', name: 'vol-secret' }), true, 'another pod still uses it');
  internal.remove(PODS, { name: 'q', namespace: 'red' });
  assert.equal(await may({ resource: 'secrets', name: 'vol-secret' }), false);
  internal.put(PODS, { ...POD, spec: { ...POD.spec, nodeName: 'n2' } });
  assert.equal(await may({ resource: 'secrets', name: 'vol-secret' }), false);
  internal.put(PODS, {
    ...POD,
    metadata: { name: 'mirror', namespace: 'red', annotations: { 'kubernetes.io/config.mirror': 'x' } },
  });
  assert.equal(await may({ resource: 'secrets', name: 'vol-secret' }), false, 'a mirror pod opens nothing');
  stop();
});

test('volumes and their secrets follow the claims of the node', async () => {
  const { internal, may, stop } = setUp();
  internal.put(PODS, POD);
  internal.put(
    { group: '', resource: 'persistentvolumes' },
    {
      metadata: { name: 'pv' },
      spec: {
        claimRef: { namespace: 'red', name: 'claim' },
        csi: {
          nodeStageSecretRef: { name: 'stage', namespace: 'csi' },
          controllerPublishSecretRef: { name: 'publish', namespace: 'csi' },
        },
      },
    },
  );
  internal.put(
    { group: '', resource: 'persistentvolumes' },
    { metadata: { name: 'other' }, spec: { claimRef: { namespace: 'red', name: 'unused' } } },
  );
  assert.equal(await may({ resource: 'persistentvolumes', name: 'pv', namespace: '' }), true);
  assert.equal(await may({ resource: 'persistentvolumes', name: 'other', namespace: '' }), false);
  assert.equal(await may({ resource: 'secrets', name: 'stage', namespace: 'csi' }), true);
  assert.equal(
    await may({ resource: 'secrets', name: 'publish', namespace: 'csi' }),
    false,
    "a controller's secret",
  );
  stop();
});

test('nodes, leases, pods', async () => {
  const { internal, may, reason, stop } = setUp();
  internal.put(PODS, POD);
  const nodes = { resource: 'nodes', namespace: '' };
  assert.equal(await may({ ...nodes, name: 'n1' }), true);
  assert.equal(await may({ ...nodes, name: 'n2' }), false);
  assert.equal(
    await reason({ ...nodes, verb: 'list' }),
    "node 'n1' cannot read all nodes, only its own Node object",
  );
  assert.equal(await may({ ...nodes, name: 'n1', verb: 'patch', subresource: 'status' }), true);
  assert.equal(await may({ ...nodes, verb: 'create' }), true);
  assert.equal(await may({ ...nodes, name: 'n1', verb: 'delete' }), false);
  const lease = { group: 'coordination.k8s.io', resource: 'leases', namespace: 'kube-node-lease' };
  assert.equal(await may({ ...lease, name: 'n1', verb: 'update' }), true);
  assert.equal(await may({ ...lease, name: 'n2', verb: 'update' }), false);
  assert.equal(await may({ ...lease, name: 'n1', namespace: 'kube-system' }), false);
  assert.equal(await may({ verb: 'list', namespace: '' }), false);
  assert.equal(
    await may({
      verb: 'watch',
      namespace: '',
      fieldSelector: [{ key: 'spec.nodeName', operator: '=', values: ['n1'] }],
    }),
    true,
  );
  assert.equal(
    await may({
      verb: 'watch',
      namespace: '',
      fieldSelector: [{ key: 'spec.nodeName', operator: '=', values: ['n2'] }],
    }),
    false,
  );
  assert.equal(await may({ name: 'p' }), true);
  assert.equal(await may({ name: 'p', verb: 'patch', subresource: 'status' }), true);
  assert.equal(await may({ resource: 'services', verb: 'watch', namespace: '' }), true);
  assert.equal(await may({ resource: 'services', verb: 'create' }), false);
  stop();
});
