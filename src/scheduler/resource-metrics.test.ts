import assert from 'node:assert/strict';
import { test } from 'node:test';
import { podResourceLines } from './resource-metrics.ts';
import { pod } from './testing/snapshot.ts';

test('requests and limits of pods, with their units, without pods that are over', () => {
  const resources = {
    requests: { cpu: '250m', memory: '1Gi', 'hugepages-2Mi': '2Mi', 'example.com/gpu': '1', storage: '0' },
    limits: { memory: '2Gi' },
  };
  const spec = { containers: [{ name: 'c', image: 'i', resources }], schedulerName: 'default-scheduler' };
  const waiting = pod('a', { priority: 7, spec });
  const over = { ...pod('b', { on: 'x', spec }), status: { phase: 'Succeeded' } };
  const at = 'namespace="default",node="",pod="a",priority="7"';
  const series = (resource: string, unit: string): string =>
    `{${at},resource="${resource}",scheduler="default-scheduler",unit="${unit}"}`;
  assert.deepEqual(
    podResourceLines([waiting, over]).filter((line) => !line.startsWith('#')),
    [
      `kube_pod_resource_request${series('cpu', 'cores')} 0.25`,
      `kube_pod_resource_request${series('memory', 'bytes')} 1073741824`,
      `kube_pod_resource_request${series('hugepages-2Mi', 'bytes')} 2097152`,
      `kube_pod_resource_request${series('example.com/gpu', '')} 1`,
      `kube_pod_resource_limit${series('memory', 'bytes')} 2147483648`,
    ],
  );
  assert.equal(podResourceLines([]).length, 4);
});
