/** Checks of the kernel: its version, how it was built, modules, control groups, security modules, settings. Requirements are those of upstream's system-validators, and ours. */
import { existsSync, readFileSync } from 'node:fs';
import { release } from 'node:os';
import { join } from 'node:path';
import { gunzipSync } from 'node:zlib';
import { howToSet, KERNEL_SETTINGS } from '#component-helpers/kernel-settings.ts';
import { failure, warning, type Check, type Problem } from '../check.ts';

/** Files are looked up below it: '/', or a directory in tests. */
interface Machine {
  readonly root?: string;
  /** Default: that of this kernel. */
  readonly kernelRelease?: string;
}

export function kernelVersion({ kernelRelease = release() }: Machine = {}): Check {
  return {
    name: 'KernelVersion',
    run() {
      const [major = 0, minor = 0] = kernelRelease.split('.').map((part) => Number.parseInt(part, 10));
      const evidence = `Linux ${kernelRelease}`;
      if (major > 5 || (major === 5 && minor >= 10)) return { evidence };
      const problem = `the kernel is ${kernelRelease}, and should be 5.10 or later`;
      const remedy = 'install a newer kernel, or a newer release of the distribution';
      return {
        evidence,
        ...(major === 5 && minor >= 4 ? warning(problem, remedy) : failure(problem, remedy)),
      };
    },
  };
}

/** Each one of the words will do. */
const REQUIRED = [
  'NAMESPACES',
  'NET_NS',
  'PID_NS',
  'IPC_NS',
  'UTS_NS',
  'CGROUPS',
  'CGROUP_BPF',
  'CGROUP_CPUACCT',
  'CGROUP_DEVICE',
  'CGROUP_FREEZER',
  'CGROUP_PIDS',
  'CGROUP_SCHED',
  'CPUSETS',
  'MEMCG',
  'FAIR_GROUP_SCHED',
  'INET',
  'PROC_FS',
  'OVERLAY_FS',
  'BRIDGE',
  'VETH',
  'NF_TABLES',
  'NF_CONNTRACK',
  'NF_NAT',
  'NFT_NAT',
  'NFT_MASQ',
];

const OPTIONAL: Readonly<Record<string, string>> = {
  CFS_BANDWIDTH: 'CPU limits of containers do nothing',
  CGROUP_HUGETLB: 'huge pages are not limited',
  SECCOMP_FILTER: 'seccomp profiles of pods are refused',
  BRIDGE_NETFILTER: 'network policies are not enforced between pods of this node',
  VXLAN: 'nodes of other networks are not reached by --pod-network auto',
  WIREGUARD: '--pod-network wireguard does not work',
  IPV6: 'clusters with IPv6 do not work',
};

export function kernelConfig(machine: Machine = {}): Check {
  return {
    name: 'KernelConfig',
    run() {
      const found = readKernelConfig(machine);
      if (!found)
        return warning(
          'the configuration of the kernel was not found in /proc/config.gz, /boot or /lib/modules, so what it can do was not checked',
          "install the kernel's config file, or load the module configs",
        );
      const { path, options } = found;
      const missing = REQUIRED.filter((name) => !options.has(name));
      const lacking = Object.entries(OPTIONAL).filter(([name]) => !options.has(name));
      return {
        evidence: `${REQUIRED.length - missing.length} of ${REQUIRED.length} required options are in ${path}`,
        errors: missing.map((name) => ({
          problem: `the kernel was built without CONFIG_${name}`,
          remedy: 'use a kernel of the distribution',
        })),
        warnings: lacking.map(([name, why]) => ({
          problem: `the kernel was built without CONFIG_${name}: ${why}`,
          remedy: 'use a kernel of the distribution, or do without',
        })),
      };
    },
  };
}

interface KernelConfig {
  readonly path: string;
  /** Built in or as modules. */
  readonly options: ReadonlySet<string>;
}

function readKernelConfig({ root = '/', kernelRelease = release() }: Machine): KernelConfig | undefined {
  const places = [
    'proc/config.gz',
    `boot/config-${kernelRelease}`,
    `lib/modules/${kernelRelease}/config`,
    `lib/modules/${kernelRelease}/build/.config`,
  ];
  const path = places.map((place) => join(root, place)).find((place) => existsSync(place));
  if (path === undefined) return undefined;
  const bytes = readFileSync(path);
  const text = (path.endsWith('.gz') ? gunzipSync(bytes) : bytes).toString();
  return {
    path,
    options: new Set(Array.from(text.matchAll(/^CONFIG_(\w+)=[ym]$/gm), ([, name = '']) => name)),
  };
}

const MODULES: Readonly<Record<string, { readonly option: string; readonly isNeeded: boolean }>> = {
  overlay: { option: 'OVERLAY_FS', isNeeded: true },
  nf_tables: { option: 'NF_TABLES', isNeeded: true },
  veth: { option: 'VETH', isNeeded: true },
  bridge: { option: 'BRIDGE', isNeeded: true },
  br_netfilter: { option: 'BRIDGE_NETFILTER', isNeeded: false },
  vxlan: { option: 'VXLAN', isNeeded: false },
  wireguard: { option: 'WIREGUARD', isNeeded: false },
};

