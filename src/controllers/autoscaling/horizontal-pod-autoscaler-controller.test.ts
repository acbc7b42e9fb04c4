import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import type {
  CustomResourceDefinition,
  Deployment,
  HorizontalPodAutoscaler,
  MetricSpec,
  Pod,
} from '#api/types.ts';
import type { ResourceRef } from '#client/client.ts';
import {
  customResourceDefinitions,
  deployments,
  events,
  horizontalPodAutoscalers,
  pods,
} from '#client/refs.ts';
import type { KubeObject } from '#machinery/object.ts';
import { formatTime } from '#machinery/time.ts';
import { startTestWorld, type TestWorld } from '../testing/world.ts';
import { horizontalPodAutoscalerController } from './horizontal-pod-autoscaler-controller.ts';

const NAMESPACE = 'shop';
const PERIOD_MS = 15_000;

interface PodUsage extends KubeObject {
  readonly timestamp: string;
  readonly window: string;
  readonly containers: readonly { readonly name: string; readonly usage: Readonly<Record<string, string>> }[];
}

/** Here a custom resource plays the resource metrics API. */
const podMetrics: ResourceRef<PodUsage> = {
  group: 'metrics.k8s.io',
  version: 'v1beta1',
  plural: 'pods',
  kind: 'PodMetrics',
  namespaced: true,
};
const DEFINITION: CustomResourceDefinition = {
  metadata: {
    name: 'pods.metrics.k8s.io',
    annotations: { 'api-approved.kubernetes.io': 'unapproved, for a test' },
  },
  spec: {
    group: 'metrics.k8s.io',
    scope: 'Namespaced',
    names: { plural: 'pods', singular: 'pod', kind: 'PodMetrics', listKind: 'PodMetricsList' },
    versions: [
      {
        name: 'v1beta1',
        served: true,
        storage: true,
        schema: { openAPIV3Schema: { type: 'object', 'x-kubernetes-preserve-unknown-fields': true } },
      },
    ],
  },
};

