/** The report of `capstan capacity` as text. */
import {
  DIMENSIONS,
  HEADROOM_LIMIT,
  nameOf,
  type CapacityReport,
  type Dimension,
  type Share,
  type Shares,
} from '#capacity/report.ts';
import type { ScaleUp } from '#capacity/scale-up.ts';
import type { NodesNeeded } from '#capacity/questions.ts';
import { alignColumns } from '#stdx/columns.ts';

const GIBIBYTE = 2 ** 30;
/** Lines of each part; the rest is counted. JSON has all. */
const MAX_LINES = 10;

export function renderReport(report: CapacityReport): string[] {
  const { nodes, total } = report;
  const open = nodes.filter(({ takesPods }) => takesPods).length;
  return [
    `${nodes.length} Nodes, ${open} take pods.`,
    '',
    ...alignColumns([
      ['NODE', 'CPU', 'MEMORY', 'PODS', 'STRANDED'],
      ...nodes.map(({ name, takesPods, shares, stranded }) => [
        takesPods ? name : `${name} (cordoned)`,
        ...cells(shares),
        stranded.join(', ') || '-',
      ]),
      ['together', ...cells(total), ''],
    ]),
    '',
    ...wasted(report),
    '',
    ...breaks(report),
    '',
    ...fits(report),
  ];
}

function cells(shares: Shares): string[] {
  return DIMENSIONS.map((dimension) => cell(dimension, shares[dimension]));
}

function cell(dimension: Dimension, { requested, allocatable }: Share): string {
  const percent = allocatable === 0 ? '-' : `${Math.round((requested / allocatable) * 100)} %`;
  return `${amount(dimension, requested)} of ${amount(dimension, allocatable)} (${percent})`;
}

function amount(dimension: Dimension, value: number): string {
  if (dimension === 'pods') return String(value);
  const [size, unit] = dimension === 'cpu' ? [1_000, ''] : [GIBIBYTE, 'Gi'];
  return `${Math.round((value / size) * 10) / 10}${unit}`;
}

function wasted({ stranded, spare, kept }: CapacityReport): string[] {
  const free = DIMENSIONS.filter((dimension) => stranded[dimension] > 0).map(
    (dimension) => `${dimension} ${amount(dimension, stranded[dimension])}`,
  );
  return [
    free.length === 0
      ? 'Nothing is stranded: no Node is full in one dimension and free in another.'
      : `Stranded, because another dimension of the Node is full: ${free.join(', ')}.`,
    spare.length === 0
      ? 'No worker could go: the others would not take all of its pods, or it may not be emptied.'
      : `Could go, together: ${shortened(spare).join(', ')}. Their pods fit on the others.`,
    ...(kept.length === 0 ? [] : ['May not be emptied, by the rules of the cluster autoscaler:']),
    ...lines(kept, ({ node, reason, pod }) => `${node}: ${reason}${pod === undefined ? '' : ` (${pod})`}`),
  ];
}

function breaks({ losses, pending }: CapacityReport): string[] {
  return [
    ...(losses.length === 0
      ? ['Any one Node can fail: its pods fit on the others.']
      : ['Fails one of these Nodes, pods find no other place:']),
    ...lines(losses, ({ node, homeless }) => {
      const [first] = homeless;
      return `${node}: ${homeless.length} pods, ${nameOf(first!.pod)} among them: ${first!.message}`;
    }),
    ...(pending.length === 0 ? [] : ['Waiting now, and fitting nowhere:']),
    ...lines(pending, ({ pod, message }) => `${pod}: ${message}`),
  ];
}

function fits({ headroom }: CapacityReport): string[] {
  if (headroom.length === 0) return [];
  return [
    'So many more replicas of a Deployment fit, the fewest first:',
    ...lines(
      headroom,
      ({ deployment, more }) => `${deployment}: ${more === HEADROOM_LIMIT ? `${more} or more` : more}`,
    ),
  ];
}

function lines<T>(all: readonly T[], line: (one: T) => string): string[] {
  const left = all.length - MAX_LINES;
  return [
    ...all.slice(0, MAX_LINES).map((one) => `  ${line(one)}`),
    ...(left > 0 ? [`  … and ${left} more (--json has all)`] : []),
  ];
}

function shortened(names: readonly string[]): string[] {
  const left = names.length - MAX_LINES;
  return left > 0 ? [...names.slice(0, MAX_LINES), `${left} more`] : [...names];
}

export interface Plan extends NodesNeeded {
  readonly deployment: string;
  /** Pods that are to come. */
  readonly count: number;
  /** The Node that added ones are like. */
  readonly like: string;
}

export function renderPlan({
  deployment,
  count,
  like,
  onPresent,
  onAdded,
  addedNodes,
  left,
}: Plan): string[] {
  return [
    `Deployment ${deployment}: ${count} more pods.`,
    `  ${onPresent} fit on the Nodes there are.`,
    ...(addedNodes > 0 ? [`  ${onAdded} need ${addedNodes} more Nodes like ${like}.`] : []),
    ...(left ? [`  ${left.count} fit on no Node like ${like} either: ${left.reasons.join(', ')}.`] : []),
  ];
}

/** What JSON has of a decision. */
export function scaleUpFacts({ increases, helped, fitting, notHelped }: ScaleUp): object {
  return {
    increases,
    helped: helped.map(nameOf),
    fitting: fitting.map(nameOf),
    notHelped: notHelped.map(({ pod, reasons }) => ({
      pod: nameOf(pod),
      reasons: Object.fromEntries(reasons),
    })),
  };
}

export function renderScaleUp({ increases, helped, fitting, notHelped }: ScaleUp): string[] {
  const total = helped.length + fitting.length + notHelped.length;
  return [
    `${total} pods: ${fitting.length} fit on the Nodes there are, ${helped.length} on more Nodes of these groups:`,
    ...(increases.length === 0 ? ['  none has to grow'] : []),
    ...increases.map(({ group, from, to, maxSize }) => `  ${group} ${from}->${to} (max: ${maxSize})`),
    ...(notHelped.length === 0 ? [] : [`In no group fit ${notHelped.length}:`]),
    ...lines(
      notHelped,
      ({ pod, reasons }) =>
        `${nameOf(pod)}: ${[...reasons].map(([group, reason]) => `${group}: ${reason}`).join('; ')}`,
    ),
  ];
}
