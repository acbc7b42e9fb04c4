/** `capstan join` as the list of its phases: of a worker, a control plane or a witness; each omits the others' phases. */
import type { Phase, Workflow } from '../phase.ts';
import type { JoinContext } from './context.ts';
import { controlPlaneJoin, waitControlPlane } from './control-plane-join.ts';
import { controlPlanePrepare } from './control-plane-prepare.ts';
import { etcdJoin } from './etcd-join.ts';
import { kubeletStart, waitNode } from './kubelet-start.ts';
import { preflight } from './preflight.ts';

const showResult: Phase<JoinContext> = {
  name: 'show-result',
  short: 'Say what this machine is now, and what to do next',
  async run({ role, paths, print, dryRun }) {
    if (dryRun) return;
    for (const line of RESULTS[role](paths.kubeconfig('admin'))) print(line);
  },
};

const RESULTS: Readonly<Record<JoinContext['role'], (admin: string) => readonly string[]>> = {
  worker: () => [
    '',
    'This node has joined the cluster:',
    '* Certificate signing request was sent to apiserver and a response was received.',
    '* The Kubelet was informed of the new secure connection details.',
    '',
    "Run 'kubectl get nodes' on the control-plane to see this node join the cluster.",
    '',
  ],
  'control-plane': (admin) => [
    '',
    'This node has joined the cluster and a new control plane instance was created:',
    '',
    '* Certificate signing request was sent to apiserver and approval was received.',
    '* The Kubelet was informed of the new secure connection details.',
    '* Control plane label and taint were applied to the new node.',
    '* The Kubernetes control plane instances scaled up.',
    '* A new etcd member was added to the local/stacked etcd cluster.',
    '',
    'To start administering your cluster from this node, you need to run the following as a regular user:',
    '',
    '\tmkdir -p $HOME/.kube',
    `\tsudo cp -i ${admin} $HOME/.kube/config`,
    '\tsudo chown $(id -u):$(id -g) $HOME/.kube/config',
    '',
    "Run 'kubectl get nodes' to see this node join the cluster.",
    '',
  ],
  witness: () => [
    '',
    'This machine is a witness: a voting member of etcd, and nothing else of the cluster.',
    '',
    "Run 'capstan etcd status' here or on a control plane to see the members.",
    '',
  ],
};

export const JOIN_WORKFLOW: Workflow<JoinContext> = {
  name: 'join',
  phases: [
    preflight,
    controlPlanePrepare,
    kubeletStart,
    etcdJoin,
    controlPlaneJoin,
    waitControlPlane,
    waitNode,
    showResult,
  ],
};
