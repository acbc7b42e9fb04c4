/**
 * Arguments of plugins in a KubeSchedulerConfiguration (pluginConfig): one entry per plugin with its schema, upstream's defaults and validation, and where
 * the values go. Unknown fields are refused.
 */
import type { NodeAffinity, TopologySpreadConstraint } from '#api/types.ts';
import { goDurationMs } from '#machinery/go-duration.ts';
import { ConfigError, decodeStrictly } from '#machinery/config/read.ts';
import {
  duration,
  flag,
  integer,
  integer64,
  listOf,
  objectSchema,
  opaque,
  struct,
  text,
} from '#machinery/config/schema.ts';
import type { ValueSchema } from '#machinery/schema.ts';
import { UserError } from '#deploy/data-dir.ts';
import type { PluginArgs } from '#scheduler/plugins/list.ts';
import type { ResourceWeight, ScoringStrategy, ShapePoint } from '#scheduler/resource-scores.ts';
import type { Profile } from '#scheduler/schedule.ts';
import { FieldProblems } from './field-problems.ts';

/** What arguments set: of plugins, and of the profile. */
interface ArgSettings {
  readonly plugins: PluginArgs;
  readonly profile: Partial<Pick<Profile, 'preemption' | 'bindTimeoutMs'>>;
}

interface ArgsOf {
  readonly fields: Readonly<Record<string, ValueSchema>>;
  /** Validated and with defaults. */
  settings(args: never, problems: FieldProblems): Partial<ArgSettings>;
}

function args<T extends object>(
  fields: ArgsOf['fields'],
  settings: (args: T, problems: FieldProblems) => Partial<ArgSettings>,
): ArgsOf {
  return { fields, settings };
}

const resourceList = listOf(struct('ResourceSpec', { name: text, weight: integer64 }));
const shapeList = listOf(struct('UtilizationShapePoint', { utilization: integer, score: integer }));

interface Resource {
  readonly name?: string;
  readonly weight?: number | string;
}

interface FitArgs {
  readonly ignoredResources?: readonly string[];
  readonly ignoredResourceGroups?: readonly string[];
  readonly scoringStrategy?: {
    readonly type?: string;
    readonly resources?: readonly Resource[];
    readonly requestedToCapacityRatio?: { readonly shape?: readonly Partial<ShapePoint>[] };
  };
}

/** A search keeps the scheduler from everything else: longer ones would cost it its lease. */
const LONGEST_SEARCH_MS = 5_000;
const STRATEGIES = ['LeastAllocated', 'MostAllocated', 'RequestedToCapacityRatio'];

