/** Check namespaces: those that cannot be deleted, and what holds them. */
import { namespaces as namespaceRef } from '#client/refs.ts';
import { listAll } from '../list-all.ts';
import type { ReadinessCheck } from '../check.ts';

/** A deletion may take so long. */
const PATIENCE_MS = 60_000;

export const namespaces: ReadinessCheck = {
  name: 'namespaces',
  short: 'no deleted namespace is held by finalizers',
  async run({ api, nowMs }) {
    const { items } = await listAll(api, namespaceRef);
    return items.flatMap(({ metadata, spec, status }) => {
      const since = Date.parse(metadata.deletionTimestamp ?? '');
      if (Number.isNaN(since) || nowMs - since < PATIENCE_MS) return [];
      const reasons = (status?.conditions ?? [])
        .filter(({ status: value }) => value === 'True')
        .map(({ type, message = '' }) => `${type}: ${message}`);
      const finalizers = [...(spec?.finalizers ?? []), ...(metadata.finalizers ?? [])];
      const discovery = reasons.some((reason) => reason.startsWith('NamespaceDeletionDiscoveryFailure'));
      return [
        {
          severity: 'warning' as const,
          object: `Namespace ${metadata.name}`,
          evidence: `it is being deleted for ${Math.round((nowMs - since) / 60_000)} min (finalizers ${finalizers.join(', ') || 'none'}): ${reasons.join('; ') || 'no reason is given'}`,
          remedy: discovery
            ? 'mend or delete the APIService that is not available'
            : `run the controller that removes the finalizers, or remove them from what is left: kubectl get -n ${metadata.name} …; kubectl patch --type=merge -p '{"metadata":{"finalizers":null}}'`,
        },
      ];
    });
  },
};
