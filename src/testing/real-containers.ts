/** What tests on real containers need of the machine. */
import { existsSync } from 'node:fs';

/** For a suite's skip: what this machine lacks, or false. */
export const containersMissing: string | false =
  process.platform !== 'linux' || process.getuid?.() !== 0
    ? 'needs Linux and root'
    : !existsSync('/usr/bin/containerd') || !existsSync('/bin/busybox')
      ? 'needs the Debian packages containerd and busybox-static'
      : false;
