/** `capstan tree`: what `kubectl hns` does, against any cluster whose API has HNC's kinds. */
import { hierarchyConfigurations, hncConfigurations, subnamespaceAnchors } from '#addons/hierarchy/api.ts';
import { CONFIG, HIERARCHY, type HierarchyConfiguration } from '#component-helpers/hierarchy/names.ts';
import { enableHierarchy } from '#addons/hierarchy/enable.ts';
import type { Client } from '#client/client.ts';
import { namespaces } from '#client/refs.ts';
import { UserError } from '#deploy/data-dir.ts';
import { isStatusError } from '#machinery/errors.ts';
import { realClock } from '#stdx/clock.ts';
import { connectCluster, type ConnectFlags } from '../doctor/connect.ts';
import { describeLines } from './describe.ts';
import { drawTrees } from './draw.ts';

export type TreeFlags = ConnectFlags & {
  /** For tests. Default: by the flags. */
  readonly api?: Client;
};

export interface ShowFlags extends ConnectFlags {
  readonly api?: Client;
  readonly names?: readonly string[];
  readonly allNamespaces?: boolean;
}

export interface SetFlags extends ConnectFlags {
  readonly api?: Client;
  readonly parent?: string;
  readonly root?: boolean;
  readonly allowCascadingDeletion?: boolean;
  readonly forbidCascadingDeletion?: boolean;
}

export type Print = (line: string) => void;

/** The first pass over large trees writes a lot. */
const ENABLE_TIMEOUT_MS = 120_000;
const ENABLE_POLL_MS = 200;

export async function withCluster(flags: TreeFlags, work: (api: Client) => Promise<void>): Promise<void> {
  const { api, ...given } = flags;
  const cluster = api ? undefined : connectCluster(given);
  try {
    await work(api ?? cluster!.api);
  } catch (error) {
    if (isStatusError(error, 'NotFound') && error.message === NO_SUCH_RESOURCE)
      throw new UserError(
        'This cluster has no hierarchical namespaces: `capstan tree enable` installs them.',
      );
    throw error;
  } finally {
    await cluster?.close();
  }
}

const NO_SUCH_RESOURCE = 'the server could not find the requested resource';

export function enableTrees(flags: TreeFlags, print: Print): Promise<void> {
  return withCluster(flags, (api) => enableIn(api, print));
}

/** Resolves when the controller has answered. */
export async function enableIn(api: Client, print: Print): Promise<void> {
  const signal = AbortSignal.timeout(ENABLE_TIMEOUT_MS);
  const { isGuarded } = await enableHierarchy({ api, clock: realClock, signal });
  // The controller writes its status first of all.
  while (!(await find(api.get(hncConfigurations, { name: CONFIG })))?.status?.resources) {
    if (signal.aborted)
      throw new UserError(
        `The definitions are installed, and no controller has answered for ${ENABLE_TIMEOUT_MS / 1000} s: a controller manager of this cluster should run hierarchy-controller.`,
      );
    await realClock.sleep(ENABLE_POLL_MS);
  }
  print('Hierarchical namespaces are enabled.');
  if (!isGuarded)
    print(
      'The API server does not guard them (admission plugin HierarchicalNamespaces): whoever may write a HierarchyConfiguration gets the propagated objects of any namespace. Grant it to administrators of the cluster only.',
    );
}

export function showTrees({ names = [], allNamespaces, ...flags }: ShowFlags, print: Print): Promise<void> {
  if (names.length === 0 && !allNamespaces)
    throw new UserError('Name the root of a tree, or give --all-namespaces.');
  return withCluster(flags, async (api) => {
    const [all, hierarchies] = await Promise.all([api.list(namespaces), api.list(hierarchyConfigurations)]);
    const known = new Set(all.items.map(({ metadata }) => metadata.name));
    const unknown = allNamespaces ? undefined : names.find((name) => !known.has(name));
    if (unknown !== undefined) throw new UserError(`There is no namespace ${unknown}.`);
    for (const line of drawTrees({
      roots: allNamespaces ? undefined : names,
      namespaces: all.items,
      hierarchies: hierarchies.items.filter(({ metadata }) => metadata.name === HIERARCHY),
    }))
      print(line);
  });
}

