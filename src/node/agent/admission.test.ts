/** Pods that the node rejects although they were bound to it. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Container, Node, Pod } from '#api/types.ts';
import type { Pressure } from './eviction/decide.ts';
import { rejection, type Rejection } from './admission.ts';
import { forbiddenSysctl } from './sysctls.ts';

const allocatable = { cpu: '1', memory: '1Gi', pods: '3' };

function pod(containers: Partial<Container>[], more: Partial<Pod['spec']> = {}): Pod {
  return {
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: { name: 'p' },
    spec: { containers: containers.map((container) => ({ name: 'c', image: 'i', ...container })), ...more },
  };
}

function refused(one: Pod, others: readonly Pod[], node?: Node): Rejection | undefined {
  return rejection({ pod: one, others, node, allocatable });
}

const port = (hostPort: number, more: object = {}): Partial<Container> => ({
  ports: [{ containerPort: 80, hostPort, ...more }],
});
const NO_PORT: Rejection = {
  reason: 'NodePorts',
  message: "Predicate NodePorts failed: node(s) didn't have free ports for the requested pod ports",
};

test('a host port that another pod holds is not given twice', () => {
  assert.deepEqual(refused(pod([port(8080)]), [pod([port(8080)])]), NO_PORT);
  assert.deepEqual(refused(pod([port(8080, { hostIP: '127.0.0.1' })]), [pod([port(8080)])]), NO_PORT);
  assert.deepEqual(
    refused(
      pod([{}], { initContainers: [{ name: 's', image: 'i', restartPolicy: 'Always', ...port(8080) }] }),
      [pod([port(8080)])],
    ),
    NO_PORT,
  );
});

test('a pod whose node selector or required affinity is not for this node', () => {
  const node: Node = { metadata: { name: 'n', labels: { speed: '7' } } };
  const required = (values: string[]): Partial<Pod['spec']> => ({
    affinity: {
      nodeAffinity: {
        requiredDuringSchedulingIgnoredDuringExecution: {
          nodeSelectorTerms: [{ matchExpressions: [{ key: 'speed', operator: 'Gt', values }] }],
        },
      },
    },
  });
  assert.equal(refused(pod([{}], { nodeSelector: { speed: '8' } }), [], node)?.reason, 'NodeAffinity');
  assert.equal(refused(pod([{}], required(['7'])), [], node)?.reason, 'NodeAffinity');
  assert.equal(refused(pod([{}], required(['6'])), [], node), undefined);
});

test('kernel parameters: only those that touch nobody else', () => {
  const sets = (name: string, more: Partial<Pod['spec']> = {}): string | undefined =>
    refused(pod([{}], { securityContext: { sysctls: [{ name, value: '1' }] }, ...more }), [])?.message;
  for (const name of ['kernel.shm_rmid_forced', 'net.ipv4.tcp_rmem', 'net/ipv4/ip_unprivileged_port_start'])
    assert.equal(sets(name), undefined, name);
  assert.equal(sets('kernel.msgmax'), 'forbidden sysctl: "kernel.msgmax" not allowlisted');
  assert.equal(
    sets('net/ipv4/conf/eth0.1/forwarding'),
    'forbidden sysctl: "net.ipv4.conf.eth0/1.forwarding" not allowlisted',
  );
  assert.equal(
    sets('net.ipv4.tcp_syncookies', { hostNetwork: true }),
    'forbidden sysctl: "net.ipv4.tcp_syncookies" not allowed with host Net enabled',
  );
  assert.equal(
    sets('kernel.shm_rmid_forced', { hostIPC: true }),
    'forbidden sysctl: "kernel.shm_rmid_forced" not allowed with host IPC enabled',
  );
});

test('kernel parameters that the administrator allows, within the namespaces of a pod', () => {
  const allowed = ['kernel.msg*', 'net.core.somaxconn', 'vm.swappiness'];
  const sets = (name: string, more: Partial<Pod['spec']> = {}): string | undefined =>
    forbiddenSysctl(pod([{}], { securityContext: { sysctls: [{ name, value: '1' }] }, ...more }), allowed);
  for (const name of ['kernel.msgmax', 'kernel.msgmnb', 'net.core.somaxconn'])
    assert.equal(sets(name), undefined, name);
  assert.match(sets('net.core.rmem_max') ?? '', /not allowlisted/);
  assert.match(sets('vm.swappiness') ?? '', /not allowlisted/);
  assert.match(sets('kernel.msgmax', { hostIPC: true }) ?? '', /not allowed with host IPC/);
});

test('other ports, protocols and addresses are no conflict, nor are ports of pods alone', () => {
  for (const other of [
    port(8081),
    port(8080, { protocol: 'UDP' }),
    port(8080, { hostIP: '127.0.0.2' }),
    { ports: [{ containerPort: 8080 }] },
  ]) {
    assert.equal(
      refused(pod([port(8080, { hostIP: '127.0.0.1' })]), [pod([other])]),
      undefined,
      JSON.stringify(other),
    );
  }
});

test('a resource that was put on the node by the API counts, one that no node has does not', () => {
  const wants = (amount: string): Pod =>
    pod([
      { resources: { requests: { 'example.com/thing': amount }, limits: { 'example.com/thing': amount } } },
    ]);
  const node: Node = {
    apiVersion: 'v1',
    kind: 'Node',
    metadata: { name: 'n' },
    status: { allocatable: { 'example.com/thing': '5' } },
  };
  assert.equal(refused(wants('2'), [wants('3')], node), undefined);
  assert.deepEqual(refused(wants('3'), [wants('3')], node), {
    reason: 'OutOfexample.com/thing',
    message: "Node didn't have enough resource: example.com/thing, requested: 3, used: 3, capacity: 5",
  });
  assert.equal(refused(wants('3'), []), undefined);
});

test('under pressure the node takes few pods', () => {
  const evicted = (names: string): Rejection => ({
    reason: 'Evicted',
    message: `The node had condition: [${names}]. `,
  });
  const refusal = (one: Pod, ...pressures: readonly Pressure[]): Rejection | undefined =>
    rejection({ pod: one, others: [], node: undefined, allocatable, pressures });
  const modest = pod([{ resources: { requests: { cpu: '100m' } } }]);
  const tolerant = pod([{}], {
    tolerations: [{ key: 'node.kubernetes.io/memory-pressure', operator: 'Exists' }],
  });
  assert.deepEqual(refusal(pod([{}]), 'MemoryPressure'), evicted('MemoryPressure'));
  assert.equal(refusal(modest, 'MemoryPressure'), undefined);
  assert.equal(refusal(tolerant, 'MemoryPressure'), undefined);
  assert.deepEqual(refusal(modest, 'MemoryPressure', 'DiskPressure'), evicted('MemoryPressure DiskPressure'));
  assert.deepEqual(refusal(tolerant, 'PIDPressure'), evicted('PIDPressure'));
  assert.equal(refusal(pod([{}], { priority: 2_000_001_000 }), 'DiskPressure'), undefined);
});
