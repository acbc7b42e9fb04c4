/**
 * Gives memory back after a busy time. V8 collects when it allocates, so that garbage of the last load stays, with the buffers that it holds on to, for as
 * long as nothing is done; and glibc keeps what was freed between blocks in use. Once a thread has been busy and is quiet, its heap is collected, and then the
 * C library hands free pages to the kernel (malloc_trim, of all threads). Costs nothing while there is work. See docs/performance.md, "Memory".
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
  /** Hand the process's free pages back too: for one of its threads, the main one. */
  readonly trims: boolean;
  /** Of this thread; for tests. */
  readonly thread?: ThreadMemory;
}

export interface ThreadMemory {
  /** Milliseconds of work of this thread, ever. */
  activeMs(): number;
  collect(): Promise<void>;
  trim(): Promise<void>;
}

const LOOK_MS = 5_000;
/** Below this share of a look a thread is quiet. */
const QUIET = 0.1;
const QUIET_LOOKS = 2;
/** Work after which a collection may be worth its pause of some 50 ms. */
const BUSY_MS = 2_000;
/** Buffers of what was collected are freed in the background; on a busy machine only some before the first trim. */
const SETTLE_MS = [3_000, 12_000] as const;

/** Returns how to end it. */
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

/** Nothing where the C library has no malloc_trim (musl). Runs beside this thread, which waits only if it allocates meanwhile. */
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
    // Another C library, which keeps less or cannot be told to.
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
