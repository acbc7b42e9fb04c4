/** `capstan history` and `capstan history show`: who changed what, and how an object was. */
import { changedFields } from '#backup/object-diff.ts';
import type { Gap } from '#history/change.ts';
import { objectAt } from '#history/resource-name.ts';
import type { KubeObject } from '#machinery/object.ts';
import { stringifyYaml } from '#machinery/yaml.ts';
import { UserError } from '#deploy/data-dir.ts';
import { alignColumns } from '#stdx/columns.ts';
import { isoTime } from '#stdx/dates.ts';
import { findPlace, type PlaceFlags } from '../backup/place.ts';
import type { Say } from '../backup/words.ts';
import { askHistory, findServers, type MergedHistory, type ServerTransport } from './ask.ts';
import { parseMoment } from './moment.ts';
import type { AskedHistory, SeenChange } from './wire.ts';

export interface HistoryFlags extends PlaceFlags {
  readonly resource: string;
  readonly name?: string | undefined;
  readonly namespace?: string | undefined;
  readonly allNamespaces?: boolean | undefined;
  readonly since?: string | undefined;
  readonly until?: string | undefined;
  readonly by?: string | undefined;
  readonly diff?: boolean | undefined;
  readonly json?: boolean | undefined;
  /** The newest so many. */
  readonly limit?: number | undefined;
}

export interface HistoryContext {
  readonly say: Say;
  /** For what is no result: gaps, how far history reaches. */
  readonly warn: Say;
  /** For tests; default: those of the cluster. */
  readonly servers?: readonly ServerTransport[] | undefined;
  readonly nowMs?: number;
}

const DEFAULT_LIMIT = 1_000;

export async function withServers<T>(
  flags: PlaceFlags,
  { servers }: HistoryContext,
  work: (servers: readonly ServerTransport[]) => Promise<T>,
): Promise<T> {
  if (servers) return work(servers);
  const found = await findServers(findPlace(flags).kubeconfig);
  try {
    return await work(found.servers);
  } finally {
    await found.close();
  }
}

export async function showHistory(flags: HistoryFlags, context: HistoryContext): Promise<void> {
  const nowMs = context.nowMs ?? Date.now();
  const asked = askedOf(flags, nowMs);
  const history = await withServers(flags, context, (servers) => askHistory(servers, asked));
  warnOf(history, { asked, warn: context.warn });
  const wanted = history.changes.filter((change) => isBy(change, flags.by));
  const limit = flags.limit ?? DEFAULT_LIMIT;
  const shown = wanted.slice(-limit);
  if (shown.length < wanted.length)
    context.warn(
      `${wanted.length - shown.length} older changes are not shown: --limit ${wanted.length} shows them.`,
    );
  const diffs = flags.diff ? diffsOf(history) : new Map<SeenChange, readonly string[]>();
  if (flags.json)
    return shown.forEach((change) => context.say(JSON.stringify(asJson(change, diffs.get(change)))));
  if (shown.length === 0) return context.say('No changes found.');
  showTable(shown, { diffs, say: context.say });
}

function askedOf(flags: HistoryFlags, nowMs: number): AskedHistory {
  const { resource, name, namespace, allNamespaces } = flags;
  const sinceMs = flags.since === undefined ? undefined : parseMoment('--since', flags.since, nowMs);
  const untilMs = flags.until === undefined ? undefined : parseMoment('--until', flags.until, nowMs);
  if (sinceMs !== undefined && untilMs !== undefined && sinceMs > untilMs)
    throw new UserError('--since is later than --until.');
  return {
    resource,
    name,
    namespace: allNamespaces ? undefined : (namespace ?? 'default'),
    sinceMs,
    untilMs,
    values: flags.diff ?? false,
  };
}

function warnOf(
  { from, gaps, logged, problems }: MergedHistory,
  { asked, warn }: { readonly asked: AskedHistory; readonly warn: Say },
): void {
  warnOfProblems({ problems }, warn);
  for (const gap of gaps) warn(gapText(gap));
  const reach = from?.timeMs;
  if (reach !== undefined && (asked.sinceMs ?? 0) < reach)
    warn(
      `History begins at ${isoTime(reach)} (revision ${from!.revision})${logged ? '' : '; a change log (--change-log-path of the API server) reaches further'}.`,
    );
}

/** Servers that could not be asked. */
export function warnOfProblems({ problems }: Pick<MergedHistory, 'problems'>, warn: Say): void {
  for (const problem of problems) warn(`${problem}; what it alone knows is missing.`);
}

