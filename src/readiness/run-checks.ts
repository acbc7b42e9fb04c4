/** Runs checks one after the other, each with a limit of time. A check that cannot be made is a finding itself: the cluster may be too ill to answer. */
import { errorMessage } from '#stdx/log.ts';
import type { CheckContext, Finding, ReadinessCheck } from './check.ts';

export interface CheckResult {
  readonly check: string;
  readonly short: string;
  /** Why it was not made. */
  readonly skipped?: string | undefined;
  readonly findings: readonly Finding[];
}

const TIMEOUT_MS = 60_000;

export async function runChecks(
  checks: readonly ReadinessCheck[],
  context: CheckContext,
): Promise<readonly CheckResult[]> {
  const results: CheckResult[] = [];
  for (const check of checks) results.push(await runCheck(check, context));
  return results;
}

async function runCheck(
  { name, short, onMachine, run }: ReadinessCheck,
  context: CheckContext,
): Promise<CheckResult> {
  if (onMachine && !context.machine)
    return { check: name, short, findings: [], skipped: 'run it on a machine of the cluster' };
  try {
    return { check: name, short, findings: await withTimeLimit(run(context)) };
  } catch (error) {
    const evidence = `the check cannot be made: ${errorMessage(error)}`;
    const remedy = 'see whether an API server answers: capstan status on a control plane';
    return { check: name, short, findings: [{ severity: 'error', evidence, remedy }] };
  }
}

/** Rejects after a minute. */
export async function withTimeLimit<T>(work: Promise<T>): Promise<T> {
  const late = Promise.withResolvers<never>();
  const timer = setTimeout(
    () => late.reject(new Error(`no answer within ${TIMEOUT_MS / 1000} s`)),
    TIMEOUT_MS,
  );
  try {
    return await Promise.race([work, late.promise]);
  } finally {
    clearTimeout(timer);
  }
}

/** Worst first. Undefined: nothing was found. */
export function worstOf(results: readonly CheckResult[]): Finding['severity'] | undefined {
  const found = new Set(results.flatMap(({ findings }) => findings.map(({ severity }) => severity)));
  return (['error', 'warning', 'info'] as const).find((severity) => found.has(severity));
}

/** Lines of the findings of one check, for people. */
export function renderFindings({ check, findings }: CheckResult): string[] {
  return findings.flatMap(({ severity, object, evidence, remedy }) => [
    `${severity.padEnd(7)}  ${check}: ${object ? `${object}: ` : ''}${evidence}`,
    `         → ${remedy}`,
  ]);
}
