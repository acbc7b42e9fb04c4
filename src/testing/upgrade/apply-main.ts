/** A program for the upgrade tests, run from the new checkout: `capstan upgrade apply` or `rollback`, or `config apply`, that drives the other machines in their network namespaces, where users have ssh. */
import { execFileSync } from 'node:child_process';
import { resolve } from 'node:path';
import { runConfigApply } from '#cmd/configure/apply.ts';
import { runUpgradeApply, runUpgradeRollback } from '#cmd/upgrade/upgrade.ts';
import { KUBERNETES_VERSION } from '#cmd/version.ts';
import { wordsOf } from '#cmd/upgrade/drivers.ts';
import { connectCluster } from '#cmd/doctor/connect.ts';
import { observeMachines } from '#upgrade/observe.ts';
import type { MachineDriver } from '#upgrade/tools.ts';
import type { ApplyWords } from './cluster.ts';

const MAIN = resolve(import.meta.dirname, '../../cli/main.ts');
/** A gate that a test shuts fails soon. */
const GATE_PATIENCE_MS = 20_000;

const {
  command,
  machines,
  killAt,
  shutAt,
  config = '',
  ...flags
} = JSON.parse(process.argv[2] ?? '{}') as ApplyWords;

const others: MachineDriver = {
  change({ name }, change) {
    const { namespace, rootfs } = machines[name]!;
    const words = [MAIN, ...wordsOf(change), `--rootfs=${rootfs}`];
    const node = [process.execPath, '--disable-warning=ExperimentalWarning', ...words];
    execFileSync('ip', ['netns', 'exec', namespace, ...node], {
      stdio: ['pipe', 'inherit', 'inherit'],
      input: change.configuration ?? '',
    });
    return Promise.resolve();
  },
};

async function shutGate(): Promise<string | undefined> {
  const cluster = connectCluster({ rootfs: flags.rootfs });
  try {
    const found = await observeMachines(cluster.api, cluster.at);
    return found.some(({ name, api }) => name === shutAt && api?.gitVersion === KUBERNETES_VERSION)
      ? 'the test keeps it shut'
      : undefined;
  } finally {
    await cluster.close();
  }
}

const call = {
  print: (line: string) => void process.stdout.write(`${line}\n`),
  confirm: () => Promise.resolve(),
  ...(flags.inventory === undefined ? { others } : {}),
  before(step: string) {
    if (step === killAt) process.kill(process.pid, 'SIGKILL');
  },
  ...(shutAt === undefined ? {} : { extraGate: shutGate, gatePatienceMs: GATE_PATIENCE_MS }),
};

function run(): Promise<number> {
  switch (command) {
    case 'apply':
      return runUpgradeApply({ ...flags, force: true }, call);
    case 'rollback':
      return runUpgradeRollback(flags, call);
    case 'config':
      return runConfigApply({ ...flags, config }, call);
  }
}

try {
  process.exitCode = await run();
} catch (error) {
  process.stderr.write(`${(error as Error).stack}\n`);
  process.exitCode = 1;
}
