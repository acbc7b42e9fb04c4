/** Node groups of a configuration as they are in a cluster now. */
import type { Simulation } from '#scheduler/simulation.ts';
import type { NodeGroup, NodeGroups } from './node-groups.ts';
import type { GrowingGroup, GrowthInput } from './scale-up.ts';

/** What decideScaleUp() asks for. */
export function growthFrom(
  { groups, expanders, balanceSimilarGroups, maxNodesTotal }: NodeGroups,
  simulation: Simulation,
): Pick<GrowthInput, 'groups' | 'expanders' | 'balanceSimilarGroups' | 'limits'> {
  return {
    expanders,
    balanceSimilarGroups,
    limits: { maxNodesTotal },
    groups: groups.map((group) => growingGroup(group, simulation)),
  };
}

function growingGroup(
  { name, maxSize, selector, template, price, priority }: NodeGroup,
  simulation: Simulation,
): GrowingGroup {
  const members = simulation.nodeNames
    .map((node) => simulation.use(node))
    .filter(({ node }) => selector.matches(node.metadata?.labels ?? {}));
  return {
    name,
    size: members.length,
    maxSize,
    template: members[0] ?? (template && { node: template, pods: [] }),
    price,
    priority,
    ownLabels: new Set(selector.requirements.map(({ key }) => key)),
  };
}
