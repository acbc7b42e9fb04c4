/** Check backups: the newest one is old, failed, or was not proven by its drill. */
import { configMaps } from '#client/refs.ts';
import { isStatusError } from '#machinery/errors.ts';
import type { CheckContext, Finding, ReadinessCheck } from '../check.ts';

/** Scheduled backups are made every 15 minutes unless configured otherwise. */
const LATE_MS = 24 * 3_600_000;

export interface BackupState {
  readonly lastSuccess?: { readonly name: string; readonly time: string };
  readonly conditions?: readonly {
    readonly type: string;
    readonly status: string;
    readonly message?: string;
  }[];
}

export const backups: ReadinessCheck = {
  name: 'backups',
  short: 'there is a new backup, and it was proven to open',
  async run(context) {
    const state = await readBackupState(context);
    if (!state?.lastSuccess)
      return [
        {
          severity: 'warning',
          evidence: 'no backup of this cluster is known to it',
          remedy: 'make one: capstan backup create; scheduled ones are on by default (--backup)',
        },
      ];
    return [...ageFindings(state.lastSuccess, context), ...conditionFindings(state)];
  },
};

function ageFindings(
  { name, time }: NonNullable<BackupState['lastSuccess']>,
  { nowMs }: CheckContext,
): Finding[] {
  const hours = (nowMs - Date.parse(time)) / 3_600_000;
  if (hours * 3_600_000 < LATE_MS) return [];
  return [
    {
      severity: 'warning',
      evidence: `the newest backup, ${name}, is ${Math.floor(hours)} hours old`,
      remedy: 'make one: capstan backup create; why none is made by itself is in the events of kube-system',
    },
  ];
}

function conditionFindings({ conditions = [] }: BackupState): Finding[] {
  return conditions
    .filter(({ status }) => status === 'False')
    .map(({ type, message = '' }) => ({
      severity: type === 'BackupProven' ? ('error' as const) : ('warning' as const),
      object: 'ConfigMap kube-system/capstan-backup-status',
      evidence: `${type} is False: ${message}`,
      remedy: 'capstan backup list shows every backup and its drill; capstan backup create makes a new one',
    }));
}

/** Undefined: no backup is known. */
export async function readBackupState({ api }: CheckContext): Promise<BackupState | undefined> {
  try {
    const { data } = await api.get(configMaps, {
      name: 'capstan-backup-status',
      namespace: 'kube-system',
    });
    return JSON.parse(data?.['status'] ?? '{}') as BackupState;
  } catch (error) {
    if (isStatusError(error, 'NotFound') || error instanceof SyntaxError) return undefined;
    throw error;
  }
}
