import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { ResourceClaim } from '#api/generated/types/resource-v1.ts';
import type { Pod } from '#api/types.ts';
import { seededRandom } from '#stdx/random.ts';
import { defaultPlugins } from './list.ts';
import { dynamicResources } from './dynamic-resources.ts';
import { failureMessage, schedule } from '../schedule.ts';
import { deviceClass } from '../testing/devices.ts';
import { node, noResourceClaims, pod, podInfo, world } from '../testing/snapshot.ts';

const profile = { schedulerName: 'default-scheduler', plugins: defaultPlugins };
const CLAIM = { name: 'gpu', resourceClaimName: 'c' };
const allocation = { devices: { results: [] } };
const byName = (name: string): NonNullable<ResourceClaim['status']>['allocation'] => ({
  ...allocation,
  nodeSelector: {
    nodeSelectorTerms: [{ matchFields: [{ key: 'metadata.name', operator: 'In', values: [name] }] }],
  },
});

function claim(status: ResourceClaim['status'] = {}, more: Partial<ResourceClaim> = {}): ResourceClaim {
  const exactly = { deviceClassName: 'gpus' };
  return {
    metadata: { name: 'c', namespace: 'default', uid: 'claim' },
    spec: { devices: { requests: [{ name: 'one', exactly }] } },
    status,
    ...more,
  };
}

interface Options {
  readonly claims?: readonly ResourceClaim[];
  readonly classes?: readonly string[];
}

function outcome(incoming: Pod, { claims = [], classes = ['gpus'] }: Options): string {
  const { snapshot } = world({
    nodes: [node('x'), node('y')],
    resourceClaims: {
      ...noResourceClaims,
      claim: (namespace, name) =>
        claims.find(({ metadata }) => metadata?.namespace === namespace && metadata?.name === name),
      deviceClass: (name) => (classes.includes(name) ? deviceClass(name) : undefined),
    },
  });
  const decision = schedule({ pod: podInfo(incoming), snapshot, profile, random: seededRandom(1) });
  if (decision.kind === 'fits') return decision.node;
  return failureMessage(decision.failure, [dynamicResources().postFilter!(decision.cycle) ?? '']);
}

const wants = (reference: object = CLAIM, status: object = {}): Pod => {
  const made = pod('p', { spec: { resourceClaims: [reference] } as never });
  return { ...made, status: { ...made.status, ...status } } as Pod;
};
const generated = (resourceClaimName?: string): object => ({
  resourceClaimStatuses: [{ name: 'gpu', ...(resourceClaimName ? { resourceClaimName } : {}) }],
});
const FROM_TEMPLATE = { name: 'gpu', resourceClaimTemplateName: 't' };
const NO_NODE = '0/2 nodes are available:';
const NOTHING_NEW = 'no new claims to deallocate';

test('a claim that does not exist, is not generated yet, or belongs to another pod', () => {
  assert.equal(
    outcome(wants(), {}),
    `${NO_NODE} resourceclaim.resource.k8s.io "c" not found. ${NOTHING_NEW}`,
  );
  assert.equal(
    outcome(wants(FROM_TEMPLATE), {}),
    `${NO_NODE} pod "default/p": ResourceClaim not created yet. ${NOTHING_NEW}`,
  );
  assert.equal(
    outcome(wants(FROM_TEMPLATE, generated('c')), { claims: [claim({ allocation })] }),
    `${NO_NODE} ResourceClaim default/c was not created for pod default/p (pod is not owner). ${NOTHING_NEW}`,
  );
  const deleted = claim({ allocation });
  deleted.metadata!.deletionTimestamp = '2026-01-01T00:00:00Z';
  assert.equal(
    outcome(wants(), { claims: [deleted] }),
    `${NO_NODE} resourceclaim "c" is being deleted. ${NOTHING_NEW}`,
  );
});

test('an unallocated claim', () => {
  assert.equal(
    outcome(wants(), { claims: [claim()] }),
    `${NO_NODE} 2 cannot allocate all claims. still not schedulable`,
  );
  assert.equal(
    outcome(wants(), { claims: [claim()], classes: [] }),
    `${NO_NODE} request one: device class gpus does not exist. ${NOTHING_NEW}`,
  );
});

test('an allocated claim restricts the pod to its nodes, while it is available', () => {
  assert.match(outcome(wants(), { claims: [claim({ allocation })] }), /^[xy]$/);
  assert.equal(outcome(wants(), { claims: [claim({ allocation: byName('y')! })] }), 'y');
  assert.equal(
    outcome(wants(), { claims: [claim({ allocation: byName('z')! })] }),
    `${NO_NODE} 2 resourceclaim not available on the node. still not schedulable`,
  );
  const reservedFor = Array.from({ length: 256 }, (_, index) => ({
    resource: 'pods',
    name: `p${index}`,
    uid: `u${index}`,
  }));
  const full = claim({ allocation, reservedFor });
  assert.equal(outcome(wants(), { claims: [full] }), `${NO_NODE} resourceclaim in use. ${NOTHING_NEW}`);
  const incoming = wants();
  reservedFor[0]!.uid = incoming.metadata!.uid!;
  assert.match(outcome(incoming, { claims: [full] }), /^[xy]$/);
});

test('a pod without claims, or whose template needed none', () => {
  assert.match(outcome(pod('p'), {}), /^[xy]$/);
  assert.match(outcome(wants(FROM_TEMPLATE, generated()), {}), /^[xy]$/);
});
