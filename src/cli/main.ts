/** The command line: one file per command, folders as the command tree. Commands are loaded by name only when called, so that each starts quickly. */
import { Command } from 'commander';
import { CAPSTAN_VERSION, KUBERNETES_VERSION } from '#cmd/version.ts';
import { fail, type Register } from './context.ts';

type Loader = () => Promise<{ readonly register: Register }>;

/** In the order --help shows them. */
const COMMANDS: Readonly<Record<string, Loader>> = {
  up: () => import('./up.ts'),
  down: () => import('./down.ts'),
  status: () => import('./status.ts'),
  delete: () => import('./delete.ts'),
  login: () => import('./login.ts'),
  user: () => import('./user.ts'),
  access: () => import('./access.ts'),
  image: () => import('./image.ts'),
  test: () => import('./test.ts'),
  completion: () => import('./completion.ts'),
  apiserver: () => import('./apiserver.ts'),
  'controller-manager': () => import('./controller-manager.ts'),
  scheduler: () => import('./scheduler.ts'),
  node: () => import('./node.ts'),
  proxy: () => import('./proxy.ts'),
  dns: () => import('./dns.ts'),
};

async function main(): Promise<void> {
  // A reader that has seen enough (`| head`) is no error.
  process.stdout.on('error', (error: NodeJS.ErrnoException) => process.exit(error.code === 'EPIPE' ? 0 : 1));
  const program = new Command('capstan')
    .description('A Kubernetes 1.36 cluster in one program')
    .version(`${CAPSTAN_VERSION} (Kubernetes ${KUBERNETES_VERSION})`, '-V, --version')
    .showHelpAfterError('(capstan --help lists the commands)')
    .configureHelp({ sortSubcommands: false })
    .configureOutput({ outputError: (text, write) => write(text.replace(/^error: /, 'capstan: ')) });
  const called = process.argv[2] ?? '';
  const only = COMMANDS[called];
  for (const load of only && called !== 'completion' ? [only] : Object.values(COMMANDS)) (await load()).register(program);
  if (process.argv.length <= 2) return program.outputHelp();
  await program.parseAsync();
}

main().catch(fail);
