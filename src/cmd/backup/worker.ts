/**
 * The process that makes one scheduled backup and holds its drill, at low priority: so neither slows the API server down, nor can it exhaust its memory. The parent writes
 * a snapshot to its standard input, and gets the result over IPC.
 *
 *   parent ──WorkerTask──► worker        parent ──frames of a snapshot──► stdin        worker ──made──► ──drilled─► parent   (or failed)
 */
import { readdirSync } from 'node:fs';
import { constants, setPriority } from 'node:os';
import { generateKeyPair } from '#backup/envelope.ts';
import { BackupError } from '#backup/errors.ts';
import { shortCluster } from '#backup/format.ts';
import { makeBackup } from '#backup/make.ts';
import { decodeSnapshot } from '#backup/snapshot.ts';
import { writeNote, type BackupNote } from '#backup/stored-backups.ts';
import type { BeforeStep } from '#backup/targets/target.ts';
import { errorMessage } from '#stdx/log.ts';
import { StoreError } from '#storage/store.ts';
import { encode, VERSIONS } from './codec.ts';
import { runDrill } from './drill.ts';
import { collectFiles, type FileRoot } from './files.ts';
import { openTarget, type TargetFlags } from './target.ts';

export interface WorkerTask {
  readonly target: TargetFlags & { readonly location: string };
  readonly roots: readonly FileRoot[];
  readonly recipients: readonly string[];
  /** UID of Namespace kube-system. */
  readonly cluster: string;
}

export type WorkerMessage =
  | { readonly type: 'made'; readonly name: string; readonly note: BackupNote }
  | { readonly type: 'drilled'; readonly name: string; readonly note: BackupNote }
  | { readonly type: 'failed'; readonly code: string | undefined; readonly message: string };

function send(message: WorkerMessage): void {
  process.send!(message);
}

/** Serves one task of the parent, and ends. before: as in `TargetFlags`, which functions do not reach over IPC. */
export function serveParent(before?: BeforeStep): void {
  process.once('message', (task: WorkerTask) => {
    lowerPriority();
    work({ ...task, target: { ...task.target, before } })
      .catch((error: unknown) => {
        const code = error instanceof BackupError || error instanceof StoreError ? error.code : undefined;
        send({ type: 'failed', code, message: errorMessage(error) });
      })
      .finally(() => process.disconnect());
  });
  process.once('disconnect', () => process.exit());
}

async function work({ target: flags, roots, recipients, cluster }: WorkerTask): Promise<void> {
  const target = await openTarget(flags, flags.location);
  flags.before?.('tidy');
  await target.tidy(shortCluster(cluster));
  // For the drill alone: it is forgotten with this process.
  const key = await generateKeyPair();
  let isRead = false;
  const { name, note } = await makeBackup({
    async snapshot() {
      flags.before?.('snapshot');
      if (isRead) throw new BackupError('unavailable', 'the snapshot can be read once');
      isRead = true;
      return decodeSnapshot(process.stdin);
    },
    encode,
    files: collectFiles(roots),
    recipients: [...recipients, key.recipient],
    target,
    versions: VERSIONS,
  });
  send({ type: 'made', name, note });
  const drill = await runDrill({ target, name, identities: [key.identity], before: flags.before });
  const drilled = { ...note, drill };
  await writeNote(target, name, drilled);
  send({ type: 'drilled', name, note: drilled });
}

/** Linux has a priority of each thread, and those of V8 run already; what is started later inherits that of its maker. */
function lowerPriority(): void {
  for (const thread of readdirSync('/proc/self/task'))
    setPriority(Number(thread), constants.priority.PRIORITY_LOW);
}
