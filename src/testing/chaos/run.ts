/** One run of the chaos tests from the first machine to the last, cleaned up however it ends. CAPSTAN_SEED repeats the choice of faults and of writes. */
import { seededRandom, shuffled } from '#stdx/random.ts';
import { Chaos } from './chaos.ts';
import { ChaosCluster } from './cluster.ts';
import type { Fault } from './faults.ts';

export const SEED = Number(process.env['CAPSTAN_SEED'] ?? Math.floor(Math.random() * 2 ** 31));

/** Each fault once, then on until the minutes are over, in an order that the seed says. */
export async function runChaos({
  faults,
  minutes = 0,
  command,
}: {
  readonly faults: readonly Fault[];
  readonly minutes?: number;
  /** How a user runs this, told when it fails. */
  readonly command: string;
}): Promise<void> {
  const possible = faults.filter(({ name, obstacle }) => {
    if (obstacle !== undefined) console.log(`without "${name}": ${obstacle}`);
    return obstacle === undefined;
  });
  const random = seededRandom(SEED);
  const cluster = ChaosCluster.create();
  const chaos = new Chaos(cluster, random);
  const interrupted = (): void => void cluster.close().finally(() => process.exit(1));
  process.once('SIGINT', interrupted).once('SIGTERM', interrupted);
  const end = performance.now() + minutes * 60_000;
  try {
    await cluster.start();
    await chaos.start();
    const isOver = (): boolean => performance.now() >= end;
    for (let turn = 0; turn === 0 || !isOver(); turn += 1)
      for (const fault of shuffled(possible, random)) if (turn === 0 || !isOver()) await chaos.round(fault);
    await chaos.finish();
  } catch (error) {
    console.log(cluster.logs());
    console.log(`all logs: ${cluster.keepLogs()}`);
    console.log(`repeat: CAPSTAN_SEED=${SEED} ${command}`);
    throw error;
  } finally {
    console.log(`seed ${SEED}\n${chaos.table()}`);
    await chaos.close().finally(() => cluster.close());
    process.off('SIGINT', interrupted).off('SIGTERM', interrupted);
  }
}
