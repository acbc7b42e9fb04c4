/** Checks before a machine is changed: each reports a problem and its remedy; fatal unless ignored. Names are kubeadm's where it has the check. */
import { UserError } from '../data-dir.ts';

export interface Check {
  /** 'Swap', 'Port-6443': for --ignore-preflight-errors, in any case. */
  readonly name: string;
  run(): Promise<Findings | undefined> | Findings | undefined;
}

/** Two parts of a sentence: what is wrong, and how to mend it. */
export interface Problem {
  readonly problem: string;
  readonly remedy: string;
}

export interface Findings {
  readonly errors?: readonly Problem[];
  readonly warnings?: readonly Problem[];
  /** What was seen or measured, also where nothing is wrong. */
  readonly evidence?: string | undefined;
}

export function warning(problem: string, remedy: string): Findings {
  return { warnings: [{ problem, remedy }] };
}

export function failure(problem: string, remedy: string): Findings {
  return { errors: [{ problem, remedy }] };
}

function sentence({ problem, remedy }: Problem): string {
  return `${problem}: ${remedy}`;
}

interface RunChecks {
  /** Names, or 'all'. */
  readonly ignore: readonly string[];
  warn(line: string): void;
}

/** Throws a UserError with all that is wrong. */
export async function runChecks(checks: readonly Check[], { ignore, warn }: RunChecks): Promise<void> {
  const ignored = new Set(ignore.map((name) => name.toLowerCase()));
  const errors: string[] = [];
  // Sequential: results are reported in the order of the list.
  for (const check of checks) {
    const { errors: found = [], warnings = [] } = (await check.run()) ?? {};
    for (const one of warnings) warn(`[WARNING ${check.name}]: ${sentence(one)}`);
    const isIgnored = ignored.has('all') || ignored.has(check.name.toLowerCase());
    if (isIgnored) for (const error of found) warn(`[WARNING ${check.name}]: ${sentence(error)}`);
    else errors.push(...found.map((error) => `\t[ERROR ${check.name}]: ${sentence(error)}`));
  }
  if (errors.length > 0)
    throw new UserError(
      `[preflight] Some fatal errors occurred:\n${errors.join('\n')}\n[preflight] If you know what you are doing, you can make a check non-fatal with \`--ignore-preflight-errors=...\``,
    );
}
