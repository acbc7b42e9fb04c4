/** Makes one backup: from a snapshot to a file in a target, with its note. Bounded memory; nothing is left where it fails. */
import { setTimeout as sleep } from 'node:timers/promises';
import { isoTime } from '#stdx/dates.ts';
import { StoreError } from '#storage/store.ts';
import { writeArchive } from './archive.ts';
import { noteOf, writeNote, type BackupNote } from './stored-backups.ts';
import { seal } from './envelope.ts';
import { BackupError } from './errors.ts';
import {
  BACKUP_FORMAT,
  backupName,
  type BackupFile,
  type BackupHeader,
  type BackupRecord,
  type Manifest,
} from './format.ts';
import type { Snapshot } from './snapshot.ts';
import type { BackupTarget } from './targets/target.ts';

/** Times that a snapshot is begun again because its revision was compacted while it was read. */
const TRIES = 3;
const PAUSE_MS = 1_000;

export interface MakeOptions {
  /** A new one at each call. */
  readonly snapshot: () => Promise<Snapshot>;
  /** From the server's JSON to upstream's encoding. */
  readonly encode: (key: string, json: Buffer) => Buffer;
  readonly files: readonly BackupFile[];
  readonly recipients: readonly string[];
  readonly target: BackupTarget;
  readonly versions: Pick<BackupHeader, 'capstanVersion' | 'kubernetesVersion'>;
}

export interface MadeBackup {
  readonly name: string;
  readonly manifest: Manifest;
  readonly note: BackupNote;
}

/** Rejects with a BackupError or StoreError. */
export async function makeBackup(options: MakeOptions): Promise<MadeBackup> {
  for (let attempt = 1; ; attempt++)
    try {
      return await attemptBackup(options);
    } catch (error) {
      const isLate = error instanceof StoreError && error.code === 'compacted';
      // Another one of the same revision within the same second has the same name.
      const isTaken = error instanceof BackupError && error.code === 'exists';
      if (!(isLate || isTaken) || attempt === TRIES) throw error;
      await sleep(PAUSE_MS);
    }
}

async function attemptBackup(options: MakeOptions): Promise<MadeBackup> {
  const startedMs = performance.now();
  const snapshot = await options.snapshot();
  const header: BackupHeader = {
    format: BACKUP_FORMAT,
    cluster: snapshot.cluster,
    time: isoTime(Date.now()),
    revision: snapshot.revision,
    ...options.versions,
    store: snapshot.store,
  };
  const name = backupName(header);
  let manifest: Manifest | undefined;
  const archive = writeArchive({
    header,
    files: options.files,
    records: encoded(snapshot.records, options.encode),
    onManifest: (finished) => (manifest = finished),
  });
  const bytes = await options.target.write(name, seal(archive, options.recipients));
  const note = noteOf(manifest!, { bytes, seconds: (performance.now() - startedMs) / 1000 });
  await writeNote(options.target, name, note);
  return { name, manifest: manifest!, note };
}

async function* encoded(
  records: AsyncIterable<readonly BackupRecord[]>,
  encode: MakeOptions['encode'],
): AsyncGenerator<readonly BackupRecord[], void, void> {
  for await (const batch of records)
    yield batch.map((record) => ({ ...record, value: encode(record.key, record.value) }));
}
