/** The command line: one file per command, folders as the command tree. Commands are loaded by name only when called, so that each starts quickly. */
import { Command, type Option } from 'commander';
import { CAPSTAN_VERSION, KUBERNETES_VERSION } from '#cmd/version.ts';
import { fail, type Register } from './context.ts';

type Loader = () => Promise<{ readonly register: Register }>;

/** In the order --help shows them. */
const COMMANDS: Readonly<Record<string, Loader>> = {
  init: () => import('./init.ts'),
  join: () => import('./join.ts'),
  leave: () => import('./leave.ts'),
  token: () => import('./token.ts'),
  config: () => import('./config.ts'),
  fleet: () => import('./fleet.ts'),
  upgrade: () => import('./upgrade.ts'),
  up: () => import('./up.ts'),
  down: () => import('./down.ts'),
  status: () => import('./status.ts'),
  delete: () => import('./delete.ts'),
  reset: () => import('./reset.ts'),
  doctor: () => import('./doctor.ts'),
  readiness: () => import('./readiness.ts'),
  capacity: () => import('./capacity.ts'),
  etcd: () => import('./etcd.ts'),
  store: () => import('./store.ts'),
  backup: () => import('./backup.ts'),
  history: () => import('./history.ts'),
  tree: () => import('./tree.ts'),
  undelete: () => import('./undelete.ts'),
  login: () => import('./login.ts'),
  user: () => import('./user.ts'),
  access: () => import('./access.ts'),
  certs: () => import('./certs.ts'),
  image: () => import('./image.ts'),
  test: () => import('./test.ts'),
  completion: () => import('./completion.ts'),
  apiserver: () => import('./apiserver.ts'),
  'controller-manager': () => import('./controller-manager.ts'),
  scheduler: () => import('./scheduler.ts'),
  node: () => import('./node.ts'),
  proxy: () => import('./proxy.ts'),
  dns: () => import('./dns.ts'),
  gateway: () => import('./gateway.ts'),
  'cluster-autoscaler': () => import('./cluster-autoscaler.ts'),
  'node-provider': () => import('./node-provider.ts'),
  balancer: () => import('./balancer.ts'),
  supervise: () => import('./supervise.ts'),
  together: () => import('./together.ts'),
  ha: () => import('./ha.ts'),
};

/** Omits commander's remark on optional values, and prints the default once. */
function describeOption(option: Option): string {
  const choices = option.argChoices
    ? [`choices: ${option.argChoices.map((choice) => JSON.stringify(choice)).join(', ')}`]
    : [];
  const isSaid =
    option.defaultValue === undefined || option.negate || option.description.includes('(default:');
  const extra = [
    ...choices,
    ...(isSaid ? [] : [`default: ${option.defaultValueDescription ?? String(option.defaultValue)}`]),
  ];
  return extra.length === 0 ? option.description : `${option.description} (${extra.join(', ')})`;
}

async function main(): Promise<void> {
  // A reader that has seen enough (`| head`) is no error.
  process.stdout.on('error', (error: NodeJS.ErrnoException) => process.exit(error.code === 'EPIPE' ? 0 : 1));
  const program = new Command('capstan')
    .enablePositionalOptions()
    .description('A Kubernetes 1.36 cluster in one program')
    .version(`${CAPSTAN_VERSION} (Kubernetes ${KUBERNETES_VERSION})`, '-V, --version')
    .configureHelp({ sortSubcommands: false, optionDescription: describeOption })
    .configureOutput({ outputError: (text, write) => write(text.replace(/^error: /, 'capstan: ')) });
  const called = process.argv[2] ?? '';
  const only = COMMANDS[called];
  for (const load of only && called !== 'completion' ? [only] : Object.values(COMMANDS))
    (await load()).register(program);
  explainErrors(program, 'capstan');
  if (process.argv.length <= 2) return program.outputHelp();
  await program.parseAsync();
}

/** After a bad word: the help of the command that got it. */
function explainErrors(command: Command, path: string): void {
  command.showHelpAfterError(
    command.commands.length > 0
      ? `(${path} --help lists the commands)`
      : `(${path} --help lists its options)`,
  );
  for (const child of command.commands) explainErrors(child, `${path} ${child.name()}`);
}

main().catch(fail);
