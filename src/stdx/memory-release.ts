/**
 * Returns memory to the kernel after a busy time. V8 collects garbage only on allocation, so an idle thread keeps the garbage of its last load and the
 * buffers that it references; and glibc keeps free pages between used blocks. When a busy thread becomes quiet, its heap is collected, and then the
 * C library returns free pages to the kernel (malloc_trim, of all threads). Does nothing while there is work. See docs/performance.md, "Memory".
 *
 *   idle ──used BUSY_MS of time──► due ──quiet for QUIET_LOOKS looks──► collect ──SETTLE_MS──► trim, twice ──► idle
 */
import { performance } from 'node:perf_hooks';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import type { Clock, Timer } from './clock.ts';
import { errorMessage, type Logger } from './log.ts';

interface MemoryReleaseOptions {
  readonly clock: Clock;
  readonly log: Logger;
  /** Return free pages of the process too: for one of its threads, the main one. */
  readonly trims: boolean;
  /** The clocks of this thread; for tests. */
  readonly thread?: ThreadMemory;
}

export interface ThreadMemory {
  /** Total milliseconds of work of this thread. */
  activeMs(): number;
  collect(): Promise<void>;
  trim(): Promise<void>;
}

const LOOK_MS = 5_000;
/** A thread is quiet when it used less than this share of an interval. */
const QUIET = 0.1;
const QUIET_LOOKS = 2;
/** Work after which a collection is worth its pause of some 50 ms. */
const BUSY_MS = 2_000;
/** Collected buffers are freed in the background; on a busy machine only some are freed before the first trim. */
const SETTLE_MS = [3_000, 12_000] as const;

/** Returns a function that stops it. */
export function releaseMemoryWhenQuiet({
  clock,
  log,
  trims,
  thread = ownThread(),
}: MemoryReleaseOptions): () => void {
  let timer: Timer | undefined;
  let stopped = false;
  let lastMs = thread.activeMs();
  let releasedMs = lastMs;
  let quietLooks = 0;
  const again = (): void => {
    if (!stopped) timer = clock.after(LOOK_MS, () => void look());
  };
  const release = async (): Promise<void> => {
    try {
      await thread.collect();
      if (!trims) return;
      for (const ms of SETTLE_MS) {
        await clock.sleep(ms);
        if (!stopped) await thread.trim();
      }
    } catch (error) {
      log.warn('memory not given back', { error: errorMessage(error) });
      stopped = true;
    }
  };
  const look = async (): Promise<void> => {
    const activeMs = thread.activeMs();
    quietLooks = activeMs - lastMs < QUIET * LOOK_MS ? quietLooks + 1 : 0;
    if (quietLooks >= QUIET_LOOKS && activeMs - releasedMs >= BUSY_MS) {
      await release();
      releasedMs = thread.activeMs();
    }
    lastMs = thread.activeMs();
    again();
  };
  again();
  return () => {
    stopped = true;
    timer?.cancel();
  };
}

function ownThread(): ThreadMemory {
  let gc: ((options: { readonly type: 'major'; readonly execution: 'async' }) => Promise<void>) | undefined;
  return {
    activeMs: () => performance.eventLoopUtilization().active,
    async collect() {
      if (!gc) {
        setFlagsFromString('--expose-gc');
        gc = runInNewContext('gc') as typeof gc;
      }
      await gc?.({ type: 'major', execution: 'async' });
    },
    trim: trimMalloc,
  };
}

let trimLibrary: Promise<(() => Promise<unknown>) | undefined> | undefined;

/** Does nothing when the C library has no malloc_trim (musl). Runs on another thread; this one only waits if it allocates meanwhile. */
async function trimMalloc(): Promise<void> {
  await (
    await (trimLibrary ??= loadTrim())
  )?.();
}

async function loadTrim(): Promise<(() => Promise<unknown>) | undefined> {
  const { default: koffi } = await import('koffi');
  let library;
  try {
    library = koffi.load('libc.so.6');
  } catch {
    // Another C library.
    return undefined;
  }
  const mallocTrim = library.func('int malloc_trim(size_t pad)');
  return () =>
    new Promise((resolve, reject) =>
      mallocTrim.async(0, (error: Error | null, released: number) =>
        error ? reject(error) : resolve(released),
      ),
    );
}
