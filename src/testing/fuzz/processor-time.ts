/** What some work costs: the processor time of the longest turn of this thread's event loop, and of the whole process. Time by the clock is others' too. */

interface Cost {
  readonly longestTurnMs: number;
  readonly totalMs: number;
}

export interface Measured<T> extends Cost {
  readonly result: T;
}

export async function measure<T>(work: () => Promise<T>): Promise<Measured<T>> {
  const turns = new TurnClock();
  await turns.start();
  const before = process.cpuUsage();
  try {
    const result = await work();
    await nextTurn();
    const { user, system } = process.cpuUsage(before);
    return { result, longestTurnMs: turns.longestMs, totalMs: (user + system) / 1000 };
  } finally {
    turns.stop();
  }
}

function nextTurn(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve));
}

/** Looks at the thread's processor time once a turn. */
class TurnClock {
  longestMs = 0;
  #last = process.threadCpuUsage();
  #stopped = false;

  async start(): Promise<void> {
    const tick = (): void => {
      const now = process.threadCpuUsage();
      this.longestMs = Math.max(
        this.longestMs,
        (now.user + now.system - this.#last.user - this.#last.system) / 1000,
      );
      this.#last = now;
      if (!this.#stopped) setImmediate(tick);
    };
    tick();
    await nextTurn();
    this.longestMs = 0;
  }

  stop(): void {
    this.#stopped = true;
  }
}
