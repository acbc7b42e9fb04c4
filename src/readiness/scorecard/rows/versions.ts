/** Row: versions go together, and nothing relies on an API that goes. */
import { assessment, met, type ScorecardRow } from '../row.ts';
import { deprecatedApis } from '../../checks/deprecated-apis.ts';
import { versions as skew } from '../../checks/versions.ts';

export const upgrades: ScorecardRow = {
  name: 'upgrades',
  topic: 'Control plane',
  title: 'Versions follow the skew policy, and no API in use is deprecated',
  explain:
    'The next upgrade must be possible: node agents are not newer than the API server and at most three minor versions older, and no client uses an API version that a later release drops. Met: both hold; partly: only versions go together.',
  async assess(view) {
    const apart = await skew.run(view);
    const deprecated = (await deprecatedApis.run(view)).filter(({ severity }) => severity !== 'info');
    const [first] = [...apart, ...deprecated];
    if (!first) {
      const all = (await view.nodes()).map(({ status }) => status?.nodeInfo?.kubeletVersion ?? '');
      return met(`node agents: ${[...new Set(all)].toSorted().join(', ') || 'none'}`);
    }
    return assessment(apart.length > 0 ? 'not met' : 'partly', {
      evidence: [...apart, ...deprecated].map(({ object, evidence }) =>
        object ? `${object}: ${evidence}` : evidence,
      ),
      remedy: first.remedy,
    });
  },
};
