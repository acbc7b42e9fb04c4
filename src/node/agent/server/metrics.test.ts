import assert from 'node:assert/strict';
import { test } from 'node:test';
import {
  agentPage,
  cadvisorPage,
  probesPage,
  resourcePage,
  type Measured,
  type MeasuredPod,
} from './metrics.ts';
import { parseInterfaces } from './pod-network.ts';

const POD: MeasuredPod = {
  pod: { metadata: { name: 'web', namespace: 'shop', uid: 'u' }, spec: { containers: [{ name: 'c' }] } },
  status: {
    containerStatuses: [
      {
        name: 'c',
        image: 'nginx:1',
        imageID: '',
        ready: true,
        restartCount: 0,
        containerID: 'containerd://one',
        state: { running: { startedAt: '2026-01-01T00:00:00Z' } },
      },
    ],
  },
  finished: false,
  probeCounts: [{ container: 'c', kind: 'readiness', result: 'successful', count: 3 }],
};
const DONE: MeasuredPod = { ...POD, finished: true, probeCounts: [] };
const usage = (container: string, cpuSeconds: number): Measured['containers'][number] => ({
  id: container === 'c' ? 'one' : 'two',
  namespace: 'shop',
  pod: 'web',
  container,
  atMs: 1000.4,
  cpuSeconds,
  workingSetBytes: 10,
  memoryBytes: 20,
  rssBytes: 5,
});
const MEASURED: Measured = {
  node: {
    atMs: 2000,
    cpuSeconds: 9,
    workingSetBytes: 100,
    memoryBytes: 100,
    cores: 2,
    memoryTotalBytes: 1000,
  },
  containers: [
    {
      ...usage('c', 1.5),
      details: {
        cfsPeriods: 7,
        cfsThrottledPeriods: 2,
        cacheBytes: 4096,
        disks: [{ device: '/dev/sda', reads: 1, writes: 2, readBytes: 3, writtenBytes: 4 }],
      },
    },
    usage('side', 2),
  ],
  pods: [
    {
      namespace: 'shop',
      pod: 'web',
      atMs: 1000.4,
      cpuSeconds: 3.5,
      workingSetBytes: 25,
      memoryBytes: 50,
      interfaces: parseInterfaces(
        'Inter-|   Receive                                                |  Transmit\n' +
          ' face |bytes    packets errs drop fifo frame compressed multicast|bytes    packets errs drop fifo colls lost compressed\n' +
          '    lo:     100       2    0    0    0     0          0         0      100       2    0    0    0     0       0          0\n' +
          '  eth0:    2000      20    1    2    0     0          0         0     3000      30    3    4    0     0       0          0\n',
      ),
    },
  ],
};

/** Without what says of a family what it is. */
const series = (text: string): string[] =>
  text.split('\n').filter((line) => line !== '' && !line.startsWith('#'));

test('/metrics/resource: containers, pods with their sandboxes, the node; with the time of each', () => {
  assert.deepEqual(series(resourcePage(MEASURED, [POD])), [
    'container_cpu_usage_seconds_total{container="c",namespace="shop",pod="web"} 1.5 1000',
    'container_cpu_usage_seconds_total{container="side",namespace="shop",pod="web"} 2 1000',
    'container_memory_working_set_bytes{container="c",namespace="shop",pod="web"} 10 1000',
    'container_memory_working_set_bytes{container="side",namespace="shop",pod="web"} 10 1000',
    'container_start_time_seconds{container="c",namespace="shop",pod="web"} 1767225600',
    'node_cpu_usage_seconds_total 9 2000',
    'node_memory_working_set_bytes 100 2000',
    'pod_cpu_usage_seconds_total{namespace="shop",pod="web"} 3.5 1000',
    'pod_memory_working_set_bytes{namespace="shop",pod="web"} 25 1000',
    'resource_scrape_error 0',
    'scrape_error 0',
  ]);
});

test('a failed measurement is reported', () =>
  assert.deepEqual(series(resourcePage(undefined, [])), ['resource_scrape_error 1', 'scrape_error 1']));

test('/metrics/cadvisor names container, image and id, and the machine', () => {
  const lines = series(cadvisorPage(MEASURED, [POD]));
  for (const line of [
    'container_cpu_usage_seconds_total{cpu="total",container="c",id="/one",image="nginx:1",name="one",namespace="shop",pod="web"} 1.5 1000',
    'container_memory_working_set_bytes{container="",id="/",image="",name="",namespace="",pod=""} 100 2000',
    'machine_cpu_cores 2',
    'machine_memory_bytes 1000',
  ])
    assert.ok(lines.includes(line), line);
  assert.ok(!lines.some((line) => line.startsWith('container_memory_swap')), 'what the runtime does not say');
});

test('/metrics/probes and /metrics', () => {
  assert.deepEqual(series(probesPage([POD])), [
    'prober_probe_total{container="c",namespace="shop",pod="web",pod_uid="u",probe_type="Readiness",result="successful"} 3',
  ]);
  const lines = series(agentPage([POD, DONE], { nodeName: 'n', version: 'v1' }));
  for (const line of [
    'kubelet_node_name{node="n"} 1',
    'kubelet_running_pods 1',
    'kubelet_desired_pods{static=""} 2',
    'kubelet_running_containers{container_state="running"} 1',
  ])
    assert.ok(lines.includes(line), line);
  for (const name of [
    'process_cpu_seconds_total',
    'process_open_fds',
    'process_max_fds',
    'process_virtual_memory_bytes',
    'nodejs_heap_size_used_bytes',
  ])
    assert.ok(
      lines.some((line) => line.startsWith(`${name} `)),
      name,
    );
});

test('what the kernel counts of containers and pods', () => {
  const lines = series(cadvisorPage(MEASURED, []));
  const value = (start: string): string | undefined =>
    lines.find((line) => line.startsWith(start))?.split(' ')[1];
  assert.equal(value('container_cpu_cfs_periods_total{container="c"'), '7');
  assert.equal(value('container_cpu_cfs_throttled_periods_total{container="c"'), '2');
  assert.equal(value('container_memory_cache{container="c"'), '4096');
  assert.equal(value('container_fs_writes_bytes_total{device="/dev/sda",container="c"'), '4');
  const place = 'container="",id="",image="",interface="eth0",name="",namespace="shop",pod="web"';
  assert.equal(value(`container_network_receive_bytes_total{${place}}`), '2000');
  assert.equal(value(`container_network_receive_packets_dropped_total{${place}}`), '2');
  assert.equal(value(`container_network_transmit_errors_total{${place}}`), '3');
});
