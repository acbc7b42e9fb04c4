/**
 * Upstream's health-checker: a problem where a component does not answer, and with --enable-repair its service of systemd is killed, so that systemd starts it again, once it
 * has run for --cooldown-time. The container runtime of this node is asked by its agent's client.
 */
import { execFile } from 'node:child_process';
import { promisify } from 'node:util';
import type { Logger } from '#stdx/log.ts';
import { flagMs, readProgramFlags } from './program-flags.ts';
import type { BuiltInPlugin } from './run-plugin.ts';

const run = promisify(execFile);

const FLAGS = [
  'component',
  'service',
  'systemd-service',
  'enable-repair',
  'crictl-path',
  'cri-socket-path',
  'cri-timeout',
  'cooldown-time',
  'loopback-time',
  'health-check-timeout',
] as const;

const ENDPOINTS: Readonly<Record<string, string>> = {
  kubelet: 'http://127.0.0.1:10248/healthz',
  'kube-proxy': 'http://127.0.0.1:10256/healthz',
};
const TIMEOUT_MS = 10_000;
const COOLDOWN_MS = 120_000;

/** Resolves where the component is healthy, rejects where it is not. */
export type HealthProbe = (signal: AbortSignal) => Promise<unknown>;

interface HealthCheckerOptions {
  readonly log: Logger;
  /** By component; others are asked as upstream does. */
  readonly probes: Readonly<Record<string, HealthProbe>>;
}

export function createHealthChecker({ log, probes }: HealthCheckerOptions): BuiltInPlugin {
  return async (args) => {
    const flags = readProgramFlags(args, FLAGS);
    const { component = 'kubelet' } = flags;
    const probe = probes[component] ?? standardProbe(component);
    const signal = AbortSignal.timeout(flagMs(flags['health-check-timeout'], TIMEOUT_MS));
    const aborted = new Promise<never>((_, reject) =>
      signal.addEventListener('abort', () => reject(new Error('it did not answer in time')), { once: true }),
    );
    try {
      await Promise.race([probe(signal), aborted]);
      return { code: 'ok', output: `${component} is healthy` };
    } catch {
      const service =
        flags.service ?? flags['systemd-service'] ?? (component === 'cri' ? 'containerd' : component);
      if (flags['enable-repair'] !== 'false' && probes[component] === undefined)
        await repair(service, { log, cooldownMs: flagMs(flags['cooldown-time'], COOLDOWN_MS) });
      return { code: 'problem', output: `${component} was found unhealthy` };
    }
  };
}

function standardProbe(component: string): HealthProbe {
  const url = ENDPOINTS[component];
  if (url === undefined)
    throw new Error(`--component=${component} is not supported; components are: kubelet, kube-proxy, cri`);
  return async (signal) => {
    const { status } = await fetch(url, { signal });
    if (status !== 200) throw new Error(`status ${status}`);
  };
}

/** Best effort, as upstream's. */
async function repair(
  service: string,
  { log, cooldownMs }: { readonly log: Logger; readonly cooldownMs: number },
): Promise<void> {
  try {
    const { stdout } = await run('systemctl', [
      'show',
      service,
      '--property=InactiveExitTimestampMonotonic',
      '--value',
    ]);
    const startedMs = Number(stdout) / 1_000;
    const upMs = Number(process.hrtime.bigint() / 1_000_000n) - startedMs;
    if (startedMs === 0 || upMs < cooldownMs) return;
    log.warn('repairing an unhealthy service', { service });
    await run('systemctl', ['kill', '--kill-who=main', service]);
  } catch {
    // Its next check says whether it is healthy.
  }
}
