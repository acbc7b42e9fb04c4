/** The chaos tests' short form: one fault of each kind under load, in under five minutes. All faults: suites/ha. CAPSTAN_SEED repeats a run. */
import { describe, it } from 'node:test';
import { chaosObstacle } from './chaos/cluster.ts';
import { SHORT_FAULTS } from './chaos/faults.ts';
import { SEED, runChaos } from './chaos/run.ts';

describe(`several control planes under faults (seed ${SEED})`, { skip: chaosObstacle }, () => {
  it('loses no acknowledged write and no watch event', { timeout: 840_000 }, () =>
    runChaos({ faults: SHORT_FAULTS, command: './capstan test --only ha.e2e' }),
  );
});
