/** Row: machines come and go with what is asked of them. */
import { configMaps, customResourceDefinitions, deployments } from '#client/refs.ts';
import { assessment, met, type ScorecardRow } from '../row.ts';
import type { ClusterView } from '../view.ts';

const STATUS = 'cluster-autoscaler-status';
const POOLS = 'nodepools.karpenter.sh';

export const nodeAutoscaling: ScorecardRow = {
  name: 'node-autoscaling',
  topic: 'Worker nodes',
  title: 'An autoscaler adds and removes machines',
  explain:
    'Seen are the cluster autoscaler (its ConfigMap kube-system/cluster-autoscaler-status, or a Deployment of its name) and Karpenter (its NodePools). Machines that a provider adds by other means are not seen. Met: one of them is there.',
  async assess(view) {
    const found = [...(await statusOf(view)), ...(await karpenterOf(view)), ...(await deploymentOf(view))];
    if (found.length > 0) return met(...found);
    return assessment('not met', {
      evidence: ['no cluster autoscaler and no NodePool of Karpenter'],
      remedy:
        "run capstan cluster-autoscaler with a provider of your machines (docs/cluster-autoscaler.md), or upstream's, or keep spare capacity and add machines by hand",
    });
  },
};

async function statusOf({ api }: ClusterView): Promise<string[]> {
  const { items } = await api.list(configMaps, {
    namespace: 'kube-system',
    fieldSelector: `metadata.name=${STATUS}`,
  });
  return items.map(() => `ConfigMap kube-system/${STATUS}`);
}

async function karpenterOf({ api }: ClusterView): Promise<string[]> {
  const { items } = await api.list(customResourceDefinitions, { fieldSelector: `metadata.name=${POOLS}` });
  return items.map(() => `CustomResourceDefinition ${POOLS}`);
}

async function deploymentOf({ optional }: ClusterView): Promise<string[]> {
  return (await optional(deployments))
    .filter(({ metadata }) => metadata.name.includes('cluster-autoscaler'))
    .map(({ metadata }) => `Deployment ${metadata.namespace}/${metadata.name}`);
}
