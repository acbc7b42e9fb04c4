/** How many namespaces with pods of users have something: the assessment of several rows. */
import { assessment, count, met, someOf, verdictOfShare, type Assessment } from './row.ts';
import { userNamespaces, type ClusterView } from './view.ts';

interface CoverageOptions {
  readonly has: (namespace: string) => boolean;
  /** 'have one', after 'N of M namespaces with pods of users'. */
  readonly predicate: string;
  readonly remedy: string;
}

interface Coverage {
  readonly assessment: Assessment;
  /** Names of the namespaces that lack it. */
  readonly without: readonly string[];
}

export async function namespaceCoverage(
  view: ClusterView,
  { has, predicate, remedy }: CoverageOptions,
): Promise<Coverage> {
  const used = await userNamespaces(view);
  if (used.length === 0) return { assessment: met('no namespace has pods of users'), without: [] };
  const without = used.filter((name) => !has(name));
  const evidence = [
    `${used.length - without.length} of ${count(used.length, 'namespace')} with pods of users ${predicate}`,
    ...(without.length > 0 ? [`without: ${someOf(without)}`] : []),
  ];
  return {
    assessment: assessment(verdictOfShare(used.length - without.length, used.length), { evidence, remedy }),
    without,
  };
}
