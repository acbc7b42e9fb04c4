/**
 * Detects a blocked event loop from another thread: each thread stores the time once a second in shared memory, and the
 * reader computes its age. No messages are involved, so a blocked loop cannot delay the check.
 */
export interface Heartbeat {
  /** The thread's name for messages: 'scheduler and controllers'. */
  readonly name: string;
  readonly memory: SharedArrayBuffer;
}

const BEAT_MS = 1_000;
/** A loop that was blocked this long is stalled: far longer than any normal turn or garbage collection pause. */
const STALLED_MS = 30_000;

export function createHeartbeat(name: string): Heartbeat {
  return { name, memory: new SharedArrayBuffer(BigInt64Array.BYTES_PER_ELEMENT) };
}

/** Starts the heartbeat of the calling thread. Does not keep the thread alive. Returns a function that stops it. */
export function startBeating(heartbeat: Heartbeat): () => void {
  beat(heartbeat);
  const timer = setInterval(() => beat(heartbeat), BEAT_MS);
  timer.unref();
  return () => clearInterval(timer);
}

/** 0 before the first beat: a thread that is still loading is not stalled. */
export function silenceMs({ memory }: Heartbeat): number {
  const lastBeat = Atomics.load(new BigInt64Array(memory), 0);
  return lastBeat === 0n ? 0 : Number(process.hrtime.bigint() - lastBeat) / 1e6;
}

/** Names the stalled threads in one phrase; undefined when there are none. */
export function describeStalled(heartbeats: readonly Heartbeat[], limitMs = STALLED_MS): string | undefined {
  const stalled = heartbeats.filter((heartbeat) => silenceMs(heartbeat) > limitMs);
  if (stalled.length === 0) return undefined;
  return stalled
    .map(
      (heartbeat) =>
        `event loop of ${heartbeat.name} stalled for ${Math.round(silenceMs(heartbeat) / 1000)} s`,
    )
    .join(', ');
}

function beat({ memory }: Heartbeat): void {
  Atomics.store(new BigInt64Array(memory), 0, process.hrtime.bigint());
}
