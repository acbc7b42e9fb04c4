/** Assesses the rows one after the other, each with a limit of time, and counts them. A row that cannot be assessed is unknown. */
import { formatTime } from '#machinery/time.ts';
import { errorMessage } from '#stdx/log.ts';
import { withTimeLimit } from '../run-checks.ts';
import type { Assessment, ScorecardRow, Topic, Verdict } from './row.ts';
import type { ClusterView } from './view.ts';

export interface RowResult extends Assessment {
  readonly name: string;
  readonly topic: Topic;
  readonly title: string;
}

export interface Scorecard {
  /** The address of the cluster. */
  readonly cluster: string;
  readonly time: string;
  readonly counts: Readonly<Record<Verdict, number>>;
  /** Of the rows that are known, 0 to 100; a row that is met in part counts half. */
  readonly percent: number;
  readonly rows: readonly RowResult[];
}

export async function assessRows(rows: readonly ScorecardRow[], view: ClusterView): Promise<Scorecard> {
  const results: RowResult[] = [];
  for (const row of rows) results.push(await assessRow(row, view));
  const counts = countVerdicts(results);
  return {
    cluster: view.outside.server,
    time: formatTime(view.nowMs),
    counts,
    percent: percentOf(counts),
    rows: results,
  };
}

async function assessRow(row: ScorecardRow, view: ClusterView): Promise<RowResult> {
  const { name, topic, title } = row;
  try {
    return { name, topic, title, ...(await withTimeLimit(row.assess(view))) };
  } catch (error) {
    return {
      name,
      topic,
      title,
      verdict: 'unknown',
      evidence: [`it cannot be seen: ${errorMessage(error)}`],
    };
  }
}

function countVerdicts(results: readonly RowResult[]): Scorecard['counts'] {
  const counts: Record<Verdict, number> = { met: 0, partly: 0, 'not met': 0, unknown: 0 };
  for (const { verdict } of results) counts[verdict]++;
  return counts;
}

function percentOf(counts: Scorecard['counts']): number {
  const known = counts.met + counts.partly + counts['not met'];
  return known === 0 ? 0 : Math.round(((counts.met + counts.partly / 2) / known) * 100);
}

/** '17 of 20 met, 1 partly, 2 not met, 0 unknown' */
export function summaryOf({ counts, rows }: Scorecard): string {
  return `${counts.met} of ${rows.length} met, ${counts.partly} partly, ${counts['not met']} not met, ${counts.unknown} unknown`;
}
