/** `capstan init`: makes this machine the first control plane of a cluster. */
import { Command, Option } from 'commander';
import type { InitFlags } from '#cmd/machine/init.ts';
import { INIT_WORKFLOW } from '#deploy/phases/init/workflow.ts';
import { allPhases } from '#deploy/phases/runner.ts';
import { action, print, list, wholeNumber } from './context.ts';
import { bindPortOption, warnLine, withMachineOptions } from './machine-options.ts';

export function register(program: Command): void {
  const command = initOptions(
    program.command('init').description('set up the first control plane of a cluster on this machine'),
  ).action(
    action(async (flags: InitFlags) =>
      (await import('#cmd/machine/init.ts')).runInit(flags, { print, warn: warnLine }),
    ),
  );
  initOptions(
    command
      .command('phase')
      .description('run one phase of init, or one part of it')
      .argument('<name>', 'the phase')
      .argument('[part]', "one of its parts; or 'all'")
      .addHelpText('after', `\nPhases:\n${phaseLines().join('\n')}`),
  ).action(
    action(async (name: string, part: string | undefined, _: unknown, self: Command) => {
      const phase = part === undefined || part === 'all' ? name : `${name}/${part}`;
      const { runInit } = await import('#cmd/machine/init.ts');
      await runInit(self.optsWithGlobals<InitFlags>(), { phase, print, warn: warnLine });
    }),
  );
}

function phaseLines(): string[] {
  return allPhases(INIT_WORKFLOW.phases).map(
    ({ name, short }) => `  ${name.replace(/^[^/]+\//, '  /').padEnd(32)} ${short}`,
  );
}

function initOptions(command: Command): Command {
  return withMachineOptions(
    command
      .option(
        '--config <file>',
        'kubeadm.k8s.io/v1beta4 InitConfiguration and ClusterConfiguration, and a KubeletConfiguration',
      )
      .option('--control-plane-endpoint <host:port>', 'stable address or DNS name of the control plane')
      .option(
        '--apiserver-advertise-address <ip>',
        'address that others reach this API server by (default: that of the default route)',
      )
      .addOption(bindPortOption())
      .addOption(
        new Option(
          '--apiserver-cert-extra-sans <names>',
          'further DNS names and IP addresses for the serving certificate',
        ).argParser(list),
      )
      .option('--cert-dir <dir>', 'where certificates are kept (default: /etc/kubernetes/pki)')
      .option('--pod-network-cidr <range>', 'addresses of pods (default: 10.244.0.0/16)')
      .option('--service-cidr <range>', 'addresses of services (default: 10.96.0.0/12)')
      .option('--service-dns-domain <name>', 'domain of services (default: cluster.local)')
      .option('--no-metrics', 'do not serve metrics.k8s.io: metrics-server will be installed')
      .option('--kubernetes-version <version>', 'version of the control plane; this program has one')
      .option('--node-name <name>', 'name of this node (default: the host name)')
      .option('--token <token>', 'bootstrap token that machines join with (default: a new one)')
      .option('--token-file <file>', 'file that holds the token; -: standard input')
      .option('--token-ttl <duration>', 'how long it may be used; 0s: for good (default: 24h)')
      .option(
        '--upload-certs',
        'share the authorities with control planes that will join, encrypted, for two hours',
      )
      .option('--certificate-key <key>', 'key that they are encrypted with (default: a new one)')
      .option('--certificate-key-file <file>', 'file that holds the key; -: standard input')
      .option(
        '--restore <backup>',
        'become the first control plane of the cluster that a backup holds; or latest',
      )
      .option(
        '--restore-location <place>',
        'where the backup is: a directory, or s3://BUCKET/PREFIX (default: /var/backups/capstan)',
      )
      .option('--restore-identity-file <file>', 'key of age that opens it (default: PKI/backup-identity.txt)')
      .option(
        '--restore-s3-endpoint <url>',
        'its S3 server (default: $AWS_ENDPOINT_URL_S3, else that of AWS)',
      )
      .option('--restore-s3-region <region>', 'its region (default: $AWS_REGION, else us-east-1)')
      .option('--restore-s3-credentials-file <file>', "credentials (default: AWS's variables)")
      .addOption(
        new Option(
          '--restore-revision-margin <n>',
          "how far etcd's revision is raised above the newest that a backup has seen (default: 100000)",
        ).argParser(wholeNumber('restore-revision-margin', { min: 1, max: 1_000_000_000 })),
      )
      .addOption(
        new Option(
          '--lost-nodes <names>',
          'with --restore: Nodes whose machines are gone for good, or all: their pods are replaced',
        ).argParser(list),
      )
      .option('--skip-token-print', 'do not print the token')
      .option('--skip-certificate-key-print', 'do not print the certificate key'),
  );
}
