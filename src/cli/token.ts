/** `capstan token …`: bootstrap tokens, which machines join with. */
import { Command, Option } from 'commander';
import type { TokenFlags } from '#cmd/machine/token.ts';
import { action, print, list } from './context.ts';
import { rootfsOption, warnLine } from './machine-options.ts';

export function register(program: Command): void {
  const token = program.command('token').description('bootstrap tokens, which machines join a cluster with');
  const own = (command: Command): Command =>
    command
      .option('--kubeconfig <file>', 'kubeconfig of an administrator (default: /etc/kubernetes/admin.conf)')
      .option('--dry-run', 'print what would be done and change nothing')
      .addOption(rootfsOption());
  const commands = () => import('#cmd/machine/token.ts');
  own(token.command('create').description('create a token on the server'))
    .argument('[token]', 'the token (default: a new one)')
    .option('--config <file>', 'InitConfiguration with bootstrapTokens')
    .option('--ttl <duration>', 'how long it may be used; 0s: for good (default: 24h)')
    .addOption(new Option('--usages <names>', 'signing, authentication (default: both)').argParser(list))
    .addOption(
      new Option(
        '--groups <names>',
        'extra groups of those who use it (default: system:bootstrappers:kubeadm:default-node-token)',
      ).argParser(list),
    )
    .option('--description <text>', 'what it is for')
    .option('--print-join-command', 'print the whole line that a machine joins with')
    .option('--certificate-key <key>', 'with --print-join-command: the line of a further control plane')
    .action(
      action(async (given: string | undefined, flags: TokenFlags) =>
        (await commands()).createToken(given, flags, { print, warn: warnLine }),
      ),
    );
  own(token.command('list').description('list the tokens of the server'))
    .addOption(new Option('-o, --output <format>', 'text or json').choices(['text', 'json']).default('text'))
    .action(
      action(async (flags: TokenFlags) => (await commands()).printTokens(flags, { print, warn: warnLine })),
    );
  own(token.command('delete').description('delete tokens from the server'))
    .argument('<tokens...>', 'tokens, or their first halves')
    .action(
      action(async (tokens: string[], flags: TokenFlags) =>
        (await commands()).deleteTokens(tokens, flags, { print, warn: warnLine }),
      ),
    );
  token
    .command('generate')
    .description('print a random token without creating it')
    .action(action(async () => print((await import('#deploy/config/token.ts')).generateToken())));
}
