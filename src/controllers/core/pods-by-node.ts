/** The index of pods by spec.nodeName, shared by the node controllers. */
import type { Stored } from '#machinery/object.ts';
import type { Pod } from '#api/types.ts';
import type { Informer, ResourceRef } from '#client/client.ts';
import { pods } from '#client/refs.ts';

const BY_NODE = 'node';

function nodeOf(pod: Stored<Pod>): readonly string[] {
  return pod.spec?.nodeName ? [pod.spec.nodeName] : [];
}

/** The index declaration for a definition's `indexes`. */
export const podsByNode: {
  readonly resource: ResourceRef;
  readonly name: string;
  readonly values: (object: never) => readonly string[];
} = { resource: pods as ResourceRef, name: BY_NODE, values: nodeOf as (object: never) => readonly string[] };

export function podsOnNode(informer: Informer<Pod>, nodeName: string): Stored<Pod>[] {
  return informer.byIndex(BY_NODE, nodeName);
}