export function createSubnamespace(
  { namespace, child, ...flags }: TreeFlags & { readonly namespace: string; readonly child: string },
  print: Print,
): Promise<void> {
  return withCluster(flags, async (api) => {
    await api.create(subnamespaceAnchors, { metadata: { name: child, namespace } });
    print(`Successfully created "${child}" subnamespace anchor in "${namespace}" namespace`);
  });
}

export function setHierarchy(
  { namespace, ...flags }: SetFlags & { readonly namespace: string },
  print: Print,
): Promise<void> {
  const { parent, root, allowCascadingDeletion: allow, forbidCascadingDeletion: forbid } = flags;
  if (root && parent !== undefined)
    throw new UserError('--root and --parent exclude each other: a root has no parent.');
  if (allow && forbid)
    throw new UserError('--allowCascadingDeletion and --forbidCascadingDeletion exclude each other.');
  return withCluster(flags, async (api) => {
    const before = await find(api.get(hierarchyConfigurations, { name: HIERARCHY, namespace }));
    const changes = changesOf(before, { namespace, ...flags });
    for (const { says } of changes) print(says);
    const spec = Object.assign({}, ...changes.map((change) => change.spec ?? {})) as object;
    const count = Object.keys(spec).length;
    if (count === 0) return print('No changes made');
    await writeSpec(api, { namespace, spec, isThere: before !== undefined });
    const properties = count === 1 ? 'property' : 'properties';
    print(`Successfully updated ${count} ${properties} of the hierarchical configuration of ${namespace}`);
  });
}

async function writeSpec(
  api: Client,
  {
    namespace,
    spec,
    isThere,
  }: { readonly namespace: string; readonly spec: object; readonly isThere: boolean },
): Promise<void> {
  const name = { name: HIERARCHY, namespace };
  if (!isThere)
    try {
      await api.create(hierarchyConfigurations, { metadata: name, spec });
      return;
    } catch (error) {
      // The controller has made it meanwhile, for its status.
      if (!isStatusError(error, 'AlreadyExists')) throw error;
    }
  await api.patch(hierarchyConfigurations, name, { type: 'merge', patch: { spec } });
}

interface Change {
  readonly says: string;
  /** Undefined: it is so already. */
  readonly spec?: object;
}

function changesOf(
  before: HierarchyConfiguration | undefined,
  {
    namespace,
    parent,
    root,
    allowCascadingDeletion,
    forbidCascadingDeletion,
  }: SetFlags & { readonly namespace: string },
): Change[] {
  const changes: Change[] = [];
  const old = before?.spec?.parent ?? '';
  if (root) changes.push(rootChange(namespace, old));
  if (parent !== undefined) changes.push(parentChange(namespace, { old, parent }));
  if (allowCascadingDeletion || forbidCascadingDeletion) {
    const allow = allowCascadingDeletion === true;
    const isSo = (before?.spec?.allowCascadingDeletion ?? false) === allow;
    const words = allow ? 'Allowing' : 'Forbidding';
    changes.push(
      isSo
        ? { says: `Cascading deletion for '${namespace}' is already set to ${allow}; unchanged` }
        : { says: `${words} cascading deletion on '${namespace}'`, spec: { allowCascadingDeletion: allow } },
    );
  }
  return changes;
}

function rootChange(namespace: string, old: string): Change {
  if (old === '') return { says: `${namespace} is already a root namespace; unchanged` };
  return {
    says: `Unsetting the parent of ${namespace} (was previously ${old})`,
    spec: { parent: '' },
  };
}

function parentChange(
  namespace: string,
  { old, parent }: { readonly old: string; readonly parent: string },
): Change {
  if (old === parent) return { says: `Parent of ${namespace} is already ${parent}; unchanged` };
  const says =
    old === ''
      ? `Setting the parent of ${namespace} to ${parent}`
      : `Changing the parent of ${namespace} from ${old} to ${parent}`;
  return { says, spec: { parent } };
}

export function describeHierarchy(
  { namespace, ...flags }: TreeFlags & { readonly namespace: string },
  print: Print,
): Promise<void> {
  return withCluster(flags, async (api) => {
    for (const line of await describeLines(api, { namespace, nowMs: Date.now() })) print(line);
  });
}

async function find<T>(asked: Promise<T>): Promise<T | undefined> {
  return asked.catch((error: unknown) => {
    if (isStatusError(error, 'NotFound') && error.message !== NO_SUCH_RESOURCE) return undefined;
    throw error;
  });
}
