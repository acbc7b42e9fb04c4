/** `capstan node` */
import { Option, type Command } from 'commander';
import type { NodeFlags } from '#cmd/node/run.ts';
import { HELD_FLAGS, requireHeld } from '#cmd/node/kubelet-flags.ts';
import { componentOptions, loggingOptions, tlsOptions, yesOrNo } from './component-options.ts';
import { action, wholeNumber } from './context.ts';

export function register(program: Command): void {
  const command = program.command('node').description('run a node, or simulated nodes, by itself');
  componentOptions(command)
    .addOption(
      new Option('--runtime <kind>', 'real containers (cri) or simulated nodes')
        .choices(['cri', 'simulated'])
        .default('cri'),
    )
    .option(
      '--node-name <name>',
      'name of the node (default: the host name; simulated nodes: node-1, node-2 …)',
    )
    .addOption(
      new Option('--nodes <n>', 'simulated: how many (default: 1)').argParser(
        wholeNumber('nodes', { min: 1, max: 10_000 }),
      ),
    )
    .option('--data-dir <dir>', "cri: where containerd and the pods' files live")
    .option('--pod-cidr <range>', "cri: addresses of this node's pods (default: 10.244.0.0/24)")
    .option(
      '--cluster-cidr <range>',
      "cri: addresses of all pods of the cluster, which see each other's own (default: those of --pod-cidr)",
    )
    .option(
      '--node-ip <address>',
      "cri: where the API server reaches this node (default: the address of the pods' bridge)",
    )
    .option('--cluster-dns <address>', 'cri: resolver of the pods (default: 10.96.0.10)')
    .option(
      '--bootstrap-kubeconfig <file>',
      'joins with this one (a token, say) where --kubeconfig is not there yet or its certificate has expired, and writes it',
    )
    .option(
      '--cert-dir <dir>',
      "where the node's certificates are kept (default: DIR/pki, or pki beside --kubeconfig)",
    )
    .addOption(
      new Option(
        '--rotate-certificates [true|false]',
        'renew the client certificate that was got by --bootstrap-kubeconfig',
      )
        .argParser(yesOrNo('rotate-certificates'))
        .preset('true')
        .default(true),
    )
    .addOption(
      new Option(
        '--rotate-server-certificates [true|false]',
        'cri: get the certificate of the kubelet API from the cluster and renew it; its requests are to be approved',
      )
        .argParser(yesOrNo('rotate-server-certificates'))
        .preset('true')
        .default(true),
    )
    .option(
      '--tls-cert-file <file>',
      'cri: certificate of the kubelet API, of an authority that the API server trusts, instead of one from the cluster',
    )
    .option('--tls-private-key-file <file>', 'cri: its key')
    .option(
      '--streaming-connection-idle-timeout <duration>',
      'cri: when exec, attach and port-forward that say nothing are closed (default: 4h)',
    )
    .addOption(
      new Option(
        '--protect-kernel-defaults [true|false]',
        "cri: do not start where the kernel's settings are not those that upstream wants",
      )
        .argParser(yesOrNo('protect-kernel-defaults'))
        .preset('true'),
    )
    .addOption(
      new Option('--pod-max-pids <n>', 'cri: how many processes a pod may have (default: -1, any)').argParser(
        wholeNumber('pod-max-pids', { min: -1, max: 2 ** 22 }),
      ),
    )
    .option(
      '--system-reserved <amounts>',
      'cri: what pods may not have of cpu, memory, ephemeral-storage and pid, such as cpu=500m,memory=1Gi (default: pid=1000)',
    )
    .option('--kube-reserved <amounts>', 'cri: the same, for the node agent and the container runtime');
  for (const name of Object.keys(HELD_FLAGS))
    command.addOption(
      new Option(`--${name} [value]`)
        .hideHelp()
        .argParser((value) => requireHeld(name, value))
        .preset('true'),
    );
  tlsOptions(command);
  loggingOptions(command).action(
    action(async (flags: NodeFlags) => (await import('#cmd/node/run.ts')).runNode(flags)),
  );
}
