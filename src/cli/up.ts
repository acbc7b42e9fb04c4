/** `capstan up`: install what is missing, start the cluster of a data directory, show progress, say how to use it. */
import { createServer } from 'node:net';
import { hostname } from 'node:os';
import { isIP } from 'node:net';
import { join, resolve } from 'node:path';
import { Option, type Command } from 'commander';
import {
  createSettings,
  DATA_FORMAT,
  dataDir,
  newClusterId,
  prepareDataDir,
  readSettings,
  UserError,
  writeSettings,
  type ClusterSettings,
  type DataDir,
  type RuntimeKind,
} from '#deploy/data-dir.ts';
import {
  daemonCommand,
  readState,
  runningPid,
  startDaemon,
  stopDaemon,
  type StartedDaemon,
} from '#deploy/daemon.ts';
import {
  installService,
  isInstalled,
  removeService,
  serviceObstacle,
  startService,
  unitName,
  type ServiceOwner,
} from '#deploy/service-unit.ts';
import { refuseCopy } from '#deploy/original.ts';
import { claimNetworks, DEFAULT_NETWORKS, releaseNetworks, simulatedPodCIDR } from '#deploy/networks.ts';
import { describePortHolder } from '#deploy/port-holder.ts';
import { installPackages, missingPackages } from '#deploy/packages/debian.ts';
import type { ApiServerArgs } from './apiserver-args.ts';
import { requireAdvertisable, requireSubjectNames } from '#cmd/apiserver/addresses.ts';
import { list } from './component-options.ts';
import { action, dataDirOption, print, wholeNumber } from './context.ts';
import { createProgress } from './progress.ts';

interface UpOptions {
  readonly dataDir?: string;
  readonly httpsPort?: number;
  readonly bindAddress?: string;
  readonly advertiseAddress?: string;
  readonly apiserverCertExtraSans?: readonly string[];
  readonly runtime?: RuntimeKind | 'auto';
  readonly nodes?: number;
  readonly detach?: boolean;
  /** undefined: as it was. */
  readonly service?: boolean;
  readonly apiserverArg?: readonly string[];
  readonly install: boolean;
}

const PROGRAM = resolve(import.meta.dirname, '../cmd/all-in-one/run.ts');
const CHECKOUT = resolve(import.meta.dirname, '../..');
const STOP_TIMEOUT_MS = 60_000;
const DEFAULT_BIND_ADDRESS = '127.0.0.1';
const DEFAULT_HTTPS_PORT = 6443;

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
    .option('--detach', 'return when the cluster is ready and leave it running')
    .option(
      '--service',
      'run it as a service of systemd: started at boot, watched, started again when it ends',
    )
    .option('--no-service', 'remove that service and run it as a program again')
    .option('--no-install', 'do not install Debian packages; say what is missing')
    .action(action(up));
}

