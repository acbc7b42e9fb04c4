/** The API-machinery part of conformance: ResourceQuotas, what they count and refuse, and their status. */
import assert from 'node:assert/strict';
import { after, before, beforeEach, describe, it } from 'node:test';
import { pod, replicationController, workload } from './manifests.ts';
import { startWorld, type Json, type World } from './world.ts';

describe('conformance: resource quotas', () => {
  let world: World;
  let namespace: string;
  let quotas: string;
  before(async () => {
    world = await startWorld();
  });
  beforeEach(async () => {
    namespace = await world.namespace();
    quotas = `/api/v1/namespaces/${namespace}/resourcequotas`;
  });
  after(async () => world?.stop());

  const quota = (name: string, hard: Json, more: Json = {}): Promise<Json> =>
    world.post(quotas, { metadata: { name }, spec: { hard, ...more } });
  const uses = (name: string, used: Json): Promise<Json> =>
    world.reaches(`${quotas}/${name}`, ({ status }) =>
      Object.entries(used).every(([key, value]) => status.used?.[key] === value),
    );
  const requests = (cpu: string, memory: string, more: Json = {}): Json => ({
    containers: [
      {
        name: 'main',
        image: 'pause:3.10',
        resources: { requests: { cpu, memory, ...more }, limits: { cpu, memory, ...more } },
      },
    ],
  });

  /** Counted while it is there. */
  async function counts(
    resource: string,
    {
      path,
      body,
      before: at = '0',
      hard = '5',
    }: { readonly path: string; readonly body: Json; readonly before?: string; readonly hard?: string },
  ): Promise<void> {
    await quota('counting', { [resource]: hard, resourcequotas: '1' });
    const fresh = await uses('counting', { [resource]: at, resourcequotas: '1' });
    assert.deepEqual(fresh.status.hard, fresh.spec.hard);
    const { metadata } = await world.post(path, body);
    await uses('counting', { [resource]: String(Number(at) + 1) });
    await world.del(`${path}/${metadata.name}`);
    await uses('counting', { [resource]: at });
  }

  it('ResourceQuota, update and delete', async () => {
    await quota('q', { cpu: '1', memory: '500Mi' });
    const read = await world.get(`${quotas}/q`);
    read.spec.hard = { cpu: '2', memory: '1Gi' };
    assert.deepEqual((await world.put(`${quotas}/q`, read)).spec.hard, { cpu: '2', memory: '1Gi' });
    assert.deepEqual((await world.get(`${quotas}/q`)).spec.hard, { cpu: '2', memory: '1Gi' });
    await world.del(`${quotas}/q`);
    await world.refused(404, `GET ${quotas}/q`);
  });

  it('ResourceQuota, manage lifecycle of a ResourceQuota', async () => {
    const labels = { 'e2e-rq': namespace };
    await world.post(quotas, {
      metadata: { name: 'q', labels },
      spec: { hard: { cpu: '1', memory: '500Mi' } },
    });
    assert.equal(
      (await world.get(`/api/v1/resourcequotas?labelSelector=e2e-rq%3D${namespace}`)).items.length,
      1,
    );
    const patched = await world.patch(
      `${quotas}/q`,
      { metadata: { labels: { patched: 'yes' } }, spec: { hard: { memory: '750Mi' } } },
      'strategic',
    );
    assert.equal(patched.metadata.labels.patched, 'yes');
    assert.deepEqual(patched.spec.hard, { cpu: '1', memory: '750Mi' });
    await world.del(`${quotas}?labelSelector=e2e-rq%3D${namespace}`);
    assert.equal((await world.get(`${quotas}?labelSelector=e2e-rq%3D${namespace}`)).items.length, 0);
  });

  it('ResourceQuota, apply changes to a ResourceQuota status', async () => {
    await quota('q', { cpu: '500m', memory: '500Mi' });
    await world.reaches(`${quotas}/q`, ({ status }) => status.hard?.cpu === '500m');
    const read = await world.get(`${quotas}/q`);
    read.status.hard = { cpu: '250m', memory: '250Mi' };
    assert.deepEqual((await world.put(`${quotas}/q/status`, read)).status.hard, {
      cpu: '250m',
      memory: '250Mi',
    });
    await world.reaches(
      `${quotas}/q`,
      ({ status }) => status.hard.cpu === '500m' && status.hard.memory === '500Mi',
    );
    await world.patch(`${quotas}/q`, { spec: { hard: { cpu: '1', memory: '1Gi' } } });
    await world.reaches(
      `${quotas}/q/status`,
      ({ status }) => status.hard.cpu === '1' && status.hard.memory === '1Gi',
    );
    const patched = await world.patch(`${quotas}/q/status`, {
      spec: { hard: { cpu: '9' } },
      status: { hard: { cpu: '750m', memory: '750Mi' } },
    });
    assert.deepEqual(patched.status.hard, { cpu: '750m', memory: '750Mi' });
    assert.deepEqual(patched.spec.hard, { cpu: '1', memory: '1Gi' });
    await world.reaches(`${quotas}/q`, ({ status }) => status.hard.cpu === '1');
  });

  it('ResourceQuota, object count quota, configmap', async () => {
    const path = `/api/v1/namespaces/${namespace}/configmaps`;
    const { items } = await world.reaches(path, (list) => list.items.length === 1);
    await counts('configmaps', {
      path,
      body: { metadata: { name: 'counted' } },
      before: String(items.length),
    });
  });

  it('ResourceQuota, object count quota, secret', () =>
    counts('secrets', {
      path: `/api/v1/namespaces/${namespace}/secrets`,
      body: { metadata: { name: 'counted' } },
    }));

  it('ResourceQuota, object count quota, service', async () => {
    const path = `/api/v1/namespaces/${namespace}/services`;
    await quota('kinds', { services: '10', 'services.nodeports': '1', 'services.loadbalancers': '1' });
    await uses('kinds', { services: '0', 'services.nodeports': '0', 'services.loadbalancers': '0' });
    const make = (name: string, type: string): Json => ({
      metadata: { name },
      spec: { type, ports: [{ port: 80 }] },
    });
    await world.post(path, make('cluster-ip', 'ClusterIP'));
    await world.post(path, make('node-port', 'NodePort'));
    assert.match(
      (await world.refused(403, `POST ${path}`, { body: make('balancer', 'LoadBalancer') })).message,
      /exceeded quota: kinds, requested: services\.nodeports=1, used: services\.nodeports=1, limited: services\.nodeports=1/,
    );
    await uses('kinds', { services: '2', 'services.nodeports': '1', 'services.loadbalancers': '0' });
    for (const name of ['cluster-ip', 'node-port']) await world.del(`${path}/${name}`);
    await uses('kinds', { services: '0', 'services.nodeports': '0' });
  });

  it('ResourceQuota, object count quota, replicationController', () =>
    counts('replicationcontrollers', {
      path: `/api/v1/namespaces/${namespace}/replicationcontrollers`,
      body: replicationController('counted', { replicas: 0 }),
    }));

  it('ResourceQuota, object count quota, replicaSet', () =>
    counts('count/replicasets.apps', {
      path: `/apis/apps/v1/namespaces/${namespace}/replicasets`,
      body: workload('ReplicaSet', 'counted', { replicas: 0 }),
    }));

  it('ResourceQuota, object count quota, resourcequotas', async () => {
    await quota('q', { resourcequotas: '1' });
    await uses('q', { resourcequotas: '1' });
    assert.match(
      (
        await world.refused(403, `POST ${quotas}`, {
          body: { metadata: { name: 'second' }, spec: { hard: { pods: '1' } } },
        })
      ).message,
      /exceeded quota: q, requested: resourcequotas=1, used: resourcequotas=1, limited: resourcequotas=1/,
    );
  });

  it('ResourceQuota, object count quota, pod', async () => {
    const pods = `/api/v1/namespaces/${namespace}/pods`;
    const empty = {
      pods: '0',
      cpu: '0',
      memory: '0',
      'requests.ephemeral-storage': '0',
      'requests.example.com/dongle': '0',
    };
    await quota('q', {
      pods: '5',
      cpu: '1',
      memory: '500Mi',
      'requests.ephemeral-storage': '50Gi',
      'requests.example.com/dongle': '3',
    });
    await uses('q', empty);
    await world.post(
      pods,
      pod('fits', requests('500m', '252Mi', { 'ephemeral-storage': '30Gi', 'example.com/dongle': '2' })),
    );
    const full = {
      pods: '1',
      cpu: '500m',
      memory: '252Mi',
      'requests.ephemeral-storage': '30Gi',
      'requests.example.com/dongle': '2',
    };
    await uses('q', full);
    const { message, reason } = await world.refused(403, `POST ${pods}`, {
      body: pod('too-much', requests('600m', '100Mi', { 'ephemeral-storage': '1Gi' })),
    });
    assert.equal(reason, 'Forbidden');
    assert.match(
      message,
      /pods "too-much" is forbidden: exceeded quota: q, requested: cpu=600m, used: cpu=500m, limited: cpu=1/,
    );
    await world.refused(403, `POST ${pods}`, {
      body: pod(
        'too-many-dongles',
        requests('1m', '1Mi', { 'ephemeral-storage': '1Gi', 'example.com/dongle': '2' }),
      ),
    });
    const read = await world.get(`${pods}/fits`);
    read.spec.containers[0].resources.requests.cpu = '100m';
    assert.match(
      (await world.refused(422, `PUT ${pods}/fits`, { body: read })).message,
      /spec: Forbidden: pod updates may not change fields other than/,
    );
    await uses('q', full);
    await world.del(`${pods}/fits`, { gracePeriodSeconds: 0 });
    await uses('q', empty);
  });

  it('ResourceQuota, quota scope, BestEffort and NotBestEffort scope', async () => {
    const pods = `/api/v1/namespaces/${namespace}/pods`;
    await quota('best-effort', { pods: '5' }, { scopes: ['BestEffort'] });
    await quota('not-best-effort', { pods: '5' }, { scopes: ['NotBestEffort'] });
    const bothAre = async (best: string, other: string): Promise<void> => {
      await uses('best-effort', { pods: best });
      await uses('not-best-effort', { pods: other });
    };
    await bothAre('0', '0');
    await world.post(pods, pod('best'));
    await bothAre('1', '0');
    await world.del(`${pods}/best`, { gracePeriodSeconds: 0 });
    await bothAre('0', '0');
    await world.post(pods, pod('burstable', requests('500m', '200Mi')));
    await bothAre('0', '1');
    await world.del(`${pods}/burstable`, { gracePeriodSeconds: 0 });
    await bothAre('0', '0');
  });

  it('ResourceQuota, quota scope, Terminating and NotTerminating scope', async () => {
    const pods = `/api/v1/namespaces/${namespace}/pods`;
    const hard = {
      'requests.cpu': '1',
      'requests.memory': '500Mi',
      'limits.cpu': '2',
      'limits.memory': '1Gi',
    };
    await quota('terminating', hard, { scopes: ['Terminating'] });
    await quota('not-terminating', hard, { scopes: ['NotTerminating'] });
    const none = { 'requests.cpu': '0', 'limits.memory': '0' };
    const some = {
      'requests.cpu': '500m',
      'requests.memory': '200Mi',
      'limits.cpu': '500m',
      'limits.memory': '200Mi',
    };
    for (const [name, own, other, more] of [
      ['lasting', 'not-terminating', 'terminating', {}],
      ['ending', 'terminating', 'not-terminating', { activeDeadlineSeconds: 3600 }],
    ] as const) {
      await uses(own, none);
      await world.post(pods, pod(name, { ...requests('500m', '200Mi'), ...more }));
      await uses(own, some);
      await uses(other, none);
      await world.del(`${pods}/${name}`, { gracePeriodSeconds: 0 });
      await uses(own, none);
    }
  });
});
