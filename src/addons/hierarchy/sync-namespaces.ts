/** The tree's labels of namespaces, and their HierarchyConfigurations: children, conditions, the parent of subnamespaces, the finalizer. */
import { namespaces } from '#client/refs.ts';
import { deepEqual } from '#machinery/json.ts';
import type { Stored } from '#machinery/object.ts';
import { formatTime } from '#machinery/time.ts';
import type { ReconcileContext } from '#runtime/controller.ts';
import { hierarchyConfigurations } from './api.ts';
import {
  DEPTH_SUFFIX,
  HIERARCHY,
  HIERARCHY_FINALIZER,
  INCLUDED_NAMESPACE,
  isExcluded,
  type HierarchyCondition,
  type HierarchyConfiguration,
} from '#component-helpers/hierarchy/names.ts';
import { anchorKeyOf, subnamespaceOf } from '#component-helpers/hierarchy/tree-namespace.ts';
import type { Woods } from './read-forest.ts';
import type { Task } from './run-tasks.ts';

type Writer = Pick<ReconcileContext, 'api' | 'clock'>;

export function namespaceTasks(context: Writer, woods: Woods): Task[] {
  const names = [...woods.namespaces.keys()];
  return [
    ...names.map((name) => labelTask(context, { name, woods })),
    ...names.map((name) => hierarchyTask(context, { name, woods })),
  ].filter((task) => task !== undefined);
}

interface Place {
  readonly name: string;
  readonly woods: Woods;
}

function labelTask({ api }: Writer, { name, woods }: Place): Task | undefined {
  const labels = labelChanges({ name, woods });
  if (Object.keys(labels).length === 0) return undefined;
  return async () => {
    await api.patch(namespaces, { name }, { type: 'merge', patch: { metadata: { labels } } });
  };
}

/** Null: to be removed. */
function labelChanges({ name, woods: { forest, namespaces: all } }: Place): Record<string, string | null> {
  const current = all.get(name)?.metadata.labels ?? {};
  if (isExcluded(name)) return INCLUDED_NAMESPACE in current ? { [INCLUDED_NAMESPACE]: null } : {};
  const wanted = forest.treeLabelsOf(name);
  const changes: Record<string, string | null> = {};
  for (const key of Object.keys(current))
    if (key.endsWith(DEPTH_SUFFIX) && wanted[key] === undefined) changes[key] = null;
  for (const [key, value] of Object.entries(wanted)) if (current[key] !== value) changes[key] = value;
  return changes;
}

function hierarchyTask(context: Writer, { name, woods }: Place): Task | undefined {
  if (isExcluded(name)) return undefined;
  const existing = woods.hierarchies.get(name);
  const wanted = wantedHierarchy(context, { name, woods, existing });
  if (existing) return updateTask(context, { existing, wanted });
  const { status, finalizers, spec } = wanted;
  const hasNews =
    finalizers.length > 0 ||
    status.children.length > 0 ||
    status.conditions.length > 0 ||
    spec.parent !== undefined;
  if (!hasNews || woods.namespaces.get(name)?.metadata.deletionTimestamp) return undefined;
  return async () => {
    const metadata = { name: HIERARCHY, namespace: name, finalizers };
    const created = await context.api.create(hierarchyConfigurations, { metadata, spec });
    await context.api.updateStatus(hierarchyConfigurations, { ...created, status });
  };
}

interface Wanted {
  readonly spec: NonNullable<HierarchyConfiguration['spec']>;
  readonly finalizers: string[];
  readonly status: { readonly children: readonly string[]; readonly conditions: HierarchyCondition[] };
}

function wantedHierarchy(
  { clock }: Writer,
  { name, woods, existing }: Place & { readonly existing: Stored<HierarchyConfiguration> | undefined },
): Wanted {
  const namespace = woods.namespaces.get(name)!;
  const owner = subnamespaceOf(namespace);
  const anchor = woods.anchors.get(anchorKeyOf(namespace) ?? '');
  const others = existing?.metadata.finalizers?.filter((one) => one !== HIERARCHY_FINALIZER) ?? [];
  const isDeletedAlone = existing?.metadata.deletionTimestamp && !namespace.metadata.deletionTimestamp;
  return {
    spec: {
      ...existing?.spec,
      ...(owner === undefined ? {} : { parent: owner }),
      ...(anchor?.spec?.labels ? { labels: anchor.spec.labels } : {}),
      ...(anchor?.spec?.annotations ? { annotations: anchor.spec.annotations } : {}),
    },
    // It guards allowCascadingDeletion, which the deletion of subnamespaces asks for.
    finalizers: woods.anchored.has(name) && !isDeletedAlone ? [...others, HIERARCHY_FINALIZER] : others,
    status: {
      children: woods.forest.childrenOf(name),
      conditions: keepTimes(woods.forest.conditionsOf(name), {
        before: existing?.status?.conditions,
        now: formatTime(clock.now()),
      }),
    },
  };
}

/** A condition that stays has the time at which it came. */
export function keepTimes(
  wanted: readonly { readonly type: string; readonly reason: string; readonly message: string }[],
  { before = [], now }: { readonly before?: readonly HierarchyCondition[] | undefined; readonly now: string },
): HierarchyCondition[] {
  return wanted.map(({ type, reason, message }) => ({
    type,
    status: 'True',
    reason,
    message,
    lastTransitionTime: before.find((one) => one.type === type)?.lastTransitionTime ?? now,
  }));
}

function updateTask(
  { api }: Writer,
  { existing, wanted }: { readonly existing: Stored<HierarchyConfiguration>; readonly wanted: Wanted },
): Task | undefined {
  const { spec, metadata, status } = existing;
  const { namespace = '', resourceVersion, finalizers = [] } = metadata;
  // A finalizer cannot be added to what is being deleted.
  const keepsFinalizers =
    deepEqual(finalizers, wanted.finalizers) ||
    (metadata.deletionTimestamp !== undefined && wanted.finalizers.length > finalizers.length);
  const isSpecTrue = deepEqual(spec ?? {}, wanted.spec);
  const isStatusTrue = deepEqual(
    { children: status?.children ?? [], conditions: status?.conditions ?? [] },
    wanted.status,
  );
  if (keepsFinalizers && isSpecTrue && isStatusTrue) return undefined;
  const name = { name: HIERARCHY, namespace };
  // One write at a time: the next reconcile, which it causes, makes the other.
  if (!isStatusTrue)
    return async () => {
      const patch = { status: wanted.status };
      await api.patch(hierarchyConfigurations, name, { type: 'merge', subresource: 'status', patch });
    };
  // With resourceVersion, so that no finalizer goes that another has just added.
  const patch = {
    metadata: { resourceVersion, ...(keepsFinalizers ? {} : { finalizers: wanted.finalizers }) },
    ...(isSpecTrue ? {} : { spec: wanted.spec }),
  };
  return async () => {
    await api.patch(hierarchyConfigurations, name, { type: 'merge', patch });
  };
}
