/** `capstan test`: the one gate (tools/gate.ts) with its options passed on. */
import { spawnSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { resolve } from 'node:path';
import type { Command } from 'commander';
import { UserError } from '#deploy/data-dir.ts';
import { action } from './context.ts';

const GATE = resolve(import.meta.dirname, '../../tools/gate.ts');

export function register(program: Command): void {
  program
    .command('test')
    .description('run every check and test of this checkout')
    .option('--only <text>', 'only test files whose path contains this')
    .option(
      '--suite <name>',
      'a suite that takes too long for the gate, instead of all else: disaster, ha, network-policy, upgrade or vm',
    )
    .option(
      '--minutes <number>',
      'how long the suites ha (20; each fault strikes at least once) and network-policy go on',
    )
    .option('--unit', 'no integration tests')
    .option('--fix', 'let checks mend what they can')
    .option('--no-install', 'do not install Debian packages for tests')
    .action(
      action(() => {
        if (!existsSync(GATE)) throw new UserError('capstan test works in a source checkout only.');
        const result = spawnSync(
          process.execPath,
          ['--disable-warning=ExperimentalWarning', GATE, ...process.argv.slice(3)],
          { stdio: 'inherit' },
        );
        process.exitCode = result.status ?? 1;
      }),
    );
}