/** Those that are neither loaded, nor built in, nor there to be loaded. */
export function kernelModules(machine: Machine = {}): Check {
  return {
    name: 'KernelModules',
    run() {
      const missing = Object.entries(MODULES).filter(
        ([name, { option }]) => !hasModule({ name, option }, machine),
      );
      const problem = (name: string): Problem => ({
        problem: `the kernel module ${name} is not there`,
        remedy: `install the package with the kernel's modules (linux-modules-extra of Ubuntu), then modprobe ${name}`,
      });
      return {
        evidence: `${Object.keys(MODULES).length - missing.length} of ${Object.keys(MODULES).length} are there`,
        errors: missing.filter(([, { isNeeded }]) => isNeeded).map(([name]) => problem(name)),
        warnings: missing.filter(([, { isNeeded }]) => !isNeeded).map(([name]) => problem(name)),
      };
    },
  };
}

function hasModule(
  { name, option }: { readonly name: string; readonly option: string },
  machine: Machine,
): boolean {
  const { root = '/', kernelRelease = release() } = machine;
  if (existsSync(join(root, 'sys/module', name))) return true;
  const dir = join(root, 'lib/modules', kernelRelease);
  const lists = ['modules.builtin', 'modules.dep'].map((file) => read(join(dir, file)));
  const file = new RegExp(`/${name.replaceAll('_', '[_-]')}\\.ko`);
  if (lists.some((list) => file.test(list))) return true;
  return isBuiltIn(option, machine);
}

function isBuiltIn(option: string, machine: Machine): boolean {
  const config = readKernelConfig(machine);
  if (!config) return false;
  const bytes = readFileSync(config.path);
  const text = (config.path.endsWith('.gz') ? gunzipSync(bytes) : bytes).toString();
  return text.includes(`\nCONFIG_${option}=y\n`);
}

const CONTROLLERS = ['cpu', 'cpuset', 'memory', 'pids'];
const WISHED = ['io', 'hugetlb'];

/** Where control groups of version 2 are mounted: that they are is Cgroup2. */
export function cgroupControllers({ root = '/' }: Machine = {}): Check {
  return {
    name: 'CgroupControllers',
    run() {
      const path = join(root, 'sys/fs/cgroup/cgroup.controllers');
      if (!existsSync(path)) return undefined;
      const there = new Set(read(path).trim().split(/\s+/));
      const problem = (name: string): Problem => ({
        problem: `the cgroup controller ${name} is not there`,
        remedy: `start the kernel with cgroup_enable=${name}, and without cgroup_disable=${name}`,
      });
      return {
        evidence: [...there].join(', '),
        errors: CONTROLLERS.filter((name) => !there.has(name)).map(problem),
        warnings: WISHED.filter((name) => !there.has(name)).map(problem),
      };
    },
  };
}

/** Settings that the node agent does not set itself. */
export function kernelSettings({ root = '/' }: Machine = {}): Check {
  return {
    name: 'Sysctls',
    run() {
      const low = KERNEL_SETTINGS.flatMap((setting) => {
        const text = read(join(root, 'proc/sys', ...setting.name.split('.')));
        if (setting.severity === 'error' || text === '' || Number(text) >= setting.at) return [];
        return [
          {
            problem: `${setting.name} is ${text.trim()}, and should be at least ${setting.at}: else ${setting.why}`,
            remedy: howToSet(setting),
          },
        ];
      });
      return { warnings: low };
    },
  };
}

export function seccomp({ root = '/' }: Machine = {}): Check {
  return {
    name: 'Seccomp',
    run() {
      const actions = read(join(root, 'proc/sys/kernel/seccomp/actions_avail')).trim();
      return actions.includes('errno')
        ? { evidence: `actions: ${actions}` }
        : warning(
            'the kernel filters no system calls (seccomp)',
            'use a kernel with CONFIG_SECCOMP_FILTER: pods with a seccompProfile do not start here',
          );
    },
  };
}

export function appArmor({ root = '/' }: Machine = {}): Check {
  return {
    name: 'AppArmor',
    run() {
      const modules = read(join(root, 'sys/kernel/security/lsm')).trim();
      const isOn = read(join(root, 'sys/module/apparmor/parameters/enabled')).trim() === 'Y';
      const parser = ['sbin', 'usr/sbin'].some((dir) => existsSync(join(root, dir, 'apparmor_parser')));
      const evidence = `security modules: ${modules || 'not shown'}`;
      if (isOn && !parser)
        return {
          evidence,
          ...warning(
            'AppArmor is on, and its parser is not installed: containers run without a profile',
            'apt-get install apparmor',
          ),
        };
      return { evidence };
    },
  };
}

/** Empty where there is none. */
function read(path: string): string {
  try {
    return readFileSync(path, 'utf8');
  } catch {
    return '';
  }
}
