/** The Leases of EndpointSlices that a server publishes for itself (component-helpers/leased-endpoints.ts): renewed until the server ends, whichever way. */
import { leases } from '#client/refs.ts';
import { isStatusError } from '#machinery/errors.ts';
import { formatMicroTime } from '#machinery/time.ts';
import { errorMessage } from '#stdx/log.ts';
import type { ComponentContext } from './component.ts';

interface SliceName {
  readonly name: string;
  readonly namespace: string;
}

interface KeepOptions extends Pick<ComponentContext, 'api' | 'clock' | 'log' | 'identity'> {
  /** Of the slices, as they are at each renewal; the Leases have the same names. */
  readonly slices: () => readonly SliceName[];
  readonly label: string;
  readonly leaseSeconds: number;
  readonly renewMs: number;
  readonly signal: AbortSignal;
}

/** The first of several failed renewals is logged; each is retried at the next interval. */
export function keepEndpointsLeases(options: KeepOptions): void {
  const { clock, log, signal, slices, renewMs } = options;
  const failing = new Set<string>();
  const renewAll = async (): Promise<void> => {
    for (const slice of slices()) {
      try {
        await renew(slice, options);
        failing.delete(slice.name);
      } catch (error) {
        if (signal.aborted) return;
        if (!failing.has(slice.name))
          log.warn('error renewing the lease of endpoints', {
            lease: slice.name,
            error: errorMessage(error),
          });
        failing.add(slice.name);
      }
    }
    if (signal.aborted) return;
    const timer = clock.after(renewMs, () => void renewAll());
    signal.addEventListener('abort', () => timer.cancel(), { once: true });
  };
  void renewAll();
}

async function renew(
  at: SliceName,
  { api, clock, identity, label, leaseSeconds }: KeepOptions,
): Promise<void> {
  const lease = {
    apiVersion: 'coordination.k8s.io/v1',
    kind: 'Lease',
    metadata: { ...at, labels: { [label]: '' } },
    spec: {
      holderIdentity: identity,
      leaseDurationSeconds: leaseSeconds,
      renewTime: formatMicroTime(clock.now()),
    },
  };
  try {
    await api.patch(leases, at, { type: 'merge', patch: lease });
  } catch (error) {
    if (!isStatusError(error, 'NotFound')) throw error;
    await api.create(leases, lease);
  }
}
