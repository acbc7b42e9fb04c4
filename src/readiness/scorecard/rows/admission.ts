/** Row: pods of users are held to a security standard. */
import { namespaces } from '#client/refs.ts';
import { webhooks } from '../../checks/webhooks.ts';
import { namespaceCoverage } from '../namespace-coverage.ts';
import { assessment, type Assessment, type Fix, type ScorecardRow } from '../row.ts';
import type { ClusterView } from '../view.ts';

const ENFORCE = 'pod-security.kubernetes.io/enforce';
const WARN = 'pod-security.kubernetes.io/warn';
/** What fixes ask for: it warns, and refuses nothing. */
const WARNED_LEVEL = 'baseline';

export const admission: ScorecardRow = {
  name: 'admission',
  topic: 'Users',
  title: 'Namespaces of users enforce a Pod Security Standard, and no admission webhook blocks writes',
  explain:
    'A namespace in which users run pods should have the label pod-security.kubernetes.io/enforce with baseline or restricted. --fix adds labels that only warn. Admission webhooks that must answer need a ready endpoint. Met: both hold for each namespace with pods of users.',
  async assess(view) {
    const blocked = await webhooks.run(view);
    if (blocked.length > 0)
      return assessment('not met', {
        evidence: blocked.map(({ object, evidence }) => `${object}: ${evidence}`),
        remedy: blocked[0]!.remedy,
      });
    return coverage(view);
  },
};

async function coverage(view: ClusterView): Promise<Assessment> {
  const labels = new Map(
    (await view.namespaces()).map(({ metadata }) => [metadata.name, metadata.labels ?? {}]),
  );
  const { assessment: covered, without } = await namespaceCoverage(view, {
    has: (name) => /^(baseline|restricted)$/.test(labels.get(name)?.[ENFORCE] ?? ''),
    predicate: 'enforce one',
    remedy: `see what would be refused: kubectl label --dry-run=server ns NAME ${ENFORCE}=baseline; then without --dry-run`,
  });
  return { ...covered, fixes: without.filter((name) => labels.get(name)?.[WARN] === undefined).map(warnIn) };
}

function warnIn(name: string): Fix {
  return {
    does: `label Namespace ${name} with ${WARN}=${WARNED_LEVEL}`,
    async apply(api) {
      const patch = { metadata: { labels: { [WARN]: WARNED_LEVEL } } };
      await api.patch(namespaces, { name }, { type: 'merge', patch });
    },
  };
}
