/** Which pods a drain moves, as `kubectl drain` chooses them. */
import type { Pod } from '#api/types.ts';
import { findController } from './owner-references.ts';
import { isPodTerminal } from './pod-status.ts';
import { isMirrorPod } from './static-pods.ts';

/** Static pods stay, and those of DaemonSets; those that are over keep nobody waiting. */
export function movesInDrain(pod: Pod): boolean {
  return !staysWithNode(pod) && !isPodTerminal(pod);
}

/** Of a DaemonSet, or of the machine's own manifests: it moves to no other node. */
export function staysWithNode(pod: Pod): boolean {
  return isMirrorPod(pod) || findController(pod)?.kind === 'DaemonSet';
}
