/** PodGroups and Workloads of a real API server with and without the gate GenericWorkload. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { PodGroup } from '#api/generated/types/scheduling-v1alpha2.ts';
import { podGroupsV1alpha2, pods, serviceAccounts, workloadsV1alpha2 } from '#client/refs.ts';
import { isStatusError } from '#machinery/errors.ts';
import type { KubeObject } from '#machinery/object.ts';
import { startTestApi, type TestApiOptions } from '#testing/start-test-api.ts';
import { servingFrom } from './flags/serving.ts';

const META = { name: 'g', namespace: 'default' };
const GANG = { gang: { minCount: 2 } };
const POD_SPEC = { containers: [{ name: 'c', image: 'i' }], schedulingGroup: { podGroupName: 'g' } };

async function apiWith(serving: NonNullable<TestApiOptions['serving']>) {
  const testApi = await startTestApi({ serving });
  await testApi.api.create(serviceAccounts, { metadata: { name: 'default', namespace: 'default' } });
  return testApi;
}

const runtimeConfig = 'scheduling.k8s.io/v1alpha2=true';

test('without the gate nothing of it is served, whatever --runtime-config says', async (t) => {
  const testApi = await apiWith(servingFrom({ runtimeConfig }));
  t.after(() => testApi.stop());
  await assert.rejects(testApi.api.list(podGroupsV1alpha2, { namespace: 'default' }), (error) =>
    isStatusError(error, 'NotFound'),
  );
  const pod = await testApi.api.create(pods, { metadata: { ...META, name: 'p' }, spec: POD_SPEC });
  assert.equal(pod.spec?.schedulingGroup, undefined);
});

test('with the gate groups are served, protected, and need the template that they name', async (t) => {
  const testApi = await apiWith(servingFrom({ runtimeConfig, featureGates: 'GenericWorkload=true' }));
  t.after(() => testApi.stop());
  const { api } = testApi;
  const pod = await api.create(pods, { metadata: { ...META, name: 'p' }, spec: POD_SPEC });
  assert.deepEqual(pod.spec?.schedulingGroup, { podGroupName: 'g' });
  const refusal = (workloadName: string, podGroupTemplateName: string): Promise<string> =>
    api
      .create(podGroupsV1alpha2, {
        metadata: META,
        spec: {
          schedulingPolicy: GANG,
          podGroupTemplateRef: { workload: { workloadName, podGroupTemplateName } },
        },
      })
      .then(
        ({ metadata }) => String(metadata?.finalizers),
        (error: Error) => error.message,
      );
  assert.match(await refusal('w', 't'), /PodGroup rejected: Workload "w" not found$/);
  await api.create(workloadsV1alpha2, {
    metadata: { ...META, name: 'w' },
    spec: { podGroupTemplates: [{ name: 't', schedulingPolicy: GANG }] },
  });
  assert.match(await refusal('w', 'u'), /PodGroup rejected: PodGroupTemplate "u" not found in Workload "w"$/);
  assert.equal(await refusal('w', 't'), 'scheduling.k8s.io/podgroup-protection');
  const status = { conditions: [condition('True')] };
  await api.updateStatus(podGroupsV1alpha2, { ...(await api.get(podGroupsV1alpha2, META)), status });
  const group: KubeObject & PodGroup = await api.get(podGroupsV1alpha2, META);
  assert.equal(group.status?.conditions?.[0]?.reason, 'Scheduled');
});

function condition(status: string) {
  return {
    type: 'PodGroupScheduled',
    status,
    reason: 'Scheduled',
    message: '',
    lastTransitionTime: '2026-01-02T03:04:05Z',
  };
}
