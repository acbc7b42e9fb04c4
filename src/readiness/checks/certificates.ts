/** Check certificates: those of this machine that have ended, or soon will. */
import type { ReadinessCheck } from '../check.ts';

const DAY_MS = 86_400_000;
const SOON_DAYS = 30;

export const certificates: ReadinessCheck = {
  name: 'certificates',
  short: 'certificates of this machine are valid',
  onMachine: true,
  async run({ machine, nowMs }) {
    return machine!.certificates().flatMap(({ name, notAfterMs, renewed }) => {
      const days = Math.floor((notAfterMs - nowMs) / DAY_MS);
      if (days >= SOON_DAYS) return [];
      const remedy = `capstan certs renew ${name}${renewed ? '; the supervisor should have renewed it: see /var/log/capstan/supervisor.log' : ''}`;
      return [
        {
          severity: days < 0 ? ('error' as const) : ('warning' as const),
          object: `certificate ${name}`,
          evidence: days < 0 ? `it ended ${-days} days ago` : `it ends in ${days} days`,
          remedy: /(^|-)ca$/.test(name) ? 'capstan certs rotate-ca' : remedy,
        },
      ];
    });
  },
};
