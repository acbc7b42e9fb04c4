/** Audit backends and their metrics. A lost event is logged, at most once a second, and counted. */
import type { Clock } from '#stdx/clock.ts';
import type { Logger } from '#stdx/log.ts';
import type { AuditEvent } from './event.ts';

export interface AuditBackend {
  /**
   * In order of time. Throws or rejects when the events are not stored; a promise resolves when they are. A batching backend returns at once. Must
   * not mutate the events.
   */
  process(events: readonly AuditEvent[]): void | Promise<void>;
  /** Flushes accepted events for a bounded time; the rest is reported as lost. */
  close(): Promise<void>;
}

const REPORT_EVERY_MS = 1000;

export class AuditCounters {
  events = 0;
  rejected = 0;
  readonly levels = new Map<string, number>();
  readonly errors = new Map<string, number>();
  readonly #log: Logger;
  readonly #clock: Clock;
  readonly #reports = new Map<string, { atMs: number; unsaid: number }>();

  constructor({ log, clock }: { readonly log: Logger; readonly clock: Clock }) {
    this.#log = log;
    this.#clock = clock;
  }

  request(level: string): void {
    this.levels.set(level, (this.levels.get(level) ?? 0) + 1);
  }

  /** plugin: upstream's name of the part that lost them: log, webhook, buffered, truncate. */
  lost(plugin: string, count: number, why: string): void {
    this.errors.set(plugin, (this.errors.get(plugin) ?? 0) + count);
    const nowMs = this.#clock.monotonic();
    let report = this.#reports.get(plugin);
    if (!report) this.#reports.set(plugin, (report = { atMs: -Infinity, unsaid: 0 }));
    report.unsaid += count;
    if (nowMs - report.atMs < REPORT_EVERY_MS) return;
    this.#log.error('audit events are lost', { plugin, events: report.unsaid, why });
    report.atMs = nowMs;
    report.unsaid = 0;
  }

  /** Errors suppressed by the rate limit. */
  flush(): void {
    for (const [plugin, report] of this.#reports) {
      if (report.unsaid > 0)
        this.#log.error('audit events are lost', { plugin, events: report.unsaid, why: 'as before' });
      report.unsaid = 0;
    }
  }

  render(): string {
    const lines = [
      '# HELP apiserver_audit_event_total Audit events made and sent to the backends.',
      '# TYPE apiserver_audit_event_total counter',
      `apiserver_audit_event_total ${this.events}`,
      '# HELP apiserver_audit_requests_rejected_total Requests refused because their audit event could not be stored.',
      '# TYPE apiserver_audit_requests_rejected_total counter',
      `apiserver_audit_requests_rejected_total ${this.rejected}`,
      '# HELP apiserver_audit_level_total Requests by their audit level.',
      '# TYPE apiserver_audit_level_total counter',
      ...Array.from(
        this.levels,
        ([level, count]) => `apiserver_audit_level_total{level="${level}"} ${count}`,
      ),
      '# HELP apiserver_audit_error_total Audit events that were not stored, by the part that lost them.',
      '# TYPE apiserver_audit_error_total counter',
      ...Array.from(
        this.errors,
        ([plugin, count]) => `apiserver_audit_error_total{plugin="${plugin}"} ${count}`,
      ),
    ];
    return lines.join('\n');
  }
}
