/**
 * KubeSchedulerConfiguration (kubescheduler.config.k8s.io/v1), the file of `capstan scheduler --config`: every field of upstream's, and its handling.
 * Profiles are made in profiles.ts, extenders in extenders.ts.
 */
import { only, collectSchemas, sets, unused, type ConfigFields } from '#machinery/config/fields.ts';
import { configKind } from '#machinery/config/read.ts';
import { flag, integer, integer64, listOf, opaque, struct, text } from '#machinery/config/schema.ts';
import { EXTENDER_SCHEMA } from './extenders.ts';
import { clientConnectionFields, leaderElectionFields } from '../flags/config-fields.ts';

const pluginSet = struct('PluginSet', {
  enabled: listOf(struct('Plugin', { name: text, weight: integer })),
  disabled: listOf(struct('Plugin', { name: text, weight: integer })),
});
/** Extension points in a file. */
export const POINTS = [
  'preEnqueue',
  'queueSort',
  'preFilter',
  'filter',
  'postFilter',
  'preScore',
  'score',
  'reserve',
  'permit',
  'preBind',
  'bind',
  'postBind',
  'multiPoint',
  'placementGenerate',
  'placementScore',
  'placementFeasible',
  'podGroupPostFilter',
] as const;
const profile = struct('KubeSchedulerProfile', {
  schedulerName: text,
  percentageOfNodesToScore: integer,
  percentageOfPlacementsToScore: integer,
  plugins: struct('Plugins', Object.fromEntries(POINTS.map((point) => [point, pluginSet]))),
  pluginConfig: listOf(struct('PluginConfig', { name: text, args: opaque })),
});

const NO_SETTING = 'the scheduler has no such setting';

export const SCHEDULER_FIELDS: ConfigFields = {
  parallelism: unused(integer, 'nodes are filtered one after another', 16),
  leaderElection: leaderElectionFields(),
  clientConnection: clientConnectionFields(),
  enableProfiling: unused(flag, NO_SETTING, false),
  enableContentionProfiling: unused(flag, NO_SETTING, false),
  percentageOfNodesToScore: sets(integer, 'percentage-of-nodes-to-score'),
  percentageOfPlacementsToScore: unused(integer, 'groups have no placements'),
  podInitialBackoffSeconds: sets(integer64, 'pod-initial-backoff', { words: seconds }),
  podMaxBackoffSeconds: sets(integer64, 'pod-max-backoff', { words: seconds }),
  profiles: sets(listOf(profile), 'profiles', { words: (value: unknown) => JSON.stringify(value) }),
  extenders: sets(listOf(EXTENDER_SCHEMA), 'extenders', { words: (value: unknown) => JSON.stringify(value) }),
  delayCacheUntilActive: only(flag, false, 'a standby keeps its caches, so that it takes over at once'),
};

export const SCHEDULER_KIND = configKind(
  { group: 'kubescheduler.config.k8s.io', versions: ['v1'], kind: 'KubeSchedulerConfiguration' },
  collectSchemas(SCHEDULER_FIELDS),
);

function seconds(count: number): string {
  return `${count}s`;
}
