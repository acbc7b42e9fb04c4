/** Seeds that are run: those that failed once (seeds.txt, one a line, each with its reason), and those that the environment asks for. */
import { appendFileSync, readFileSync } from 'node:fs';
import type { Report } from './simulation.ts';

const KEPT = new URL('seeds.txt', import.meta.url);
const FILE = 'src/testing/simulation/simulation.test.ts';
/** In every gate. */
const SEEDS_IN_GATE = 20;
const TRACE_LINES = 60;

export function keptSeeds(): number[] {
  return readFileSync(KEPT, 'utf8')
    .split('\n')
    .flatMap((line) => /^\d+/.exec(line)?.map(Number) ?? []);
}

/** CAPSTAN_SEED alone: that one; with CAPSTAN_SIM_SEEDS: so many from that one on. */
export function wantedSeeds(environment: NodeJS.ProcessEnv = process.env): number[] {
  const { CAPSTAN_SEED: first, CAPSTAN_SIM_SEEDS: count } = environment;
  const length = Number(count ?? (first === undefined ? SEEDS_IN_GATE : 1));
  return Array.from({ length }, (_, index) => Number(first ?? 1) + index);
}

/** Keeps the seed of a world in which something did not hold, and says how to see it again. Undefined: everything held. */
export function keepFailure({ seed, breaches, trace, errors, counts }: Report): string | undefined {
  if (breaches.length === 0) return undefined;
  if (!keptSeeds().includes(seed)) appendFileSync(KEPT, `${seed} ${breaches[0]!.replaceAll('\n', ' ')}\n`);
  return [
    `seed ${seed}: ${breaches.length} breaches; again: CAPSTAN_SEED=${seed} node --test ${FILE}`,
    ...breaches,
    JSON.stringify(counts),
    ...trace.slice(-TRACE_LINES),
    ...new Set(errors),
  ].join('\n');
}
