/** `capstan tree …`: hierarchical namespaces, with the verbs of `kubectl hns`. */
import type { Command } from 'commander';
import type { ImportFlags } from '#cmd/tree/import.ts';
import type { SetFlags, ShowFlags, TreeFlags } from '#cmd/tree/tree.ts';
import { action, print } from './context.ts';
import { rootfsOption } from './machine-options.ts';

export function register(program: Command): void {
  const tree = program.command('tree').description('hierarchical namespaces: show and change their trees');
  withServer(tree.command('enable'))
    .description('install the definitions and the permissions of the controller; nothing is done before')
    .action(action(async (flags: TreeFlags) => (await load()).enableTrees(flags, print)));
  withServer(tree.command('import'))
    .description('take over the trees of HNC or Accurate, which must be stopped before')
    .option('--dry-run', 'only say what would be written')
    .action(
      action(async (flags: ImportFlags) => (await import('#cmd/tree/import.ts')).importTrees(flags, print)),
    );
  withServer(tree.command('show'))
    .description('draw trees: of the roots given, or all')
    .argument('[namespaces...]', 'the roots of the trees')
    .option('-A, --all-namespaces', 'all trees of the cluster')
    .action(
      action(async (names: string[], flags: ShowFlags) =>
        (await load()).showTrees({ ...flags, names }, print),
      ),
    );
  withServer(tree.command('create'))
    .description('make a subnamespace: an anchor of that name in its parent')
    .argument('<child>', 'the name of the subnamespace')
    .requiredOption('-n, --namespace <parent>', 'its parent')
    .action(
      action(async (child: string, flags: TreeFlags & { readonly namespace: string }) =>
        (await load()).createSubnamespace({ ...flags, child }, print),
      ),
    );
  withServer(tree.command('set'))
    .description('change the place of a namespace, or whether its subnamespaces may be deleted with it')
    .argument('<namespace>')
    .option('-p, --parent <namespace>', 'its parent')
    .option('-r, --root', 'it has no parent any more')
    .option('-a, --allowCascadingDeletion', 'its subnamespaces may be deleted with it')
    .option('-f, --forbidCascadingDeletion', 'they may not')
    .action(
      action(async (namespace: string, flags: SetFlags) =>
        (await load()).setHierarchy({ ...flags, namespace }, print),
      ),
    );
  withServer(tree.command('describe'))
    .description('the parent, children, conditions and recent events of a namespace')
    .argument('<namespace>')
    .action(
      action(async (namespace: string, flags: TreeFlags) =>
        (await load()).describeHierarchy({ ...flags, namespace }, print),
      ),
    );
}

function load(): Promise<typeof import('#cmd/tree/tree.ts')> {
  return import('#cmd/tree/tree.ts');
}

function withServer(command: Command): Command {
  return command
    .addOption(rootfsOption())
    .option('--kubeconfig <file>', "a user's (default: this control plane's, else $KUBECONFIG)");
}