const PLUGINS: Readonly<Record<string, ArgsOf>> = {
  NodeResourcesFit: args<FitArgs>(
    {
      ignoredResources: listOf(text),
      ignoredResourceGroups: listOf(text),
      scoringStrategy: struct('ScoringStrategy', {
        type: text,
        resources: resourceList,
        requestedToCapacityRatio: struct('RequestedToCapacityRatioParam', { shape: shapeList }),
      }),
    },
    ({ ignoredResources = [], ignoredResourceGroups = [], scoringStrategy = {} }, problems) => {
      for (const [index, group] of ignoredResourceGroups.entries())
        if (group.includes('/'))
          problems.invalid(`ignoredResourceGroups[${index}]`, group, "resource group name can't contain '/'");
      return {
        plugins: {
          nodeResourcesFit: {
            ignoredResources: new Set(ignoredResources),
            ignoredResourceGroups: new Set(ignoredResourceGroups),
            scoringStrategy: strategyFrom(scoringStrategy, problems.at('scoringStrategy')),
          },
        },
      };
    },
  ),
  NodeResourcesBalancedAllocation: args<{ readonly resources?: readonly Resource[] }>(
    { resources: resourceList },
    ({ resources }, problems) => {
      const chosen = resourcesFrom(resources);
      for (const [index, { name, weight }] of chosen.entries()) {
        if (chosen.findIndex((one) => one.name === name) < index)
          problems.add(`resources[${index}].name: Duplicate value: ${JSON.stringify(name)}`);
        if (weight !== 1) problems.invalid(`resources[${index}].weight`, weight, 'must be 1');
      }
      return { plugins: { balancedResources: chosen } };
    },
  ),
  InterPodAffinity: args<{
    readonly hardPodAffinityWeight?: number;
    readonly ignorePreferredTermsOfExistingPods?: boolean;
  }>(
    { hardPodAffinityWeight: integer, ignorePreferredTermsOfExistingPods: flag },
    ({ hardPodAffinityWeight = 1, ignorePreferredTermsOfExistingPods = false }, problems) => {
      problems.range('hardPodAffinityWeight', hardPodAffinityWeight, 100);
      return { plugins: { interPodAffinity: { hardPodAffinityWeight, ignorePreferredTermsOfExistingPods } } };
    },
  ),
  PodTopologySpread: args<{
    readonly defaultConstraints?: readonly Partial<TopologySpreadConstraint>[];
    readonly defaultingType?: string;
  }>({ defaultConstraints: listOf(constraintSchema()), defaultingType: text }, spreadSettings),
  NodeAffinity: args<{ readonly addedAffinity?: NodeAffinity }>(
    { addedAffinity: opaque },
    ({ addedAffinity = {} }, problems) => {
      checkAffinity(addedAffinity, problems.at('addedAffinity'));
      return { plugins: { addedAffinity } };
    },
  ),
  VolumeBinding: args<{ readonly bindTimeoutSeconds?: number | string; readonly shape?: readonly unknown[] }>(
    { bindTimeoutSeconds: integer64, shape: shapeList },
    ({ bindTimeoutSeconds = 600, shape }, problems) => {
      const seconds = Number(bindTimeoutSeconds);
      if (seconds < 0)
        problems.invalid(
          'bindTimeoutSeconds',
          seconds,
          'invalid BindTimeoutSeconds, should not be a negative value',
        );
      if (shape)
        problems.invalid(
          'shape',
          shape,
          'unexpected field `shape`, remove it or turn on the feature gate StorageCapacityScoring',
        );
      return { profile: { bindTimeoutMs: seconds * 1000 } };
    },
  ),
  DefaultPreemption: args<{
    readonly minCandidateNodesPercentage?: number;
    readonly minCandidateNodesAbsolute?: number;
  }>(
    { minCandidateNodesPercentage: integer, minCandidateNodesAbsolute: integer },
    ({ minCandidateNodesPercentage = 10, minCandidateNodesAbsolute = 100 }, problems) => {
      problems.range('minCandidateNodesPercentage', minCandidateNodesPercentage, 100);
      if (minCandidateNodesAbsolute < 0)
        problems.invalid(
          'minCandidateNodesAbsolute',
          minCandidateNodesAbsolute,
          'not in valid range [0, inf)',
        );
      if (minCandidateNodesPercentage === 0 && minCandidateNodesAbsolute === 0)
        problems.invalid(
          'minCandidateNodesPercentage',
          0,
          'cannot be zero at the same time as minCandidateNodesAbsolute',
        );
      return { profile: { preemption: { minCandidateNodesPercentage, minCandidateNodesAbsolute } } };
    },
  ),
  DynamicResources: args<{ readonly filterTimeout?: string; readonly bindingTimeout?: string }>(
    { filterTimeout: duration, bindingTimeout: duration },
    ({ filterTimeout, bindingTimeout = '10m' }, problems) => {
      // Not upstream's 10 s: see docs/scheduling.md.
      const filterTimeoutMs = filterTimeout === undefined ? 2_000 : goDurationMs(filterTimeout);
      const bindingTimeoutMs = goDurationMs(bindingTimeout);
      if (filterTimeoutMs < 0) problems.invalid('filterTimeout', filterTimeout, 'must be zero or positive');
      if (bindingTimeoutMs < 1_000)
        problems.invalid('bindingTimeout', bindingTimeout, 'must be at least 1 second');
      return {
        plugins: {
          // 0 is no limit.
          dynamicResources: {
            filterTimeoutMs: Math.min(filterTimeoutMs || Infinity, LONGEST_SEARCH_MS),
            bindingTimeoutMs,
          },
        },
      };
    },
  ),
};

