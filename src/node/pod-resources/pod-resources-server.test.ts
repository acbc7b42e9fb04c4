/** The PodResources API, asked over its socket. */
import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import type { Pod } from '#api/types.ts';
import { FakeClock } from '#stdx/testing/fake-clock.ts';
import { callUnary, connectUnixSocket } from '#grpc/unary.ts';
import { servePodResources } from './pod-resources-server.ts';
import { podResourcesMethods } from './protocol.ts';

const POD: Pod = {
  metadata: { name: 'p', namespace: 'd', uid: 'u' },
  spec: { containers: [{ name: 'c' }], initContainers: [{ name: 'i' }] },
};
const ALLOCATION = { envs: {}, mounts: [], devices: [], annotations: {}, cdiDevices: [] };

test('devices of plugins and of claims by container, and all that are there; at most 100 calls a second', async (t) => {
  const dir = mkdtempSync(join(tmpdir(), 'capstan-pod-resources-'));
  const clock = new FakeClock();
  const socketPath = join(dir, 'kubelet.sock');
  const server = await servePodResources({
    socketPath,
    clock,
    pods: () => [POD],
    devices: {
      grants: [
        { podUID: 'u', container: 'c', resource: 'v/gpu', devices: { 1: ['a'] }, allocation: ALLOCATION },
      ],
      devices: new Map([['v/gpu', [{ ID: 'a', health: 'Healthy', topology: { nodes: [{ ID: 1 }] } }]]]),
    },
    claims: {
      claimDevices: () => [
        {
          claim: { uid: 'x', name: 'claim', namespace: 'd', pods: ['u'], drivers: {} },
          devices: [
            {
              driver: 'd.test',
              device: {
                requestNames: [],
                poolName: 'p',
                deviceName: 'n',
                cdiDeviceIds: ['v/n=n'],
                shareId: '',
              },
            },
          ],
        },
      ],
    },
  });
  const client = connectUnixSocket(socketPath, { maxMessageBytes: 2 ** 22 });
  t.after(() => {
    client.close();
    server.close();
    rmSync(dir, { recursive: true });
  });
  const call = (name: string, request: object = {}): Promise<object> =>
    callUnary(client, { codec: podResourcesMethods.get(name)!, request, options: { deadlineMs: 10_000 } });
  const device = { resourceName: 'v/gpu', deviceIds: ['a'], topology: { nodes: [{ ID: 1 }] } };
  const expected = {
    name: 'p',
    namespace: 'd',
    containers: [
      {
        name: 'c',
        devices: [device],
        cpuIds: [],
        memory: [],
        dynamicResources: [
          {
            claimName: 'claim',
            claimNamespace: 'd',
            claimResources: [
              { driverName: 'd.test', poolName: 'p', deviceName: 'n', cdiDevices: [{ name: 'v/n=n' }] },
            ],
          },
        ],
      },
    ],
  };
  assert.deepEqual(await call('List'), { podResources: [expected] });
  assert.deepEqual(await call('Get', { podName: 'p', podNamespace: 'd' }), { podResources: expected });
  assert.deepEqual(await call('GetAllocatableResources'), { devices: [device], cpuIds: [], memory: [] });
  await assert.rejects(call('Get', { podName: 'q', podNamespace: 'd' }), /pod q in namespace d not found/);
  for (let left = 6; left > 0; left -= 1) await call('List');
  await assert.rejects(call('List'), /RESOURCE_EXHAUSTED: rejected by rate limit/);
  await clock.advance(1_000);
  await call('List');
});
