/** Row: clients reach every API server, tried by losing one after the other. */
import { assessment, count, unknown, type ScorecardRow } from '../row.ts';

/** A client may wait as long for another server. */
const LONG_MS = 1_000;

export const apiBalancing: ScorecardRow = {
  name: 'api-balancing',
  topic: 'Control plane',
  title: 'Requests go on when any API server is lost',
  explain:
    'A balancer of this command leads to every API server of the EndpointSlice default/kubernetes. Requests are made through it while it loses one server after the other; the servers themselves are not touched. Met: no request failed or took longer than a second. Not met: there is one server. Unknown: the servers are not reached from here.',
  async assess({ servers, outside }) {
    const all = await servers();
    if (all.length < 2)
      return assessment('not met', {
        evidence: [`EndpointSlice default/kubernetes has ${all.length === 0 ? 'no address' : 'one address'}`],
        remedy:
          'join more control planes; each machine has a balancer over all of them (docs/one-address.md)',
      });
    const tried = await outside.failOver(all);
    if (!tried) return unknown(`the ${all.length} servers cannot be reached one by one from here`);
    const { requests, failed, longestMs } = tried;
    const seen = `${count(requests, 'request')} while each of ${all.length} servers was lost in turn: ${failed} failed, the longest took ${Math.round(longestMs)} ms`;
    return assessment(failed > 0 ? 'not met' : longestMs > LONG_MS ? 'partly' : 'met', {
      evidence: [seen],
      remedy: 'look at the servers that did not answer: capstan status on each control plane',
    });
  },
};
