/** Changes of the KubeletConfiguration that all machines share (ConfigMap kube-system/kubelet-config), and of a machine's own file of it. Pure. */
import type { KubeletConfiguration } from '#deploy/config/types.ts';
import { differences, isSame } from './differences.ts';

/** What to do instead. */
const OTHERWISE: Readonly<Record<string, string>> = {
  staticPodPath: 'each machine has its own, which init and join set',
  providerID: 'it is of one Node: capstan init or join with kubeletExtraArgs',
  registerWithTaints: 'it counts when a Node registers: kubectl taint nodes',
};
const SECTION = 'kubelet';

interface KubeletPlan {
  readonly changes: readonly string[];
  readonly refused: readonly string[];
}

/** Both with defaults. */
export function planKubelet(current: KubeletConfiguration, wanted: KubeletConfiguration): KubeletPlan {
  const before = current as Readonly<Record<string, unknown>>;
  const after = wanted as Readonly<Record<string, unknown>>;
  const refused = Object.entries(OTHERWISE)
    .filter(([name]) => !isSame(before[name], after[name]))
    .map(([name, why]) => `${SECTION}.${name} cannot be changed: ${why}`);
  if (!isSame(current.authentication?.x509, wanted.authentication?.x509))
    refused.push(`${SECTION}.authentication.x509 cannot be changed: init and join set it`);
  return { changes: differences(SECTION, { before: current, after: wanted }), refused };
}

/** A machine's file with the shared settings; what is its own stays. */
export function onMachine(own: KubeletConfiguration, shared: KubeletConfiguration): KubeletConfiguration {
  return {
    ...shared,
    ...(own.staticPodPath === undefined ? {} : { staticPodPath: own.staticPodPath }),
    authentication: {
      ...shared.authentication,
      ...(own.authentication?.x509 ? { x509: own.authentication.x509 } : {}),
    },
  };
}
