/** Which serving certificates of kubelets are approved: for names that are the requesting node's alone. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Node } from '#api/types.ts';
import { kubeletServingApprovingController, namesProblem } from './kubelet-serving-approving-controller.ts';

function node(name: string, ...addresses: string[]): Node {
  return {
    metadata: { name },
    status: { addresses: addresses.map((address) => ({ type: 'InternalIP', address })) },
  };
}
const NODES = [node('a', '10.0.0.1'), node('b', '10.0.0.2', '10.0.0.9'), node('c', '10.0.0.9')];

function problem(name: string, more: { dnsNames?: string[]; ipAddresses?: string[] }): string | undefined {
  const none = {
    organizations: ['system:nodes'],
    emailAddresses: [],
    uris: [],
    dnsNames: [],
    ipAddresses: [],
  };
  return namesProblem({ commonName: `system:node:${name}`, ...none, ...more }, NODES);
}

test('the own name and addresses pass', () => {
  assert.equal(problem('a', { dnsNames: ['a'], ipAddresses: ['10.0.0.1'] }), undefined);
  assert.equal(kubeletServingApprovingController.name, 'kubelet-serving-approving-controller');
});

test("another node's, a shared one, an unknown one and an unknown node do not", () => {
  assert.equal(problem('a', { ipAddresses: ['10.0.0.2'] }), '10.0.0.2 is not an address of Node a');
  assert.equal(problem('a', { dnsNames: ['b'] }), 'b is not an address of Node a');
  assert.equal(problem('b', { ipAddresses: ['10.0.0.9'] }), '10.0.0.9 is an address of Node c too');
  assert.equal(problem('a', { dnsNames: ['kubernetes'] }), 'kubernetes is not an address of Node a');
  assert.equal(problem('d', { dnsNames: ['d'] }), 'there is no Node d');
});
