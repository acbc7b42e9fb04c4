import assert from 'node:assert/strict';
import { test } from 'node:test';
import { FakeClock } from '#stdx/testing/fake-clock.ts';
import { MetricsRegistry } from '#stdx/metrics-registry.ts';
import { ProxyMetrics } from './metrics.ts';

test('writes of the rules, and how long the network takes to follow a change', async () => {
  const clock = new FakeClock();
  const registry = new MetricsRegistry();
  const metrics = new ProxyMetrics(clock, registry);
  const has = (line: string): void => assert.ok(registry.render().split('\n').includes(line), line);
  const changedAt = new Date(clock.now()).toJSON();
  await clock.advance(3_000);
  metrics.serviceChanged();
  metrics.sliceChanged({
    addressType: 'IPv4',
    endpoints: [],
    metadata: { annotations: { 'endpoints.kubernetes.io/last-change-trigger-time': changedAt } },
  });
  has('kubeproxy_sync_proxy_rules_endpoint_changes_pending 1');
  await assert.rejects(metrics.measure(false, () => Promise.reject(new Error('nft'))));
  has('kubeproxy_sync_proxy_rules_nftables_sync_failures_total{ip_family="IPv4"} 1');
  has('kubeproxy_network_programming_duration_seconds_count{ip_family="IPv4"} 0');
  await metrics.measure(true, () => clock.advance(1_000));
  has('kubeproxy_sync_full_proxy_rules_duration_seconds_sum{ip_family="IPv4"} 1');
  has('kubeproxy_network_programming_duration_seconds_sum{ip_family="IPv4"} 4');
  has('kubeproxy_sync_proxy_rules_endpoint_changes_pending 0');
  has(`kubeproxy_sync_proxy_rules_last_timestamp_seconds{ip_family="IPv4"} ${clock.now() / 1000}`);
});
