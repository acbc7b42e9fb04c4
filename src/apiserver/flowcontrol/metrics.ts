/** apiserver_flowcontrol_*: upstream's names, labels and buckets, rendered on a scrape. */
import type { Clock } from '#stdx/clock.ts';
import type { FlowController, LevelState } from './flow-controller.ts';
import type { FlowStats, QueueSet, RejectReason } from './queue-set.ts';
import type { Histogram, TimingRatio } from './histogram.ts';

const PREFIX = 'apiserver_flowcontrol_';

type FlowValue = readonly [
  name: string,
  type: 'counter' | 'gauge',
  help: string,
  value: (stats: FlowStats) => number,
];
const FLOW_VALUES: readonly FlowValue[] = [
  ['dispatched_requests_total', 'counter', 'Requests that began to run.', (stats) => stats.dispatched],
  [
    'current_executing_requests',
    'gauge',
    'Requests that run now; watches only while they begin.',
    (stats) => stats.executing,
  ],
  ['current_executing_seats', 'gauge', 'Seats of requests that run now.', (stats) => stats.executingSeats],
  ['current_inqueue_requests', 'gauge', 'Requests that wait in queues.', (stats) => stats.waiting],
  [
    'current_inqueue_seats',
    'gauge',
    'Seats that requests in queues wait for.',
    (stats) => stats.waitingSeats,
  ],
  [
    'request_dispatch_no_accommodation_total',
    'counter',
    'Times the next request found too few free seats.',
    (stats) => stats.noAccommodation,
  ],
];

type FlowHistogram = readonly [
  name: string,
  help: string,
  series: (stats: FlowStats) => readonly (readonly [labels: string, histogram: Histogram])[],
];
const FLOW_HISTOGRAMS: readonly FlowHistogram[] = [
  [
    'request_wait_duration_seconds',
    'Time requests waited in their queue.',
    ({ waitExecuted, waitRejected }) => [
      [',execute="true"', waitExecuted],
      [',execute="false"', waitRejected],
    ],
  ],
  [
    'request_execution_seconds',
    'Time requests ran; of watches, their beginning.',
    ({ execution, watchInitialization }) => [
      [',type="regular"', execution],
      [',type="watch"', watchInitialization],
    ],
  ],
  [
    'request_queue_length_after_enqueue',
    'Length of the queue as each request saw it.',
    ({ queueLength }) => [['', queueLength]],
  ],
  ['work_estimated_seats', 'Seats that requests were thought to take.', ({ seats }) => [['', seats]]],
  ['watch_count_samples', 'Watchers of what a write changes.', ({ watchCounts }) => [['', watchCounts]]],
];

type LevelValue = readonly [name: string, help: string, value: (state: LevelState) => number];
const LEVEL_VALUES: readonly LevelValue[] = [
  ['nominal_limit_seats', 'Seats by configuration.', ({ nominal }) => nominal],
  ['lower_limit_seats', 'Seats that are never lent.', ({ minimum }) => minimum],
  ['upper_limit_seats', 'Seats with all that may be borrowed.', ({ maximum }) => maximum],
  ['current_limit_seats', 'Seats now.', ({ current }) => current],
  ['target_seats', 'Seats asked for when seats were divided last.', ({ target }) => target],
  [
    'demand_seats_high_watermark',
    'Peak of the seats that could have been used, in the last period.',
    ({ set }) => set.demand.highWatermark,
  ],
  [
    'demand_seats_average',
    'Average of the seats that could have been used, in the last period.',
    ({ set }) => set.demand.average,
  ],
  [
    'demand_seats_stdev',
    'Deviation of the seats that could have been used, in the last period.',
    ({ set }) => set.demand.deviation,
  ],
  [
    'demand_seats_smoothed',
    'Seats that could have been used, smoothed over periods.',
    ({ set }) => set.demand.smoothed,
  ],
  ['current_r', 'Virtual time.', ({ set }) => set.currentR],
];

type LevelRatio = readonly [
  name: string,
  help: string,
  series: (set: QueueSet) => readonly (readonly [labels: string, ratio: TimingRatio])[],
];
const LEVEL_RATIOS: readonly LevelRatio[] = [
  [
    'priority_level_seat_utilization',
    'Share of seats in use, over time.',
    ({ seatUtilization }) => [['phase="executing",', seatUtilization]],
  ],
  [
    'priority_level_request_utilization',
    'Requests as a share of their limit, over time.',
    ({ executingUtilization, waitingUtilization }) => [
      ['phase="executing",', executingUtilization],
      ['phase="waiting",', waitingUtilization],
    ],
  ],
];

const REASONS: readonly RejectReason[] = ['queue-full', 'concurrency-limit', 'time-out', 'cancelled'];

export function flowMetrics(controller: FlowController, clock: Clock): string {
  const states = [...controller.levels];
  for (const { set } of states) set.refresh();
  const lines: string[] = [];
  const head = (name: string, type: string, help: string): void =>
    void lines.push(`# HELP ${PREFIX}${name} ${help}`, `# TYPE ${PREFIX}${name} ${type}`);
  const flows = states.flatMap(({ level, stats }) =>
    Array.from(stats.values(), (one) => ({
      stats: one,
      labels: `flow_schema="${one.schema}",priority_level="${level.name}"`,
    })),
  );
  head('rejected_requests_total', 'counter', 'Requests refused.');
  for (const { stats, labels } of flows) {
    for (const reason of REASONS)
      if (stats.rejected.has(reason))
        lines.push(
          `${PREFIX}rejected_requests_total{${labels},reason="${reason}"} ${stats.rejected.get(reason)}`,
        );
  }
  for (const [name, type, help, value] of FLOW_VALUES) {
    head(name, type, help);
    for (const { stats, labels } of flows) lines.push(`${PREFIX}${name}{${labels}} ${value(stats)}`);
  }
  for (const [name, help, series] of FLOW_HISTOGRAMS) {
    head(name, 'histogram', help);
    for (const { stats, labels } of flows) {
      for (const [more, histogram] of series(stats))
        if (histogram.count > 0) lines.push(...histogram.lines(PREFIX + name, labels + more));
    }
  }
  for (const [name, help, value] of LEVEL_VALUES) {
    head(name, 'gauge', help);
    for (const state of states)
      lines.push(`${PREFIX}${name}{priority_level="${state.level.name}"} ${value(state)}`);
  }
  for (const [name, help, series] of LEVEL_RATIOS) {
    head(name, 'histogram', help);
    for (const { level, set } of states) {
      for (const [more, ratio] of series(set))
        lines.push(
          ...ratio.lines(PREFIX + name, {
            labels: `${more}priority_level="${level.name}"`,
            nowMs: clock.monotonic(),
          }),
        );
    }
  }
  head('seat_fair_frac', 'gauge', 'Seats given for each seat of demand when seats were divided last.');
  lines.push(`${PREFIX}seat_fair_frac ${controller.fairFraction}`);
  return lines.join('\n');
}
