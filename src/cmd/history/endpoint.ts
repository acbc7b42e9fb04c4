/**
 * GET /capstan/history: what this server knows of changes, as lines of JSON (wire.ts). It may hold every Secret, so it is authorized as a non-resource URL, which only
 * cluster-admin's rules cover. One at a time; another one is answered 429.
 */
import type { ResponseSink } from '#apiserver/http/request.ts';
import { requireGet, type PathHandler } from '#apiserver/nonresource/paths.ts';
import type { Change } from '#history/change.ts';
import type { ChangeLog } from '#history/change-log.ts';
import { lastWriter } from '#history/last-writer.ts';
import {
  readHistory,
  TooMuchHistoryError,
  type History,
  type HistorySources,
} from '#history/read-history.ts';
import { statusErrors } from '#machinery/errors.ts';
import { errorMessage } from '#stdx/log.ts';
import { StoreError, type Store, type StoredValue } from '#storage/store.ts';
import type { AuditUsers } from './audit-users.ts';
import { changeLine, lineOf, parseQuery } from './wire.ts';

export const HISTORY_PATH = '/capstan/history';
/** After which a client may try again. */
const RETRY_SECONDS = 2;
const ATTEMPTS = 3;

interface HistoryParts {
  /** As the server sees it: it reveals values. */
  readonly store: Store;
  /** As it is kept. */
  readonly raw: Store;
  readonly changes: ChangeLog | undefined;
  readonly audit: AuditUsers | undefined;
}

export function historyPath(parts: HistoryParts): PathHandler {
  let busy = false;
  return async ({ request }) => {
    requireGet(request.method);
    const query = parseQuery(request.query);
    if (busy) throw statusErrors.tooManyRequests('another history is being read', RETRY_SECONDS);
    busy = true;
    try {
      await parts.changes?.flush();
      const history = await read(parts, query);
      return {
        status: 200,
        headers: { 'content-type': 'application/x-ndjson', 'cache-control': 'no-store' },
        body: (sink) => void send(sink, { history, parts, values: query.values }),
      };
    } catch (error) {
      if (error instanceof TooMuchHistoryError) throw statusErrors.badRequest(error.message);
      throw error;
    } finally {
      busy = false;
    }
  };
}

/** Compaction may overtake the reading. */
async function read(parts: HistoryParts, query: Parameters<typeof readHistory>[1]): Promise<History> {
  const sources: HistorySources = {
    store: parts.raw,
    dirs: parts.changes ? [parts.changes.settings.dir] : [],
    reveal: (change) => reveal(parts.store, change),
  };
  for (let attempt = 1; ; attempt++)
    try {
      return await readHistory(sources, query);
    } catch (error) {
      if (!(error instanceof StoreError) || error.code !== 'compacted' || attempt === ATTEMPTS) throw error;
    }
}

/** Undefined where it cannot be read: its key is gone, say. */
async function reveal(
  store: Store,
  { key, revision, createRevision, value }: Change,
): Promise<Buffer | undefined> {
  if (!value) return undefined;
  const stored: StoredValue = { key, value, modRevision: revision, createRevision };
  const revealed = (await store.reveal?.(stored)) ?? stored;
  return revealed.unreadable === undefined ? revealed.value : undefined;
}

async function send(
  sink: ResponseSink,
  {
    history,
    parts,
    values,
  }: { readonly history: History; readonly parts: HistoryParts; readonly values: boolean },
): Promise<void> {
  const write = async (line: string): Promise<void> => {
    if (!sink.closed && !sink.write(Buffer.from(line))) await sink.drained();
  };
  try {
    const users = await parts.audit?.usersOf(history.changes.filter(({ user }) => user === undefined));
    for (const [type, changes] of [
      ['before', history.before],
      ['change', history.changes],
    ] as const)
      for (const change of changes) {
        if (sink.closed) return;
        const json = await reveal(parts.store, change);
        const { manager, subresource } =
          change.user === undefined ? await lastWriter(change, async () => json) : {};
        await write(
          changeLine(
            type,
            { manager, subresource, user: users?.get(change), ...defined(change) },
            values ? json : undefined,
          ),
        );
      }
    for (const gap of history.gaps) await write(lineOf({ type: 'gap', gap }));
    await write(lineOf({ type: 'end', from: history.from, logged: parts.changes !== undefined }));
  } catch (error) {
    await write(lineOf({ type: 'error', message: errorMessage(error) }));
  }
  sink.end();
}

/** Without fields that are there but undefined, which would hide others. */
function defined(change: Change): Change {
  return Object.fromEntries(
    Object.entries(change).filter(([, value]) => value !== undefined),
  ) as unknown as Change;
}
