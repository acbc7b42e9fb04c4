/** Kernel settings that pods and the pod network depend on: what doctor and the check of a machine look at. */
export interface KernelSetting {
  readonly name: string;
  /** At least. */
  readonly at: number;
  readonly severity: 'error' | 'warning';
  /** What happens below it. */
  readonly why: string;
}

export const KERNEL_SETTINGS: readonly KernelSetting[] = [
  {
    name: 'net.ipv4.ip_forward',
    at: 1,
    severity: 'error',
    why: 'packets of pods are not forwarded',
  },
  {
    name: 'fs.inotify.max_user_instances',
    at: 256,
    severity: 'warning',
    why: 'programs of pods fail with "too many open files"',
  },
  {
    name: 'fs.inotify.max_user_watches',
    at: 65_536,
    severity: 'warning',
    why: 'programs of pods fail with "no space left on device" when they watch files',
  },
  { name: 'kernel.pid_max', at: 32_768, severity: 'warning', why: 'no process can be started' },
];

export function howToSet({ name, at }: KernelSetting): string {
  return `sysctl -w ${name}=${at}; for good: echo '${name} = ${at}' > /etc/sysctl.d/90-capstan.conf`;
}
