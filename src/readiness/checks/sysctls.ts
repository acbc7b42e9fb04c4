/** Check sysctls: kernel settings of this machine that pods and the pod network depend on. */
import { howToSet, KERNEL_SETTINGS, type KernelSetting } from '#component-helpers/kernel-settings.ts';
import type { Finding, MachineFacts, ReadinessCheck } from '../check.ts';

export const sysctls: ReadinessCheck = {
  name: 'sysctls',
  short: 'kernel settings of this machine are as pods need them',
  onMachine: true,
  async run({ machine }) {
    return machine!.role === 'witness'
      ? []
      : KERNEL_SETTINGS.flatMap((setting) => findingOf(setting, machine!));
  },
};

function findingOf(setting: KernelSetting, machine: MachineFacts): Finding[] {
  const { name, at, severity, why } = setting;
  const value = machine.sysctl(name);
  if (value === undefined || Number(value) >= at) return [];
  return [
    {
      severity,
      object: name,
      evidence: `it is ${value}, and should be at least ${at}: else ${why}`,
      remedy: howToSet(setting),
    },
  ];
}
