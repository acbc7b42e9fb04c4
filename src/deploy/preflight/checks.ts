/** Checks of a machine: requirements on kernel, programs, disk and network. They change nothing. */
import { accessSync, constants, existsSync, readFileSync } from 'node:fs';
import { statfs } from 'node:fs/promises';
import { lookup } from 'node:dns/promises';
import { createServer } from 'node:net';
import { availableParallelism, networkInterfaces, totalmem } from 'node:os';
import { dirname } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { missingPrograms } from '../packages/debian.ts';
import { describePortHolder, howToStopPortHolder } from '../port-holder.ts';
import { failure, warning, type Check } from './check.ts';

const MIB = 2 ** 20;
const GIB = 2 ** 30;
const MINIMUM_CPUS = 2;
/** Unresponsive resolvers delay more than a join takes. */
const LOOKUP_TIMEOUT_MS = 1_000;
/** A clock before this program was written is wrong. */
const EARLIEST_MS = Date.UTC(2026, 0, 1);
/** Overhead of VXLAN: 50 bytes. */
const MINIMUM_MTU = 1280;

export function isPrivilegedUser(): Check {
  return {
    name: 'IsPrivilegedUser',
    run: () =>
      process.getuid?.() === 0 ? undefined : failure('user is not running as root', 'run this with sudo'),
  };
}

export function isLinux(): Check {
  return {
    name: 'SystemVerification',
    run: () =>
      process.platform === 'linux'
        ? undefined
        : failure(`this is ${process.platform}, and a node needs Linux`, 'use a machine with Linux'),
  };
}

export function numCPU(): Check {
  return {
    name: 'NumCPU',
    run() {
      const count = availableParallelism();
      if (count >= MINIMUM_CPUS) return { evidence: `${count} CPUs` };
      return failure(
        `the number of available CPUs ${count} is less than the required ${MINIMUM_CPUS}`,
        'give this machine more CPUs',
      );
    },
  };
}

export function memory(minimumBytes: number): Check {
  return {
    name: 'Mem',
    run: () =>
      totalmem() >= minimumBytes
        ? undefined
        : failure(
            `the system RAM (${Math.floor(totalmem() / MIB)} MB) is less than the minimum ${Math.floor(minimumBytes / MIB)} MB`,
            'give this machine more memory',
          ),
  };
}

/** ours: processes that may hold it, since they are this machine's own services. */
export function portFree(
  port: number,
  { address, holdsIt }: { readonly address?: string | undefined; readonly holdsIt?: () => boolean },
): Check {
  return {
    name: `Port-${port}`,
    async run() {
      if (holdsIt?.()) return undefined;
      const error = await listenError(port, address);
      if (error === undefined) return undefined;
      if (error.code === 'EADDRINUSE')
        return failure(
          `port ${port} is in use by ${describePortHolder(port)}`,
          `${howToStopPortHolder(port)}, or clean this machine with capstan reset`,
        );
      if (error.code === 'EADDRNOTAVAIL')
        return failure(
          `${address ?? ''} is not an address of this machine`,
          'choose one with --apiserver-advertise-address',
        );
      return failure(
        `port ${port} cannot be listened on (${error.message})`,
        'let this program listen there',
      );
    },
  };
}

function listenError(port: number, host?: string): Promise<NodeJS.ErrnoException | undefined> {
  return new Promise((resolve) => {
    const probe = createServer();
    probe.once('error', (error: NodeJS.ErrnoException) => resolve(error));
    probe.listen({ port, exclusive: true, ...(host ? { host } : {}) }, () =>
      probe.close(() => resolve(undefined)),
    );
  });
}

export function hostName(name: string): Check {
  return {
    name: 'Hostname',
    async run() {
      try {
        await Promise.race([
          lookup(name),
          sleep(LOOKUP_TIMEOUT_MS, undefined, { ref: false }).then(() =>
            Promise.reject(new Error('timeout')),
          ),
        ]);
        return undefined;
      } catch {
        return warning(
          `hostname "${name}" could not be reached`,
          'add it to /etc/hosts or to DNS, since people and tools will use it',
        );
      }
    },
  };
}

export function swap(): Check {
  return {
    name: 'Swap',
    run() {
      const [, ...devices] = read('/proc/swaps').trim().split('\n');
      if (devices.length === 0) return { evidence: 'it is off' };
      return warning(
        'swap is on',
        'pods may be swapped out, and their memory limits do not bound it; turn it off with swapoff -a, and in /etc/fstab',
      );
    },
  };
}

