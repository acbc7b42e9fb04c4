/**
 * Whether the event loop of a thread turns, seen from another thread: each stores the time a second apart in memory that all share, and whoever
 * looks reads how long ago that was. Nothing is sent, so a loop that stands still cannot delay the answer.
 */
export interface Heartbeat {
  /** Of the thread, for messages: 'scheduler and controllers'. */
  readonly name: string;
  readonly memory: SharedArrayBuffer;
}

const BEAT_MS = 1_000;
/** A loop that stood still for so long is stalled: far above any turn that is work, and any pause of the garbage collector. */
const STALLED_MS = 30_000;

export function createHeartbeat(name: string): Heartbeat {
  return { name, memory: new SharedArrayBuffer(BigInt64Array.BYTES_PER_ELEMENT) };
}

/** On the thread itself. Does not keep it alive. Returns how to stop. */
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

/** Which of them are stalled, one phrase; undefined: all turn. */
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
