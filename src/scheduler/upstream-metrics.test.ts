/** Upstream's metrics of the scheduler: each is here, or is absent for a reason. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { MetricsRegistry } from '#stdx/metrics-registry.ts';
import { GroupMetrics } from './group-metrics.ts';
import { SchedulerMetrics } from './metrics.ts';

/** Kubernetes 1.36: stability and type, or why it is absent. */
const UPSTREAM: Readonly<Record<string, string | { readonly absent: string }>> = {
  scheduler_framework_extension_point_duration_seconds: 'STABLE histogram',
  scheduler_pending_pods: 'STABLE gauge',
  scheduler_pod_scheduling_attempts: 'STABLE histogram',
  scheduler_preemption_attempts_total: 'STABLE counter',
  scheduler_preemption_victims: 'STABLE histogram',
  scheduler_queue_incoming_pods_total: 'STABLE counter',
  scheduler_schedule_attempts_total: 'STABLE counter',
  scheduler_scheduling_attempt_duration_seconds: 'STABLE histogram',
  kube_pod_resource_request: { absent: 'at /metrics/resources (resource-metrics.ts)' },
  kube_pod_resource_limit: { absent: 'as kube_pod_resource_request' },
  scheduler_pod_scheduling_sli_duration_seconds: 'BETA histogram',
  scheduler_cache_size: 'ALPHA gauge',
  scheduler_event_handling_duration_seconds: 'ALPHA histogram',
  scheduler_goroutines: 'ALPHA gauge',
  scheduler_inflight_events: 'ALPHA gauge',
  scheduler_plugin_evaluation_total: 'ALPHA counter',
  scheduler_plugin_execution_duration_seconds: 'ALPHA histogram',
  scheduler_pod_scheduled_after_flush_total: 'ALPHA counter',
  scheduler_preemption_goroutines_duration_seconds: 'ALPHA histogram',
  scheduler_preemption_goroutines_execution_total: 'ALPHA counter',
  scheduler_queueing_hint_execution_duration_seconds: 'ALPHA histogram',
  scheduler_resourceclaim_creates_total: 'ALPHA counter',
  scheduler_scheduling_algorithm_duration_seconds: 'ALPHA histogram',
  scheduler_unschedulable_pods: 'ALPHA gauge',
  scheduler_volume_scheduling_stage_error_total: 'ALPHA counter',
  scheduler_volume_binder_cache_requests_total: { absent: 'the volume binder has no such cache' },
  scheduler_permit_wait_duration_seconds: {
    absent: 'no pod waits for a permit: groups are decided on as a whole',
  },
  scheduler_batch_attempts_total: { absent: 'pods are not batched: answers about nodes are shared' },
  scheduler_batch_cache_flushed_total: { absent: 'as scheduler_batch_attempts_total' },
  scheduler_get_node_hint_duration_seconds: { absent: 'as scheduler_batch_attempts_total' },
  scheduler_store_schedule_results_duration_seconds: { absent: 'as scheduler_batch_attempts_total' },
  scheduler_async_api_call_execution_total: { absent: 'gate SchedulerAsyncAPICalls is off by default' },
  scheduler_async_api_call_execution_duration_seconds: {
    absent: 'as scheduler_async_api_call_execution_total',
  },
  scheduler_pending_async_api_calls: { absent: 'as scheduler_async_api_call_execution_total' },
  scheduler_podgroup_schedule_attempts_total: 'ALPHA counter',
  scheduler_podgroup_scheduling_attempt_duration_seconds: 'ALPHA histogram',
  scheduler_podgroup_scheduling_algorithm_duration_seconds: 'ALPHA histogram',
};

test('every metric of upstream is there with its type, or absent for a reason; there are no others', () => {
  const registry = new MetricsRegistry();
  const queues = { active: 0, backoff: 0, unschedulable: 0, gated: 0 };
  const cache = { nodes: 0, pods: 0, assumed_pods: 0 };
  new SchedulerMetrics(registry, () => ({ queues, cache, refusals: [], inFlight: {}, writes: 0 }));
  // With the gate GenericWorkload.
  new GroupMetrics(registry);
  const types = new Map(
    [...registry.render().matchAll(/^# TYPE (\S+) (\S+)$/gm)].map(
      ([, name, type]) => [name!, type!] as const,
    ),
  );
  for (const [name, expected] of Object.entries(UPSTREAM))
    if (typeof expected === 'string') assert.equal(types.get(name), expected.split(' ')[1], name);
    else assert.ok(!types.has(name) && expected.absent.length > 0, name);
  assert.deepEqual(
    [...types.keys()].filter((name) => !(name in UPSTREAM)),
    [],
  );
});
