/** What faults cost the clients of the chaos tests, as figures: they depend on the machine and are reported; only a bound that leaves much room is judged. */
import type { Cost } from './history.ts';

/** Without an answer after the loss of a control plane, also on a machine that many share. */
const MAX_UNAVAILABLE_MS = 60_000;

export interface Row extends Cost {
  readonly fault: string;
  readonly program: string;
  /** It has no local balancer, and asks any server. */
  readonly isOutside: boolean;
  /** The control plane that was lost; undefined: none. */
  readonly lost?: 'with the leader of etcd' | 'without the leader of etcd' | undefined;
}

/** One line a fault and program. */
export function tableOf(rows: readonly Row[]): string {
  const head =
    'no read ms | no write ms | slowest ms | acknowledged | refused | unknown | failed reads | fault';
  const lines = rows.map((row) => {
    const times = [row.withoutReadMs, row.withoutWriteMs, row.slowestMs];
    const counts = [row.acknowledged, row.refused, row.unknown, row.failedReads];
    return [
      [...times, ...counts, `${row.program}: ${row.fault}`].join(' | '),
      ...row.errors.map((error) => `    ${error}`),
    ].join('\n');
  });
  return [head, ...lines].join('\n');
}

/** The longest times without an answer after the loss of one control plane. */
export function unavailabilityOf(rows: readonly Row[]): string[] {
  return (['without the leader of etcd', 'with the leader of etcd'] as const).map((lost) => {
    const outside = longest(rows, { lost, isOutside: true });
    const balanced = longest(rows, { lost, isOutside: false });
    return (
      `after the loss of a control plane ${lost}: no answer for at most ${outside.readMs} ms through any server, ` +
      `no read for ${balanced.readMs} ms and no write for ${balanced.writeMs} ms through the local balancer`
    );
  });
}

/** One sentence a loss after which there was no answer for longer than can be the machine's fault. */
export function judgeUnavailability(rows: readonly Row[]): string[] {
  return rows
    .filter(({ lost, withoutReadMs }) => lost !== undefined && withoutReadMs > MAX_UNAVAILABLE_MS)
    .map(({ fault, program, withoutReadMs }) => `${program} had no answer for ${withoutReadMs} ms: ${fault}`);
}

function longest(
  rows: readonly Row[],
  { lost, isOutside }: Required<Pick<Row, 'lost' | 'isOutside'>>,
): { readonly readMs: number; readonly writeMs: number } {
  const its = rows.filter((row) => row.lost === lost && row.isOutside === isOutside);
  return {
    readMs: Math.max(0, ...its.map((row) => row.withoutReadMs)),
    writeMs: Math.max(0, ...its.map((row) => row.withoutWriteMs)),
  };
}
