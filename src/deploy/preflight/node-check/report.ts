/** Runs the checks of a machine and gathers what each found. A check that cannot be made is an error itself. */
import { errorMessage } from '#stdx/log.ts';
import type { Check, Findings, Problem } from '../check.ts';

export interface CheckOutcome {
  readonly check: string;
  readonly status: 'ok' | 'warning' | 'error';
  readonly evidence?: string | undefined;
  readonly problems: readonly (Problem & { readonly severity: 'warning' | 'error' })[];
  readonly tookMs: number;
}

export interface NodeReport {
  readonly node: string;
  readonly role: string;
  readonly time: string;
  readonly checks: readonly CheckOutcome[];
}

/** One after the other: a measurement is not to be disturbed by the others. */
export async function gatherOutcomes(checks: readonly Check[]): Promise<readonly CheckOutcome[]> {
  const outcomes: CheckOutcome[] = [];
  for (const check of checks) outcomes.push(await outcomeOf(check));
  return outcomes;
}

async function outcomeOf({ name, run }: Check): Promise<CheckOutcome> {
  const began = performance.now();
  const { errors = [], warnings = [], evidence } = (await findings(run)) ?? {};
  return {
    check: name,
    status: errors.length > 0 ? 'error' : warnings.length > 0 ? 'warning' : 'ok',
    evidence,
    problems: [
      ...errors.map((problem) => ({ ...problem, severity: 'error' as const })),
      ...warnings.map((problem) => ({ ...problem, severity: 'warning' as const })),
    ],
    tookMs: Math.round(performance.now() - began),
  };
}

async function findings(run: Check['run']): Promise<Findings | undefined> {
  try {
    return await run();
  } catch (error) {
    const problem = `the check cannot be made (${errorMessage(error)})`;
    return { errors: [{ problem, remedy: 'run it as root of this machine' }] };
  }
}
