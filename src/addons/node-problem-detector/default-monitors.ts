/** The monitors that run where no configuration is given: upstream's rules of its kernel and read-only monitors, and what this node runs itself. */
import {
  parseLogMonitor,
  parsePluginMonitor,
  type LogMonitorConfig,
  type PluginMonitorConfig,
} from './config.ts';

const KERNEL = {
  plugin: 'kmsg',
  logPath: '/dev/kmsg',
  lookback: '5m',
  bufferSize: 10,
  source: 'kernel-monitor',
  conditions: [
    { type: 'KernelDeadlock', reason: 'KernelHasNoDeadlock', message: 'kernel has no deadlock' },
    { type: 'XfsShutdown', reason: 'XfsHasNotShutDown', message: 'XFS has not shutdown' },
    {
      type: 'CperHardwareErrorFatal',
      reason: 'CperHardwareHasNoFatalError',
      message: 'UEFI CPER has no fatal error',
    },
  ],
  rules: [
    temporary('OOMKilling', 'Killed process \\d+ (.+) total-vm:\\d+kB, anon-rss:\\d+kB, file-rss:\\d+kB.*'),
    temporary('TaskHung', 'task [\\S ]+:\\w+ blocked for more than \\w+ seconds\\.'),
    temporary(
      'UnregisterNetDevice',
      'unregister_netdevice: waiting for \\w+ to become free. Usage count = \\d+',
    ),
    temporary('KernelOops', 'BUG: unable to handle kernel NULL pointer dereference at .*'),
    // Kernels since 5.1 word it so.
    temporary('KernelOops', 'BUG: kernel NULL pointer dereference, address: .*'),
    temporary('KernelOops', 'divide error: 0000 \\[#\\d+\\] SMP'),
    temporary('Ext4Error', 'EXT4-fs error .*'),
    temporary('Ext4Warning', 'EXT4-fs warning .*'),
    temporary('IOError', 'Buffer I/O error .*'),
    permanent('XfsShutdown', 'XfsHasShutdown', 'XFS .* Shutting down filesystem.?'),
    temporary('MemoryReadError', 'CE memory read error .*'),
    temporary('CperHardwareErrorCorrected', '.*\\[Hardware Error\\]: event severity: corrected$'),
    temporary('CperHardwareErrorRecoverable', '.*\\[Hardware Error\\]: event severity: recoverable$'),
    permanent(
      'CperHardwareErrorFatal',
      'CperHardwareErrorFatal',
      '.*\\[Hardware Error\\]: event severity: fatal$',
    ),
    permanent('KernelDeadlock', 'DockerHung', 'task docker:\\w+ blocked for more than \\w+ seconds\\.'),
    permanent(
      'KernelDeadlock',
      'ContainerdHung',
      'task containerd:\\w+ blocked for more than \\w+ seconds\\.',
    ),
  ],
};

const READONLY = {
  plugin: 'kmsg',
  logPath: '/dev/kmsg',
  lookback: '5m',
  bufferSize: 10,
  source: 'readonly-monitor',
  conditions: [
    {
      type: 'ReadonlyFilesystem',
      reason: 'FilesystemIsNotReadOnly',
      message: 'Filesystem is not read-only',
    },
  ],
  rules: [permanent('ReadonlyFilesystem', 'FilesystemIsReadOnly', 'Remounting filesystem read-only')],
};

const COUNTERS = {
  plugin: 'custom',
  pluginConfig: { invoke_interval: '5m', timeout: '1m', max_output_length: 80, concurrency: 1 },
  source: 'kernel-monitor',
  conditions: [
    {
      type: 'FrequentUnregisterNetDevice',
      reason: 'NoFrequentUnregisterNetDevice',
      message: 'node is functioning properly',
    },
  ],
  rules: [
    {
      type: 'permanent',
      condition: 'FrequentUnregisterNetDevice',
      reason: 'UnregisterNetDevice',
      path: 'log-counter',
      args: [
        '--journald-source=kernel',
        '--lookback=20m',
        '--count=3',
        '--pattern=unregister_netdevice: waiting for \\w+ to become free. Usage count = \\d+',
      ],
    },
  ],
};

const RESTARTS = {
  plugin: 'custom',
  pluginConfig: { invoke_interval: '1m', timeout: '10s', max_output_length: 80, concurrency: 1 },
  source: 'systemd-monitor',
  conditions: [
    {
      type: 'FrequentKubeletRestart',
      reason: 'NoFrequentKubeletRestart',
      message: 'kubelet is functioning properly',
    },
  ],
  rules: [
    {
      type: 'permanent',
      condition: 'FrequentKubeletRestart',
      reason: 'FrequentKubeletRestart',
      path: 'restart-counter',
      args: ['--component=kubelet', '--lookback=20m', '--count=5'],
    },
  ],
};

const RUNTIME_HEALTH = {
  plugin: 'custom',
  pluginConfig: { invoke_interval: '10s', timeout: '3m', max_output_length: 80, concurrency: 1 },
  source: 'health-checker',
  conditions: [
    {
      type: 'ContainerRuntimeUnhealthy',
      reason: 'ContainerRuntimeIsHealthy',
      message: 'Container runtime on the node is functioning properly',
    },
  ],
  rules: [
    {
      type: 'permanent',
      condition: 'ContainerRuntimeUnhealthy',
      reason: 'ContainerdUnhealthy',
      path: 'health-checker',
      args: ['--component=cri', '--enable-repair=false', '--health-check-timeout=60s'],
    },
  ],
};

function temporary(reason: string, pattern: string): object {
  return { type: 'temporary', reason, pattern };
}

function permanent(condition: string, reason: string, pattern: string): object {
  return { type: 'permanent', condition, reason, pattern };
}

export interface Monitors {
  readonly logs: readonly LogMonitorConfig[];
  readonly plugins: readonly PluginMonitorConfig[];
}

export function defaultMonitors(): Monitors {
  return {
    logs: [KERNEL, READONLY].map((config) => parseLogMonitor(JSON.stringify(config))),
    plugins: [COUNTERS, RESTARTS, RUNTIME_HEALTH].map((config) => parsePluginMonitor(JSON.stringify(config))),
  };
}
