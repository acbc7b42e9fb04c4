import assert from 'node:assert/strict';
import { test } from 'node:test';
import { createAuthority } from '#pki/certificate.ts';
import { FakeClock } from '#stdx/testing/fake-clock.ts';
import type { CriClient } from '../cri/client.ts';
import { AgentMetrics, classifyOperation } from './agent-metrics.ts';
import type { Cgroups } from './cgroups.ts';

const NOW_MS = Date.parse('2026-01-01T00:00:00Z');

function valueOf(metrics: AgentMetrics, series: string): string | undefined {
  return metrics
    .render()
    .find((line) => line.startsWith(`${series} `))
    ?.split(' ')[1];
}

test('calls of the runtime are counted by their names in CRI, failures too', async () => {
  assert.deepEqual(
    ['runPodSandbox', 'listPodSandbox', 'podSandboxStatus', 'execSync', 'status', 'reopenContainerLog'].map(
      classifyOperation,
    ),
    ['run_podsandbox', 'list_podsandbox', 'podsandbox_status', 'exec_sync', 'status', 'reopen_container_log'],
  );
  const metrics = new AgentMetrics(new FakeClock(NOW_MS));
  const runtime = metrics.measuredRuntime({
    version: () => Promise.resolve({ runtimeName: 'fake' }),
    startContainer: () => Promise.reject(new Error('no')),
    getContainerEvents: () => 'a stream',
    close: () => {},
  } as unknown as CriClient);
  assert.equal((await runtime.version({})).runtimeName, 'fake');
  await assert.rejects(runtime.startContainer({ containerId: 'x' }), /no/);
  assert.equal(runtime.getContainerEvents() as unknown, 'a stream');
  const labels = '{operation_type="start_container"}';
  assert.equal(valueOf(metrics, `kubelet_runtime_operations_total${labels}`), '1');
  assert.equal(valueOf(metrics, `kubelet_runtime_operations_errors_total${labels}`), '1');
  assert.equal(valueOf(metrics, `kubelet_runtime_operations_duration_seconds_count${labels}`), '1');
  assert.equal(
    valueOf(metrics, 'kubelet_runtime_operations_errors_total{operation_type="version"}'),
    undefined,
  );
});

test('lists of the runtime, steps and starts of pods, cgroups', async () => {
  const clock = new FakeClock(NOW_MS);
  const metrics = new AgentMetrics(clock);
  for (const pauseMs of [0, 1_000]) {
    await clock.advance(pauseMs);
    await metrics.relist(() => Promise.resolve());
  }
  assert.equal(valueOf(metrics, 'kubelet_pleg_relist_duration_seconds_count'), '2');
  assert.equal(valueOf(metrics, 'kubelet_pleg_relist_interval_seconds_sum'), '1');
  metrics.podStep('sync', 0.25);
  assert.equal(valueOf(metrics, 'kubelet_pod_worker_duration_seconds_sum{operation_type="sync"}'), '0.25');
  metrics.podStarted({ seenMs: clock.now() - 2_000, createdMs: clock.now() - 3_000, sliMs: 1_500 });
  metrics.podStarted({ seenMs: clock.now(), createdMs: clock.now(), sliMs: undefined });
  assert.equal(valueOf(metrics, 'kubelet_pod_start_sli_duration_seconds_sum'), '1.5');
  assert.equal(valueOf(metrics, 'kubelet_pod_start_sli_duration_seconds_count'), '1');
  assert.equal(valueOf(metrics, 'kubelet_pod_start_duration_seconds_sum'), '2');
  assert.equal(valueOf(metrics, 'kubelet_pod_start_total_duration_seconds_sum'), '3');
  const cgroups = metrics.measuredCgroups({ remove: () => Promise.resolve() } as unknown as Cgroups);
  await cgroups.remove('/pod');
  assert.equal(
    valueOf(metrics, 'kubelet_cgroup_manager_duration_seconds_count{operation_type="destroy"}'),
    '1',
  );
  metrics.evicted('emptydirfs.limit');
  assert.equal(valueOf(metrics, 'kubelet_evictions{eviction_signal="emptydirfs.limit"}'), '1');
  await assert.rejects(metrics.mountVolumes(() => Promise.reject(new Error('no'))));
  assert.match(
    metrics.render().join('\n'),
    /^storage_operation_duration_seconds_count\{.*status="fail-unknown".*\} 1$/m,
  );
});

test('how long certificates live', () => {
  const metrics = new AgentMetrics(new FakeClock(NOW_MS));
  const client = 'kubelet_certificate_manager_client_ttl_seconds';
  assert.equal(valueOf(metrics, client), '+Inf');
  const { certificatePem } = createAuthority({ commonName: 'x', nowMs: NOW_MS, lifetimeMs: 3_600_000 });
  metrics.clientCertificate = () => certificatePem;
  assert.equal(valueOf(metrics, client), '3600');
  metrics.renewFailed('client');
  assert.equal(valueOf(metrics, 'kubelet_certificate_manager_client_expiration_renew_errors'), '1');
  assert.equal(valueOf(metrics, 'kubelet_server_expiration_renew_errors'), '0');
});
