/** metrics.k8s.io of a cluster: kubectl top, and HorizontalPodAutoscalers on CPU, over simulated nodes. */
import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import type { Deployment, HorizontalPodAutoscaler, Pod } from '#api/types.ts';
import { clusterRoles, deployments, horizontalPodAutoscalers, pods } from '#client/refs.ts';
import { runCommand, until } from './cluster.ts';
import { foreignTools } from './foreign-tools.ts';
import { startSimulatedCluster, type SimulatedCluster } from './simulated-cluster.ts';

const NAMESPACE = 'default';
const POD_METRICS = {
  group: 'metrics.k8s.io',
  version: 'v1beta1',
  plural: 'pods',
  kind: 'PodMetrics',
  namespaced: true,
} as const;

let cluster: SimulatedCluster;
before(async () => {
  cluster = await startSimulatedCluster({
    settings: { resourceMetrics: { resolutionMs: 500, warmUpMs: 500 } },
    controllers: {
      autoscalerSyncPeriodMs: 500,
      autoscalerCpuInitializationMs: 0,
      autoscalerInitialReadinessDelayMs: 0,
      autoscalerDownscaleStabilizationMs: 0,
    },
  });
});
after(() => cluster.stop());

const web = { name: 'web', namespace: NAMESPACE };

function deployment(cpu: string): Deployment {
  return {
    metadata: web,
    spec: {
      replicas: 2,
      selector: { matchLabels: { app: 'web' } },
      template: {
        metadata: { labels: { app: 'web' }, annotations: { 'capstan.dev/simulate-cpu': cpu } },
        spec: { containers: [{ name: 'c', image: 'web:1', resources: { requests: { cpu: '100m' } } }] },
      },
    },
  };
}

async function podsOf(): Promise<Pod[]> {
  return (await cluster.api.list(pods, { namespace: NAMESPACE, labelSelector: 'app=web' })).items;
}

/** Of pods that are there; those that are made afterwards use what the template says. */
async function use(cpu: string): Promise<void> {
  for (const { metadata } of await podsOf())
    await cluster.api
      .patch(pods, metadata as { name: string; namespace: string }, {
        type: 'merge',
        patch: { metadata: { annotations: { 'capstan.dev/simulate-cpu': cpu } } },
      })
      .catch(() => {});
}

describe('resource metrics', () => {
  before(async () => {
    await cluster.api.create(deployments, deployment('50m'));
    await until('metrics of both pods', async () => {
      const { items } = await cluster.api.list(POD_METRICS, { namespace: NAMESPACE });
      return items.length === 2;
    });
  });

  it('kubectl top shows nodes, pods and their containers', async (t) => {
    const tools = foreignTools(32);
    if ('missing' in tools) return t.skip(tools.missing);
    const top = async (...words: string[]): Promise<string> =>
      (await runCommand([tools.kubectl, '--kubeconfig', cluster.kubeconfig, 'top', ...words])).stdout;
    const nodes = await top('nodes');
    assert.match(nodes, /^NAME +CPU\(cores\) +CPU\(?%\)? +MEMORY\(bytes\) +MEMORY\(?%\)?/);
    assert.match(nodes, /^node-1 +\d+m +0% +\d+Mi +0%/m);
    assert.match(await top('pods', '-l', 'app=web'), /^web-\S+ +50m +\d+Mi/m);
    assert.match(await top('pods', '--containers'), /^web-\S+ +c +50m +\d+Mi/m);
  });

  it('viewers, editors and administrators of a namespace may read them', async () => {
    for (const name of ['view', 'edit', 'admin']) {
      const role = await cluster.api.get(clusterRoles, { name });
      assert.ok(
        role.rules?.some(
          ({ apiGroups, resources }) => apiGroups?.includes('metrics.k8s.io') && resources?.includes('pods'),
        ),
        name,
      );
    }
  });

  it('a HorizontalPodAutoscaler scales a Deployment up and down by its CPU usage', async () => {
    const autoscaler: HorizontalPodAutoscaler = {
      metadata: web,
      spec: {
        minReplicas: 1,
        maxReplicas: 4,
        scaleTargetRef: { apiVersion: 'apps/v1', kind: 'Deployment', name: 'web' },
        metrics: [
          {
            type: 'Resource',
            resource: { name: 'cpu', target: { type: 'Utilization', averageUtilization: 50 } },
          },
        ],
      },
    };
    await cluster.api.create(horizontalPodAutoscalers, autoscaler);
    const replicas = async (): Promise<number | undefined> =>
      (await cluster.api.get(deployments, web)).spec?.replicas;
    await until('the autoscaler sees the usage', async () => {
      const { status } = await cluster.api.get(horizontalPodAutoscalers, web);
      return status?.currentMetrics?.[0]?.resource?.current.averageUtilization === 50;
    });
    assert.equal(await replicas(), 2);
    await use('95m');
    await until('it is scaled up', async () => (await replicas()) === 4, 60_000);
    await until(
      'it is scaled down',
      async () => {
        await use('5m');
        return (await replicas()) === 1;
      },
      60_000,
    );
    const { status } = await cluster.api.get(horizontalPodAutoscalers, web);
    const conditions = Object.fromEntries((status?.conditions ?? []).map((one) => [one.type, one.reason]));
    assert.equal(conditions['ScalingActive'], 'ValidMetricFound');
  });

  it('metrics of a pod are gone with it', async () => {
    await cluster.api.delete(horizontalPodAutoscalers, web);
    await cluster.api.delete(deployments, web);
    await until('no metrics', async () => {
      const { items } = await cluster.api.list(POD_METRICS, { namespace: NAMESPACE });
      return items.length === 0;
    });
  });
});
