import assert from 'node:assert/strict';
import { test } from 'node:test';
import { parseResourcePage } from './resource-page.ts';

const PAGE = `# HELP container_cpu_usage_seconds_total Cumulative cpu time
# TYPE container_cpu_usage_seconds_total counter
container_cpu_usage_seconds_total{container="web",namespace="shop",pod="web-1"} 12.5 1700000000000
container_cpu_usage_seconds_total{container="side",namespace="shop",pod="web-1"} 1e-1 1700000000100
container_cpu_usage_seconds_total{container="c",namespace="shop",pod="idle"} 0 1700000000000
container_cpu_usage_seconds_total{container="c",namespace="shop",pod="half"} 1 1700000000000
container_memory_working_set_bytes{container="web",namespace="shop",pod="web-1"} 1048576 1700000000000
container_memory_working_set_bytes{container="side",namespace="shop",pod="web-1"} 4096 1700000000000
container_memory_working_set_bytes{container="c",namespace="shop",pod="idle"} 4096 1700000000000
container_start_time_seconds{container="web",namespace="shop",pod="web-1"} 1.6999999e+09
node_cpu_usage_seconds_total 1000.25 1700000000200
node_memory_working_set_bytes 2.097152e+06 1700000000200
pod_cpu_usage_seconds_total{namespace="shop",pod="web-1"} 13 1700000000000
scrape_error 0
`;

test('nodes and containers are read as metrics-server reads them', () => {
  const { node, pods } = parseResourcePage(PAGE);
  assert.deepEqual(node, { startMs: 0, atMs: 1700000000200, cpuSeconds: 1000.25, memoryBytes: 2097152 });
  assert.deepEqual([...pods.keys()], ['shop/web-1'], 'a pod with an incomplete container is left out');
  assert.deepEqual(Object.fromEntries(pods.get('shop/web-1')!), {
    web: { startMs: 1699999900000, atMs: 1700000000000, cpuSeconds: 12.5, memoryBytes: 1048576 },
    side: { startMs: 0, atMs: 1700000000100, cpuSeconds: 0.1, memoryBytes: 4096 },
  });
});

test('what is none of it is left out, whatever a node sends', () => {
  for (const page of [
    '',
    '\n\n',
    'node_cpu_usage_seconds_total NaN 5\nnode_memory_working_set_bytes 1 5',
    'node_cpu_usage_seconds_total -1 5\nnode_memory_working_set_bytes 1 5',
    'node_cpu_usage_seconds_total 1\nnode_memory_working_set_bytes 1',
    'container_cpu_usage_seconds_total{container="c",pod="p"} 1 5',
    'container_cpu_usage_seconds_total{container="c",namespace="n",pod="p" 1 5',
    `container_cpu_usage_seconds_total{${'a="b",'.repeat(10_000)}} 1 5`,
    `node_cpu_usage_seconds_total${'{'.repeat(10_000)}`,
  ]) {
    const { node, pods } = parseResourcePage(page);
    assert.deepEqual([node, pods.size], [undefined, 0], page.slice(0, 60));
  }
});

test('label values are unescaped', () => {
  const labels = String.raw`container="a\"b",namespace="n\\n",pod="p\n"`;
  const { pods } = parseResourcePage(
    `container_cpu_usage_seconds_total{${labels}} 1 5\ncontainer_memory_working_set_bytes{${labels}} 1 5`,
  );
  const [[key, containers]] = [...pods] as [[string, ReadonlyMap<string, unknown>]];
  assert.deepEqual([key, [...containers.keys()]], ['n\\n/p\n', ['a"b']]);
});
