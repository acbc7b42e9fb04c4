/** `capstan node` */
import { Option, type Command } from 'commander';
import { REPORT_FORMATS, type NodeCheckFlags } from '#cmd/node-check/node-check.ts';
import { NODE_FLAGS, type NodeFlags } from '#cmd/node/flags.ts';
import { action, list, print } from './context.ts';
import { addFlags } from './flag-options.ts';
import { rootfsOption } from './machine-options.ts';

export function register(program: Command): void {
  const node = addFlags(
    program.command('node').description('run a node, or simulated nodes, by itself'),
    NODE_FLAGS,
  ).action(action(async (flags: NodeFlags) => (await import('#cmd/node/run.ts')).runNode(flags)));
  registerCheck(node);
}

function registerCheck(node: Command): void {
  node
    .command('check')
    .description(
      'what keeps this machine from being a good node, before it joins a cluster and after, with how to mend it. Exit code 0: nothing; 1: something fails; 2: something warns',
    )
    .option(
      '--join <host:port>',
      'an API server of the cluster that it is to join: name, reachability, clock',
    )
    .addOption(new Option('--peer <host:port>', 'further addresses to reach').argParser(list))
    .addOption(
      new Option('--role <role>', 'what it is to be (default: what it is, else worker)').choices([
        'control-plane',
        'worker',
        'witness',
      ]),
    )
    .option('--node-name <name>', 'its name (default: the host name)')
    .addOption(new Option('--check <names>', 'only these').argParser(list))
    .addOption(
      new Option('-o, --output <format>', 'how it is written').choices(REPORT_FORMATS).default('text'),
    )
    .option('--file <path>', 'write it there instead of to stdout')
    .addOption(rootfsOption())
    .action(
      action(async (flags: NodeCheckFlags) => {
        process.exitCode = await (await import('#cmd/node-check/node-check.ts')).runNodeCheck(flags, print);
      }),
    );
}
