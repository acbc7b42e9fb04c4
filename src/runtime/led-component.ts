/**
 * A component with leader election: takes part in it from start() to stop(), and works while it is the leader. For the
 * scheduler and the like; the controller manager has its own.
 *
 *   stopped --start()--> standby --elected--> leading --lost--> standby --stop()--> stopped
 *                                              '-- work() failed: restarted after a second
 */
import { assert } from '#stdx/assert.ts';
import { errorMessage } from '#stdx/log.ts';
import { createLeaderElector, type LeaderElectionOptions } from '#client/leader-election.ts';
import { leadershipLines } from '#client/leader-election-metrics.ts';
import type { Component, ComponentContext } from './component.ts';

interface LedComponentOptions extends ComponentContext {
  readonly name: string;
  /** Without it the component works from start() on. */
  readonly leaderElect?: Partial<
    Pick<
      LeaderElectionOptions,
      'lease' | 'leaseDurationMs' | 'renewDeadlineMs' | 'retryPeriodMs' | 'releaseOnStop'
    >
  >;
  /** Runs on leader and standby alike: fills caches. start() waits for it. */
  prepare?(): Promise<void>;
  /** Runs until the signal is aborted; then it must end within a few seconds, or another instance may lead at the same time. */
  work(signal: AbortSignal): Promise<void>;
}

export interface LedComponent extends Component {
  /** No other instance can lead; always true without leader election. For fenced-client.ts. */
  readonly mayWrite: boolean;
}

/** Delay before a failed work() is restarted. */
const RETRY_MS = 1_000;

export function createLedComponent(options: LedComponentOptions): LedComponent {
  const { name, api, clock, log, identity, leaderElect } = options;
  const stopping = new AbortController();
  const { signal } = stopping;
  let running: Promise<void> | undefined;

  async function lead(leading: AbortSignal): Promise<void> {
    while (!leading.aborted) {
      try {
        await options.work(leading);
        assert(leading.aborted, `${name}: work() must run until its signal is aborted`);
      } catch (error) {
        if (leading.aborted) return;
        log.error('work failed, restarting', { component: name, error: errorMessage(error) });
        await clock.sleep(RETRY_MS, leading).catch(() => {});
      }
    }
  }

  const elector =
    leaderElect &&
    createLeaderElector({
      lease: { namespace: 'kube-system', name },
      ...leaderElect,
      api,
      clock,
      identity,
      log,
    });

  async function run(): Promise<void> {
    if (elector)
      options.metrics?.collect(() => leadershipLines(leaderElect?.lease?.name ?? name, elector.isLeader));
    while (!signal.aborted) await (elector ? elector.run(signal, lead) : lead(signal));
  }

  return {
    name,
    get mayWrite() {
      return elector ? elector.mayWrite : true;
    },
    async start() {
      assert(running === undefined, 'a component is started once');
      await options.prepare?.();
      running = run();
    },
    async stop() {
      stopping.abort(new Error(`${name} is stopping`));
      await running;
    },
  };
}
