/** Options of the commands that set up a machine, and how they tell warnings. */
import { Option } from 'commander';

/** kubeadm's, which hides it too. */
export function rootfsOption(): Option {
  return new Option(
    '--rootfs <dir>',
    'directory before every path: for several machines on one host',
  ).hideHelp();
}

/** Beside the lines of progress, which may be piped somewhere. */
export function warnLine(line: string): void {
  process.stderr.write(`\t${line.startsWith('[') ? line : `[WARNING] ${line}`}\n`);
}
