/** The specs of the mandatory FlowSchemas and priority levels, which are immutable except for the shares of the exempt level. */
import type { FlowSchema, PriorityLevelConfiguration } from '#api/types.ts';

const EVERYTHING = {
  resourceRules: [
    { verbs: ['*'], apiGroups: ['*'], resources: ['*'], clusterScope: true, namespaces: ['*'] },
  ],
  nonResourceRules: [{ verbs: ['*'], nonResourceURLs: ['*'] }],
};

const group = (name: string): { kind: string; group: { name: string } } => ({
  kind: 'Group',
  group: { name },
});

export const MANDATORY_FLOW_SCHEMAS: Readonly<Record<string, NonNullable<FlowSchema['spec']>>> = {
  exempt: {
    priorityLevelConfiguration: { name: 'exempt' },
    matchingPrecedence: 1,
    rules: [{ subjects: [group('system:masters')], ...EVERYTHING }],
  },
  'catch-all': {
    priorityLevelConfiguration: { name: 'catch-all' },
    matchingPrecedence: 10_000,
    distinguisherMethod: { type: 'ByUser' },
    rules: [{ subjects: [group('system:unauthenticated'), group('system:authenticated')], ...EVERYTHING }],
  },
};

export const MANDATORY_PRIORITY_LEVELS: Readonly<
  Record<string, NonNullable<PriorityLevelConfiguration['spec']>>
> = {
  exempt: { type: 'Exempt', exempt: { nominalConcurrencyShares: 0, lendablePercent: 0 } },
  'catch-all': {
    type: 'Limited',
    limited: { nominalConcurrencyShares: 5, lendablePercent: 0, limitResponse: { type: 'Reject' } },
  },
};
