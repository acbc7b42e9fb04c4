/** `capstan doctor`: what is wrong with this cluster, by what evidence, and how to mend it. Changes nothing. */
import { CHECKS } from '#readiness/list.ts';
import { renderFindings, runChecks, worstOf, type CheckResult } from '#readiness/run-checks.ts';
import { UserError } from '#deploy/data-dir.ts';
import { connectCluster, type ConnectFlags } from './connect.ts';
import { factsOfMachine } from './machine-facts.ts';

export interface DoctorFlags extends ConnectFlags {
  readonly check?: readonly string[];
  readonly json?: boolean;
}

/** Its exit code: 0 nothing is wrong, 1 something does not work, 2 something will or may not. */
export async function runDoctor(flags: DoctorFlags, print: (line: string) => void): Promise<number> {
  const wanted = flags.check ?? [];
  const unknown = wanted.find((name) => !CHECKS.some((check) => check.name === name));
  if (unknown !== undefined)
    throw new UserError(
      `--check names ${unknown}, which is no check; there are: ${CHECKS.map(({ name }) => name).join(', ')}.`,
    );
  const checks = wanted.length === 0 ? CHECKS : CHECKS.filter(({ name }) => wanted.includes(name));
  const cluster = connectCluster(flags);
  try {
    const machine = factsOfMachine(cluster.paths);
    const results = await runChecks(checks, { api: cluster.api, nowMs: Date.now(), machine });
    if (flags.json) print(JSON.stringify(results, undefined, 2));
    else for (const line of renderResults(results)) print(line);
    const worst = worstOf(results);
    return worst === 'error' ? 1 : worst === 'warning' ? 2 : 0;
  } finally {
    await cluster.close();
  }
}

function renderResults(results: readonly CheckResult[]): string[] {
  const skipped = results.filter((result) => result.skipped !== undefined);
  const good = results.filter((result) => result.findings.length === 0 && !skipped.includes(result));
  return [
    ...results.flatMap(renderFindings),
    ...good.map(({ check, short }) => `ok       ${check}: ${short}`),
    ...skipped.map(({ check, skipped: why }) => `skipped  ${check}: ${why}`),
  ];
}
