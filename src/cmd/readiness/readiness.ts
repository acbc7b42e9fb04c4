/** `capstan readiness`: how far a cluster meets each line of the "Production environment" page, by what evidence. Changes nothing without --fix. */
import { writeFile } from 'node:fs/promises';
import type { Client } from '#client/client.ts';
import { UserError } from '#deploy/data-dir.ts';
import { ROWS } from '#readiness/scorecard/list.ts';
import { renderHtml } from '#readiness/scorecard/render/html.ts';
import { renderJUnit } from '#readiness/scorecard/render/junit.ts';
import { renderExplanation, renderText } from '#readiness/scorecard/render/text.ts';
import type { ScorecardRow } from '#readiness/scorecard/row.ts';
import { assessRows, type Scorecard } from '#readiness/scorecard/scorecard.ts';
import { createView } from '#readiness/scorecard/view.ts';
import { errorMessage } from '#stdx/log.ts';
import { connectCluster, type ConnectFlags } from '../doctor/connect.ts';
import { factsOfMachine } from '../doctor/machine-facts.ts';
import { createOutsideProbe } from './outside-probe.ts';

export interface ReadinessFlags extends ConnectFlags {
  readonly row?: readonly string[];
  readonly explain?: boolean;
  readonly fix?: boolean;
  readonly output: OutputFormat;
  readonly file?: string;
}

export type OutputFormat = keyof typeof RENDERERS;

type Print = (line: string) => void;

const RENDERERS = {
  text: renderText,
  json: (scorecard: Scorecard): string[] => [JSON.stringify(withoutFixes(scorecard), undefined, 2)],
  junit: renderJUnit,
  html: renderHtml,
};

export const OUTPUT_FORMATS = Object.keys(RENDERERS) as OutputFormat[];

/** Its exit code: 0 every row that is known is met, 1 one is not met, 2 one is met in part. */
export async function runReadiness(flags: ReadinessFlags, print: Print): Promise<number> {
  const rows = chosenRows(flags.row ?? []);
  if (flags.explain) {
    for (const line of rows.flatMap(renderExplanation)) print(line);
    return 0;
  }
  const cluster = connectCluster(flags);
  try {
    const machine = flags.kubeconfig === undefined ? factsOfMachine(cluster.paths) : undefined;
    const assess = (): Promise<Scorecard> => {
      const context = { api: cluster.api, nowMs: Date.now(), machine };
      return assessRows(rows, createView(context, createOutsideProbe(cluster.credentials)));
    };
    let scorecard = await assess();
    if (flags.fix && (await applyFixes(scorecard, { api: cluster.api })) > 0) scorecard = await assess();
    await write(RENDERERS[flags.output](scorecard), { file: flags.file, print });
    return exitCodeOf(scorecard);
  } finally {
    await cluster.close();
  }
}

function chosenRows(wanted: readonly string[]): readonly ScorecardRow[] {
  const strange = wanted.find((name) => !ROWS.some((row) => row.name === name));
  if (strange !== undefined)
    throw new UserError(
      `--row names ${strange}, which is no row; there are: ${ROWS.map(({ name }) => name).join(', ')}.`,
    );
  return wanted.length === 0 ? ROWS : ROWS.filter(({ name }) => wanted.includes(name));
}

/** Returns how many were applied. Each change is printed to stderr: stdout is the scorecard's. */
async function applyFixes({ rows }: Scorecard, { api }: { readonly api: Client }): Promise<number> {
  const fixes = rows.flatMap((row) => row.fixes ?? []);
  let applied = 0;
  for (const { does, apply } of fixes)
    try {
      await apply(api);
      applied++;
      process.stderr.write(`fixed: ${does}\n`);
    } catch (error) {
      process.stderr.write(`not fixed: ${does}: ${errorMessage(error)}\n`);
    }
  if (fixes.length === 0)
    process.stderr.write('nothing can be fixed safely; the lines with → say what to do\n');
  return applied;
}

async function write(
  lines: readonly string[],
  { file, print }: { readonly file: string | undefined; readonly print: Print },
): Promise<void> {
  if (file === undefined) for (const line of lines) print(line);
  else await writeFile(file, `${lines.join('\n')}\n`);
}

function exitCodeOf({ counts }: Scorecard): number {
  return counts['not met'] > 0 ? 1 : counts.partly > 0 ? 2 : 0;
}

function withoutFixes({ rows, ...rest }: Scorecard): object {
  return {
    ...rest,
    rows: rows.map(({ fixes, ...row }) => ({ ...row, fixes: (fixes ?? []).map(({ does }) => does) })),
  };
}
