/**
 * containerd's configuration file. Version 2 of its format: 1.6 and 1.7 read it as it is, 2.x converts it. Only settings that differ from
 * containerd's defaults are written.
 */
import type { ContainerdLayout } from './layout.ts';
import type { Machine, Snapshotter } from './machine.ts';

export type CgroupDriver = 'cgroupfs' | 'systemd';

interface ContainerdConfig {
  readonly layout: ContainerdLayout;
  readonly machine: Machine;
  readonly snapshotter: Snapshotter;
  readonly sandboxImage: string;
  readonly cgroupDriver: CgroupDriver;
}

/** Disabled plugins: those that need a kernel or directories of their own, or open a socket shared by all containerds of a machine. */
const DISABLED_PLUGINS = [
  'io.containerd.internal.v1.opt',
  'io.containerd.nri.v1.nri',
  'io.containerd.snapshotter.v1.aufs',
  'io.containerd.snapshotter.v1.blockfile',
  'io.containerd.snapshotter.v1.btrfs',
  'io.containerd.snapshotter.v1.devmapper',
  'io.containerd.snapshotter.v1.zfs',
  'io.containerd.snapshotter.v1.erofs',
];

export function renderConfig({
  layout,
  machine,
  snapshotter,
  sandboxImage,
  cgroupDriver,
}: ContainerdConfig): string {
  const cri = 'plugins."io.containerd.grpc.v1.cri"';
  const runtime = `${cri}.containerd.runtimes.runc`;
  return toml([
    [
      '',
      {
        version: 2,
        root: layout.root,
        state: layout.state,
        disabled_plugins: DISABLED_PLUGINS,
        // containerd fails to start when it may not lower its score.
        oom_score: machine.mayLowerOomScore ? -999 : 0,
      },
    ],
    ['grpc', { address: layout.socketPath }],
    [
      cri,
      {
        sandbox_image: sandboxImage,
        // Without CAP_SYS_RESOURCE, runc fails when a container requests a lower score than ours: clamp it instead.
        restrict_oom_score_adj: !machine.mayLowerOomScore,
        stream_server_address: '127.0.0.1',
        stream_server_port: '0',
        enable_unprivileged_ports: true,
        enable_unprivileged_icmp: true,
      },
    ],
    [`${cri}.containerd`, { snapshotter, default_runtime_name: 'runc' }],
    [runtime, { runtime_type: 'io.containerd.runc.v2' }],
    [
      `${runtime}.options`,
      { BinaryName: machine.runc, Root: layout.runcRoot, SystemdCgroup: cgroupDriver === 'systemd' },
    ],
    [`${cri}.cni`, { bin_dir: machine.cniBinDir, conf_dir: layout.cniConfDir, max_conf_num: 1 }],
    [`${cri}.registry`, { config_path: layout.registryDir }],
  ]);
}

type TomlValue = string | number | boolean | readonly string[];
type TomlTable = readonly [name: string, values: Readonly<Record<string, TomlValue>>];

function toml(tables: readonly TomlTable[]): string {
  return tables
    .map(([name, values]) => {
      const lines = Object.entries(values).map(([key, value]) => `${key} = ${tomlValue(value)}\n`);
      return `${name === '' ? '' : `[${name}]\n`}${lines.join('')}`;
    })
    .join('\n');
}

/** JSON's strings are TOML's basic strings, save for U+007F, which no path of ours has. */
function tomlValue(value: TomlValue): string {
  return JSON.stringify(value);
}
