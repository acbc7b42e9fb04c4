/** /debug/api_priority_and_fairness/dump_{priority_levels,queues,requests}: what runs and waits, in upstream's columns. */
import { isoTime } from '#stdx/dates.ts';
import type { Clock } from '#stdx/clock.ts';
import type { RequestContext } from '../context.ts';
import type { ApiResponse } from '../http/request.ts';
import { textResponse } from '../http/response.ts';
import type { FlowController } from './flow-controller.ts';
import { describeWork, type Ticket } from './queue-set.ts';

export const DEBUG_PREFIX = '/debug/api_priority_and_fairness/';

/** undefined = no such page. */
export function flowDebugPage(
  { info }: RequestContext,
  { controller, clock }: { readonly controller: FlowController; readonly clock: Clock },
): ApiResponse | undefined {
  switch (info.path.slice(DEBUG_PREFIX.length)) {
    case 'dump_priority_levels':
      return textResponse(200, table(priorityLevels(controller)));
    case 'dump_queues':
      return textResponse(200, table(queues(controller)));
    case 'dump_requests':
      return textResponse(
        200,
        table(requests(controller, { clock, details: (info.query['includeRequestDetails'] ?? '') !== '' })),
      );
    default:
      return undefined;
  }
}

type Rows = readonly (readonly (string | number | boolean)[])[];

const LEVEL_COLUMNS = [
  'PriorityLevelName',
  'ActiveQueues',
  'IsIdle',
  'IsQuiescing',
  'WaitingRequests',
  'ExecutingRequests',
  'DispatchedRequests',
  'RejectedRequests',
  'TimedoutRequests',
  'CancelledRequests',
];

function priorityLevels(controller: FlowController): Rows {
  return [
    LEVEL_COLUMNS,
    ...sorted(controller).map(({ level, set, quiescing }) => {
      const { dispatched, rejected, timedOut, cancelled } = set.totals;
      return [
        level.name,
        set.activeQueues,
        set.idle,
        quiescing,
        set.waiting,
        set.executing,
        dispatched,
        rejected,
        timedOut,
        cancelled,
      ];
    }),
  ];
}

const QUEUE_COLUMNS = [
  'PriorityLevelName',
  'Index',
  'PendingRequests',
  'ExecutingRequests',
  'SeatsInUse',
  'NextDispatchR',
  'InitialSeatsSum',
  'MaxSeatsSum',
  'TotalWorkSum',
];
/** Of levels with more queues than anyone reads, the first. */
const MAX_QUEUES_SHOWN = 10_000;

function queues(controller: FlowController): Rows {
  return [
    QUEUE_COLUMNS,
    ...sorted(controller).flatMap(({ level, set }) =>
      Array.from({ length: Math.min(set.queueCount, MAX_QUEUES_SHOWN) }, (_, index) => {
        const queue = set.queueAt(index);
        const waiting = queue?.waiting ?? [];
        const initial = waiting.reduce((sum, { arrival }) => sum + arrival.work.seats, 0);
        const work = waiting.reduce((sum, { arrival }) => sum + describeWork(arrival.work), 0);
        return [
          level.name,
          index,
          waiting.length,
          queue?.executing ?? 0,
          queue?.seatsInUse ?? 0,
          seatSeconds(queue?.nextDispatchR ?? 0),
          initial,
          queue?.waitingSeats ?? 0,
          seatSeconds(work),
        ];
      }),
    ),
  ];
}

function seatSeconds(value: number): string {
  return `${value.toFixed(8)}ss`;
}

const REQUEST_COLUMNS = [
  'PriorityLevelName',
  'FlowSchemaName',
  'QueueIndex',
  'RequestIndexInQueue',
  'FlowDistingsher',
  'ArriveTime',
  'InitialSeats',
  'FinalSeats',
  'AdditionalLatency',
  'StartTime',
];
const DETAIL_COLUMNS = [
  'UserName',
  'Verb',
  'APIPath',
  'Namespace',
  'Name',
  'APIVersion',
  'Resource',
  'SubResource',
];

function requests(
  controller: FlowController,
  { clock, details }: { readonly clock: Clock; readonly details: boolean },
): Rows {
  const offsetMs = clock.now() - clock.monotonic();
  return [
    [...REQUEST_COLUMNS, ...(details ? DETAIL_COLUMNS : [])],
    ...sorted(controller).flatMap(({ level, set }) =>
      Array.from(set.tickets(), ({ ticket, position }) => {
        const {
          arrival: { flow, work },
          queue,
        } = ticket;
        return [
          level.name,
          flow.stats.schema,
          queue?.index ?? -1,
          position,
          flow.distinguisher,
          isoTime(ticket.arrivedMs + offsetMs),
          work.seats,
          work.finalSeats,
          `${work.extraMs}ms`,
          ticket.state === 'waiting' ? '0001-01-01T00:00:00Z' : isoTime(ticket.startedMs + offsetMs),
          ...(details ? detailsOf(ticket) : []),
        ];
      }),
    ),
  ];
}

function detailsOf({ arrival }: Ticket): string[] {
  const { user, info } = arrival.subject as unknown as RequestContext;
  return [
    user.name,
    info.verb,
    info.path,
    info.namespace,
    info.name,
    info.group === '' ? info.version : `${info.group}/${info.version}`,
    info.resource,
    info.subresource,
  ];
}

function sorted(
  controller: FlowController,
): FlowController['levels'] extends Iterable<infer State> ? State[] : never {
  return Array.from(controller.levels).toSorted((left, right) =>
    left.level.name < right.level.name ? -1 : 1,
  );
}

/** Columns end with a comma and are as wide as their widest cell. */
function table(rows: Rows): string {
  const cells = rows.map((row) => row.map((cell, i) => `${cell}${i < row.length - 1 ? ',' : ''}`));
  const widths = (cells[0] ?? []).map(
    (_, i) => cells.reduce((most, row) => Math.max(most, row[i]?.length ?? 0), 0) + 1,
  );
  return cells
    .map((row) => `${row.map((cell, i) => (i < row.length - 1 ? cell.padEnd(widths[i]!) : cell)).join('')}\n`)
    .join('');
}
