/** Check clock-skew: Leases that were renewed in the future, by the clock of the API server that answers: then the holder's clock is ahead of it. */
import { leases } from '#client/refs.ts';
import { formatTime } from '#machinery/time.ts';
import type { ReadinessCheck } from '../check.ts';
import { serverTime } from '../server-time.ts';

/** What elections and certificates bear. */
const TOLERATED_MS = 2_000;

export const clockSkew: ReadinessCheck = {
  name: 'clock-skew',
  short: "clocks of the machines agree with the API server's",
  async run({ api, nowMs }) {
    const serverMs = (await serverTime(api)) ?? nowMs;
    const own = Math.abs(serverMs - nowMs);
    const { items } = await api.list(leases);
    // Dates of HTTP are whole seconds.
    const ahead = items.filter(
      ({ spec }) => Date.parse(spec?.renewTime ?? '') - serverMs > TOLERATED_MS + 1_000,
    );
    return [
      ...(own > TOLERATED_MS + 1_000
        ? [
            {
              severity: 'warning' as const,
              object: 'this machine',
              evidence: `its clock differs by ${Math.round(own / 1000)} s from that of the API server (${formatTime(serverMs)})`,
              remedy: 'run an NTP client on every machine: timedatectl set-ntp true',
            },
          ]
        : []),
      ...ahead.map(({ metadata, spec }) => ({
        severity: 'warning' as const,
        object: `Lease ${metadata.namespace}/${metadata.name}`,
        evidence: `${spec?.holderIdentity ?? 'its holder'} renewed it at ${spec?.renewTime}, which is in the future of the API server (${formatTime(serverMs)})`,
        remedy: 'run an NTP client on every machine: timedatectl set-ntp true',
      })),
    ];
  },
};
