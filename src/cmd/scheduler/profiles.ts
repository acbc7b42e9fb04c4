/**
 * Profiles of a KubeSchedulerConfiguration: which plugins run at which extension point, with which weights and arguments. After upstream: `multiPoint` says
 * it for all points, a single point takes precedence, `enabled` over `disabled`, and '*' means all defaults.
 */
import { UserError } from '#deploy/data-dir.ts';
import type { SchedulerPlugin } from '#scheduler/plugin.ts';
import { pluginsWith, type PluginArgs } from '#scheduler/plugins/list.ts';
import { NODE_RESOURCES_FIT_DEFAULTS } from '#scheduler/plugins/node-resources-fit.ts';
import type { Profile } from '#scheduler/schedule.ts';
import type { POINTS } from './config.ts';
import { argSettings } from './plugin-args.ts';

type Point = (typeof POINTS)[number];

interface PluginChoice {
  readonly name?: string;
  readonly weight?: number;
}

interface PluginSet {
  readonly enabled?: readonly PluginChoice[];
  readonly disabled?: readonly PluginChoice[];
}

type Plugins = Readonly<Partial<Record<Point, PluginSet>>>;

interface ConfiguredProfile {
  readonly schedulerName?: string;
  readonly percentageOfNodesToScore?: number;
  readonly plugins?: Plugins;
  readonly pluginConfig?: readonly { readonly name?: string; readonly args?: unknown }[];
}

/** What a plugin does at each point. */
const PARTS = {
  preEnqueue: ['preEnqueue'],
  preFilter: ['preFilter'],
  filter: ['filter'],
  postFilter: ['postFilter'],
  preScore: ['preScore'],
  score: ['score', 'normalize'],
  permit: ['permit'],
} as const satisfies Partial<Record<Point, readonly (keyof SchedulerPlugin)[]>>;
type PartPoint = keyof typeof PARTS;
const PART_POINTS = Object.keys(PARTS) as PartPoint[];
/** What one point needs from another of the same plugin. */
const NEEDS = { filter: 'preFilter', score: 'preScore' } as const;
/** Part of the scheduler, at these points. */
const PREEMPTION = 'DefaultPreemption';
const BUILT_IN: Readonly<Record<string, Point>> = {
  PrioritySort: 'queueSort',
  DefaultBinder: 'bind',
  SchedulingGates: 'preEnqueue',
};
/** Of these a plugin's work cannot be separated from its decisions. */
const WHOLE: readonly Point[] = ['queueSort', 'reserve', 'preBind', 'bind', 'postBind'];
/** Of the topology and the preemption of groups. */
const ABSENT: readonly Point[] = [
  'placementGenerate',
  'placementScore',
  'placementFeasible',
  'podGroupPostFilter',
];
/** Plugins of upstream's that are gone, with its message. */
const REMOVED = ['AzureDiskLimits', 'CinderLimits', 'EBSLimits', 'GCEPDLimits'];

interface CommonSettings {
  readonly percentage: number;
  /** Resources that extenders account for. */
  readonly ignoredResources: ReadonlySet<string>;
  /** Feature gates that are on. */
  readonly features: ReadonlySet<string>;
}

/** text: the profiles of a file as JSON. Undefined: the default profile. Throws a UserError that names the field. */
export function profilesFrom(text: string | undefined, common: CommonSettings): readonly Profile[] {
  const profiles = text === undefined ? [{}] : (JSON.parse(text) as readonly ConfiguredProfile[]);
  const made = profiles.map((one, index) => profileFrom(one, { path: `profiles[${index}]`, ...common }));
  const names = made.map(({ schedulerName }) => schedulerName);
  const twice = names.find((name, index) => names.indexOf(name) !== index);
  if (twice !== undefined) throw new UserError(`--config: profiles has schedulerName "${twice}" twice.`);
  const sorting = (index: number): string => JSON.stringify(profiles[index]?.plugins?.queueSort ?? {});
  const other = profiles.findIndex((_one, index) => sorting(index) !== sorting(0));
  if (other >= 0)
    throw new UserError(`--config: profiles[${other}].plugins.queueSort: must be the same for all profiles.`);
  return made;
}

function profileFrom(
  {
    schedulerName = 'default-scheduler',
    percentageOfNodesToScore = 0,
    plugins = {},
    pluginConfig = [],
  }: ConfiguredProfile,
  { path, percentage, ignoredResources, features }: CommonSettings & { readonly path: string },
): Profile {
  if (percentageOfNodesToScore < 0 || percentageOfNodesToScore > 100)
    throw new UserError(
      `--config: ${path}.percentageOfNodesToScore: Invalid value: ${percentageOfNodesToScore}: not in valid range [0-100].`,
    );
  const args = argSettings(pluginConfig, `${path}.pluginConfig`);
  const known = pluginsWith(withIgnored(args.plugins, ignoredResources), features);
  const choices = new Choices(plugins, { path: `${path}.plugins`, known });
  return {
    schedulerName,
    plugins: choices.plugins(),
    percentageOfNodesToScore: percentageOfNodesToScore || percentage,
    ...args.profile,
    ...(choices.isOn(PREEMPTION, 'postFilter') ? {} : { preemption: false }),
  };
}

function withIgnored(args: PluginArgs, ignored: ReadonlySet<string>): PluginArgs {
  if (ignored.size === 0) return args;
  const fit = args.nodeResourcesFit ?? NODE_RESOURCES_FIT_DEFAULTS;
  return {
    ...args,
    nodeResourcesFit: { ...fit, ignoredResources: new Set([...fit.ignoredResources, ...ignored]) },
  };
}

