/** `capstan status`: is the cluster of a data directory running, where, and how are its parts. Exit code 0 only when it is ready. */
import { readFileSync } from 'node:fs';
import { request } from 'node:https';
import { join } from 'node:path';
import type { Command } from 'commander';
import { dataDir, readSettings, UserError, type DataDir } from '#deploy/data-dir.ts';
import { readState, runningPid } from '#deploy/daemon.ts';
import { machinePaths } from '#deploy/machine/paths.ts';
import { machineFile } from '#deploy/machine/record.ts';
import { errorMessage } from '#stdx/log.ts';
import { action, dataDirOption, print } from './context.ts';
import { rootfsOption } from './machine-options.ts';

const PROBE_TIMEOUT_MS = 3_000;

export function register(program: Command): void {
  program
    .command('status')
    .description('show whether the cluster runs and how its parts are')
    .addOption(dataDirOption())
    .option('--json', 'as JSON')
    .addOption(rootfsOption())
    .action(action(status));
}

interface Options {
  readonly dataDir?: string;
  readonly rootfs?: string;
  readonly json?: boolean;
}

async function status(options: Options): Promise<void> {
  const dir = dataDir(options.dataDir);
  const settings = options.rootfs === undefined ? readSettings(dir) : undefined;
  const paths = machinePaths({ rootfs: options.rootfs });
  // A directory of a cluster that was made by `up` comes first, as it always has.
  if (!settings && options.dataDir === undefined && machineFile(paths).exists())
    return (await import('./status/machine.ts')).printMachine(paths, options);
  if (!settings)
    throw new UserError(
      `There is no cluster in ${dir.path}; start one with: capstan up --data-dir ${dir.path}`,
    );
  const pid = runningPid(dir);
  const state = pid === undefined ? undefined : readState(dir);
  const ready = state ? await probe(dir, `${state.server}/readyz`) : 'not running';
  const nodes = ready === 'ok' ? await readNodes(dir) : undefined;
  const report = {
    dataDir: dir.path,
    running: pid !== undefined,
    pid,
    server: state?.server,
    ready,
    runtime: settings.runtime,
    nodes: nodes?.count,
    readyNodes: nodes?.ready,
    components: state?.components ?? {},
  };
  process.exitCode = ready === 'ok' ? 0 : 1;
  if (options.json) return print(JSON.stringify(report, undefined, 2));
  print(`cluster     ${dir.path}`);
  print(
    `running     ${pid === undefined ? 'no' : `yes, process ${pid}, since ${state?.startedAt ?? 'unknown'}`}`,
  );
  if (pid === undefined) return print(`start it    capstan up --data-dir ${dir.path}`);
  print(`API server  ${state?.server ?? 'unknown'}  ${ready}`);
  print(`runtime     ${settings.runtime}`);
  if (nodes)
    print(
      `nodes       ${nodes.problem ?? `${nodes.count}, ${nodes.ready === nodes.count ? 'all' : nodes.ready} ready`}`,
    );
  for (const [name, condition] of Object.entries(report.components))
    print(`  ${name.padEnd(24)} ${condition}`);
}

interface Nodes {
  /** Of the cluster, wherever they run. */
  readonly count?: number;
  readonly ready?: number;
  /** Why they are not known. */
  readonly problem?: string;
}

/** As the administrator, whose kubeconfig is in the directory. The client is loaded only for a running cluster. */
async function readNodes(dir: DataDir): Promise<Nodes> {
  const [{ createClient }, { createKubeconfigTransport }, refs] = await Promise.all([
    import('#client/create.ts'),
    import('#client/kubeconfig.ts'),
    import('#client/refs.ts'),
  ]);
  try {
    const transport = createKubeconfigTransport({ path: dir.kubeconfig, timeoutMs: PROBE_TIMEOUT_MS });
    const api = createClient(transport, { userAgent: 'capstan-status' });
    try {
      const { items } = await api.list(refs.nodes);
      const ready = items.filter(({ status }) =>
        status?.conditions?.some((condition) => condition.type === 'Ready' && condition.status === 'True'),
      );
      return { count: items.length, ready: ready.length };
    } finally {
      await api.close();
    }
  } catch (error) {
    return { problem: `not known (${errorMessage(error)})` };
  }
}

/** 'ok', or the problem in a few words. */
function probe(dir: DataDir, url: string): Promise<string> {
  let ca: string;
  try {
    ca = readFileSync(join(dir.pki, 'ca.crt'), 'utf8');
  } catch {
    return Promise.resolve('no certificate authority in the data directory');
  }
  return new Promise((resolve) => {
    const call = request(url, { ca, timeout: PROBE_TIMEOUT_MS }, (response) => {
      response.resume();
      resolve(response.statusCode === 200 ? 'ok' : `not ready (HTTP ${response.statusCode})`);
    });
    call.on('timeout', () => call.destroy(new Error(`no answer within ${PROBE_TIMEOUT_MS / 1000} s`)));
    call.on('error', (error) => resolve(`not answering (${error.message})`));
    call.end();
  });
}