export function cgroup2(): Check {
  return {
    name: 'Cgroup2',
    run: () =>
      existsSync('/sys/fs/cgroup/cgroup.controllers')
        ? undefined
        : failure(
            'cgroup v2 is not mounted at /sys/fs/cgroup',
            'start the kernel with systemd.unified_cgroup_hierarchy=1',
          ),
  };
}

/** The node sets it at each start where it may; a read-only /proc/sys is the case that it cannot correct. */
export function ipForward(path = '/proc/sys/net/ipv4/ip_forward'): Check {
  return {
    name: 'FileContent--proc-sys-net-ipv4-ip_forward',
    run: () =>
      read(path).trim() === '1' || isWritable(path)
        ? undefined
        : failure(
            `${path} is not 1, and cannot be written here`,
            'set it with sysctl -w net.ipv4.ip_forward=1, and in /etc/sysctl.d',
          ),
  };
}

/** Only with the module: then bridged packets bypass nftables unless it sees them too. */
export function bridgeNetfilter(): Check {
  const path = '/proc/sys/net/bridge/bridge-nf-call-iptables';
  return {
    name: 'FileContent--proc-sys-net-bridge-bridge-nf-call-iptables',
    run: () =>
      !existsSync(path) || read(path).trim() === '1'
        ? undefined
        : warning(
            `${path} is 0`,
            'a pod that reaches itself or its neighbour through a Service may get no answer; set it with sysctl -w net.bridge.bridge-nf-call-iptables=1',
          ),
  };
}

/** containerd, runc, the CNI plugins, nft, ip, mount. */
export function programs(): Check {
  return {
    name: 'FileExisting',
    run() {
      const missing = missingPrograms();
      if (missing.length === 0) return undefined;
      const packages = [...new Set(missing.map((one) => one.package))].join(' ');
      return failure(
        `${missing.map(({ program }) => program).join(', ')} not found`,
        `apt-get install --no-install-recommends ${packages}`,
      );
    },
  };
}

export function clock(nowMs: number): Check {
  return {
    name: 'Clock',
    run: () =>
      nowMs >= EARLIEST_MS
        ? undefined
        : failure(
            `this machine's clock says ${new Date(nowMs).getUTCFullYear()}`,
            'certificates made now would not be valid; set it, or have it set by systemd-timesyncd or chrony',
          ),
  };
}

export function diskSpace(path: string, { minimumBytes }: { readonly minimumBytes: number }): Check {
  return {
    name: 'DiskSpace',
    async run() {
      const there = nearest(path);
      const { bavail, bsize } = await statfs(there);
      const free = bavail * bsize;
      if (free >= minimumBytes) return { evidence: `${(free / GIB).toFixed(1)} GiB are free in ${there}` };
      return failure(
        `${there}, which is to hold ${path}, has ${(free / GIB).toFixed(1)} GiB free`,
        `it should have ${(minimumBytes / GIB).toFixed(1)} GiB; remove what is not needed, or mount a larger disk there`,
      );
    },
  };
}

export function mtu(address: string): Check {
  return {
    name: 'MTU',
    run() {
      const [name] =
        Object.entries(networkInterfaces()).find(([, list]) =>
          list?.some((one) => one.address === address),
        ) ?? [];
      const bytes = name === undefined ? NaN : Number(read(`/sys/class/net/${name}/mtu`));
      if (Number.isNaN(bytes)) return undefined;
      if (bytes >= MINIMUM_MTU) return { evidence: `${name} has ${bytes}` };
      return warning(
        `the interface ${name} has an MTU of ${bytes}`,
        `below ${MINIMUM_MTU} IPv6 does not work, and the pod network needs 50 bytes of it`,
      );
    },
  };
}

/** A kubelet of a distribution would take the same ports and the same files. */
export function noOtherKubelet(): Check {
  return {
    name: 'KubeletRunning',
    run: () =>
      existsSync('/run/systemd/units/invocation:kubelet.service')
        ? failure(
            'kubelet.service runs on this machine',
            'stop and disable it with systemctl disable --now kubelet',
          )
        : undefined,
  };
}

function nearest(path: string): string {
  return existsSync(path) || dirname(path) === path ? path : nearest(dirname(path));
}

/** Also for root: a file system may be read-only. */
function isWritable(path: string): boolean {
  try {
    accessSync(path, constants.W_OK);
    return true;
  } catch {
    return false;
  }
}

/** Empty where there is none. */
function read(path: string): string {
  try {
    return readFileSync(path, 'utf8');
  } catch {
    return '';
  }
}
