/** The disruption state of a zone, as upstream computes it. Pure. */

export type ZoneState = 'Normal' | 'PartialDisruption' | 'FullDisruption';

const UNHEALTHY_FRACTION = 0.55;
const UNHEALTHY_MINIMUM = 2;

/** The readiness of a zone's nodes. */
export function zoneState(ready: readonly boolean[]): ZoneState {
  const lost = ready.filter((isReady) => !isReady).length;
  if (lost > 0 && lost === ready.length) return 'FullDisruption';
  return lost > UNHEALTHY_MINIMUM && lost / ready.length >= UNHEALTHY_FRACTION
    ? 'PartialDisruption'
    : 'Normal';
}
