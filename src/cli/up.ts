/** `capstan up`: installs what is missing, starts the cluster of a data directory, shows progress and the next steps. */
import { join } from 'node:path';
import { Option, type Command } from 'commander';
import { dataDir, prepareDataDir, readSettings, UserError, type DataDir } from '#deploy/data-dir.ts';
import { readState, runningPid, startDaemon, stopDaemon, type StartedDaemon } from '#deploy/daemon.ts';
import { refuseCopy } from '#deploy/original.ts';
import type { ApiServerArgs } from './apiserver-args.ts';
import { action, dataDirOption, print, wholeNumber, list } from './context.ts';
import { createProgress } from './progress.ts';
import {
  DEFAULT_BIND_ADDRESS,
  DEFAULT_HTTPS_PORT,
  type UpOptions,
  checkOptions,
  requireSameOptions,
  withMetricsArg,
} from './up/options.ts';
import { settle } from './up/settings.ts';
import { requireFreePort } from './up/free-port.ts';
import { PROGRAM, flagWords } from './up/program.ts';
import { summary } from './up/summary.ts';
import { requireSameService, requireService, upAsService, useService } from './up/service.ts';

const STOP_TIMEOUT_MS = 60_000;

export function register(program: Command): void {
  program
    .command('up')
    .description('start a cluster and wait until it is ready')
    .addOption(dataDirOption())
    .addOption(
      new Option('--https-port <n>', 'port of the API server (default: 6443)').argParser(
        wholeNumber('https-port', { min: 1, max: 65535 }),
      ),
    )
    .option('--bind-address <address>', 'address the API server listens on (default: 127.0.0.1)')
    .option(
      '--advertise-address <address>',
      'where pods and other machines reach the API server (default: follows from --bind-address)',
    )
    .addOption(
      new Option(
        '--apiserver-cert-extra-sans <names>',
        'further DNS names and IP addresses for the serving certificate; kept, replaces those given before; none removes them',
      ).argParser(list),
    )
    .option(
      '--pod-network-cidr <range>',
      'addresses of pods: an IPv4 or IPv6 range, or one of each with a comma between; fixed from the first start (default: a free IPv4 range)',
    )
    .option('--service-cidr <range>', 'addresses of Services, of the same families (default: free ones)')
    .addOption(
      new Option(
        '--runtime <kind>',
        'real containers (cri), simulated nodes, or whichever this machine can run',
      ).choices(['auto', 'cri', 'simulated']),
    )
    .addOption(
      new Option(
        '--nodes <n>',
        'number of nodes; more than one only with simulated nodes (default: 1)',
      ).argParser(wholeNumber('nodes', { min: 0, max: 10000 })),
    )
    .addOption(
      new Option(
        '--apiserver-arg <name=value>',
        "a flag of 'capstan apiserver' for this cluster's API server; may be given several times, replaces those given before and is kept; none removes them",
      ).argParser((text: string, before: readonly string[] = []) => [...before, text]),
    )
    .option(
      '--component-endpoints',
      "open upstream's ports of the scheduler, controllers, proxy and DNS for metrics, on 127.0.0.1; kept",
    )
    .option('--no-component-endpoints', 'close them again (default)')
    .option('--metrics', 'serve metrics.k8s.io, which kubectl top reads (default)')
    .option('--no-metrics', 'do not serve it: metrics-server will be installed; kept')
    .option('--detach', 'return when the cluster is ready and leave it running')
    .option(
      '--service',
      'run it as a service of systemd: started at boot, watched, started again when it ends',
    )
    .option('--no-service', 'remove that service and run it as a program again')
    .option('--no-install', 'do not install Debian packages; say what is missing')
    .action(action(up));
}

