/** `capstan down`: stop the cluster of a data directory and its containers; all data stays. */
import type { Command } from 'commander';
import { dataDir, readSettings, UserError, type ClusterSettings, type DataDir } from '#deploy/data-dir.ts';
import { runningPid, stopDaemon } from '#deploy/daemon.ts';
import { action, dataDirOption, print } from './context.ts';

const STOP_TIMEOUT_MS = 120_000;

export function register(program: Command): void {
  program
    .command('down')
    .description('stop the cluster and its containers; its data is kept')
    .addOption(dataDirOption())
    .action(
      action(async (options: { readonly dataDir?: string }) => {
        const dir = dataDir(options.dataDir);
        const pid = runningPid(dir);
        const { settings, damage } = collectSettings(dir, { isRunning: pid !== undefined });
        if (!settings && !damage)
          throw new UserError(
            `There is no cluster in ${dir.path}; start one with: capstan up --data-dir ${dir.path}`,
          );
        if (!(await stopDaemon(dir, { timeoutMs: STOP_TIMEOUT_MS }))) {
          throw new UserError(
            `The cluster in ${dir.path} (process ${pid}) did not stop within ${STOP_TIMEOUT_MS / 1000} s; see ${dir.logs}/capstan.log, or end it by: kill -9 ${pid} (nothing that was acknowledged is lost).`,
          );
        }
        // Also after a crash: the daemon has ended, but its containers may run.
        if (settings?.runtime === 'cri')
          await (await import('#cmd/node/control.ts')).stopNode({ dir, settings });
        print(
          pid === undefined
            ? `The cluster in ${dir.path} was not running${settings?.runtime === 'cri' ? ', and none of its containers runs now; its data is kept' : ''}.`
            : `The cluster in ${dir.path} is stopped; its data is kept.`,
        );
        if (damage) print(`Before it can start again: ${damage.message}`);
      }),
    );
}

/** What runs can be stopped whatever became of its settings file meanwhile: the program itself stops its containers. */
function collectSettings(
  dir: DataDir,
  { isRunning }: { readonly isRunning: boolean },
): { readonly settings?: ClusterSettings | undefined; readonly damage?: UserError } {
  try {
    return { settings: readSettings(dir) };
  } catch (error) {
    if (!isRunning || !(error instanceof UserError)) throw error;
    return { damage: error };
  }
}
