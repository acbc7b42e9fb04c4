import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import type { Container, Pod, PodSpec } from '#api/types.ts';
import { Quantity } from '#machinery/quantity.ts';
import {
  aggregateContainers,
  podLimits,
  podRequests,
  sameResourceList,
  type PodResourcesOptions,
  type ResourceAmounts,
} from './pod-resources.ts';

type List = Record<string, string>;
const container = (requests: List, more: Partial<Container> = {}): Container => ({
  name: 'c',
  resources: { requests, limits: requests },
  ...more,
});
const sidecar = (requests: List): Container => container(requests, { name: 's', restartPolicy: 'Always' });
const text = (amounts: ResourceAmounts): List =>
  Object.fromEntries([...amounts].map(([name, amount]) => [name, amount.toString()]));
const requests = (spec: Partial<PodSpec>, options?: PodResourcesOptions, status?: Pod['status']): List =>
  text(podRequests({ spec: { containers: [], ...spec }, ...(status ? { status } : {}) }, options));
const limits = (spec: Partial<PodSpec>, options?: PodResourcesOptions): List =>
  text(podLimits({ spec: { containers: [], ...spec } }, options));

describe('requests of a pod', () => {
  test('sums containers and sidecars, and takes the maximum of init containers', () => {
    const containers = [container({ cpu: '1' }), container({ cpu: '1', memory: '1Gi' })];
    assert.deepEqual(requests({ containers }), { cpu: '2', memory: '1Gi' });
    const initContainers = [sidecar({ cpu: '500m' }), container({ cpu: '3' })];
    assert.deepEqual(requests({ containers, initContainers }), { cpu: '3500m', memory: '1Gi' });
    // A sidecar that starts later does not run beside the init container.
    assert.equal(requests({ containers, initContainers: initContainers.toReversed() })['cpu'], '3');
  });

  test('resource names are chosen by clients: __proto__ is one', () => {
    const odd = JSON.parse('{"__proto__": "1"}') as List;
    assert.equal(
      podRequests({ spec: { containers: [container(odd)] } })
        .get('__proto__')
        ?.toString(),
      '1',
    );
  });

  test('adds overhead', () => {
    const spec = { containers: [container({ cpu: '1' })], overhead: { cpu: '100m', memory: '10Mi' } };
    assert.deepEqual(requests(spec), { cpu: '1100m', memory: '10Mi' });
    assert.deepEqual(requests(spec, { excludeOverhead: true }), { cpu: '1' });
  });

  test('pod-level cpu, memory and huge pages replace the sum, other names do not', () => {
    const containers = [container({ cpu: '1', memory: '1Gi', 'ephemeral-storage': '1Gi' })];
    const resources = { requests: { cpu: '2', 'hugepages-2Mi': '4Mi', 'ephemeral-storage': '9Gi' } };
    assert.deepEqual(requests({ containers, resources }), {
      cpu: '2',
      memory: '1Gi',
      'ephemeral-storage': '1Gi',
      'hugepages-2Mi': '4Mi',
    });
    const spec = { containers, resources };
    assert.equal(aggregateContainers({ spec }, 'requests').get('cpu')?.toString(), '1');
  });

  test('containers without requests may be assumed to request a default', () => {
    const assumed = new Map([['cpu', Quantity.ofMilli(100)]]);
    const containers = [container({ cpu: '0' }), container({ memory: '1Gi' })];
    assert.equal(requests({ containers }, { nonMissingContainerRequests: assumed })['cpu'], '100m');
  });
});

describe('a pod that is being resized', () => {
  const spec = { containers: [container({ cpu: '1' })] };
  const held: PodResourcesOptions = { useStatusResources: true };
  const status = (cpu: string, allocated = cpu): Pod['status'] =>
    ({
      containerStatuses: [
        { name: 'c', resources: { requests: { cpu } }, allocatedResources: { cpu: allocated } },
      ],
    }) as unknown as Pod['status'];

  test('counts the maximum of desired, actual and allocated', () => {
    assert.equal(requests(spec, held, status('2'))['cpu'], '2');
    assert.equal(requests(spec, held, status('500m', '3'))['cpu'], '3');
    assert.equal(requests(spec, held, status('500m'))['cpu'], '1');
    assert.equal(requests(spec, {}, status('2'))['cpu'], '1');
  });

  test('excludes an infeasible resize', () => {
    const conditions = [{ type: 'PodResizePending', status: 'True', reason: 'Infeasible' }];
    assert.equal(requests(spec, held, { ...status('500m'), conditions })['cpu'], '500m');
  });

  test('pod-level resources too; overhead in the status is not counted twice', () => {
    const whole = { ...spec, resources: { requests: { cpu: '2' } }, overhead: { cpu: '100m' } };
    const grown = { allocatedResources: { cpu: '4100m' }, resources: { requests: { cpu: '3100m' } } };
    assert.equal(requests(whole, held, grown)['cpu'], '4100m');
    assert.equal(requests(whole, held)['cpu'], '2100m');
  });
});

describe('limits of a pod', () => {
  test('overhead raises only limits that exist', () => {
    const containers = [container({ cpu: '1', memory: '0' })];
    const overhead = { cpu: '100m', memory: '10Mi', 'ephemeral-storage': '1Gi' };
    assert.deepEqual(limits({ containers, overhead }), { cpu: '1100m', memory: '0' });
    assert.deepEqual(limits({ containers, overhead }, { excludeOverhead: true }), { cpu: '1', memory: '0' });
  });

  test('of the pod as a whole', () => {
    const containers = [container({ cpu: '1', memory: '1Gi' })];
    assert.deepEqual(limits({ containers, resources: { limits: { cpu: '5' } } }), {
      cpu: '5',
      memory: '1Gi',
    });
  });
});

test('lists are compared by quantity, not by text', () => {
  assert.equal(sameResourceList({ cpu: '1' }, { cpu: '1000m' }), true);
  assert.equal(sameResourceList({ cpu: '1' }, { cpu: '1', memory: '0' }), false);
  assert.equal(sameResourceList(undefined, {}), true);
});
