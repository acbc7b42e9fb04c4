/** Check sysctls: kernel settings of this machine that pods and the pod network depend on. */
import type { Finding, MachineFacts, ReadinessCheck } from '../check.ts';

interface Wanted {
  readonly name: string;
  readonly at: number;
  readonly severity: Finding['severity'];
  readonly why: string;
}

const WANTED: readonly Wanted[] = [
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

export const sysctls: ReadinessCheck = {
  name: 'sysctls',
  short: 'kernel settings of this machine are as pods need them',
  onMachine: true,
  async run({ machine }) {
    return machine!.role === 'witness' ? [] : WANTED.flatMap((wanted) => findingOf(wanted, machine!));
  },
};

function findingOf({ name, at, severity, why }: Wanted, machine: MachineFacts): Finding[] {
  const value = machine.sysctl(name);
  if (value === undefined || Number(value) >= at) return [];
  return [
    {
      severity,
      object: name,
      evidence: `it is ${value}, and should be at least ${at}: else ${why}`,
      remedy: `sysctl -w ${name}=${at}; for good: echo '${name} = ${at}' > /etc/sysctl.d/90-capstan.conf`,
    },
  ];
}
