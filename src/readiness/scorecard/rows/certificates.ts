/** Row: no certificate is near its end. */
import { assessment, unknown, type ScorecardRow } from '../row.ts';
import type { ClusterView } from '../view.ts';

const DAY_MS = 86_400_000;
const SOON_DAYS = 14;

interface Dated {
  readonly name: string;
  readonly days: number;
}

export const certificateDates: ScorecardRow = {
  name: 'certificates',
  topic: 'Control plane',
  title: 'No certificate ends within 14 days',
  explain:
    'Read are the serving certificate of every API server that is reached and, on a machine of the cluster, the certificates of that machine. Leaves renew by themselves at two thirds of their lives, so one that is near its end was not renewed. Met: none ends within 14 days.',
  async assess(view) {
    const all = [...(await ofServers(view)), ...ofMachine(view)];
    if (all.length === 0) return unknown('no API server can be connected to from here');
    const soon = all.filter(({ days }) => days < SOON_DAYS);
    const first = all.toSorted((left, right) => left.days - right.days)[0]!;
    return assessment(soon.length === 0 ? 'met' : soon.some(({ days }) => days < 0) ? 'not met' : 'partly', {
      evidence:
        soon.length === 0
          ? [`${all.length} were read; the first to end is that of ${first.name}, in ${first.days} days`]
          : soon.map(({ name, days }) =>
              days < 0 ? `that of ${name} ended ${-days} days ago` : `that of ${name} ends in ${days} days`,
            ),
      remedy: 'on its machine: capstan certs check, capstan certs renew',
    });
  },
};

async function ofServers({ outside, servers, nowMs }: ClusterView): Promise<readonly Dated[]> {
  const all = new Set([outside.server, ...(await servers())]);
  const read = await Promise.all(
    [...all].map(async (server): Promise<Dated[]> => {
      try {
        const { notAfterMs } = await outside.certificateOf(server);
        return [{ name: `API server ${server}`, days: Math.floor((notAfterMs - nowMs) / DAY_MS) }];
      } catch {
        // Behind a firewall, say: other rows say which servers do not answer.
        return [];
      }
    }),
  );
  return read.flat();
}

function ofMachine({ machine, nowMs }: ClusterView): readonly Dated[] {
  return (machine?.certificates() ?? []).map(({ name, notAfterMs }) => ({
    name: `${name} of this machine`,
    days: Math.floor((notAfterMs - nowMs) / DAY_MS),
  }));
}
