/** How long groups do not grow after machines of theirs failed to come: doubled with each failure, forgotten after a time without any. Pure. */
import { backoffMs } from '#stdx/backoff.ts';

export interface FailureInfo {
  readonly errorCode: string;
  readonly errorMessage: string;
}

interface GroupBackoffOptions {
  readonly initialBackoffMs: number;
  readonly maxBackoffMs: number;
  readonly backoffResetMs: number;
}

interface Failed {
  readonly untilMs: number;
  readonly lastFailureMs: number;
  readonly failures: number;
  readonly info: FailureInfo;
}

export class GroupBackoff {
  readonly #options: GroupBackoffOptions;
  readonly #failed = new Map<string, Failed>();

  constructor(options: GroupBackoffOptions) {
    this.#options = options;
  }

  /** Failures while it is backed off count as one. */
  fail(group: string, { info, nowMs }: { readonly info: FailureInfo; readonly nowMs: number }): void {
    const { initialBackoffMs: initialMs, maxBackoffMs: maximumMs, backoffResetMs } = this.#options;
    const before = this.#failed.get(group);
    if (before && nowMs < before.untilMs) {
      this.#failed.set(group, { ...before, lastFailureMs: nowMs, info });
      return;
    }
    const counted = before && nowMs - before.lastFailureMs < backoffResetMs ? before.failures : 0;
    const waitMs = backoffMs(counted, { initialMs, maximumMs });
    this.#failed.set(group, {
      untilMs: nowMs + waitMs,
      lastFailureMs: nowMs,
      failures: counted + 1,
      info,
    });
  }

  /** Why it may not grow now. */
  statusOf(group: string, nowMs: number): FailureInfo | undefined {
    const failed = this.#failed.get(group);
    return failed && nowMs < failed.untilMs ? failed.info : undefined;
  }

  /** A machine came. */
  succeed(group: string): void {
    this.#failed.delete(group);
  }
}
