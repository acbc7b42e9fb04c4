import assert from 'node:assert/strict';
import { test } from 'node:test';
import { MetricsRegistry } from '#stdx/metrics-registry.ts';
import { DnsMetrics } from './metrics.ts';

test('queries by zone, type and code; unknown types share one label', () => {
  const registry = new MetricsRegistry();
  const metrics = new DnsMetrics('cluster.local', registry);
  const query = { inCluster: true, transport: 'udp', family: 4, bytes: 40 } as const;
  const nxdomain = Buffer.from([0, 1, 0x81, 0x83, 0, 1]);
  metrics.answered({ ...query, type: 'A' }, { response: nxdomain, seconds: 0.5 });
  metrics.answered(
    { ...query, type: 'TYPE999', inCluster: false, transport: 'tcp', family: 6 },
    { response: Buffer.from([0, 1, 0x81, 0x80]), seconds: 1 },
  );
  const lines = registry.render().split('\n');
  for (const line of [
    'coredns_dns_requests_total{server="dns://:53",zone="cluster.local.",view="",proto="udp",family="1",type="A"} 1',
    'coredns_dns_requests_total{server="dns://:53",zone=".",view="",proto="tcp",family="2",type="other"} 1',
    'coredns_dns_responses_total{server="dns://:53",zone="cluster.local.",view="",rcode="NXDOMAIN",plugin="kubernetes"} 1',
    'coredns_dns_request_duration_seconds_sum{server="dns://:53",zone=".",view=""} 1',
    'coredns_dns_response_size_bytes_sum{server="dns://:53",zone="cluster.local.",view="",proto="udp"} 6',
    'coredns_panics_total 0',
  ])
    assert.ok(lines.includes(line), line);
});
