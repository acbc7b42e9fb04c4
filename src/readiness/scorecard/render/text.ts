/** The scorecard for a terminal: rows by topic, evidence below each, and what to do for those that are not met. */
import type { ScorecardRow } from '../row.ts';
import { summaryOf, type RowResult, type Scorecard } from '../scorecard.ts';

const MAX_EVIDENCE = 5;
const WIDTH = 9;

export function renderText(scorecard: Scorecard): string[] {
  const { cluster, percent, rows } = scorecard;
  const topics = [...new Set(rows.map(({ topic }) => topic))];
  return [
    `Readiness of ${cluster}: ${percent} % (${summaryOf(scorecard)})`,
    ...topics.flatMap((topic) => [
      '',
      topic,
      ...rows.filter((row) => row.topic === topic).flatMap(renderRow),
    ]),
  ];
}

function renderRow({ name, title, verdict, evidence, remedy }: RowResult): string[] {
  const indent = ' '.repeat(WIDTH + 2);
  const more = evidence.length - MAX_EVIDENCE;
  return [
    `  ${verdict.padEnd(WIDTH)}${name}: ${title}`,
    ...evidence.slice(0, MAX_EVIDENCE).map((line) => `${indent}${line}`),
    ...(more > 0 ? [`${indent}and ${more} more`] : []),
    ...(remedy === undefined ? [] : [`${indent}→ ${remedy}`]),
  ];
}

/** For --explain. */
export function renderExplanation({ name, topic, title, explain }: ScorecardRow): string[] {
  return [`${name} (${topic})`, `  ${title}.`, `  ${explain}`];
}
