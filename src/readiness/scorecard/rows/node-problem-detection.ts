/** Row: faults of machines that a kubelet does not see are reported. */
import { assessment, count, verdictOfShare, type ScorecardRow } from '../row.ts';

/** Conditions that a kubelet or a cloud's controller sets: any other one comes from a detector. */
const OF_KUBELET = new Set([
  'Ready',
  'MemoryPressure',
  'DiskPressure',
  'PIDPressure',
  'NetworkUnavailable',
  // Capstan's node agent looks for a firewall.
  'FirewallBlocksPods',
]);

export const nodeProblemDetection: ScorecardRow = {
  name: 'node-problem-detection',
  topic: 'Worker nodes',
  title: 'A node problem detector watches every Node',
  explain:
    "A hung task, a read-only file system or a corrupt container runtime leaves a Node Ready. A node problem detector shows such faults as further conditions (KernelDeadlock, ReadonlyFilesystem). Met: every Node has a condition that is none of the kubelet's.",
  async assess({ nodes }) {
    const all = await nodes();
    const watched = all.filter(({ status }) => status?.conditions?.some(({ type }) => !OF_KUBELET.has(type)));
    const verdict = all.length === 0 ? 'not met' : verdictOfShare(watched.length, all.length);
    return assessment(verdict, {
      evidence: [`${watched.length} of ${count(all.length, 'Node')} have conditions of a detector`],
      remedy:
        'on Nodes of Capstan leave out --node-problem-detector=false; elsewhere install github.com/kubernetes/node-problem-detector as a DaemonSet',
    });
  },
};