interface Choice {
  readonly path: string;
  readonly known: readonly SchedulerPlugin[];
}

class Choices {
  readonly #plugins: Plugins;
  readonly #path: string;
  readonly #known: readonly SchedulerPlugin[];

  constructor(plugins: Plugins, { path, known }: Choice) {
    this.#plugins = plugins;
    this.#path = path;
    this.#known = known;
    for (const point of Object.keys(plugins) as Point[]) this.#check(point);
  }

  /** In the order of their filters: those that the point names, then the others. */
  plugins(): readonly SchedulerPlugin[] {
    const first = (this.#plugins.filter?.enabled ?? []).map(({ name }) => name);
    const rank = ({ name }: SchedulerPlugin): number => first.indexOf(name) + 1 || Infinity;
    return this.#known
      .flatMap((plugin) => this.#partsOf(plugin) ?? [])
      .map((plugin, index) => ({ plugin, index }))
      .sort((a, b) =>
        rank(a.plugin) === rank(b.plugin) ? a.index - b.index : rank(a.plugin) - rank(b.plugin),
      )
      .map(({ plugin }) => plugin);
  }

  /** Whether a plugin runs at a point where it could. */
  isOn(name: string, point: Point): boolean {
    if (includes(this.#plugins[point]?.enabled, name)) return true;
    if (isDisabled(this.#plugins[point], name)) return false;
    const { multiPoint } = this.#plugins;
    return includes(multiPoint?.enabled, name) || !isDisabled(multiPoint, name);
  }

  #partsOf(plugin: SchedulerPlugin): SchedulerPlugin | undefined {
    const possible = PART_POINTS.filter((point) => plugin[PARTS[point][0]] !== undefined);
    const asked = possible.filter((point) => this.isOn(plugin.name, point));
    if (asked.length === 0) return undefined;
    // Filters and scores need what their plugins prepare.
    const on = new Set(asked);
    for (const [point, needed] of Object.entries(NEEDS) as [PartPoint, PartPoint][]) {
      if (!on.has(point) || !possible.includes(needed)) continue;
      if (includes(this.#plugins[needed]?.disabled, plugin.name))
        throw new UserError(
          `--config: ${this.#path}.${point} has ${plugin.name}, which also needs its ${needed}.`,
        );
      on.add(needed);
    }
    const kept = new Set<string>([...on].flatMap((point) => PARTS[point]));
    const parts = new Set<string>(Object.values(PARTS).flat());
    const entries = Object.entries(plugin).filter(([key]) => !parts.has(key) || kept.has(key));
    const weight = on.has('score') ? this.#weightOf(plugin) : 0;
    return { ...(Object.fromEntries(entries) as unknown as SchedulerPlugin), weight };
  }

  /** Where a file names the plugin without a weight, it is 1. */
  #weightOf({ name, weight = 1 }: SchedulerPlugin): number {
    const { score, multiPoint } = this.#plugins;
    const named = [score, multiPoint].flatMap(
      (set) => set?.enabled?.find((choice) => choice.name === name) ?? [],
    )[0];
    return named ? named.weight || 1 : weight;
  }

  #check(point: Point): void {
    const path = `${this.#path}.${point}`;
    const { enabled = [], disabled = [] } = this.#plugins[point] ?? {};
    if (ABSENT.includes(point) && enabled.length + disabled.length > 0)
      throw new UserError(
        `--config: ${path} is refused: groups have no topology and no preemption of their own here.`,
      );
    for (const [list, choices] of Object.entries({ enabled, disabled }))
      for (const [index, { name = '' }] of choices.entries())
        this.#requireKnown(name, { path: `${path}.${list}`, index, isDisabled: list === 'disabled' });
    for (const [index, { name }] of enabled.entries())
      if (enabled.findIndex((one) => one.name === name) < index)
        throw new UserError(`--config: ${path}.enabled has ${name} twice.`);
    const kept = new Set(enabled.map(({ name }) => name));
    for (const { name = '' } of disabled) {
      const own = BUILT_IN[name];
      if (own && (point === own || point === 'multiPoint') && !kept.has(name))
        throw new UserError(`--config: ${path}.disabled has ${name}, which is always there.`);
      if (name !== '*' && WHOLE.includes(point) && !own)
        throw new UserError(
          `--config: ${path}.disabled has ${name}: it is only disabled as a whole, by multiPoint.`,
        );
    }
  }

  #requireKnown(
    name: string,
    {
      path,
      index,
      isDisabled: mayBeAll,
    }: { readonly path: string; readonly index: number; readonly isDisabled: boolean },
  ): void {
    if (name === '*' && mayBeAll) return;
    if (REMOVED.includes(name))
      throw new UserError(
        `--config: ${path}[${index}]: Invalid value: "${name}": was invalid in version "kubescheduler.config.k8s.io/v1".`,
      );
    const known = [
      ...new Set([...this.#known.map((plugin) => plugin.name), PREEMPTION, ...Object.keys(BUILT_IN)]),
    ];
    if (!known.includes(name))
      throw new UserError(
        `--config: ${path} has "${name}", which is no plugin here; there are ${known.join(', ')}.`,
      );
  }
}

function includes(choices: readonly PluginChoice[] | undefined, name: string): boolean {
  return choices?.some((choice) => choice.name === name) ?? false;
}

function isDisabled(set: PluginSet | undefined, name: string): boolean {
  // What is built in stays when all defaults go.
  return includes(set?.disabled, name) || (includes(set?.disabled, '*') && !(name in BUILT_IN));
}
