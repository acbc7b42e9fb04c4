/** Settings of the autoscaler from its flags. */
import { DEFAULT_SETTINGS, type AutoscalerSettings } from '#capacity/autoscaler/settings.ts';
import { EXPANDERS, type Expander } from '#capacity/node-groups.ts';
import { UserError } from '#deploy/data-dir.ts';
import { collectSettings, readFlags } from '../flags/define.ts';
import { AUTOSCALING_FLAGS, type ClusterAutoscalerFlags } from './flags.ts';

const GIGABYTE = 2 ** 30;

/** Throws a UserError. */
export function autoscalerSettingsFrom(flags: ClusterAutoscalerFlags): AutoscalerSettings {
  const values = readFlags(AUTOSCALING_FLAGS, flags);
  const settings: AutoscalerSettings = {
    ...DEFAULT_SETTINGS,
    ...collectSettings<Partial<AutoscalerSettings>>(AUTOSCALING_FLAGS, flags),
    expanders: expandersFrom(values.expander),
    cores: boundsFrom('--cores-total', values.coresTotal),
    memoryBytes: inBytes(boundsFrom('--memory-total', values.memoryTotal)),
    groupDefaults: {
      scaleDownUtilizationThreshold: values.scaleDownUtilizationThreshold,
      scaleDownUnneededMs: values.scaleDownUnneededTime,
      scaleDownUnreadyMs: values.scaleDownUnreadyTime,
      maxNodeProvisionMs: values.maxNodeProvisionTime,
      ignoreDaemonSetsUtilization: values.ignoreDaemonsetsUtilization,
    },
    drainRules: {
      skipNodesWithSystemPods: values.skipNodesWithSystemPods,
      skipNodesWithLocalStorage: values.skipNodesWithLocalStorage,
      skipNodesWithCustomControllerPods: values.skipNodesWithCustomControllerPods,
      minReplicaCount: values.minReplicaCount,
    },
  };
  for (const name of ['scanIntervalMs', 'providerTimeoutMs', 'initialBackoffMs'] as const)
    if (settings[name] === 0)
      throw new UserError(
        '--scan-interval, --cloud-provider-timeout and --initial-node-group-backoff-duration should be longer than 0.',
      );
  if (settings.maxBackoffMs < settings.initialBackoffMs)
    throw new UserError(
      '--max-node-group-backoff-duration should not be shorter than --initial-node-group-backoff-duration.',
    );
  return settings;
}

function expandersFrom(names: readonly string[]): readonly Expander[] {
  const strange = names.find((name) => !EXPANDERS.includes(name as Expander));
  if (strange !== undefined || names.length === 0)
    throw new UserError(`--expander has ${strange}; it should be of ${EXPANDERS.join(', ')}.`);
  return names as readonly Expander[];
}

interface Bounds {
  readonly min: number;
  readonly max: number;
}

function boundsFrom(name: string, text: string): Bounds {
  const [, minText, maxText] = /^(\d+):(\d+)$/.exec(text) ?? [];
  const [min, max] = [Number(minText), Number(maxText)];
  if (!(min <= max))
    throw new UserError(`${name} is "${text}"; it should be MIN:MAX, as in 0:320, with MIN not above MAX.`);
  return { min, max };
}

function inBytes({ min, max }: Bounds): Bounds {
  return { min: min * GIGABYTE, max: max * GIGABYTE };
}