async function up(given: UpOptions): Promise<void> {
  const dir = dataDir(given.dataDir);
  const before = readSettings(dir);
  const options = withMetricsArg(given, before?.apiServerArgs);
  const pid = runningPid(dir);
  checkOptions(options, { dir, stored: before });
  if (options.service === true) requireService();
  if (pid !== undefined) {
    requireSameOptions(options, { dir, pid, stored: before });
    requireSameService(options, { dir, pid, stored: before });
    return alreadyRunning(dir, pid);
  }
  const apiServer = await readApiServerArgs(options.apiserverArg ?? before?.apiServerArgs ?? []);
  await requireFreePort({
    bindAddress: options.bindAddress ?? before?.bindAddress ?? DEFAULT_BIND_ADDRESS,
    httpsPort: options.httpsPort ?? before?.httpsPort ?? DEFAULT_HTTPS_PORT,
  });
  if (before) refuseCopy(dir, before);
  prepareDataDir(dir);
  const progress = createProgress();
  const settings = await settle({
    dir,
    stored: before,
    options,
    apiServerArgs: apiServer.args,
    say: progress.note,
  });
  if (useService(options, { clusterId: settings.id, dir }))
    return upAsService({ dir, settings, flags: apiServer, progress });
  const daemon = startDaemon({
    dir,
    program: PROGRAM,
    detach: options.detach === true,
    words: flagWords(apiServer),
    onStep: (step) => progress.step(step),
    onWarning: (message) => progress.note(`Warning: ${message}`),
  });
  let interrupted = false;
  const interrupt = (): void => {
    interrupted = true;
    if (daemon.child.pid) process.kill(daemon.child.pid, 'SIGTERM');
  };
  process.on('SIGINT', interrupt);
  process.on('SIGTERM', interrupt);
  process.on('SIGHUP', interrupt);
  let ready;
  try {
    ready = await daemon.ready;
  } catch (error) {
    progress.end();
    if (interrupted) throw new UserError('Interrupted; the cluster was not started.', error);
    throw error;
  }
  progress.end();
  summary({ dir, settings, ...ready });
  if (options.detach) {
    process.off('SIGINT', interrupt);
    process.off('SIGTERM', interrupt);
    process.off('SIGHUP', interrupt);
    return;
  }
  print('Press Ctrl-C to stop the cluster.');
  await stayUntilEnd(dir, daemon);
}

const PHASES = { starting: 'starting', stopping: 'stopping', failed: 'ending after a failure' } as const;

function alreadyRunning(dir: DataDir, pid: number): void {
  const state = readState(dir);
  if (state?.pid === pid && state.phase !== 'ready')
    throw new UserError(
      `The cluster in ${dir.path} is ${PHASES[state.phase]} (process ${pid}): run this again in a moment.`,
    );
  print(`The cluster in ${dir.path} is already running (process ${pid}${state ? `, ${state.server}` : ''}).`);
  print(`Use it:  export KUBECONFIG=${dir.kubeconfig}`);
}

/** Loaded on demand: most clusters have none, and start faster. */
async function readApiServerArgs(args: readonly string[]): Promise<ApiServerArgs> {
  if (args.length === 0 || (args.length === 1 && args[0] === 'none')) return { args: [], flags: {} };
  return (await import('./apiserver-args.ts')).parseApiServerArgs(args);
}

async function stayUntilEnd(dir: DataDir, { child, lastWords }: StartedDaemon): Promise<void> {
  const code = child.exitCode ?? (await new Promise<number | null>((done) => child.once('exit', done)));
  if (runningPid(dir) !== undefined) await stopDaemon(dir, { timeoutMs: STOP_TIMEOUT_MS });
  const why = lastWords();
  if (why !== undefined) throw new UserError(why);
  if (code !== 0)
    throw new UserError(
      `The cluster's program ended by itself (exit code ${code ?? 'none, killed'}); its last words are in ${join(dir.logs, 'capstan.log')}. Start it again with: capstan up --data-dir ${dir.path}`,
    );
  print('The cluster is stopped; its data is kept.');
}
