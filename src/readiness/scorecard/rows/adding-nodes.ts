/** Row: machines can join by a token that ends, and nodes' certificates are issued by request. */
import { secrets } from '#client/refs.ts';
import { assessment, count, met, someOf, type ScorecardRow } from '../row.ts';
import type { ClusterView } from '../view.ts';

const TOKEN_TYPE = 'bootstrap.kubernetes.io/token';

export const addingNodes: ScorecardRow = {
  name: 'adding-nodes',
  topic: 'Worker nodes',
  title: 'Machines join by tokens that end',
  explain:
    'A bootstrap token lets any machine join that has it. Read are the Secrets of type bootstrap.kubernetes.io/token in kube-system. Met: each of them has an expiration.',
  async assess({ api }: ClusterView) {
    const { items } = await api.list(secrets, {
      namespace: 'kube-system',
      fieldSelector: `type=${TOKEN_TYPE}`,
    });
    const endless = items
      .filter(({ data }) => data?.['expiration'] === undefined)
      .map(({ metadata }) => metadata.name);
    if (endless.length > 0)
      return assessment('partly', {
        evidence: [`bootstrap tokens without an end: ${someOf(endless)}`],
        remedy: 'delete them (capstan token delete ID) and make one for each join: capstan token create',
      });
    return items.length > 0
      ? met(`${count(items.length, 'bootstrap token')}, each with an end`)
      : met('no bootstrap token is open; capstan token create makes one for a join');
  },
};
