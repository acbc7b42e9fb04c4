/**
 * KubeSchedulerConfiguration (kubescheduler.config.k8s.io/v1), the file of `capstan scheduler --config`: every field of upstream's, and its handling.
 * Profiles select plugins by `multiPoint` and weights by `score`; other extension points and plugin arguments are refused.
 */
import { only, collectSchemas, sets, unused, type ConfigFields } from '#machinery/config/fields.ts';
import { configKind } from '#machinery/config/read.ts';
import { flag, integer, integer64, listOf, opaque, struct, text } from '#machinery/config/schema.ts';
import { UserError } from '#deploy/data-dir.ts';
import type { SchedulerPlugin } from '#scheduler/plugin.ts';
import { defaultPlugins } from '#scheduler/plugins/list.ts';
import type { Profile } from '#scheduler/schedule.ts';
import { clientConnectionFields, leaderElectionFields } from '../flags/config-fields.ts';

const pluginSet = struct('PluginSet', {
  enabled: listOf(struct('Plugin', { name: text, weight: integer })),
  disabled: listOf(struct('Plugin', { name: text, weight: integer })),
});
const POINTS = [
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
  percentageOfPlacementsToScore: unused(integer, 'pods are scheduled one by one'),
  podInitialBackoffSeconds: sets(integer64, 'pod-initial-backoff', { words: seconds }),
  podMaxBackoffSeconds: sets(integer64, 'pod-max-backoff', { words: seconds }),
  profiles: sets(listOf(profile), 'profiles', { words: (value: unknown) => JSON.stringify(value) }),
  extenders: only(listOf(opaque), [], 'there are no extenders'),
  delayCacheUntilActive: only(flag, false, 'a standby keeps its caches, so that it takes over at once'),
};

export const SCHEDULER_KIND = configKind(
  { group: 'kubescheduler.config.k8s.io', versions: ['v1'], kind: 'KubeSchedulerConfiguration' },
  collectSchemas(SCHEDULER_FIELDS),
);

function seconds(count: number): string {
  return `${count}s`;
}

interface PluginChoice {
  readonly name?: string;
  readonly weight?: number;
}

interface PluginSet {
  readonly enabled?: readonly PluginChoice[];
  readonly disabled?: readonly PluginChoice[];
}

interface ConfiguredProfile {
  readonly schedulerName?: string;
  readonly percentageOfNodesToScore?: number;
  readonly plugins?: Readonly<Partial<Record<(typeof POINTS)[number], PluginSet>>>;
  readonly pluginConfig?: readonly { readonly name?: string }[];
}

/** Built into the scheduler or other plugins: always on, whatever a profile lists. */
const BUILT_IN = ['PrioritySort', 'DefaultBinder', 'DefaultPreemption', 'SchedulingGates'];

/** text: the profiles of a file as JSON. Undefined: the default profile. Throws a UserError that names the field. */
export function profilesFrom(text: string | undefined, percentage: number): readonly Profile[] {
  const profiles = text === undefined ? [{}] : (JSON.parse(text) as readonly ConfiguredProfile[]);
  const made = profiles.map((one, index) => profileFrom(one, { path: `profiles[${index}]`, percentage }));
  const names = made.map(({ schedulerName }) => schedulerName);
  const twice = names.find((name, index) => names.indexOf(name) !== index);
  if (twice !== undefined) throw new UserError(`--config: profiles has schedulerName "${twice}" twice.`);
  return made;
}

function profileFrom(
  {
    schedulerName = 'default-scheduler',
    percentageOfNodesToScore,
    plugins = {},
    pluginConfig = [],
  }: ConfiguredProfile,
  { path, percentage }: { readonly path: string; readonly percentage: number },
): Profile {
  if (pluginConfig.length > 0)
    throw new UserError(
      `--config: ${path}.pluginConfig has ${pluginConfig[0]?.name ?? ''}: arguments of plugins are not configurable.`,
    );
  for (const point of Object.keys(plugins))
    if (point !== 'multiPoint' && point !== 'score')
      throw new UserError(
        `--config: ${path}.plugins.${point} is refused: plugins are chosen by multiPoint, and their weights by score.`,
      );
  const { multiPoint = {}, score = {} } = plugins;
  const chosen = choose(defaultPlugins, { set: multiPoint, path: `${path}.plugins.multiPoint` });
  return {
    schedulerName,
    plugins: weigh(chosen, { set: score, path: `${path}.plugins.score` }),
    percentageOfNodesToScore: percentageOfNodesToScore ?? percentage,
  };
}

interface Choice {
  readonly set: PluginSet;
  readonly path: string;
}

/** Enabled takes precedence over disabled, as upstream's. */
function choose(plugins: readonly SchedulerPlugin[], { set, path }: Choice): SchedulerPlugin[] {
  const { enabled = [], disabled = [] } = set;
  for (const [list, choices] of Object.entries({ enabled, disabled }))
    for (const { name = '' } of choices) requireKnown(name, `${path}.${list}`);
  const kept = new Set(enabled.map(({ name }) => name));
  for (const { name = '' } of disabled)
    if (BUILT_IN.includes(name) && !kept.has(name))
      throw new UserError(`--config: ${path}.disabled has ${name}, which is always there.`);
  const gone = new Set(disabled.map(({ name }) => name));
  return plugins
    .filter(({ name }) => kept.has(name) || BUILT_IN.includes(name) || !(gone.has('*') || gone.has(name)))
    .map((plugin) => reweighed(plugin, enabled));
}

/** A plugin with a disabled score still runs at its other extension points. */
function weigh(plugins: readonly SchedulerPlugin[], { set, path }: Choice): SchedulerPlugin[] {
  const { enabled = [], disabled = [] } = set;
  for (const [list, choices] of Object.entries({ enabled, disabled }))
    for (const { name = '' } of choices) requireKnown(name, `${path}.${list}`);
  const kept = new Set(enabled.map(({ name }) => name));
  const gone = new Set(disabled.map(({ name }) => name));
  return plugins.map((plugin) =>
    !kept.has(plugin.name) && (gone.has('*') || gone.has(plugin.name))
      ? { ...plugin, weight: 0 }
      : reweighed(plugin, enabled),
  );
}

function reweighed(plugin: SchedulerPlugin, enabled: readonly PluginChoice[]): SchedulerPlugin {
  const weight = enabled.find(({ name }) => name === plugin.name)?.weight;
  return weight ? { ...plugin, weight } : plugin;
}

function requireKnown(name: string, path: string): void {
  const known = [...new Set([...defaultPlugins.map((plugin) => plugin.name), ...BUILT_IN])];
  if (name !== '*' && !known.includes(name))
    throw new UserError(
      `--config: ${path} has "${name}", which is no plugin here; there are ${known.join(', ')}.`,
    );
}
