/**
 * The node problem detector: monitors of logs and programs, and what they report as conditions of the Node, events about it and metrics. After upstream's
 * node-problem-detector, whose configuration files it reads; runs in the process of the node agent and acts as the node.
 *
 *   /dev/kmsg, journal ─► rules ─┐              ┌─► conditions of the Node
 *   programs ─► exit codes ──────┴► statuses ───┼─► events about it, by source
 *                                               └─► problem_counter, problem_gauge
 */
import { createEventRecorder, type StoppableEventRecorder } from '#client/event-recorder.ts';
import type { Component, ComponentContext } from '#runtime/component.ts';
import { startHealthServer } from '#runtime/component-server/server.ts';
import { errorMessage } from '#stdx/log.ts';
import { MetricsRegistry } from '#stdx/metrics-registry.ts';
import type { Monitors } from './default-monitors.ts';
import { createHealthChecker, type HealthProbe } from './health-checker.ts';
import { createLogCounter } from './log-counter.ts';
import { createLogMonitor } from './log-monitor.ts';
import { NodeConditions } from './node-conditions.ts';
import { createPluginMonitor } from './plugin-monitor.ts';
import type { Monitor, ProblemStatus } from './problem.ts';
import { ProblemMetrics } from './problem-metrics.ts';
import { createRestartCounter } from './restart-counter.ts';
import { createRunPlugin } from './run-plugin.ts';

interface NodeProblemDetectorOptions extends Pick<ComponentContext, 'api' | 'clock' | 'log'> {
  readonly nodeName: string;
  readonly monitors: Monitors;
  /** Of /metrics on 127.0.0.1, without TLS. Upstream's is 20257; undefined: none. */
  readonly metricsPort?: number | undefined;
  /** Of components that this node runs itself: 'cri'. */
  readonly probes?: Readonly<Record<string, HealthProbe>> | undefined;
  /** When they were started, epoch milliseconds. */
  readonly starts?: ((component: string) => readonly number[]) | undefined;
}

const ADDRESS = '127.0.0.1';

export function createNodeProblemDetector(options: NodeProblemDetectorOptions): Component {
  return new NodeProblemDetector(options);
}

class NodeProblemDetector implements Component {
  readonly name = 'node-problem-detector';
  readonly #options: NodeProblemDetectorOptions;
  readonly #registry = new MetricsRegistry();
  readonly #monitors: readonly Monitor[];
  readonly #conditions: NodeConditions;
  readonly #recorders = new Map<string, StoppableEventRecorder>();
  #server: { close(): Promise<void> } | undefined;

  constructor(options: NodeProblemDetectorOptions) {
    this.#options = options;
    this.#conditions = new NodeConditions(options);
    this.#monitors = this.#createMonitors();
  }

  #createMonitors(): readonly Monitor[] {
    const { clock, log, monitors, probes = {}, starts = () => [] } = this.#options;
    const context = { clock, log, metrics: new ProblemMetrics(this.#registry) };
    const run = createRunPlugin({
      'log-counter': createLogCounter({ clock }),
      'health-checker': createHealthChecker({ log, probes }),
      'restart-counter': createRestartCounter({ clock, starts }),
    });
    for (const { source, unknown } of [...monitors.logs, ...monitors.plugins])
      if (unknown.length > 0)
        log.warn('fields of a monitor are ignored', { source, fields: unknown.join(', ') });
    return [
      ...monitors.logs.map((config) => createLogMonitor(config, context)),
      ...monitors.plugins.map((config) => createPluginMonitor(config, { ...context, run })),
    ];
  }

  async start(): Promise<void> {
    for (const monitor of this.#monitors) monitor.start((status) => this.#report(status));
    await this.#serve();
  }

  async stop(): Promise<void> {
    await Promise.all(this.#monitors.map((monitor) => monitor.stop()));
    await this.#conditions.stop();
    for (const recorder of this.#recorders.values()) recorder.stop();
    const server = this.#server;
    this.#server = undefined;
    await server?.close();
  }

  #report({ source, events, conditions }: ProblemStatus): void {
    const { nodeName, log } = this.#options;
    this.#conditions.set(conditions);
    for (const { severity, reason, message } of events) {
      log.warn('node problem', { source, reason, message });
      // As kubelets and upstream's detector refer to their Node.
      const node = { apiVersion: 'v1', kind: 'Node', metadata: { name: nodeName, uid: nodeName } };
      this.#recorder(source).event(node, {
        type: severity === 'warn' ? 'Warning' : 'Normal',
        reason,
        message,
      });
    }
  }

  #recorder(source: string): StoppableEventRecorder {
    const { api, clock, log, nodeName } = this.#options;
    let recorder = this.#recorders.get(source);
    if (!recorder) {
      recorder = createEventRecorder(api, { component: source, host: nodeName, clock, log });
      this.#recorders.set(source, recorder);
    }
    return recorder;
  }

  /** A port in use is no reason to detect nothing: a stock detector may run beside it. */
  async #serve(): Promise<void> {
    const { metricsPort: port, log } = this.#options;
    if (port === undefined) return;
    const answer = (path: string): { readonly status: number; readonly text: string } | undefined =>
      path === '/metrics' ? { status: 200, text: this.#registry.render() } : undefined;
    try {
      this.#server = await startHealthServer({ address: ADDRESS, port, answer });
    } catch (error) {
      log.warn('metrics of the node problem detector are not served', { port, error: errorMessage(error) });
    }
  }
}
