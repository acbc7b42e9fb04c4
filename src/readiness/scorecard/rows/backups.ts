/** Row: there is a new backup, and it was opened. */
import { assessment, unknown, type Assessment, type ScorecardRow } from '../row.ts';
import { backups as check, readBackupState, type BackupState } from '../../checks/backups.ts';

export const backupsProven: ScorecardRow = {
  name: 'backups',
  topic: 'Control plane',
  title: 'The newest backup is less than a day old, and its drill passed',
  explain:
    'A backup counts once it has been opened: its drill starts an API server with what it holds. Read from ConfigMap kube-system/capstan-backup-status; backups that another program makes are not seen. Met: it is less than a day old and its drill passed; partly: it has not been opened yet.',
  async assess(view) {
    const state = await readBackupState(view);
    if (!state && !(await view.isCapstan()))
      return unknown('no backup of Capstan; others are not seen from here');
    const findings = await check.run(view);
    const [first] = findings;
    if (first)
      return assessment(
        findings.some(({ severity }) => severity === 'error') || !state?.lastSuccess ? 'not met' : 'partly',
        {
          evidence: findings.map(({ evidence }) => evidence),
          remedy: first.remedy,
        },
      );
    return proven(state!);
  },
};

function proven({ lastSuccess, conditions = [] }: BackupState): Assessment {
  const drill = conditions.find(({ type }) => type === 'BackupProven');
  return assessment(drill?.status === 'True' ? 'met' : 'partly', {
    evidence: [
      `${lastSuccess!.name} of ${lastSuccess!.time}`,
      drill?.status === 'True' ? 'its drill passed' : 'it has not been opened yet',
    ],
    remedy: 'wait for its drill, or run it: capstan backup verify',
  });
}
