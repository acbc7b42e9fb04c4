/** A namespace's place in its tree, as text. */
import { hierarchyConfigurations, subnamespaceAnchors } from '#addons/hierarchy/api.ts';
import { HIERARCHY, MANAGER } from '#component-helpers/hierarchy/names.ts';
import type { Event } from '#api/types.ts';
import type { Client } from '#client/client.ts';
import { events, namespaces } from '#client/refs.ts';
import { isStatusError } from '#machinery/errors.ts';
import type { Stored } from '#machinery/object.ts';
import { humanDuration, timeMs } from '#machinery/time.ts';
import { alignColumns } from '#stdx/columns.ts';

export async function describeLines(
  api: Client,
  { namespace, nowMs }: { readonly namespace: string; readonly nowMs: number },
): Promise<string[]> {
  await api.get(namespaces, { name: namespace });
  const [hierarchy, anchors, recent] = await Promise.all([
    api.get(hierarchyConfigurations, { name: HIERARCHY, namespace }).catch((error: unknown) => {
      if (isStatusError(error, 'NotFound')) return undefined;
      throw error;
    }),
    api.list(subnamespaceAnchors, { namespace }),
    api.list(events, { namespace }),
  ]);
  const { spec, status } = hierarchy ?? {};
  const states = new Map(anchors.items.map((one) => [one.metadata.name, one.status?.status ?? 'Missing']));
  const conditions = (status?.conditions ?? []).map(
    ({ type, reason, message }) => `${type} (${reason}): ${message}`,
  );
  return [
    `Hierarchy configuration for namespace ${namespace}`,
    spec?.parent ? `  Parent: ${spec.parent}` : '  No parent',
    ...section('Children', childLines(status?.children ?? [], states)),
    `  Allows Cascading Deletion: ${spec?.allowCascadingDeletion === true}`,
    ...section('Conditions', conditions),
    '',
    ...eventLines(recent.items, { namespace, nowMs }),
  ];
}

function section(title: string, lines: readonly string[]): string[] {
  if (lines.length === 0) return [`  No ${title.toLowerCase()}`];
  return [`  ${title}:`, ...lines.map((line) => `  - ${line}`)];
}

function childLines(children: readonly string[], states: ReadonlyMap<string, string>): string[] {
  return [...new Set([...children, ...states.keys()])].toSorted().map((child) => {
    const state = states.get(child);
    if (state === undefined) return child;
    return children.includes(child) ? `${child} (subnamespace)` : `${child} (${state} subnamespace)`;
  });
}

/** Of the controller, the newest of each reason and object. */
function eventLines(
  all: readonly Stored<Event>[],
  { namespace, nowMs }: { readonly namespace: string; readonly nowMs: number },
): string[] {
  const newest = new Map<string, readonly string[]>();
  const sorted = all
    .filter(({ source, reportingComponent }) => [source?.component, reportingComponent].includes(MANAGER))
    .map((event) => ({ event, atMs: timeMs(event.lastTimestamp ?? event.eventTime) ?? 0 }))
    .toSorted((left, right) => right.atMs - left.atMs);
  for (const { event, atMs } of sorted) {
    const { reason = '', message = '', involvedObject } = event;
    const object = `${involvedObject?.kind}:${involvedObject?.namespace}/${involvedObject?.name}`;
    const key = `${reason} ${object}`;
    if (!newest.has(key)) newest.set(key, [humanDuration(nowMs - atMs), reason, object, message]);
  }
  if (newest.size === 0) return ['No recent HNC events for objects in this namespace'];
  return [
    `Events from the objects in namespace ${namespace}`,
    ...alignColumns([['Last Seen', 'Reason', 'Object', 'Message'], ...newest.values()]),
  ];
}
