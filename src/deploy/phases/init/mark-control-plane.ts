/** Phase mark-control-plane: the labels of a control plane on this machine's Node, its taints, and where its API server is reached. */
import type { Node, Taint } from '#api/types.ts';
import { CONTROL_PLANE_ROLE } from '#component-helpers/node-roles.ts';
import type { Client } from '#client/client.ts';
import { nodes } from '#client/refs.ts';
import { retryOnConflict } from '#client/retry-on-conflict.ts';
import { isStatusError } from '#machinery/errors.ts';
import type { Clock } from '#stdx/clock.ts';
import { timeoutMs } from '../../config/defaults.ts';
import { hostPort } from '../../config/endpoint.ts';
import { taintText } from '../../config/kubelet.ts';
import { UserError } from '../../data-dir.ts';
import type { Phase } from '../phase.ts';
import type { InitContext } from './context.ts';

const LABELS = {
  [CONTROL_PLANE_ROLE]: '',
  'node.kubernetes.io/exclude-from-external-load-balancers': '',
};
/** kubeadm's annotation of an API server's pod, here of the Node: HOST:PORT. */
export const ENDPOINT_ANNOTATION = 'kubeadm.kubernetes.io/kube-apiserver.advertise-address.endpoint';
const LOOK_EVERY_MS = 100;
/** Against changes of the node itself at the same moment. */
const MAX_ATTEMPTS = 20;

export const markControlPlane: Phase<InitContext> = {
  name: 'mark-control-plane',
  short: 'Mark a node as a control-plane',
  async run({ init, program, clock, print, dryRun }) {
    const { name, taints } = init.nodeRegistration;
    const { advertiseAddress, bindPort } = init.localAPIEndpoint;
    print(
      `[mark-control-plane] Marking the node ${name} as control-plane by adding the labels: [${Object.keys(LABELS).join(' ')}]`,
    );
    if (taints.length > 0)
      print(
        `[mark-control-plane] Marking the node ${name} as control-plane by adding the taints [${taints.map(taintText).join(' ')}]`,
      );
    if (dryRun) return;
    const limitMs = timeoutMs(init.timeouts, 'kubeletHealthCheck');
    await waitForNode(program, { name, limitMs, clock });
    await markNode(program.api(), { name, taints, endpoint: hostPort(advertiseAddress, bindPort) });
  },
};

interface Marks {
  readonly taints: readonly Taint[];
  readonly endpoint: string;
}

async function markNode(api: Client, { name, ...marks }: Marks & { readonly name: string }): Promise<void> {
  await retryOnConflict(MAX_ATTEMPTS, async () =>
    api.update(nodes, marked(await api.get(nodes, { name }), marks)),
  );
}

function marked(node: Node, { taints, endpoint }: Marks): Node {
  const isSame = (a: Taint, b: Taint): boolean => a.key === b.key && a.effect === b.effect;
  const others = (node.spec?.taints ?? []).filter((taint) => !taints.some((one) => isSame(one, taint)));
  return {
    ...node,
    metadata: {
      ...node.metadata,
      labels: { ...node.metadata?.labels, ...LABELS },
      annotations: { ...node.metadata?.annotations, [ENDPOINT_ANNOTATION]: endpoint },
    },
    spec: { ...node.spec, taints: [...others, ...taints] },
  };
}

async function waitForNode(
  program: InitContext['program'],
  { name, limitMs, clock }: { readonly name: string; readonly limitMs: number; readonly clock: Clock },
): Promise<void> {
  const begin = clock.monotonic();
  for (;;) {
    try {
      await program.api().get(nodes, { name });
      return;
    } catch (error) {
      if (!isStatusError(error, 'NotFound')) throw error;
    }
    if (clock.monotonic() - begin > limitMs)
      throw new UserError(
        `the node ${name} has not registered itself within ${limitMs / 1000} s. ${(await program.failedService()) ?? 'No service has failed'}; \`capstan status\` shows every service.`,
      );
    await clock.sleep(LOOK_EVERY_MS);
  }
}
