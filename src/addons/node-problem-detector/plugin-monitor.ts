/** A custom plugin monitor: runs the program of each rule at its interval. Exit code 0: no problem, 1: a problem, others: unknown; its output is the message. */
import type { Timer } from '#stdx/clock.ts';
import { errorMessage } from '#stdx/log.ts';
import type { PluginMonitorConfig, PluginRule } from './config.ts';
import type { MonitorContext } from './log-monitor.ts';
import { conditionEvent, initialConditions } from './problem.ts';
import type { Monitor, ProblemCondition, ProblemStatus } from './problem.ts';

export interface PluginResult {
  readonly code: 'ok' | 'problem' | 'unknown';
  readonly output: string;
}

/** Never rejects. */
export type RunPlugin = (rule: PluginRule, signal: AbortSignal) => Promise<PluginResult>;

export function createPluginMonitor(
  config: PluginMonitorConfig,
  context: MonitorContext & { readonly run: RunPlugin },
): Monitor {
  return new PluginMonitor(config, context);
}

const STATUS = { ok: 'False', problem: 'True', unknown: 'Unknown' } as const;

class PluginMonitor implements Monitor {
  readonly source: string;
  readonly #config: PluginMonitorConfig;
  readonly #context: MonitorContext & { readonly run: RunPlugin };
  readonly #stop = new AbortController();
  readonly #timers = new Map<PluginRule, Timer>();
  readonly #waiting: (() => void)[] = [];
  readonly #running = new Set<Promise<void>>();
  #free: number;
  #conditions: ProblemCondition[] = [];

  constructor(config: PluginMonitorConfig, context: MonitorContext & { readonly run: RunPlugin }) {
    this.source = config.source;
    this.#config = config;
    this.#context = context;
    this.#free = config.concurrency;
    if (config.metricsReporting) context.metrics.begin(config.rules);
  }

  start(report: (status: ProblemStatus) => void): void {
    this.#conditions = initialConditions(this.#config.conditions, this.#context.clock.now());
    if (!this.#config.skipsInitialStatus)
      report({ source: this.source, events: [], conditions: this.#conditions });
    for (const rule of this.#config.rules) this.#runLater(rule, { delayMs: 0, report });
  }

  async stop(): Promise<void> {
    this.#stop.abort(new Error('the node problem detector is stopping'));
    for (const timer of this.#timers.values()) timer.cancel();
    for (const next of this.#waiting.splice(0)) next();
    await Promise.all(this.#running);
  }

  #runLater(
    rule: PluginRule,
    { delayMs, report }: { readonly delayMs: number; readonly report: (status: ProblemStatus) => void },
  ): void {
    const { clock, log } = this.#context;
    if (this.#stop.signal.aborted) return;
    const turn = (): void => {
      const began = clock.monotonic();
      const work = this.#runOne(rule, report)
        .catch((error: unknown) => log.error('error in a custom plugin', { error: errorMessage(error) }))
        .finally(() => {
          this.#running.delete(work);
          const left = rule.intervalMs - (clock.monotonic() - began);
          this.#runLater(rule, { delayMs: Math.max(0, left), report });
        });
      this.#running.add(work);
    };
    this.#timers.set(rule, clock.after(delayMs, turn));
  }

  async #runOne(rule: PluginRule, report: (status: ProblemStatus) => void): Promise<void> {
    await this.#slot();
    try {
      if (this.#stop.signal.aborted) return;
      const result = await this.#context.run(rule, this.#stop.signal);
      if (this.#stop.signal.aborted) return;
      const output = result.output.slice(0, this.#config.maxOutputLength);
      const status = this.#statusOf(rule, { ...result, output });
      if (status) report(status);
    } finally {
      this.#free++;
      this.#waiting.shift()?.();
    }
  }

  async #slot(): Promise<void> {
    while (this.#free === 0 && !this.#stop.signal.aborted)
      await new Promise<void>((resolve) => this.#waiting.push(resolve));
    this.#free--;
  }

  #statusOf(rule: PluginRule, { code, output }: PluginResult): ProblemStatus | undefined {
    const { metrics } = this.#context;
    const { metricsReporting } = this.#config;
    if (rule.type === 'temporary') {
      if (code !== 'problem' && code !== 'unknown') return undefined;
      if (metricsReporting) metrics.count(rule.reason);
      const event = { severity: 'warn', reason: rule.reason, message: output } as const;
      return { source: this.source, events: [event], conditions: this.#conditions };
    }
    const before = this.#conditions.find(({ type }) => type === rule.condition)!;
    const next = this.#nextCondition(rule, { before, result: { code, output } });
    if (next === before) return undefined;
    this.#conditions = this.#conditions.map((one) => (one === before ? next : one));
    if (metricsReporting && next.status === 'True') metrics.count(next.reason);
    if (metricsReporting) metrics.set(next.type, { reason: next.reason, isProblem: next.status === 'True' });
    return { source: this.source, events: [conditionEvent(next)], conditions: this.#conditions };
  }

  /** The same object: it stays. */
  #nextCondition(
    rule: PluginRule,
    { before, result }: { readonly before: ProblemCondition; readonly result: PluginResult },
  ): ProblemCondition {
    const status = STATUS[result.code];
    const isSame = before.status === status && (status !== 'True' || before.reason === rule.reason);
    const isNewMessage =
      this.#config.updatesByMessage && status === 'True' && before.message !== result.output;
    if (isSame && !isNewMessage) return before;
    const { reason, message } = this.#config.conditions.find(({ type }) => type === rule.condition)!;
    return {
      type: rule.condition,
      status,
      transitionMs: this.#context.clock.now(),
      reason: status === 'True' ? rule.reason : reason,
      message: status === 'False' ? message : result.output,
    };
  }
}
