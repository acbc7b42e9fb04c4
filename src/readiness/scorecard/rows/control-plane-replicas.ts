/** Row: several API servers, so that one may be lost. */
import { leases } from '#client/refs.ts';
import { assessment, count, met, someOf, unknown, type ScorecardRow } from '../row.ts';
import { isControlPlane, type ClusterView } from '../view.ts';

const IDENTITY = 'apiserver.kubernetes.io/identity=kube-apiserver';
const WANTED = 3;

export const controlPlaneReplicas: ScorecardRow = {
  name: 'control-plane-replicas',
  topic: 'Control plane',
  title: 'Three API servers or more are alive',
  explain:
    'With three control planes one may be lost, or upgraded, while another is down. Counted are the Leases that API servers renew in kube-system. Met: three; partly: two.',
  async assess(view) {
    const alive = await aliveServers(view);
    const planes = (await view.nodes()).filter(isControlPlane);
    if (alive.length >= WANTED) return met(`${count(alive.length, 'API server')}: ${someOf(alive)}`);
    if (planes.length === 0 && alive.length < 2 && !(await view.isCapstan()))
      return unknown('the control plane has no Node here, and its servers stand behind one address');
    return assessment(alive.length === 2 ? 'partly' : 'not met', {
      evidence: [`${count(alive.length, 'API server')}: ${someOf(alive) || 'no Lease of one is renewed'}`],
      remedy:
        'join control planes until there are three: capstan token create --print-join-command on the first one',
    });
  },
};

async function aliveServers({ api, nowMs }: ClusterView): Promise<readonly string[]> {
  const { items } = await api.list(leases, { namespace: 'kube-system', labelSelector: IDENTITY });
  return items
    .filter(({ spec }) => {
      const { renewTime = '', leaseDurationSeconds = 3_600 } = spec ?? {};
      return nowMs - Date.parse(renewTime) < leaseDurationSeconds * 1_000;
    })
    .map(({ metadata }) => metadata.labels?.['kubernetes.io/hostname'] ?? metadata.name)
    .toSorted();
}
