/** `capstan join`: makes this machine a worker, a control plane or a witness of a cluster. */
import { Command, Option } from 'commander';
import type { JoinFlags } from '#cmd/machine/join.ts';
import { JOIN_WORKFLOW } from '#deploy/phases/join/workflow.ts';
import { allPhases } from '#deploy/phases/runner.ts';
import { action, print, list } from './context.ts';
import { bindPortOption, warnLine, withMachineOptions } from './machine-options.ts';

export function register(program: Command): void {
  const command = joinOptions(
    program
      .command('join')
      .description('join this machine to a cluster, as a worker, a control plane or a witness')
      .argument('[host:port]', 'an API server of the cluster'),
  ).action(
    action(async (endpoint: string | undefined, flags: JoinFlags) =>
      (await import('#cmd/machine/join.ts')).runJoin(flags, { endpoint, print, warn: warnLine }),
    ),
  );
  joinOptions(
    command
      .command('phase')
      .description('run one phase of join, or one part of it')
      .argument('<name>', 'the phase')
      .argument('[part-or-host:port...]', "one of its parts, or 'all'; and an API server of the cluster")
      .addHelpText('after', `\nPhases:\n${phaseLines().join('\n')}`),
  ).action(
    action(async (name: string, words: readonly string[], _: unknown, self: Command) => {
      const parts = words.filter((word) => !word.includes(':') && word !== 'all');
      const endpoint = words.find((word) => word.includes(':'));
      const { runJoin } = await import('#cmd/machine/join.ts');
      await runJoin(self.optsWithGlobals<JoinFlags>(), {
        endpoint,
        phase: [name, ...parts].join('/'),
        print,
        warn: warnLine,
      });
    }),
  );
}

function phaseLines(): string[] {
  return allPhases(JOIN_WORKFLOW.phases).map(
    ({ name, short }) => `  ${name.replace(/^[^/]+\//, '  /').padEnd(32)} ${short}`,
  );
}

function joinOptions(command: Command): Command {
  return withMachineOptions(
    command
      .option('--config <file>', 'kubeadm.k8s.io/v1beta4 JoinConfiguration')
      .option('--token <token>', 'bootstrap token, both for discovery and for asking for a certificate')
      .option('--token-file <file>', 'file that holds the token of --token; -: standard input')
      .option('--discovery-token <token>', 'token for discovery alone')
      .option('--tls-bootstrap-token <token>', 'token for asking for a certificate alone')
      .addOption(
        new Option(
          '--discovery-token-ca-cert-hash <sha256:hash>',
          "hash of the public key of the cluster's authority; once or several times",
        ).argParser(list),
      )
      .option(
        '--discovery-token-unsafe-skip-ca-verification',
        'trust any server that knows the token: for clusters whose authority is not known beforehand',
      )
      .option(
        '--discovery-file <file>',
        'kubeconfig, or its https:// address, instead of a token for discovery',
      )
      .option('--control-plane', 'make this machine a control plane')
      .option('--witness', 'make this machine a member of etcd and nothing else')
      .option(
        '--certificate-key <key>',
        'key of the certificates that a control plane shared (for --control-plane and --witness)',
      )
      .option('--certificate-key-file <file>', 'file that holds that key; -: standard input')
      .option(
        '--apiserver-advertise-address <ip>',
        'address that others reach this machine by (default: that of the default route)',
      )
      .addOption(bindPortOption())
      .option('--node-name <name>', 'name of this node (default: the host name)'),
  );
}
