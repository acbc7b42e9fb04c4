/** The scorecard as JUnit XML, for CI: a suite a topic, a case a row. Rows met in part or not at all are failures, unknown ones are skipped. */
import { escapeMarkup } from './markup.ts';
import type { RowResult, Scorecard } from '../scorecard.ts';

export function renderJUnit({ rows, time }: Scorecard): string[] {
  const topics = [...new Set(rows.map(({ topic }) => topic))];
  return [
    '<?xml version="1.0" encoding="UTF-8"?>',
    `<testsuites name="capstan readiness" ${totals(rows)}>`,
    ...topics.flatMap((topic) => {
      const own = rows.filter((row) => row.topic === topic);
      return [
        `  <testsuite name="${escapeMarkup(topic)}" timestamp="${time}" ${totals(own)}>`,
        ...own.flatMap(renderCase),
        '  </testsuite>',
      ];
    }),
    '</testsuites>',
  ];
}

function totals(rows: readonly RowResult[]): string {
  const failures = rows.filter(isFailure).length;
  const skipped = rows.filter(({ verdict }) => verdict === 'unknown').length;
  return `tests="${rows.length}" failures="${failures}" errors="0" skipped="${skipped}"`;
}

function isFailure({ verdict }: RowResult): boolean {
  return verdict === 'partly' || verdict === 'not met';
}

function renderCase(row: RowResult): string[] {
  const open = `    <testcase classname="readiness" name="${escapeMarkup(`${row.name}: ${row.title}`)}"`;
  const seen = escapeMarkup(row.evidence.join('; '));
  if (row.verdict === 'met') return [`${open}><system-out>${seen}</system-out></testcase>`];
  if (row.verdict === 'unknown') return [`${open}><skipped message="${seen}"/></testcase>`];
  const remedy = escapeMarkup(row.remedy ?? '');
  return [`${open}><failure type="${row.verdict}" message="${seen}">${remedy}</failure></testcase>`];
}
