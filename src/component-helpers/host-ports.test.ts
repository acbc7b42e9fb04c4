import assert from 'node:assert/strict';
import { test } from 'node:test';
import { hostPortsConflict, podHostPorts, type HostPort } from './host-ports.ts';

const port = (ip: string, port = 80, protocol = 'TCP'): HostPort => ({ ip, port, protocol });

test('containers and sidecars hold their host ports, init containers do not', () => {
  const ports = [{ containerPort: 1, hostPort: 80 }, { containerPort: 2 }];
  const spec = {
    containers: [{ name: 'a', ports }],
    initContainers: [
      { name: 'b', ports: [{ containerPort: 1, hostPort: 81, hostIP: '::1', protocol: 'UDP' }] },
      { name: 'c', restartPolicy: 'Always', ports: [{ containerPort: 1, hostPort: 82 }] },
    ],
  };
  assert.deepEqual(podHostPorts(spec), [port('0.0.0.0'), port('0.0.0.0', 82)]);
  assert.deepEqual(podHostPorts(undefined), []);
});

test('conflicts of port and protocol at the same address, or at the wildcard', () => {
  assert.equal(hostPortsConflict([port('10.0.0.1')], [port('10.0.0.1')]), true);
  assert.equal(hostPortsConflict([port('10.0.0.1')], [port('10.0.0.2')]), false);
  assert.equal(hostPortsConflict([port('10.0.0.1')], [port('0.0.0.0')]), true);
  assert.equal(hostPortsConflict([port('0.0.0.0')], [port('10.0.0.1', 80, 'UDP')]), false);
  assert.equal(hostPortsConflict([port('::')], [port('10.0.0.1')]), false);
});
