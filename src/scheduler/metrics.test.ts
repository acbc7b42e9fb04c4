import assert from 'node:assert/strict';
import { test } from 'node:test';
import { MetricsRegistry } from '#stdx/metrics-registry.ts';
import { SchedulerMetrics } from './metrics.ts';

test('attempts, queue sizes and rejections have the names and labels of upstream', () => {
  const registry = new MetricsRegistry();
  const sizes = {
    queues: { active: 1, backoff: 2, unschedulable: 3, gated: 4 },
    cache: { nodes: 5, pods: 6, assumed_pods: 7 },
    refusals: [{ plugin: 'NodeResourcesFit', profile: 'default-scheduler' }],
  };
  const metrics = new SchedulerMetrics(registry, () => sizes);
  metrics.profile('default-scheduler');
  const has = (line: string): void => assert.ok(registry.render().split('\n').includes(line), line);
  has('scheduler_schedule_attempts_total{profile="default-scheduler",result="scheduled"} 0');
  metrics.attempted({ profile: 'default-scheduler', result: 'scheduled', seconds: 0.5 });
  metrics.scheduled({ attempts: 2, seconds: 3 });
  metrics.scheduled({ attempts: 20, seconds: 30 });
  metrics.decided(0.25);
  metrics.queued('active', 'PodAdd');
  metrics.preempting(2);
  metrics.preempted({ result: 'error', seconds: 0.125 });
  metrics.point('Filter', { profile: 'default-scheduler', status: 'Success', seconds: 0.001 });
  for (const line of [
    'scheduler_schedule_attempts_total{profile="default-scheduler",result="scheduled"} 1',
    'scheduler_scheduling_attempt_duration_seconds_sum{profile="default-scheduler",result="scheduled"} 0.5',
    'scheduler_scheduling_algorithm_duration_seconds_sum 0.25',
    'scheduler_pod_scheduling_sli_duration_seconds_sum{attempts="2"} 3',
    'scheduler_pod_scheduling_sli_duration_seconds_sum{attempts="16+"} 30',
    'scheduler_pod_scheduling_attempts_count 2',
    'scheduler_queue_incoming_pods_total{event="PodAdd",queue="active"} 1',
    'scheduler_preemption_attempts_total 1',
    'scheduler_preemption_victims_sum 2',
    'scheduler_preemption_goroutines_duration_seconds_sum{result="error"} 0.125',
    'scheduler_preemption_goroutines_execution_total{result="error"} 1',
    'scheduler_framework_extension_point_duration_seconds_count{extension_point="Filter",profile="default-scheduler",status="Success"} 1',
    'scheduler_pending_pods{queue="gated"} 4',
    'scheduler_cache_size{type="assumed_pods"} 7',
    'scheduler_unschedulable_pods{plugin="NodeResourcesFit",profile="default-scheduler"} 1',
  ])
    has(line);
  sizes.refusals = [];
  has('scheduler_unschedulable_pods{plugin="NodeResourcesFit",profile="default-scheduler"} 0');
});