async function up(options: UpOptions): Promise<void> {
  const dir = dataDir(options.dataDir);
  const before = readSettings(dir);
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

function requireService(): void {
  const obstacle = serviceObstacle();
  if (obstacle !== undefined) throw new UserError(`--service is not possible here: ${obstacle}.`);
}

/** What was installed once is used from then on. */
function useService({ service }: UpOptions, owner: ServiceOwner): boolean {
  if (service === false) removeService(owner);
  return service === true || isInstalled(owner);
}

interface ServiceStart {
  readonly dir: DataDir;
  readonly settings: ClusterSettings;
  readonly flags: ApiServerArgs;
  readonly progress: ReturnType<typeof createProgress>;
}

async function upAsService({ dir, settings, flags, progress }: ServiceStart): Promise<void> {
  const startedAt = performance.now();
  const name = unitName(settings.id);
  progress.note(`Starting the service ${name}`);
  installService({
    clusterId: settings.id,
    dir,
    command: daemonCommand({ dir, program: PROGRAM, words: flagWords(flags) }),
    programDir: CHECKOUT,
    environment: {
      NODE_COMPILE_CACHE: process.env['NODE_COMPILE_CACHE'] ?? join(CHECKOUT, '.cache/compile'),
    },
    scope: (await import('#cmd/node/scope.ts')).containerScope(dir),
  });
  startService(settings.id);
  const server = readState(dir)?.server ?? '';
  summary({ dir, settings, server, millis: performance.now() - startedAt });
  print('');
  print(`It starts again at each boot: systemctl status ${name}`);
}

function flagWords({ args, flags }: ApiServerArgs): readonly string[] {
  return args.length > 0 ? ['--apiserver-flags', JSON.stringify(flags)] : [];
}

function requireSameService(
  { service }: UpOptions,
  {
    dir,
    pid,
    stored,
  }: { readonly dir: DataDir; readonly pid: number; readonly stored: ClusterSettings | undefined },
): void {
  if (service === undefined || (stored && service === isInstalled({ clusterId: stored.id, dir }))) return;
  throw new UserError(
    `The cluster in ${dir.path} is running (process ${pid}) ${service ? 'and is not a service' : 'as a service'}: stop it with 'capstan down' before that is changed.`,
  );
}

/** A cluster that runs has its options: others are refused rather than ignored. Those it was started with may be said again. */
function requireSameOptions(
  options: UpOptions,
  {
    dir,
    pid,
    stored,
  }: { readonly dir: DataDir; readonly pid: number; readonly stored: ClusterSettings | undefined },
): void {
  const asked: Readonly<
    Record<string, { readonly given: string | number | undefined; readonly has: string | number | undefined }>
  > = {
    '--https-port': { given: options.httpsPort, has: stored?.httpsPort },
    '--bind-address': { given: options.bindAddress, has: stored?.bindAddress },
    '--nodes': { given: options.nodes, has: stored?.nodes },
    '--advertise-address': { given: options.advertiseAddress, has: stored?.advertiseAddress },
    '--apiserver-cert-extra-sans': {
      given: options.apiserverCertExtraSans && extraNames(options.apiserverCertExtraSans).join(' '),
      has: (stored?.certExtraSANs ?? []).join(' '),
    },
    '--apiserver-arg': {
      given: options.apiserverArg?.filter((arg) => arg !== 'none').join(' '),
      has: (stored?.apiServerArgs ?? []).join(' '),
    },
  };
  const [other] = Object.entries(asked).filter(([, { given, has }]) => given !== undefined && given !== has);
  if (other)
    throw new UserError(
      `The cluster in ${dir.path} is running (process ${pid}) with another ${other[0]}: stop it with 'capstan down' before that is changed.`,
    );
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

interface SettleInput {
  readonly dir: DataDir;
  readonly stored: ClusterSettings | undefined;
  readonly options: UpOptions;
  readonly apiServerArgs: readonly string[];
  readonly say: (text: string) => void;
}

/** Loaded only where there are some: most clusters have none, and start the sooner. */
async function readApiServerArgs(args: readonly string[]): Promise<ApiServerArgs> {
  if (args.length === 0 || (args.length === 1 && args[0] === 'none')) return { args: [], flags: {} };
  return (await import('./apiserver-args.ts')).parseApiServerArgs(args);
}

/** What can be said before anything is touched. */
function checkOptions(
  { bindAddress, advertiseAddress, apiserverCertExtraSans = [], runtime, nodes }: UpOptions,
  { dir, stored }: { readonly dir: DataDir; readonly stored: ClusterSettings | undefined },
): void {
  if (bindAddress !== undefined && isIP(bindAddress) === 0)
    throw new UserError(
      `--bind-address is "${bindAddress}"; it should be an IP address of this machine, for example 127.0.0.1 or 0.0.0.0.`,
    );
  if (advertiseAddress !== undefined) requireAdvertisable('--advertise-address', advertiseAddress);
  requireSubjectNames('--apiserver-cert-extra-sans', extraNames(apiserverCertExtraSans));
  if (stored && runtime && runtime !== 'auto' && runtime !== stored.runtime) {
    throw new UserError(
      `The cluster in ${dir.path} runs with --runtime ${stored.runtime}; that cannot be changed. Use another --data-dir, or 'capstan delete' first.`,
    );
  }
  if ((runtime ?? stored?.runtime) === 'cri') requireOneNode(nodes);
}

/** 'none' stands for no names. */
function extraNames(names: readonly string[]): readonly string[] {
  return names.filter((name) => name !== 'none');
}

function requireOneNode(nodes = 1): void {
  if (nodes !== 1)
    throw new UserError(
      `--nodes ${nodes} needs --runtime simulated: with real containers this machine is one node.`,
    );
}

/** The settings this start uses: stored ones, overridden by options; a new cluster gets its id and address ranges once. Written down. */
async function settle({ dir, stored, options, apiServerArgs, say }: SettleInput): Promise<ClusterSettings> {
  // What a cluster was made with stays: its containers cannot become simulated because a package is missing today.
  const wanted = stored?.runtime ?? options.runtime ?? 'auto';
  const runtime =
    wanted === 'simulated'
      ? 'simulated'
      : chooseRuntime({ mustBeReal: wanted === 'cri', install: options.install, say });
  if (runtime === 'cri') requireOneNode(options.nodes);
  const overrides = {
    httpsPort: options.httpsPort ?? stored?.httpsPort ?? DEFAULT_HTTPS_PORT,
    bindAddress: options.bindAddress ?? stored?.bindAddress ?? DEFAULT_BIND_ADDRESS,
    nodes: options.nodes ?? stored?.nodes ?? 1,
  };
  const advertiseAddress = options.advertiseAddress ?? stored?.advertiseAddress;
  const certExtraSANs = extraNames(options.apiserverCertExtraSans ?? stored?.certExtraSANs ?? []);
  const given = {
    ...(apiServerArgs.length > 0 ? { apiServerArgs } : {}),
    ...(advertiseAddress === undefined ? {} : { advertiseAddress }),
    ...(certExtraSANs.length > 0 ? { certExtraSANs } : {}),
  };
  if (stored) {
    const { apiServerArgs: _args, certExtraSANs: _names, ...rest } = stored;
    const settings = {
      ...rest,
      ...overrides,
      ...given,
      ...(runtime === 'simulated'
        ? { podCIDR: simulatedPodCIDR({ nodes: overrides.nodes, podCIDR: stored.podCIDR }) }
        : {}),
    };
    writeSettings(dir, settings);
    return settings;
  }
  const id = newClusterId();
  const networks =
    runtime === 'cri'
      ? await claimNetworks({ id, dataDir: dir.path })
      : {
          ...DEFAULT_NETWORKS,
          podCIDR: simulatedPodCIDR({ nodes: overrides.nodes, podCIDR: DEFAULT_NETWORKS.podCIDR }),
        };
  try {
    const settings = createSettings(dir, {
      format: DATA_FORMAT,
      id,
      runtime,
      ...overrides,
      ...given,
      podCIDR: networks.podCIDR,
      serviceCIDR: networks.serviceCIDR,
    });
    if (settings.id !== id) releaseNetworks(id);
    return settings;
  } catch (error) {
    releaseNetworks(id);
    throw error;
  }
}

interface RuntimeChoice {
  readonly mustBeReal: boolean;
  readonly install: boolean;
  readonly say: (text: string) => void;
}

function chooseRuntime({ mustBeReal, install, say }: RuntimeChoice): RuntimeKind {
  const obstacle = realNodeObstacle({ install, say });
  if (!obstacle) return 'cri';
  if (mustBeReal) throw new UserError(`--runtime cri is not possible here: ${obstacle}.`);
  say(`Real containers are not possible here: ${obstacle}.`);
  say('Starting with simulated nodes instead (pods go through their life without containers).');
  return 'simulated';
}

/** What keeps this machine from running real containers, after installing what may be installed. */
function realNodeObstacle({
  install,
  say,
}: {
  readonly install: boolean;
  readonly say: (text: string) => void;
}): string | undefined {
  if (process.platform !== 'linux') return `this is ${process.platform}, and containers need Linux`;
  const missing = missingPackages();
  if (process.getuid?.() !== 0)
    return `this needs root${missing.length > 0 ? `, and the packages ${missing.join(' ')}` : ''}`;
  if (missing.length === 0) return undefined;
  const byHand = `apt-get install --no-install-recommends ${missing.join(' ')}`;
  if (!install) return `missing packages (--no-install was given): ${byHand}`;
  say(`Installing Debian packages: ${missing.join(' ')} (refuse with --no-install)`);
  const complaint = installPackages(missing);
  const left = missingPackages();
  return left.length === 0
    ? undefined
    : `the packages ${left.join(' ')} could not be installed (${complaint ?? 'they bring no such program'}); try: ${byHand}`;
}

interface Endpoint {
  readonly bindAddress: string;
  readonly httpsPort: number;
}

async function requireFreePort(settings: Endpoint): Promise<void> {
  const where = `${settings.bindAddress}:${settings.httpsPort}`;
  await new Promise<void>((done, reject) => {
    const probe = createServer();
    probe.once('error', (error: NodeJS.ErrnoException) => reject(portError(error, { where, settings })));
    probe.listen({ port: settings.httpsPort, host: settings.bindAddress, exclusive: true }, () =>
      probe.close(() => done()),
    );
  });
}

function portError(
  error: NodeJS.ErrnoException,
  { where, settings }: { readonly where: string; readonly settings: Endpoint },
): UserError {
  if (error.code === 'EADDRINUSE')
    return new UserError(
      `Port ${where} is already taken by ${describePortHolder(settings.httpsPort)}: choose another with --https-port.`,
      error,
    );
  if (error.code === 'EADDRNOTAVAIL')
    return new UserError(
      `${settings.bindAddress} is not an address of this machine (${hostname()}): choose one with --bind-address.`,
      error,
    );
  if (error.code === 'EACCES')
    return new UserError(`Port ${where} needs root: choose a port above 1023 with --https-port.`, error);
  return new UserError(`Cannot listen on ${where}: ${error.message}`, error);
}

interface Summary {
  readonly dir: DataDir;
  readonly settings: ClusterSettings;
  readonly server: string;
  readonly millis: number;
}

function summary({ dir, settings, server, millis }: Summary): void {
  const nodes =
    settings.runtime === 'cri'
      ? '1 real node'
      : `${settings.nodes} simulated node${settings.nodes === 1 ? '' : 's'}`;
  print('');
  print(`The cluster is ready (${(millis / 1000).toFixed(1)} s, ${nodes}).`);
  print(`  API server   ${server}`);
  print(`  kubeconfig   ${dir.kubeconfig}`);
  print(`  logs         ${join(dir.logs, 'capstan.log')}`);
  print('');
  print('Next:');
  print(`  export KUBECONFIG=${dir.kubeconfig}`);
  print('  kubectl get nodes');
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