describe('the horizontal pod autoscaler', () => {
  let world: TestWorld;
  before(async () => {
    // The cluster's own metrics would be of nothing: no node runs these pods.
    const settings = { resourceMetrics: { isOff: true } };
    world = await startTestWorld([horizontalPodAutoscalerController()], { settings });
    await world.namespace(NAMESPACE);
  });
  after(() => world?.stop());

  const makeDeployment = (name: string, replicas: number): Promise<Deployment> =>
    world.api.create(deployments, {
      metadata: { name, namespace: NAMESPACE },
      spec: {
        replicas,
        selector: { matchLabels: { app: name } },
        template: {
          metadata: { labels: { app: name } },
          spec: { containers: [{ name: 'web', image: 'web', resources: { requests: { cpu: '100m' } } }] },
        },
      },
    });
  const makePod = async (app: string, index: number): Promise<Pod> => {
    const pod = await world.api.create(pods, {
      metadata: { name: `${app}-${index}`, namespace: NAMESPACE, labels: { app } },
      spec: { containers: [{ name: 'web', image: 'web', resources: { requests: { cpu: '100m' } } }] },
    });
    const startTime = formatTime(world.clock.now() - 3_600_000);
    return world.api.updateStatus(pods, {
      ...pod,
      status: {
        phase: 'Running',
        startTime,
        conditions: [{ type: 'Ready', status: 'True', lastTransitionTime: startTime }],
      },
    });
  };
  const use = async (app: string, cpu: readonly string[]): Promise<void> => {
    for (const [index, value] of cpu.entries()) {
      const name = { name: `${app}-${index}`, namespace: NAMESPACE };
      const usage: PodUsage = {
        metadata: { ...name, labels: { app } },
        timestamp: formatTime(world.clock.now()),
        window: '15s',
        containers: [{ name: 'web', usage: { cpu: value } }],
      };
      if (await world.find(podMetrics, name)) await world.api.delete(podMetrics, name);
      await world.api.create(podMetrics, usage);
    }
  };
  const autoscale = (
    name: string,
    spec: Partial<HorizontalPodAutoscaler['spec']> & { readonly metrics?: MetricSpec[] } = {},
  ): Promise<HorizontalPodAutoscaler> =>
    world.api.create(horizontalPodAutoscalers, {
      metadata: { name, namespace: NAMESPACE },
      spec: { scaleTargetRef: { apiVersion: 'apps/v1', kind: 'Deployment', name }, maxReplicas: 10, ...spec },
    });
  const get = (name: string) => world.api.get(horizontalPodAutoscalers, { name, namespace: NAMESPACE });
  const replicasOf = async (name: string): Promise<number> =>
    (await world.api.get(deployments, { name, namespace: NAMESPACE })).spec?.replicas ?? 0;
  const condition = async (name: string, type: string): Promise<string> => {
    const found = (await get(name)).status?.conditions?.find((one) => one.type === type);
    return found ? `${found.status} ${found.reason}: ${found.message}` : '';
  };
  const until = (name: string, type: string, text: string | RegExp): Promise<unknown> =>
    world.until(`${type} of ${name}`, async () => {
      const found = await condition(name, type);
      return typeof text === 'string' ? found === text : text.test(found);
    });
  const eventOf = (name: string, reason: string): Promise<string> =>
    world.until(`event ${reason} of ${name}`, async () => {
      const { items } = await world.api.list(events, { namespace: NAMESPACE });
      return items.find((event) => event.involvedObject?.name === name && event.reason === reason)?.message;
    });

  it('says why it cannot scale', async () => {
    await autoscale('nobody');
    await until(
      'nobody',
      'AbleToScale',
      'False FailedGetScale: the HPA controller was unable to get the target\'s current scale: deployments.apps "nobody" not found',
    );
    assert.equal(await eventOf('nobody', 'FailedGetScale'), 'deployments.apps "nobody" not found');

    await makeDeployment('early', 2);
    await makePod('early', 0);
    await autoscale('early');
    await until(
      'early',
      'ScalingActive',
      /^False FailedGetResourceMetric: the HPA was unable to compute the replica count: failed to get cpu utilization: unable to get metrics for resource cpu: unable to fetch metrics from resource metrics API: the server could not find the requested resource$/,
    );
    assert.match(
      await eventOf('early', 'FailedComputeMetricsReplicas'),
      /^invalid metrics \(1 invalid out of 1\), first error is: failed to get cpu utilization: /,
    );
    assert.equal(await replicasOf('early'), 2);

    await makeDeployment('asleep', 0);
    await autoscale('asleep');
    await until(
      'asleep',
      'ScalingActive',
      'False ScalingDisabled: scaling is disabled since the replica count of the target is zero',
    );
  });

  it('keeps replicas within its bounds without metrics', async () => {
    await makeDeployment('many', 20);
    await autoscale('many', { minReplicas: 2, maxReplicas: 5 });
    await world.until('scaled down', async () => (await replicasOf('many')) === 5);
    assert.equal(
      await eventOf('many', 'SuccessfulRescale'),
      'New size: 5; reason: Current number of replicas above Spec.MaxReplicas',
    );
    await until('many', 'AbleToScale', /^True (SucceededRescale|SucceededGetScale)/);
    const { status } = await get('many');
    assert.ok(status?.lastScaleTime);
  });

  it('follows the load up and, after the stabilization window, down', async () => {
    await world.api.create(customResourceDefinitions, DEFINITION);
    await world.until('the metrics are served', async () => (await world.api.list(podMetrics, {})).items);
    await makeDeployment('web', 2);
    await makePod('web', 0);
    await makePod('web', 1);
    await use('web', ['50m', '50m']);
    await autoscale('web', {
      metrics: [
        {
          type: 'Resource',
          resource: { name: 'cpu', target: { type: 'Utilization', averageUtilization: 50 } },
        },
      ],
    });
    await until(
      'web',
      'ScalingActive',
      'True ValidMetricFound: the HPA was able to successfully calculate a replica count from cpu resource utilization (percentage of request)',
    );
    assert.equal(await replicasOf('web'), 2);
    await use('web', ['100m', '100m']);
    await world.until('scaled up', async () => (await replicasOf('web')) === 4);
    await until('web', 'ScalingLimited', /^False DesiredWithinRange/);
    await world.until('the event', async () => {
      const { items } = await world.api.list(events, { namespace: NAMESPACE });
      return items.some(
        ({ message }) =>
          message === 'New size: 4; reason: cpu resource utilization (percentage of request) above target',
      );
    });
    const { status } = await get('web');
    assert.deepEqual(status?.currentMetrics, [
      {
        type: 'Resource',
        resource: { name: 'cpu', current: { averageUtilization: 100, averageValue: '100m' } },
      },
    ]);
    for (const index of [2, 3]) await makePod('web', index);
    await use('web', ['10m', '10m', '10m', '10m']);
    await until('web', 'AbleToScale', /^True ScaleDownStabilized/);
    assert.equal(await replicasOf('web'), 4);
    await world.clock.advance(20 * PERIOD_MS);
    await world.until('scaled down', async () => (await replicasOf('web')) === 1);
  });

  it('takes no pods that another autoscaler scales by', async () => {
    await makeDeployment('shared', 1);
    await makePod('shared', 0);
    await use('shared', ['50m']);
    await autoscale('shared');
    await until('shared', 'ScalingActive', /^True ValidMetricFound/);
    await autoscale('double', {
      scaleTargetRef: { apiVersion: 'apps/v1', kind: 'Deployment', name: 'shared' },
    });
    await until(
      'double',
      'ScalingActive',
      'False AmbiguousSelector: pods by selector app=shared are controlled by multiple HPAs: [shop/double shop/shared]',
    );
  });

  it('names a metrics API that is not served', async () => {
    await makeDeployment('queue', 1);
    await makePod('queue', 0);
    const metric = { name: 'jobs', selector: { matchLabels: { queue: 'mail' } } };
    await autoscale('queue', {
      metrics: [{ type: 'External', external: { metric, target: { type: 'Value', value: '10' } } }],
    });
    await until(
      'queue',
      'ScalingActive',
      'False FailedGetExternalMetric: the HPA was unable to compute the replica count: unable to get external metric shop/jobs/&LabelSelector{MatchLabels:map[string]string{queue: mail,},MatchExpressions:[]LabelSelectorRequirement{},}: unable to fetch metrics from external metrics API: the server could not find the requested resource',
    );
  });
});
