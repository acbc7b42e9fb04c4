/** Lifecycle hooks: a command in the container, a request to it, or a pause. */
import type { LifecycleHandler } from '#api/types.ts';
import type { Clock } from '#stdx/clock.ts';
import type { CriClient } from '../../cri/client.ts';
import { actionHeaders, actionUrl, httpGet } from '../probes/http-get.ts';
import type { AnyContainer } from './restart-policy.ts';

interface HookOptions {
  readonly cri: CriClient;
  readonly clock: Clock;
  readonly container: AnyContainer;
  readonly containerId: string;
  readonly podIP: string;
  readonly signal?: AbortSignal | undefined;
}

const HTTP_TIMEOUT_MS = 600_000;
const AGENT = 'kube-lifecycle/1.36';

/** Throws with the reason when it failed. */
export async function runHook(
  { exec, httpGet: action, sleep, tcpSocket }: LifecycleHandler,
  options: HookOptions,
): Promise<void> {
  const { cri, clock, container, containerId, podIP, signal } = options;
  if (exec) {
    const { exitCode, stdout, stderr } = await cri.execSync(
      { containerId, cmd: exec.command ?? [], timeout: 0 },
      signal ? { signal } : {},
    );
    if (exitCode !== 0)
      throw new Error(
        `command '${(exec.command ?? []).join(' ')}' exited with ${exitCode}: ${Buffer.concat([stderr, stdout]).toString().slice(0, 1024)}`,
      );
  } else if (action) {
    const { status, body } = await httpGet({
      url: actionUrl(action, { container, podIP }),
      headers: actionHeaders(action, AGENT),
      timeoutMs: HTTP_TIMEOUT_MS,
      signal,
    });
    if (status >= 400) throw new Error(`HTTP status ${status}: ${body.slice(0, 1024)}`);
  } else if (sleep) {
    await clock.sleep(sleep.seconds * 1000, signal);
  } else if (tcpSocket) {
    throw new Error('tcpSocket hooks were never supported');
  }
}
