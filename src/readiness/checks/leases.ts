/** Check leases: leader elections without a live leader. */
import { leases as leaseRef } from '#client/refs.ts';
import type { Lease } from '#api/types.ts';
import { isStatusError } from '#machinery/errors.ts';
import type { CheckContext, Finding, ReadinessCheck } from '../check.ts';
import { serverTime } from '../server-time.ts';

const LEADERS = ['kube-controller-manager', 'kube-scheduler'];
/** A new leader takes over within the duration of the lease. */
const GRACE_MS = 10_000;

export const leases: ReadinessCheck = {
  name: 'leases',
  short: 'controllers and scheduler have a leader',
  async run(context) {
    // Holders renew by the time of their machines, not by this one's.
    const nowMs = (await serverTime(context.api)) ?? context.nowMs;
    const found = await Promise.all(LEADERS.map((name) => findingOf(name, { ...context, nowMs })));
    return found.flat();
  },
};

async function findingOf(name: string, { api, nowMs }: CheckContext): Promise<Finding[]> {
  const object = `Lease kube-system/${name}`;
  const remedy = `capstan status on the control planes; ${name === 'kube-scheduler' ? 'new pods stay Pending' : 'nothing is reconciled'} meanwhile`;
  let lease: Lease;
  try {
    lease = await api.get(leaseRef, { name, namespace: 'kube-system' });
  } catch (error) {
    if (!isStatusError(error, 'NotFound')) throw error;
    return [{ severity: 'error', object, evidence: 'there is none: it never had a leader', remedy }];
  }
  const { renewTime = '', leaseDurationSeconds = 15, holderIdentity } = lease.spec ?? {};
  const age = nowMs - Date.parse(renewTime);
  if (holderIdentity && age < leaseDurationSeconds * 1000 + GRACE_MS) return [];
  return [
    {
      severity: 'error',
      object,
      evidence: holderIdentity
        ? `${holderIdentity} renewed it ${Math.round(age / 1000)} s ago`
        : 'nobody holds it',
      remedy,
    },
  ];
}
