/** `capstan delete`: stop a cluster and remove its data directory and everything it made on the machine. Asks first. */
import { existsSync, rmSync } from 'node:fs';
import { createInterface } from 'node:readline/promises';
import type { Command } from 'commander';
import { dataDir, describeDiskError, readSettings, UserError, type DataDir } from '#deploy/data-dir.ts';
import { stopDaemon } from '#deploy/daemon.ts';
import { releaseNetworks } from '#deploy/networks.ts';
import { action, dataDirOption, print } from './context.ts';

const STOP_TIMEOUT_MS = 120_000;

export function register(program: Command): void {
  program
    .command('delete')
    .description('stop the cluster and remove all its data')
    .addOption(dataDirOption())
    .option('--yes', 'do not ask')
    .action(action(async (options: { readonly dataDir?: string; readonly yes?: boolean }) => {
      const dir = dataDir(options.dataDir);
      if (!existsSync(dir.path)) throw new UserError(`There is no cluster in ${dir.path}: the directory does not exist.`);
      const settings = readSettings(dir);
      if (!settings) throw new UserError(`${dir.path} is not a Capstan data directory (it has no capstan.json): nothing was removed.`);
      if (!options.yes && !await confirmed(dir)) throw new UserError('Nothing was removed.');
      if (!await stopDaemon(dir, { timeoutMs: STOP_TIMEOUT_MS })) throw new UserError(`The cluster in ${dir.path} did not stop within ${STOP_TIMEOUT_MS / 1000} s: nothing was removed.`);
      if (settings.runtime === 'cri') await (await import('#cmd/node-control.ts')).destroyNode({ dir, settings });
      try {
        rmSync(dir.path, { recursive: true, force: true });
      } catch (error) {
        throw describeDiskError(dir.path, error);
      }
      releaseNetworks(settings.id);
      print(`The cluster in ${dir.path} is gone.`);
    }));
}

async function confirmed(dir: DataDir): Promise<boolean> {
  if (!process.stdin.isTTY) throw new UserError(`This removes the cluster in ${dir.path} and all its data: give --yes to confirm.`);
  const prompt = createInterface({ input: process.stdin, output: process.stderr });
  try {
    return (await prompt.question(`Remove the cluster in ${dir.path} and all its data? Type yes: `)).trim() === 'yes';
  } finally {
    prompt.close();
  }
}
