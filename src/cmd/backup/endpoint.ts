/**
 * GET /capstan/backup: a snapshot of the store, as frames (backup/snapshot.ts), for `capstan backup create` while the cluster runs. It holds every Secret, so
 * it is authorized as a non-resource URL, which only cluster-admin's rules cover. One at a time; another one is answered 429.
 */
import { requireGet, type PathHandler } from '#apiserver/nonresource/paths.ts';
import type { ResponseSink } from '#apiserver/http/request.ts';
import { statusErrors } from '#machinery/errors.ts';
import { BackupError } from '#backup/errors.ts';
import { encodeSnapshot, errorFrame, frame, takeSnapshot } from '#backup/snapshot.ts';
import { isoTime } from '#stdx/dates.ts';
import type { Store } from '#storage/store.ts';

export const BACKUP_PATH = '/capstan/backup';
/** After which a client may try again. */
const RETRY_SECONDS = 5;

/** store: as the API server sees it. */
export function backupPath(store: Store): PathHandler {
  let reading: string | undefined;
  const busy = (): string => `another backup is being read ${reading}`;
  return ({ request, user }) => {
    requireGet(request.method);
    if (reading !== undefined) throw statusErrors.tooManyRequests(busy(), RETRY_SECONDS);
    return {
      status: 200,
      headers: { 'content-type': 'application/vnd.capstan.snapshot', 'cache-control': 'no-store' },
      body: (sink) => {
        // Another one may have begun since the request was admitted.
        if (reading !== undefined) {
          sink.write(frame(errorFrame(new BackupError('busy', busy()))));
          return sink.end();
        }
        reading = `by ${user.name} since ${isoTime(Date.now())}`;
        void send(store, sink).finally(() => (reading = undefined));
      },
    };
  };
}

async function send(store: Store, sink: ResponseSink): Promise<void> {
  try {
    for await (const chunk of encodeSnapshot(await takeSnapshot(store))) {
      if (sink.closed) return;
      if (!sink.write(chunk)) await sink.drained();
    }
  } catch (error) {
    sink.write(frame(errorFrame(error)));
  }
  sink.end();
}
