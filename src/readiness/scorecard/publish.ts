/**
 * What a cluster says of its own readiness: ConfigMap kube-system/capstan-readiness-status, as the cluster autoscaler and the scheduled backups keep theirs (no kind of its own is needed for one
 * object, and every tool reads it), and lines of /metrics.
 */
import { configMaps } from '#client/refs.ts';
import type { Client } from '#client/client.ts';
import { isStatusError } from '#machinery/errors.ts';
import type { KubeObject, Stored } from '#machinery/object.ts';
import { label, seriesLine } from '#stdx/instruments.ts';
import { someOf, type Verdict } from './row.ts';
import type { Scorecard } from './scorecard.ts';

const NAME = { name: 'capstan-readiness-status', namespace: 'kube-system' };
const FIELD = 'status';
const MANAGER = 'capstan-readiness';
const VERDICTS: readonly Verdict[] = ['met', 'partly', 'not met', 'unknown'];

/** True: every row that is known is met. */
interface ReadinessCondition {
  readonly type: 'ProductionReady';
  readonly status: 'True' | 'False';
  readonly reason: 'AllRowsMet' | 'RowsNotMet';
  readonly message: string;
  readonly lastTransitionTime: string;
}

interface Published {
  readonly object: Stored<KubeObject>;
  readonly condition: ReadinessCondition;
  /** Its message is another than that before. */
  readonly isNews: boolean;
}

/** Rejects where the API server does. */
export async function publishScorecard(api: Client, scorecard: Scorecard): Promise<Published> {
  const before = await readCondition(api);
  const condition = conditionOf(scorecard, before);
  const { time, percent, counts, rows } = scorecard;
  const status = {
    time,
    percent,
    counts,
    conditions: [condition],
    rows: rows.map(({ name, verdict, evidence, remedy }) => ({ name, verdict, evidence, remedy })),
  };
  const object = await api.patch(configMaps, NAME, {
    type: 'apply',
    fieldManager: MANAGER,
    force: true,
    patch: {
      apiVersion: 'v1',
      kind: 'ConfigMap',
      metadata: NAME,
      data: { [FIELD]: `${JSON.stringify(status, undefined, 2)}\n` },
    },
  });
  return { object, condition, isNews: before?.message !== condition.message };
}

function conditionOf(
  { rows, time, percent }: Scorecard,
  before: ReadinessCondition | undefined,
): ReadinessCondition {
  const open = rows.filter(({ verdict }) => verdict === 'partly' || verdict === 'not met');
  const status = open.length === 0 ? 'True' : 'False';
  const message =
    open.length === 0
      ? 'every row that is known is met'
      : `${percent} %: ${someOf(
          open.map(({ name, verdict }) => `${name} is ${verdict === 'partly' ? 'met in part' : 'not met'}`),
          20,
        )}`;
  return {
    type: 'ProductionReady',
    status,
    reason: open.length === 0 ? 'AllRowsMet' : 'RowsNotMet',
    message,
    lastTransitionTime: before?.status === status ? before.lastTransitionTime : time,
  };
}

/** Undefined: there is none yet, or it was edited to something else. */
async function readCondition(api: Client): Promise<ReadinessCondition | undefined> {
  try {
    const { data } = await api.get(configMaps, NAME);
    const { conditions } = JSON.parse(data?.[FIELD] ?? '{}') as {
      readonly conditions?: readonly ReadinessCondition[];
    };
    return Array.isArray(conditions) ? (conditions[0] as ReadinessCondition) : undefined;
  } catch (error) {
    if (isStatusError(error, 'NotFound') || error instanceof SyntaxError) return undefined;
    throw error;
  }
}

/** Whole families. Undefined: nothing was assessed yet. */
export function readinessLines(scorecard: Scorecard | undefined): readonly string[] {
  if (!scorecard) return [];
  const { percent, rows, time } = scorecard;
  return [
    ...family('percent', {
      help: 'Share of the rows that are known and met.',
      series: [{ labels: '', value: percent }],
    }),
    ...family('row', {
      help: 'Rows of the readiness scorecard: 1 for the verdict that a row has.',
      series: rows.flatMap(({ name, verdict }) =>
        VERDICTS.map((one) => ({
          labels: `${label('row', name)},${label('verdict', one)}`,
          value: one === verdict ? 1 : 0,
        })),
      ),
    }),
    ...family('last_assessment_timestamp_seconds', {
      help: 'When the rows were assessed.',
      series: [{ labels: '', value: Date.parse(time) / 1_000 }],
    }),
  ];
}

interface Series {
  readonly labels: string;
  readonly value: number;
}

function family(
  suffix: string,
  { help, series }: { readonly help: string; readonly series: readonly Series[] },
): string[] {
  const name = `capstan_readiness_${suffix}`;
  return [
    `# HELP ${name} ${help}`,
    `# TYPE ${name} gauge`,
    ...series.map(({ labels, value }) => seriesLine(name, labels, value)),
  ];
}
