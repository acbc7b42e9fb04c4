/** Every plugin of the default profile, in the order of their filters: cheap and often rejecting ones first; with the arguments of a profile. */
import type { SchedulerPlugin } from '../plugin.ts';
import { dynamicResources } from './dynamic-resources.ts';
import { gangScheduling } from './gang-scheduling.ts';
import { imageLocality } from './image-locality.ts';
import { interPodAffinity } from './inter-pod-affinity.ts';
import { nodeAffinity } from './node-affinity.ts';
import { nodeDeclaredFeatures } from './node-declared-features.ts';
import { nodeName } from './node-name.ts';
import { nodePorts } from './node-ports.ts';
import { nodeResourcesBalancedAllocation } from './node-resources-balanced-allocation.ts';
import { nodeResourcesFit } from './node-resources-fit.ts';
import { nodeVolumeLimits } from './node-volume-limits.ts';
import { nodeUnschedulable } from './node-unschedulable.ts';
import { podTopologySpread } from './pod-topology-spread.ts';
import { schedulingGates } from './scheduling-gates.ts';
import { taintToleration } from './taint-toleration.ts';
import { volumeBinding } from './volume-binding.ts';
import { volumeRestrictions } from './volume-restrictions.ts';
import { volumeZone } from './volume-zone.ts';

/** Arguments of plugins; absent: upstream's defaults. */
export interface PluginArgs {
  readonly nodeResourcesFit?: Parameters<typeof nodeResourcesFit>[0];
  readonly balancedResources?: Parameters<typeof nodeResourcesBalancedAllocation>[0];
  readonly interPodAffinity?: Parameters<typeof interPodAffinity>[0];
  readonly addedAffinity?: Parameters<typeof nodeAffinity>[0];
  readonly defaultConstraints?: Parameters<typeof podTopologySpread>[0];
  readonly dynamicResources?: Parameters<typeof dynamicResources>[0];
}

/** features: the gates that are on. */
export function pluginsWith(
  args: PluginArgs,
  features: ReadonlySet<string> = new Set(),
): readonly SchedulerPlugin[] {
  return [
    schedulingGates,
    ...(features.has(gangScheduling.name) ? [gangScheduling] : []),
    nodeUnschedulable,
    nodeName,
    taintToleration,
    nodeAffinity(args.addedAffinity),
    nodePorts,
    nodeResourcesFit(args.nodeResourcesFit),
    volumeRestrictions,
    nodeVolumeLimits,
    volumeBinding,
    volumeZone,
    podTopologySpread(args.defaultConstraints),
    interPodAffinity(args.interPodAffinity),
    dynamicResources(args.dynamicResources),
    nodeDeclaredFeatures,
    nodeResourcesBalancedAllocation(args.balancedResources),
    imageLocality,
  ];
}

export const defaultPlugins = pluginsWith({});
