/**
 * The chaos tests in full: every fault, again and again for CAPSTAN_SUITE_MINUTES (20). CAPSTAN_SEED repeats a run, CAPSTAN_HA_FAULTS takes only
 * those whose name contains it.
 */
import { describe, it } from 'node:test';
import { chaosObstacle } from '#testing/chaos/cluster.ts';
import { FAULTS } from '#testing/chaos/faults.ts';
import { SEED, runChaos } from '#testing/chaos/run.ts';

const MINUTES = Number(process.env['CAPSTAN_SUITE_MINUTES'] ?? 20);
const ONLY = process.env['CAPSTAN_HA_FAULTS'] ?? '';
/** What the last turn, the making of the cluster and its end take beside. */
const BESIDE_MS = 30 * 60_000;

describe(`several control planes under every fault (seed ${SEED})`, { skip: chaosObstacle }, () => {
  it('loses no acknowledged write and no watch event', { timeout: MINUTES * 60_000 + BESIDE_MS }, () =>
    runChaos({
      faults: FAULTS.filter(({ name }) => name.includes(ONLY)),
      minutes: MINUTES,
      command: `${ONLY && `CAPSTAN_HA_FAULTS='${ONLY}' `}./capstan test --suite ha --minutes ${MINUTES}`,
    }),
  );
});