interface PluginConfig {
  readonly name?: string;
  readonly args?: unknown;
}

/** Throws a UserError that names the field, with upstream's text. */
export function argSettings(configs: readonly PluginConfig[], path: string): ArgSettings {
  let plugins: PluginArgs = {};
  let profile: ArgSettings['profile'] = {};
  for (const [index, { name = '', args: given }] of configs.entries()) {
    const at = `${path}[${index}]`;
    if (configs.findIndex((one) => one.name === name) < index)
      throw new UserError(`--config: ${at}: Duplicate value: ${JSON.stringify(name)}.`);
    const known = PLUGINS[name];
    if (!known)
      throw new UserError(
        `--config: ${at} has ${JSON.stringify(name)}, which has no arguments here; there are ${Object.keys(PLUGINS).join(', ')}.`,
      );
    const settings = settingsOf(known, { name, given, at: `${at}.args` });
    plugins = { ...plugins, ...settings.plugins };
    profile = { ...profile, ...settings.profile };
  }
  return { plugins, profile };
}

function settingsOf(
  known: ArgsOf,
  { name, given, at }: { readonly name: string; readonly given: unknown; readonly at: string },
): Partial<ArgSettings> {
  const kind = `${name}Args`;
  const schema = objectSchema(kind, { apiVersion: text, kind: text, ...known.fields });
  let decoded: { readonly apiVersion?: string; readonly kind?: string };
  try {
    decoded = decodeStrictly(given ?? {}, schema);
  } catch (error) {
    if (error instanceof ConfigError) throw new UserError(`--config: ${at}: ${error.message}.`);
    throw error;
  }
  const { apiVersion = 'kubescheduler.config.k8s.io/v1', kind: own = kind, ...rest } = decoded;
  if (own !== kind || apiVersion !== 'kubescheduler.config.k8s.io/v1')
    throw new UserError(
      `--config: ${at}: args for plugin ${name} were not of type ${kind}.kubescheduler.config.k8s.io, got ${own} of ${apiVersion}.`,
    );
  const problems = new FieldProblems(at);
  const settings = known.settings(rest as never, problems);
  problems.throwFirst();
  return settings;
}

function resourcesFrom(resources: readonly Resource[] | undefined): readonly ResourceWeight[] {
  if (!resources?.length)
    return [
      { name: 'cpu', weight: 1 },
      { name: 'memory', weight: 1 },
    ];
  return resources.map(({ name = '', weight = 0 }) => ({ name, weight: Number(weight) || 1 }));
}

function strategyFrom(
  { type = 'LeastAllocated', resources, requestedToCapacityRatio }: NonNullable<FitArgs['scoringStrategy']>,
  problems: FieldProblems,
): ScoringStrategy {
  if (!STRATEGIES.includes(type)) problems.notSupported('type', type, STRATEGIES);
  const chosen = resourcesFrom(resources);
  for (const [index, { name, weight }] of chosen.entries())
    if (weight <= 0 || weight > 100)
      problems.invalid(
        `resources[${index}].weight`,
        weight,
        `resource weight of ${name} not in valid range (0, 100]`,
      );
  if (type !== 'RequestedToCapacityRatio') {
    if (requestedToCapacityRatio)
      problems.add(
        'requestedToCapacityRatio: Forbidden: must be nil when type is not RequestedToCapacityRatio',
      );
    return { type: type as ScoringStrategy['type'], resources: chosen };
  }
  if (!requestedToCapacityRatio)
    problems.add(
      'requestedToCapacityRatio: Required value: must be specified when type is RequestedToCapacityRatio',
    );
  const shape = shapeFrom(
    requestedToCapacityRatio?.shape ?? [],
    problems.at('requestedToCapacityRatio.shape'),
  );
  return { type, resources: chosen, shape };
}

function shapeFrom(points: readonly Partial<ShapePoint>[], problems: FieldProblems): readonly ShapePoint[] {
  if (points.length === 0) problems.add('Required value: at least one point must be specified');
  const shape = points.map(({ utilization = 0, score = 0 }) => ({ utilization, score }));
  for (const [index, { utilization, score }] of shape.entries()) {
    if (index > 0 && shape[index - 1]!.utilization >= utilization)
      problems.invalid(`[${index}].utilization`, utilization, 'values must be sorted in increasing order');
    problems.range(`[${index}].utilization`, utilization, 100);
    problems.range(`[${index}].score`, score, 10);
  }
  return shape;
}

