/** Which changes of storage objects concern a pod that a volume plugin refused. Pure. */
import type { Pod } from '#api/types.ts';
import { claimNamesOf } from '#component-helpers/persistent-volumes.ts';
import type { KubeObject } from '#machinery/object.ts';
import type { ClusterEvent } from '../plugin.ts';

/** Of claims, only the pod's own; anything else may help. */
export function concernsClaimOf(
  pod: Pod,
  { kind, object }: { readonly kind: ClusterEvent; readonly object: KubeObject | undefined },
): boolean {
  if (!object || !kind.startsWith('claim-')) return true;
  return (
    object.metadata?.namespace === pod.metadata?.namespace &&
    claimNamesOf(pod).includes(object.metadata?.name ?? '')
  );
}
