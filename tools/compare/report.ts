/** Findings as a list one can read: alike ones grouped, with one example and a count, by area, the gravest kinds first. */
import type { DifferenceKind } from './diff.ts';
import type { Finding } from './runner.ts';

interface Group {
  readonly area: string;
  readonly kind: DifferenceKind;
  /** What the findings of the group have in common. */
  readonly signature: string;
  readonly count: number;
  /** Scenarios it was seen in, shortest names first, some of them. */
  readonly scenarios: readonly string[];
  readonly example: Finding;
}

const GRAVITY: readonly DifferenceKind[] = [
  'status',
  'reason',
  'cause',
  'message',
  'body',
  'header',
  'order',
];
const MAX_SCENARIOS = 6;
/** What concerns every kind comes first, what hardly matters to anyone last. */
const FIRST: readonly string[] = [
  'wire',
  'list and watch',
  'patch and apply',
  'managed fields',
  'documents',
  'rbac and authorization',
  'custom resources',
  'subresources',
];
const LAST: readonly string[] = ['decoder words', 'Go values in messages', 'order of fields'];

function weightOf(area: string): number {
  const first = FIRST.indexOf(area),
    last = LAST.indexOf(area);
  return first >= 0 ? first : last >= 0 ? 1000 + last : 100;
}

export class Report {
  readonly #groups = new Map<string, { finding: Finding; count: number; scenarios: Set<string> }>();
  #findings = 0;

  add(finding: Finding): void {
    this.#findings += 1;
    const { kind, path, reference, subject } = finding.difference;
    // An order is reported with its place; the fields are in the example.
    const words = kind === 'order' && path !== '' ? [] : [generalText(reference), generalText(subject)];
    const key = [areaOf(finding), kind, generalPath(path), ...words].join('\0');
    const known = this.#groups.get(key) ?? { finding, count: 0, scenarios: new Set<string>() };
    known.count += 1;
    if (known.scenarios.size < 200) known.scenarios.add(finding.scenario);
    this.#groups.set(
      key,
      finding.request.length + finding.sent.length < known.finding.request.length + known.finding.sent.length
        ? { ...known, finding }
        : known,
    );
  }

  get findings(): number {
    return this.#findings;
  }

  groups(): Group[] {
    return [...this.#groups]
      .map(([key, { finding, count, scenarios }]) => ({
        area: areaOf(finding),
        kind: finding.difference.kind,
        signature: key.split('\0').slice(2).join(' | '),
        count,
        example: finding,
        scenarios: [...scenarios]
          .toSorted((left, right) => left.length - right.length || left.localeCompare(right))
          .slice(0, MAX_SCENARIOS),
      }))
      .toSorted(
        (left, right) =>
          weightOf(left.area) - weightOf(right.area) ||
          left.area.localeCompare(right.area) ||
          GRAVITY.indexOf(left.kind) - GRAVITY.indexOf(right.kind) ||
          right.count - left.count,
      );
  }
}

/**
 * Fields inside a pod template are a pod's, whatever kind holds the template. What is the same for every kind has areas of its own: the words of Go's
 * JSON decoder, and values that messages show as Go structures (upper-case fields, nulls).
 */
function areaOf({ area, difference: { kind, path, reference, subject } }: Finding): string {
  if (kind === 'order' && path !== '') return 'order of fields';
  if (path.includes('managedFields')) return 'managed fields';
  if (reference.includes(GO_DECODER) && subject.includes(GO_DECODER)) return 'decoder words';
  if (reference !== subject && withoutValues(reference) === withoutValues(subject) && /[{[]/.test(reference))
    return 'Go values in messages';
  return TEMPLATE.test(path) ? 'core/Pod' : area;
}

const GO_DECODER = 'Go struct field';

/** A message without the objects and lists that it shows. */
function withoutValues(text: string): string {
  return /^(?:FieldValue|\d{3} )/.test(text) ? text.replaceAll(/\{.*\}|\[.*\]/g, '{}') : text;
}

const TEMPLATE = /^(?:spec\.)?(?:jobTemplate\.spec\.)?template\.spec\./;

function generalPath(path: string): string {
  const managed = /^.*?managedFields(?:\[[^\]]*\])?/.exec(path)?.[0];
  if (managed !== undefined)
    return `${managed.replace(/^.*managedFields/, 'managedFields').replaceAll(/\[[^\]]*\]/g, '[*]')}${path.length > managed.length ? path.slice(path.lastIndexOf('"f:') < 0 ? managed.length : path.lastIndexOf('"f:')) : ''}`;
  return path
    .replace(TEMPLATE, 'spec.')
    .replaceAll(/\[[^\]]*\]/g, '[*]')
    .replaceAll(/"[^"]*"/g, '*');
}

function generalText(text: string): string {
  return text
    .replaceAll(/Go struct field \S+ of type \S+/g, 'Go struct field F of type T')
    .replaceAll(/\*\w+\.\w+/g, '*T')
    .replaceAll(/'[^']*'/g, "'…'")
    .replaceAll(/"(?:[^"\\]|\\.)*"/g, '"…"')
    .replaceAll(/\[\d+\]/g, '[*]')
    .replaceAll(/\b\d+\b/g, 'N')
    .slice(0, 300);
}

export function countsByArea(groups: readonly Group[]): Map<string, { groups: number; findings: number }> {
  const counts = new Map<string, { groups: number; findings: number }>();
  for (const { area, count } of groups) {
    const known = counts.get(area) ?? { groups: 0, findings: 0 };
    counts.set(area, { groups: known.groups + 1, findings: known.findings + count });
  }
  return counts;
}

export function markdown(groups: readonly Group[]): string {
  const counts = [...countsByArea(groups)].map(
    ([area, count]) => `| ${area} | ${count.groups} | ${count.findings} |`,
  );
  const sections = [...Map.groupBy(groups, ({ area }) => area)].map(
    ([area, list]) => `## ${area}\n\n${list.map(describeGroup).join('\n')}`,
  );
  return `| area | kinds of difference | differences |\n|---|---|---|\n${counts.join('\n')}\n\n${sections.join('\n\n')}\n`;
}

function describeGroup({ kind, count, scenarios, example }: Group): string {
  const { path, reference, subject } = example.difference;
  const sent =
    example.sent === '' ? '' : `\n  - sent: \`${example.sent.slice(0, 600).replaceAll('`', "'")}\``;
  return `- **${kind}${path === '' ? '' : ` ${path}`}** ×${count}\n  - reference: ${code(reference)}\n  - subject: ${code(subject)}\n  - ${code(example.request)}${sent}\n  - in: ${scenarios.join('; ')}`;
}

function code(text: string): string {
  return `\`${text.replaceAll('`', "'").replaceAll('\n', '\\n').slice(0, 900)}\``;
}
