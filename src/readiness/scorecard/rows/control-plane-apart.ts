/** Row: the control plane runs apart from the pods of users. */
import { assessment, count, met, someOf, type ScorecardRow } from '../row.ts';
import { isControlPlane, isSystemNamespace, isWorker, type ClusterView } from '../view.ts';

export const controlPlaneApart: ScorecardRow = {
  name: 'control-plane-apart',
  topic: 'Control plane',
  title: 'The control plane runs apart from the pods of users',
  explain:
    'A pod that takes all memory or disk of its machine must not take an API server with it. Met: each Node of the control plane has a taint of its role and no pod of a user, or the control plane has no Node here.',
  async assess(view) {
    const planes = (await view.nodes()).filter(isControlPlane);
    if (planes.length === 0) return met('no Node of this cluster is a control plane: it runs elsewhere');
    const open = planes.filter(isWorker).map(({ metadata }) => metadata.name);
    const pods = await userPodsOn(view, new Set(planes.map(({ metadata }) => metadata.name)));
    if (open.length === 0 && pods.length === 0)
      return met(`${count(planes.length, 'control plane')} with a taint, without pods of users`);
    return assessment(open.length === planes.length ? 'not met' : 'partly', {
      evidence: [
        ...(open.length > 0 ? [`pods of users may come to ${someOf(open)}`] : []),
        ...(pods.length > 0 ? [`pods of users run beside a control plane: ${someOf(pods)}`] : []),
      ],
      remedy:
        'join workers, then: kubectl taint nodes NAME node-role.kubernetes.io/control-plane=:NoSchedule; one machine cannot have it',
    });
  },
};

async function userPodsOn(view: ClusterView, nodes: ReadonlySet<string>): Promise<readonly string[]> {
  return (await view.pods())
    .filter(({ metadata, spec }) => {
      if (isSystemNamespace(metadata.namespace ?? '') || !nodes.has(spec?.nodeName ?? '')) return false;
      return !metadata.ownerReferences?.some(({ kind }) => kind === 'DaemonSet' || kind === 'Node');
    })
    .map(({ metadata }) => `${metadata.namespace}/${metadata.name}`);
}
