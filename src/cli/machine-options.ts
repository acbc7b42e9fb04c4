/** Options of the commands that set up a machine, and how they tell warnings. */
import { Option, type Command } from 'commander';
import { list, wholeNumber } from './context.ts';

/** kubeadm's, which hides it too. */
export function rootfsOption(): Option {
  return new Option(
    '--rootfs <dir>',
    'directory before every path: for several machines on one host',
  ).hideHelp();
}

export function bindPortOption(): Option {
  return new Option('--apiserver-bind-port <port>', 'port of the API server (default: 6443)').argParser(
    wholeNumber('apiserver-bind-port', { min: 1, max: 65_535 }),
  );
}

/** What init and join have in common, in the order of their help. */
export function withMachineOptions(command: Command): Command {
  return command
    .addOption(new Option('--skip-phases <names>', 'phases to leave out').argParser(list))
    .addOption(
      new Option(
        '--ignore-preflight-errors <names>',
        "checks whose errors are warnings: 'IsPrivilegedUser,Swap', or all",
      ).argParser(list),
    )
    .option('--dry-run', 'print what would be done and change nothing')
    .option('--etcd-binary <file>', 'the etcd program (default: the one on the PATH)')
    .option('--fetch-etcd', "fetch Debian's package of etcd into a directory of its own where there is none")
    .option('--separate-units', 'a unit of systemd for each service, not one for all (default: as before)')
    .option('--no-separate-units', 'one unit of systemd for all services')
    .option(
      '--static-pods',
      'etcd, API server, controllers and scheduler as static pods, as kubeadm has them (default: as before)',
    )
    .option('--no-static-pods', 'all components as services of this machine')
    .addOption(
      new Option('--runtime <kind>', 'real containers (cri), or a simulated node to try things out').choices([
        'cri',
        'simulated',
      ]),
    )
    .addOption(rootfsOption());
}

/** Beside progress lines, whose output may be piped. */
export function warnLine(line: string): void {
  process.stderr.write(`\t${line.startsWith('[') ? line : `[WARNING] ${line}`}\n`);
}
