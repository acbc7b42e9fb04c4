/** The index of pods by the claims they use, shared by the controllers of volumes. */
import type { Pod } from '#api/types.ts';
import type { Informer, ResourceRef } from '#client/client.ts';
import { pods } from '#client/refs.ts';
import { claimNamesOf } from '#component-helpers/persistent-volumes.ts';
import type { Stored } from '#machinery/object.ts';

const BY_CLAIM = 'claim';

/** 'namespace/name' of each. */
export function claimsOfPod(pod: Pod): string[] {
  return claimNamesOf(pod).map((name) => `${pod.metadata?.namespace}/${name}`);
}

/** The index declaration for a definition's `indexes`. */
export const podsByClaim: {
  readonly resource: ResourceRef;
  readonly name: string;
  readonly values: (object: never) => readonly string[];
} = {
  resource: pods as ResourceRef,
  name: BY_CLAIM,
  values: claimsOfPod as (object: never) => readonly string[],
};

/** claim: 'namespace/name'. */
export function podsOfClaim(informer: Informer<Pod>, claim: string): Stored<Pod>[] {
  return informer.byIndex(BY_CLAIM, claim);
}
