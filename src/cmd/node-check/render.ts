/** The report of a machine, for people, for programs (JSON) and for CI (JUnit). */
import type { CheckOutcome, NodeReport } from '#deploy/preflight/node-check/report.ts';
import { escapeMarkup } from '#readiness/scorecard/render/markup.ts';

export const RENDERERS = {
  text: renderText,
  json: (report: NodeReport): string[] => [JSON.stringify(report, undefined, 2)],
  junit: renderJUnit,
};

const WIDTH = 9;

function renderText({ node, role, checks }: NodeReport): string[] {
  const counted = (status: CheckOutcome['status']): number =>
    checks.filter((check) => check.status === status).length;
  return [
    `Machine ${node} as a ${role}: ${counted('ok')} checks are good, ${counted('warning')} warn, ${counted('error')} fail`,
    '',
    ...checks.flatMap(({ check, status, evidence, problems }) => {
      const [first = { problem: evidence ?? 'good', remedy: undefined }] = problems;
      const indent = ' '.repeat(WIDTH);
      return [
        ...(problems.length === 0 ? [`${status.padEnd(WIDTH)}${check}: ${first.problem}`] : []),
        ...problems.flatMap(({ severity, problem, remedy }) => [
          `${severity.padEnd(WIDTH)}${check}: ${problem}`,
          `${indent}→ ${remedy}`,
        ]),
        ...(problems.length > 0 && evidence !== undefined ? [`${indent}seen: ${evidence}`] : []),
      ];
    }),
  ];
}

function renderJUnit({ node, role, time, checks }: NodeReport): string[] {
  const failures = checks.filter(({ status }) => status !== 'ok').length;
  const totals = `tests="${checks.length}" failures="${failures}" errors="0" skipped="0"`;
  return [
    '<?xml version="1.0" encoding="UTF-8"?>',
    `<testsuites name="capstan node check" ${totals}>`,
    `  <testsuite name="${escapeMarkup(`${node} as a ${role}`)}" timestamp="${time}" ${totals}>`,
    ...checks.map(renderCase),
    '  </testsuite>',
    '</testsuites>',
  ];
}

function renderCase({ check, status, evidence = '', problems, tookMs }: CheckOutcome): string {
  const open = `    <testcase classname="node" name="${escapeMarkup(check)}" time="${(tookMs / 1_000).toFixed(3)}"`;
  const seen = escapeMarkup(evidence);
  if (status === 'ok') return `${open}><system-out>${seen}</system-out></testcase>`;
  const message = escapeMarkup(problems.map(({ problem }) => problem).join('; '));
  const remedies = escapeMarkup(problems.map(({ remedy }) => remedy).join('\n'));
  return `${open}><failure type="${status}" message="${message}">${remedies}</failure></testcase>`;
}
