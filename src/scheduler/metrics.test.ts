import assert from 'node:assert/strict';
import { test } from 'node:test';
import { MetricsRegistry } from '#stdx/metrics-registry.ts';
import { SchedulerMetrics } from './metrics.ts';

test('attempts, queue sizes and rejections have the names and labels of upstream', () => {
  const registry = new MetricsRegistry();
  const sizes = {
    queues: { active: 1, backoff: 2, unschedulable: 3, gated: 4 },
    cache: { nodes: 5, pods: 6, assumed_pods: 7 },
    inFlight: { PodPopped: 1 },
    writes: 8,
    refusals: [{ plugin: 'NodeResourcesFit', profile: 'default-scheduler' }],
  };
  const metrics = new SchedulerMetrics(registry, () => sizes);
  metrics.profile('default-scheduler');
  const has = (line: string): void => assert.ok(registry.render().split('\n').includes(line), line);
  has('scheduler_schedule_attempts_total{profile="default-scheduler",result="scheduled"} 0');
  metrics.attempted({ profile: 'default-scheduler', result: 'scheduled', seconds: 0.5 });
  metrics.scheduled({ attempts: 2, seconds: 3, isFlushed: false });
  metrics.scheduled({ attempts: 20, seconds: 30, isFlushed: true });
  metrics.decided(0.25);
  metrics.handle('NodeAdd', () => {});
  metrics.hinted({ plugin: 'NodePorts', event: 'AssignedPodDelete', isHelped: false, seconds: 0.5 });
  metrics.claimCreated('success');
  metrics.volumesFailed();
  const probe = metrics.probe('default-scheduler');
  probe.begin();
  probe.run({ point: 'PreFilter', plugin: 'NodePorts' }, () => 'skip');
  probe.run({ point: 'Filter', plugin: 'NodePorts' }, () => undefined);
  probe.begin();
  probe.run({ point: 'Filter', plugin: 'NodePorts' }, () => ({ resolvable: false }));
  metrics.queued('active', 'PodAdd');
  metrics.preempting(2);
  metrics.preempted({ result: 'error', seconds: 0.125 });
  metrics.point('Filter', { profile: 'default-scheduler', status: 'Success', seconds: 0.001 });
  for (const line of [
    'scheduler_schedule_attempts_total{profile="default-scheduler",result="scheduled"} 1',
    'scheduler_scheduling_attempt_duration_seconds_sum{profile="default-scheduler",result="scheduled"} 0.5',
    'scheduler_scheduling_algorithm_duration_seconds_sum 0.25',
    'scheduler_pod_scheduling_sli_duration_seconds_sum{attempts="2"} 3',
    'scheduler_pod_scheduling_sli_duration_seconds_sum{attempts="15+"} 30',
    'scheduler_pod_scheduling_attempts_count 2',
    'scheduler_queue_incoming_pods_total{event="PodAdd",queue="active"} 1',
    'scheduler_preemption_attempts_total 1',
    'scheduler_preemption_victims_sum 2',
    'scheduler_preemption_goroutines_duration_seconds_sum{result="error"} 0.125',
    'scheduler_preemption_goroutines_execution_total{result="error"} 1',
    'scheduler_framework_extension_point_duration_seconds_count{extension_point="Filter",profile="default-scheduler",status="Success"} 1',
    'scheduler_pending_pods{queue="gated"} 4',
    'scheduler_inflight_events{event="PodPopped"} 1',
    'scheduler_goroutines{operation="binding"} 8',
    'scheduler_pod_scheduled_after_flush_total 1',
    'scheduler_event_handling_duration_seconds_count{event="NodeAdd"} 1',
    'scheduler_queueing_hint_execution_duration_seconds_sum{event="AssignedPodDelete",hint="QueueSkip",plugin="NodePorts"} 0.5',
    'scheduler_resourceclaim_creates_total{status="success"} 1',
    'scheduler_volume_scheduling_stage_error_total{operation="bind"} 1',
    'scheduler_plugin_evaluation_total{extension_point="Filter",plugin="NodePorts",profile="default-scheduler"} 2',
    'scheduler_plugin_execution_duration_seconds_count{extension_point="PreFilter",plugin="NodePorts",status="Skip"} 1',
    'scheduler_plugin_execution_duration_seconds_count{extension_point="Filter",plugin="NodePorts",status="Success"} 1',
    'scheduler_cache_size{type="assumed_pods"} 7',
    'scheduler_unschedulable_pods{plugin="NodeResourcesFit",profile="default-scheduler"} 1',
  ])
    has(line);
  sizes.refusals = [];
  has('scheduler_unschedulable_pods{plugin="NodeResourcesFit",profile="default-scheduler"} 0');
});
