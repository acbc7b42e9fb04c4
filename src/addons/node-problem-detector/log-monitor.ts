/** A system log monitor: each line of a log goes through the rules. A temporary rule makes an event, a permanent one makes its condition true for good. */
import type { Clock } from '#stdx/clock.ts';
import type { Logger } from '#stdx/log.ts';
import type { LogMonitorConfig, LogRule } from './config.ts';
import { followJournal } from './journald.ts';
import { bootTimeMs, followKmsg } from './kmsg.ts';
import { compilePattern, LogBuffer, type CompiledPattern, type LogLine } from './log-buffer.ts';
import { conditionEvent, initialConditions } from './problem.ts';
import type { Monitor, ProblemCondition, ProblemEvent, ProblemStatus } from './problem.ts';
import type { ProblemMetrics } from './problem-metrics.ts';

export interface MonitorContext {
  readonly clock: Clock;
  readonly log: Logger;
  readonly metrics: ProblemMetrics;
}

export function createLogMonitor(config: LogMonitorConfig, context: MonitorContext): Monitor {
  return new LogMonitor(config, context);
}

interface CompiledRule extends LogRule {
  readonly compiled: CompiledPattern;
}

class LogMonitor implements Monitor {
  readonly source: string;
  readonly #config: LogMonitorConfig;
  readonly #context: MonitorContext;
  readonly #rules: readonly CompiledRule[];
  readonly #buffer: LogBuffer;
  #conditions: ProblemCondition[] = [];
  #following: { stop(): void } | undefined;

  constructor(config: LogMonitorConfig, context: MonitorContext) {
    this.source = config.source;
    this.#config = config;
    this.#context = context;
    this.#rules = config.rules.map((rule) => ({ ...rule, compiled: compilePattern(rule.pattern) }));
    this.#buffer = new LogBuffer(config.bufferSize);
    if (config.metricsReporting) context.metrics.begin(config.rules);
  }

  start(report: (status: ProblemStatus) => void): void {
    const { clock, log } = this.#context;
    const { plugin, logPath: path, identifier, lookbackMs, delayMs, conditions } = this.#config;
    this.#conditions = initialConditions(conditions, clock.now());
    report({ source: this.source, events: [], conditions: this.#conditions });
    const bootMs = bootTimeMs(clock);
    const sinceMs = Math.max(clock.now() - lookbackMs, bootMs + delayMs);
    const line = (entry: LogLine): void => this.#take(entry, report);
    this.#following =
      plugin === 'kmsg'
        ? followKmsg({ path, clock, log, sinceMs, bootMs }, line)
        : followJournal({ path, identifier, clock, log, sinceMs }, line);
  }

  stop(): Promise<void> {
    this.#following?.stop();
    return Promise.resolve();
  }

  #take(line: LogLine, report: (status: ProblemStatus) => void): void {
    this.#buffer.push(line);
    for (const rule of this.#rules) {
      const matched = this.#buffer.match(rule.compiled);
      const [first] = matched;
      if (!first) continue;
      const text = matched.map(({ message }) => message).join('\n');
      const message = rule.suffix === '' ? text : `${text}; ${rule.suffix}`;
      const events = this.#found(rule, { message, timeMs: first.timeMs });
      report({ source: this.source, events, conditions: this.#conditions });
    }
  }

  #found({ type, condition, reason }: LogRule, { message, timeMs }: LogLine): readonly ProblemEvent[] {
    const { metrics } = this.#context;
    if (type === 'temporary') {
      if (this.#config.metricsReporting) metrics.count(reason);
      return [{ severity: 'warn', reason, message }];
    }
    const before = this.#conditions.find((one) => one.type === condition);
    const isNews = before?.status !== 'True' || before.reason !== reason;
    if (this.#config.metricsReporting) {
      if (isNews) metrics.count(reason);
      metrics.set(condition, { reason, isProblem: true });
    }
    if (!isNews) return [];
    const next: ProblemCondition = { type: condition, status: 'True', transitionMs: timeMs, reason, message };
    this.#conditions = this.#conditions.map((one) => (one.type === condition ? next : one));
    return [conditionEvent(next)];
  }
}