function constraintSchema(): ValueSchema {
  return struct('TopologySpreadConstraint', {
    maxSkew: integer,
    topologyKey: text,
    whenUnsatisfiable: text,
    labelSelector: opaque,
    minDomains: integer,
    nodeAffinityPolicy: text,
    nodeTaintsPolicy: text,
    matchLabelKeys: listOf(text),
  });
}

const ACTIONS = ['DoNotSchedule', 'ScheduleAnyway'];

function spreadSettings(
  {
    defaultConstraints = [],
    defaultingType = 'System',
  }: {
    readonly defaultConstraints?: readonly Partial<TopologySpreadConstraint>[];
    readonly defaultingType?: string;
  },
  problems: FieldProblems,
): Partial<ArgSettings> {
  if (defaultingType !== 'System' && defaultingType !== 'List')
    problems.notSupported('defaultingType', defaultingType, ['System', 'List']);
  else if (defaultingType === 'System' && defaultConstraints.length > 0)
    problems.invalid('defaultingType', defaultingType, 'when .defaultConstraints are not empty');
  const constraints = defaultConstraints.map((constraint, index) => {
    const { maxSkew = 0, topologyKey = '', whenUnsatisfiable = '', labelSelector } = constraint;
    const at = `defaultConstraints[${index}]`;
    if (maxSkew <= 0) problems.invalid(`${at}.maxSkew`, maxSkew, 'not in valid range (0, inf)');
    if (topologyKey === '') problems.add(`${at}.topologyKey: Required value: can not be empty`);
    if (whenUnsatisfiable === '') problems.add(`${at}.whenUnsatisfiable: Required value: can not be empty`);
    else if (!ACTIONS.includes(whenUnsatisfiable))
      problems.notSupported(`${at}.whenUnsatisfiable`, whenUnsatisfiable, ACTIONS);
    if (labelSelector)
      problems.add(
        `${at}.labelSelector: Forbidden: constraint must not define a selector, as they deduced for each pod`,
      );
    const first = defaultConstraints.findIndex(
      (one) => one.topologyKey === topologyKey && one.whenUnsatisfiable === whenUnsatisfiable,
    );
    if (first < index) problems.add(`${at}: Duplicate value: "{${topologyKey}, ${whenUnsatisfiable}}"`);
    return { ...constraint, maxSkew, topologyKey, whenUnsatisfiable };
  });
  return defaultingType === 'List' ? { plugins: { defaultConstraints: constraints } } : {};
}

const OPERATORS = ['In', 'NotIn', 'Exists', 'DoesNotExist', 'Gt', 'Lt'];

function checkAffinity(added: NodeAffinity, problems: FieldProblems): void {
  const required = added.requiredDuringSchedulingIgnoredDuringExecution?.nodeSelectorTerms ?? [];
  const preferred = added.preferredDuringSchedulingIgnoredDuringExecution ?? [];
  for (const key of Object.keys(added))
    if (!/^(required|preferred)DuringSchedulingIgnoredDuringExecution$/.test(key))
      problems.add(`${key}: Forbidden: unknown field`);
  const terms = [
    ...required.map((term, index) => ({
      term,
      at: `requiredDuringSchedulingIgnoredDuringExecution.nodeSelectorTerms[${index}]`,
    })),
    ...preferred.map(({ preference }, index) => ({
      term: preference,
      at: `preferredDuringSchedulingIgnoredDuringExecution[${index}].preference`,
    })),
  ];
  for (const { term, at } of terms)
    for (const [index, { operator }] of [
      ...(term.matchExpressions ?? []),
      ...(term.matchFields ?? []),
    ].entries())
      if (!OPERATORS.includes(operator))
        problems.add(
          `${at}.matchExpressions[${index}].operator: Unsupported value: ${JSON.stringify(operator)}`,
        );
}
