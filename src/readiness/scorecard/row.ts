/**
 * A row of the scorecard: one line of the "Production environment" page of the Kubernetes documentation, how far a cluster meets it, and by what evidence.
 * One file a row, in rows/; list.ts has them in the order of the page. An assessment reads and changes nothing; a fix changes what it says.
 */
import type { Client } from '#client/client.ts';
import type { ClusterView } from './view.ts';

/** unknown: it cannot be seen from where the command runs. It counts neither for nor against the cluster. */
export type Verdict = 'met' | 'partly' | 'not met' | 'unknown';

export interface Fix {
  /** What it changes, in the imperative: 'label Namespace web with …'. */
  readonly does: string;
  apply(api: Client): Promise<void>;
}

export interface Assessment {
  readonly verdict: Verdict;
  /** What was seen, sentences without a full stop. At most MAX_EVIDENCE are shown. */
  readonly evidence: readonly string[];
  /** What to do, unless it is met: a command where there is one. */
  readonly remedy?: string | undefined;
  /** Only changes that cannot disturb what runs. */
  readonly fixes?: readonly Fix[];
}

export type Topic = 'Control plane' | 'Worker nodes' | 'Users' | 'Limits on workloads';

export interface ScorecardRow {
  readonly name: string;
  readonly topic: Topic;
  /** What must hold, a sentence without a full stop. */
  readonly title: string;
  /** Why, what is looked at, and what counts as met: for --explain. */
  readonly explain: string;
  /** Rejects where the API server cannot be asked: the row is then unknown. */
  assess(view: ClusterView): Promise<Assessment>;
}

export function met(...evidence: string[]): Assessment {
  return { verdict: 'met', evidence };
}

export function unknown(...evidence: string[]): Assessment {
  return { verdict: 'unknown', evidence };
}

/** remedy is left out of an assessment that is met. */
export function assessment(
  verdict: Verdict,
  { evidence, remedy }: { readonly evidence: readonly string[]; readonly remedy: string },
): Assessment {
  return verdict === 'met' || verdict === 'unknown' ? { verdict, evidence } : { verdict, evidence, remedy };
}

/** 'met' where all of them hold, 'not met' where none does. total 0: met. */
export function verdictOfShare(good: number, total: number): Verdict {
  if (good === total) return 'met';
  return good === 0 ? 'not met' : 'partly';
}

/** 'a, b, c and 4 more' */
export function someOf(names: readonly string[], maximum = 5): string {
  const shown = names.slice(0, maximum).join(', ');
  return names.length > maximum ? `${shown} and ${names.length - maximum} more` : shown;
}

/** '1 Node', '3 Nodes'. For nouns that take an s. */
export function count(number: number, noun: string): string {
  return `${number} ${noun}${number === 1 ? '' : 's'}`;
}
