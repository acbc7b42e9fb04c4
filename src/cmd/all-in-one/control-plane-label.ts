/**
 * Labels the control plane's node, as kubeadm does, so that `kubectl get nodes` shows its role. No taint: pods may run there. The node cannot do it itself,
 * since NodeRestriction refuses the label. Applied to each new Node object, and at each start; an administrator's removal lasts until then.
 */
import { nodes } from '#client/refs.ts';
import { CONTROL_PLANE_ROLE } from '#component-helpers/node-roles.ts';
import { isStatusError } from '#machinery/errors.ts';
import type { ComponentContext } from '#runtime/component.ts';
import { errorMessage } from '#stdx/log.ts';

const RETRY_MS = 1_000;

interface ControlPlaneLabelOptions extends Pick<ComponentContext, 'api' | 'clock' | 'log'> {
  readonly nodeName: string;
  readonly signal: AbortSignal;
}

/** Returns at once and runs until the signal is aborted. */
export function keepControlPlaneLabel({ api, clock, log, nodeName, signal }: ControlPlaneLabelOptions): void {
  const label = async (): Promise<void> => {
    try {
      await api.patch(
        nodes,
        { name: nodeName },
        { type: 'merge', patch: { metadata: { labels: { [CONTROL_PLANE_ROLE]: '' } } } },
      );
    } catch (error) {
      // Deleted again: its successor is labeled when it appears.
      if (signal.aborted || isStatusError(error, 'NotFound')) return;
      log.warn('error setting the control plane label, retrying', {
        node: nodeName,
        error: errorMessage(error),
      });
      const timer = clock.after(RETRY_MS, () => void label());
      signal.addEventListener('abort', () => timer.cancel(), { once: true });
    }
  };
  const unsubscribe = api.informer(nodes, { fieldSelector: `metadata.name=${nodeName}` }).subscribe({
    added: ({ metadata }) => {
      if (metadata?.labels?.[CONTROL_PLANE_ROLE] === undefined) void label();
    },
  });
  signal.addEventListener('abort', unsubscribe, { once: true });
}
