/**
 * SubnamespaceAnchors: each makes the namespace of its name, and takes it along when it is deleted.
 *
 *   anchor ─► finalizer, Missing ─► namespace with subnamespace-of ─► Ok ──deleted──► namespace deleted, if a leaf or cascading ─► gone ─► finalizer removed
 *                                   another's namespace ─► Conflict      a name of the system's ─► Forbidden
 */
import { customResourceDefinitions, namespaces } from '#client/refs.ts';
import type { Client } from '#client/client.ts';
import { isStatusError } from '#machinery/errors.ts';
import type { Stored } from '#machinery/object.ts';
import type { ReconcileContext } from '#runtime/controller.ts';
import { subnamespaceAnchors } from './api.ts';
import {
  ANCHOR_FINALIZER,
  isExcluded,
  SUBNAMESPACE_OF,
  type AnchorState,
  type SubnamespaceAnchor,
} from '#component-helpers/hierarchy/names.ts';
import type { Woods } from './read-forest.ts';
import type { Task } from './run-tasks.ts';

type Writer = Pick<ReconcileContext, 'api' | 'log'>;

const DEFINITION = `${subnamespaceAnchors.plural}.${subnamespaceAnchors.group}`;

export function anchorTasks(context: Writer, woods: Woods): Task[] {
  return [...woods.anchors.values()].map((anchor) => () => syncAnchor(context, { anchor, woods }));
}

interface Anchored {
  readonly anchor: Stored<SubnamespaceAnchor>;
  readonly woods: Woods;
}

async function syncAnchor(context: Writer, anchored: Anchored): Promise<void> {
  const { anchor, woods } = anchored;
  const { name, namespace = '', deletionTimestamp } = anchor.metadata;
  if (isExcluded(namespace)) return setFinalizer(context, { anchor, on: false });
  if (isExcluded(name)) {
    await setState(context, { anchor, state: 'Forbidden' });
    return setFinalizer(context, { anchor, on: false });
  }
  const state = stateOf(anchored);
  await setState(context, { anchor, state });
  if (deletionTimestamp) return finish(context, { anchor, woods, state });
  await setFinalizer(context, { anchor, on: true });
  if (state !== 'Missing') return;
  context.log.info('creating a subnamespace', { namespace: name, parent: namespace });
  await context.api.create(namespaces, { metadata: { name, annotations: { [SUBNAMESPACE_OF]: namespace } } });
}

function stateOf({ anchor, woods }: Anchored): AnchorState {
  const { name, namespace } = anchor.metadata;
  const found = woods.namespaces.get(name);
  if (!found) return 'Missing';
  return found.metadata.annotations?.[SUBNAMESPACE_OF] === namespace ? 'Ok' : 'Conflict';
}

async function finish(
  context: Writer,
  { anchor, woods, state }: Anchored & { readonly state: AnchorState },
): Promise<void> {
  const { name, finalizers = [] } = anchor.metadata;
  if (!finalizers.includes(ANCHOR_FINALIZER)) return;
  const found = woods.namespaces.get(name);
  if (state === 'Ok' && found?.metadata.deletionTimestamp) return;
  const mayDelete = woods.forest.childrenOf(name).length === 0 || woods.forest.allowsCascadingDeletion(name);
  if (state !== 'Ok' || !mayDelete || (await isGoing(context.api, DEFINITION)))
    return setFinalizer(context, { anchor, on: false });
  context.log.info('deleting a subnamespace, whose anchor is deleted', { namespace: name });
  await context.api.delete(namespaces, { name }, { preconditions: { uid: found!.metadata.uid } });
}

/** A definition that is deleted, or being: its objects go, and that says nothing about what they stand for. Asked of the API server, since the cache may not know. */
export async function isGoing(api: Client, definition: string): Promise<boolean> {
  try {
    return (
      (await api.get(customResourceDefinitions, { name: definition })).metadata.deletionTimestamp !==
      undefined
    );
  } catch (error) {
    if (isStatusError(error, 'NotFound')) return true;
    throw error;
  }
}

async function setState(
  { api }: Writer,
  { anchor, state }: { readonly anchor: Stored<SubnamespaceAnchor>; readonly state: AnchorState },
): Promise<void> {
  if (anchor.status?.status === state) return;
  const { name, namespace } = anchor.metadata;
  const patch = { status: { status: state } };
  await api.patch(subnamespaceAnchors, { name, namespace }, { type: 'merge', subresource: 'status', patch });
}

async function setFinalizer(
  { api }: Writer,
  { anchor, on }: { readonly anchor: Stored<SubnamespaceAnchor>; readonly on: boolean },
): Promise<void> {
  const { name, namespace, finalizers = [] } = anchor.metadata;
  if (finalizers.includes(ANCHOR_FINALIZER) === on) return;
  const others = finalizers.filter((one) => one !== ANCHOR_FINALIZER);
  await api.patch(
    subnamespaceAnchors,
    { name, namespace },
    { type: 'merge', patch: { metadata: { finalizers: on ? [...others, ANCHOR_FINALIZER] : others } } },
  );
}