function gapText({ fromRevision, toRevision, reason }: Gap): string {
  return `Changes of revisions ${fromRevision} to ${toRevision} may be missing: ${reason}.`;
}

function isBy({ user, manager }: SeenChange, by: string | undefined): boolean {
  return by === undefined || user === by || (user === undefined && manager === by);
}

/** Of each change to the state before, where that is known. */
function diffsOf({ changes, before }: MergedHistory): Map<SeenChange, readonly string[]> {
  const diffs = new Map<SeenChange, readonly string[]>();
  const last = new Map(before);
  for (const change of changes) {
    const previous = last.get(change.key);
    last.set(change.key, change);
    if (change.operation !== 'update') continue;
    const isNext = previous && (change.previousRevision ?? previous.revision) === previous.revision;
    diffs.set(
      change,
      isNext && previous.object && change.object
        ? changedFields(comparable(previous.object), comparable(change.object))
        : ['the state before is not in history'],
    );
  }
  return diffs;
}

/** Without what changes with every write. */
export function comparable({ metadata, ...rest }: KubeObject): KubeObject {
  const { managedFields: _, resourceVersion: __, generation: ___, ...kept } = metadata ?? {};
  return { ...rest, metadata: kept };
}

export function objectText({ key }: Pick<SeenChange, 'key'>): string {
  const { resource, namespace, name } = objectAt(key);
  return `${resource} ${namespace === undefined ? '' : `${namespace}/`}${name}`;
}

function byText({ user, impersonator, manager, subresource }: SeenChange): string {
  const who =
    user === undefined
      ? manager === undefined
        ? 'unknown'
        : `unknown (${manager})`
      : `${user}${manager === undefined || manager === 'unknown' ? '' : ` (${manager})`}`;
  return `${who}${impersonator === undefined ? '' : ` by ${impersonator}`}${subresource === undefined ? '' : `, ${subresource}`}`;
}

function showTable(
  changes: readonly SeenChange[],
  { diffs, say }: { readonly diffs: ReadonlyMap<SeenChange, readonly string[]>; readonly say: Say },
): void {
  const rows = changes.map((change) => [
    change.timeMs === undefined ? 'unknown' : isoTime(change.timeMs),
    String(change.revision),
    objectText(change),
    change.operation,
    byText(change),
  ]);
  const [head = '', ...lines] = alignColumns([['TIME', 'REVISION', 'OBJECT', 'OPERATION', 'BY'], ...rows]);
  say(head);
  for (const [i, line] of lines.entries()) {
    say(line);
    for (const field of diffs.get(changes[i]!) ?? []) say(`    ${field}`);
  }
}

function asJson({ object: _, timeMs, ...change }: SeenChange, diff: readonly string[] | undefined): object {
  return {
    time: timeMs === undefined ? undefined : isoTime(timeMs),
    ...objectAt(change.key),
    ...change,
    diff,
  };
}

export interface ShowFlags extends PlaceFlags {
  readonly resource: string;
  /** NAME@REVISION */
  readonly at: string;
  readonly namespace?: string | undefined;
  readonly json?: boolean | undefined;
}

/** As it was at that revision: after the last change up to it. */
export async function showRevision(flags: ShowFlags, context: HistoryContext): Promise<void> {
  const [, name = '', revision = ''] = /^([^@]+)@([0-9]+)$/.exec(flags.at) ?? [];
  if (name === '') throw new UserError(`"${flags.at}" should be NAME@REVISION, for example web@48213.`);
  const { resource, namespace = 'default', json } = flags;
  const asked = { resource, name, namespace, untilRevision: Number(revision), values: true };
  const history = await withServers(flags, context, (servers) => askHistory(servers, asked));
  warnOfProblems(history, context.warn);
  const change = history.changes.at(-1);
  if (!change) throw new UserError(`History has no ${resource} ${name} at revision ${revision}.`);
  if (change.operation === 'delete')
    throw new UserError(
      `${objectText(change)} did not exist at revision ${revision}: it was deleted at ${change.revision} by ${byText(change)}.`,
    );
  const lost = history.gaps.find(
    ({ fromRevision, toRevision }) => toRevision > change.revision && fromRevision <= Number(revision),
  );
  if (lost) context.warn(gapText(lost));
  if (!change.object)
    throw new UserError(
      `${objectText(change)} of revision ${change.revision} cannot be read: its encryption key is missing.`,
    );
  const object = {
    ...change.object,
    metadata: { ...change.object.metadata, resourceVersion: String(change.revision) },
  };
  context.say(json ? JSON.stringify(object) : stringifyYaml(object).trimEnd());
}
