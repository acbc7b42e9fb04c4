/** Creates a pod's sandbox: its cgroup, its configuration, and the runtime handler of its RuntimeClass. */
import type { Pod } from '#api/types.ts';
import type { Client } from '#client/client.ts';
import type { EventRecorder } from '#client/events.ts';
import { runtimeClasses } from '#client/refs.ts';
import { backoffMs } from '#stdx/backoff.ts';
import type { Clock } from '#stdx/clock.ts';
import type { CriClient } from '../../cri/client.ts';
import type { CriInput, PodSandboxConfig } from '../../cri/types.ts';
import type { Cgroups } from '../cgroups.ts';
import type { DnsOptions } from '../config/dns.ts';
import { podCgroup, type PodCgroup } from '../config/resources.ts';
import { sandboxConfig } from '../config/sandbox.ts';
import { runtimeErrorText } from '../cri-text.ts';
import { podLogDirectory } from './pod-text.ts';

export interface PodSandboxDependencies {
  readonly api: Client;
  readonly cri: CriClient;
  readonly clock: Clock;
  readonly events: EventRecorder;
  readonly cgroups: Cgroups;
  readonly cgroupRoot: string;
  readonly logsDir: string;
  dns(): Promise<DnsOptions>;
  expectChange(): void;
}

const RETRY = { initialMs: 1_000, maximumMs: 60_000 };

export class PodSandboxMaker {
  readonly #dependencies: PodSandboxDependencies;
  #failures = 0;

  constructor(dependencies: PodSandboxDependencies) {
    this.#dependencies = dependencies;
  }

  cgroup({ metadata, spec = { containers: [] } }: Pod): PodCgroup {
    return podCgroup(spec, { root: this.#dependencies.cgroupRoot, uid: metadata?.uid ?? '' });
  }

  async config(pod: Pod, attempt: number): Promise<CriInput<PodSandboxConfig>> {
    const { logsDir, dns } = this.#dependencies;
    return sandboxConfig({
      pod,
      attempt,
      logDirectory: podLogDirectory(logsDir, pod),
      cgroupParent: this.cgroup(pod).path,
      dns: await dns(),
    });
  }

  /** Throws CriError after a rest that grows with each failure, or signal.reason when that is cut short. */
  async make(
    pod: Pod,
    { attempt, signal }: { readonly attempt: number; readonly signal: AbortSignal },
  ): Promise<void> {
    const { cri, clock, events, expectChange } = this.#dependencies;
    const [config, runtimeHandler] = await Promise.all([
      this.config(pod, attempt),
      this.#runtimeHandler(pod),
    ]);
    expectChange();
    try {
      await cri.runPodSandbox({ config, runtimeHandler });
      this.#failures = 0;
    } catch (error) {
      events.event(pod, {
        type: 'Warning',
        reason: 'FailedCreatePodSandBox',
        message: `Failed to create pod sandbox: ${runtimeErrorText(error)}`,
      });
      await clock.sleep(backoffMs(this.#failures, RETRY), signal);
      this.#failures += 1;
      throw error;
    }
  }

  async makeCgroup(pod: Pod): Promise<PodCgroup> {
    const cgroup = this.cgroup(pod);
    await this.#dependencies.cgroups.ensure(cgroup);
    return cgroup;
  }

  async #runtimeHandler(pod: Pod): Promise<string> {
    const name = pod.spec?.runtimeClassName;
    if (!name) return '';
    const found = await this.#dependencies.api.get(runtimeClasses, { name });
    // runc is this node's default, whatever the handler's name.
    return found.handler === 'runc' ? '' : found.handler;
  }
}
