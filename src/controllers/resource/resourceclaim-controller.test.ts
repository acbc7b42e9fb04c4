import assert from 'node:assert/strict';
import { after, before, beforeEach, describe, it } from 'node:test';
import type { ResourceClaim } from '#api/generated/types/resource-v1.ts';
import type { Pod } from '#api/types.ts';
import { deviceClasses, events, pods, resourceClaims, resourceClaimTemplates } from '#client/refs.ts';
import type { Stored } from '#machinery/object.ts';
import { startTestWorld, type TestWorld } from '../testing/world.ts';
import { ClaimCreations, resourceClaimLines } from './resource-claim-metrics.ts';
import { resourceClaimController } from './resourceclaim-controller.ts';

const requests = [{ name: 'r', exactly: { deviceClassName: 'gpus' } }];
const allocation = {
  devices: { results: [{ request: 'r', driver: 'd.example.com', pool: 'p', device: '0' }] },
};
const FINALIZER = 'resource.kubernetes.io/delete-protection';

describe('resourceclaim-controller', () => {
  let world: TestWorld;
  const claimCreations = new ClaimCreations();
  let number = 0;
  let namespace = '';
  before(async () => {
    world = await startTestWorld([resourceClaimController({ claimCreations })]);
    await world.node('n');
    await world.api.create(deviceClasses, { metadata: { name: 'gpus' }, spec: {} });
  });
  after(() => world.stop());
  beforeEach(async () => {
    namespace = `ns-${++number}`;
    await world.namespace(namespace);
  });

  const template = (): Promise<unknown> =>
    world.api.create(resourceClaimTemplates, {
      metadata: { name: 't', namespace },
      spec: { metadata: { labels: { a: 'b' } }, spec: { devices: { requests } } },
    });
  const pod = (name: string, reference: object): Promise<Stored<Pod>> =>
    world.api.create(pods, {
      metadata: { name, namespace },
      spec: {
        containers: [{ name: 'c', image: 'c:1' }],
        resourceClaims: [{ name: 'gpu', ...reference }],
        terminationGracePeriodSeconds: 0,
      },
    });
  const generated = (name: string): Promise<Stored<ResourceClaim>> =>
    world.until('a claim is generated', async () => {
      const { status } = await world.api.get(pods, { name, namespace });
      const claim = status?.resourceClaimStatuses?.[0]?.resourceClaimName;
      return claim && world.api.get(resourceClaims, { name: claim, namespace });
    });
  /** What the scheduler does. */
  async function allocate(claim: Stored<ResourceClaim>, users: readonly Stored<Pod>[]): Promise<void> {
    const named = await world.api.update(resourceClaims, {
      ...claim,
      metadata: { ...claim.metadata, finalizers: [FINALIZER] },
    });
    const reservedFor = users.map(({ metadata: { name, uid } }) => ({ resource: 'pods', name, uid }));
    await world.api.updateStatus(resourceClaims, { ...named, status: { allocation, reservedFor } });
  }
  const claimNow = (name: string): Promise<ResourceClaim | undefined> =>
    world.find(resourceClaims, { name, namespace });

  it('makes a claim from a template, once, and deletes it when its pod is over', async () => {
    await template();
    const made = await pod('p', { resourceClaimTemplateName: 't' });
    const claim = await generated('p');
    assert.match(claim.metadata.name, /^p-gpu-/);
    assert.deepEqual(claim.metadata.labels, { a: 'b' });
    assert.deepEqual(claim.metadata.annotations, { 'resource.kubernetes.io/pod-claim-name': 'gpu' });
    assert.equal(claim.metadata.ownerReferences?.[0]?.uid, made.metadata.uid);
    await allocate(claim, [made]);
    await world.bind(made, 'n');
    await world.pass(2_000);
    assert.equal((await world.api.list(resourceClaims, { namespace })).items.length, 1);
    await world.setPod(await world.api.get(pods, { name: 'p', namespace }), { phase: 'Succeeded' });
    await world.until('the claim is gone', async () => !(await claimNow(claim.metadata.name)));
  });

  it('makes it again when it is deleted while the pod waits', async () => {
    await template();
    await pod('p', { resourceClaimTemplateName: 't' });
    const { name } = (await generated('p')).metadata;
    await world.api.delete(resourceClaims, { name, namespace });
    await world.until('another claim is named', async () => (await generated('p')).metadata.name !== name);
  });

  it('says that the template is missing, and goes on when it comes', async () => {
    await pod('p', { resourceClaimTemplateName: 't' });
    const message = await world.until(
      'an event',
      async () =>
        (await world.api.list(events, { namespace })).items.find(
          ({ reason }) => reason === 'FailedResourceClaimCreation',
        )?.message,
    );
    assert.equal(
      message,
      'PodResourceClaim gpu: resource claim template "t": resourceclaimtemplate.resource.k8s.io "t" not found',
    );
    await template();
    await generated('p');
  });

  it('takes back reservations, and the allocation with the last one', async () => {
    const claim = await world.api.create(resourceClaims, {
      metadata: { name: 'c', namespace },
      spec: { devices: { requests } },
    });
    const [p, q] = [await pod('p', { resourceClaimName: 'c' }), await pod('q', { resourceClaimName: 'c' })];
    await allocate(claim, [p, q]);
    await world.api.delete(pods, { name: 'p', namespace }, { gracePeriodSeconds: 0 });
    const one = await world.until('one reservation is left', async () => {
      const now = await claimNow('c');
      return now?.status?.reservedFor?.length === 1 && now;
    });
    assert.equal(one.status?.reservedFor?.[0]?.name, 'q');
    assert.ok(one.status?.allocation);
    await world.api.delete(pods, { name: 'q', namespace }, { gracePeriodSeconds: 0 });
    const free = await world.until('the claim is free', async () => {
      const now = await claimNow('c');
      return now && !now.status?.allocation && !now.metadata?.finalizers?.length && now;
    });
    assert.equal(free.status?.reservedFor, undefined);
  });

  it('lets an unused claim go that is deleted, and reserves it for a pod that is on a node already', async () => {
    const claim = await world.api.create(resourceClaims, {
      metadata: { name: 'c', namespace },
      spec: { devices: { requests } },
    });
    await allocate(claim, []);
    const made = await pod('p', { resourceClaimName: 'c' });
    await world.bind(made, 'n');
    await world.until(
      'it is reserved',
      async () => (await claimNow('c'))?.status?.reservedFor?.[0]?.uid === made.metadata.uid,
    );
    await world.api.delete(resourceClaims, { name: 'c', namespace });
    await world.pass(1_000);
    assert.ok(await claimNow('c'));
    await world.api.delete(pods, { name: 'p', namespace }, { gracePeriodSeconds: 0 });
    await world.finishPod(made).catch(() => {});
    await world.until('the claim is gone', async () => !(await claimNow('c')));
  });

  it('counts claims', () => {
    const claim = (annotations: Record<string, string>, status = {}): ResourceClaim => ({
      metadata: { name: 'c', annotations },
      spec: { devices: { requests } },
      status,
    });
    assert.deepEqual(
      resourceClaimLines([
        claim({}),
        claim({ 'resource.kubernetes.io/pod-claim-name': 'x' }, { allocation }),
        claim({ 'resource.kubernetes.io/extended-resource-claim': 'true' }),
      ]).slice(2),
      [
        'dynamic_resource_allocation_resource_claims{allocated="false",admin_access="false",source=""} 1',
        'dynamic_resource_allocation_resource_claims{allocated="true",admin_access="false",source="resource_claim_template"} 1',
        'dynamic_resource_allocation_resource_claims{allocated="false",admin_access="false",source="extended_resource"} 1',
      ],
    );
  });
});
