/** `capstan controller-manager` */
import { Option, type Command } from 'commander';
import { SIGNER_FLAGS } from '#cmd/controller-manager/cluster-signing.ts';
import type { ControllerManagerFlags } from '#cmd/controller-manager/run.ts';
import { componentOptions, electionOptions, list, loggingOptions, yesOrNo } from './component-options.ts';
import { action } from './context.ts';

interface Flags extends Omit<ControllerManagerFlags, 'clusterCIDR'> {
  readonly clusterCidr: string;
}

export function register(program: Command): void {
  const command = program.command('controller-manager').description('run the controllers by themselves');
  componentOptions(command)
    .option(
      '--cluster-cidr <range>',
      "addresses of the cluster's pods, of which each node gets a /24",
      '10.244.0.0/16',
    )
    .option(
      '--root-ca-file <file>',
      "certificate authority to publish in every namespace (default: the kubeconfig's)",
    )
    .option('--cluster-signing-cert-file <file>', 'certificate authority that signs certificate requests')
    .option('--cluster-signing-key-file <file>', 'its key')
    .option(
      '--service-account-private-key-file <file>',
      'key that signs tokens in secrets; without it none are made',
    )
    .option('--feature-gates <settings>', 'switches of features: StorageVersionMigrator=true')
    .option(
      '--legacy-service-account-token-clean-up-period <duration>',
      'when unused tokens in secrets are put away (default: 8760h)',
    )
    .option(
      '--cluster-signing-duration <duration>',
      'how long certificates live that do not ask for less (default: 8760h)',
    )
    .addOption(
      new Option(
        '--controllers <names>',
        "'*' for those on by default, NAME to add one, -NAME to leave one out",
      ).argParser(list),
    )
    .addOption(
      new Option(
        '--use-service-account-credentials [true|false]',
        'each controller acts as its own service account',
      )
        .argParser(yesOrNo('use-service-account-credentials'))
        .preset('true')
        .default(true),
    );
  for (const signer of Object.values(SIGNER_FLAGS)) {
    command
      .option(
        `--cluster-signing-${signer}-cert-file <file>`,
        `instead of --cluster-signing-cert-file, the authority of ${signer} certificates`,
      )
      .option(`--cluster-signing-${signer}-key-file <file>`, 'its key');
  }
  loggingOptions(electionOptions(command)).action(
    action(async ({ clusterCidr, ...flags }: Flags) =>
      (await import('#cmd/controller-manager/run.ts')).runControllerManager({
        ...flags,
        clusterCIDR: clusterCidr,
      }),
    ),
  );
}
