/** The backups of a location, with what is noted beside each: NAME.json has its manifest's summary and the drill's result. A backup without a note counts too. */
import { errorMessage } from '#stdx/log.ts';
import { BackupError } from './errors.ts';
import { parseBackupName, type Manifest, type ParsedName } from './format.ts';
import { expired, type RetentionPolicy } from './retention.ts';
import type { BackupTarget } from './targets/target.ts';

export interface DrillResult {
  readonly passed: boolean;
  readonly time: string;
  readonly seconds: number;
  /** Decoded and checked. */
  readonly objects: number;
  /** Of these, put into the API server. */
  readonly served: number;
  /** Of the decoded, those that this version's validation refuses as updates of themselves. They fail no drill. Absent in drills of earlier versions. */
  readonly invalid?: number | undefined;
  /** The first ten of these, with what is wrong. */
  readonly invalidObjects?: readonly string[] | undefined;
  /** Why it failed. */
  readonly problem?: string | undefined;
}

export interface BackupNote {
  readonly time: string;
  readonly revision: number;
  readonly cluster: string;
  readonly objects: number;
  readonly sha256: string;
  readonly bytes: number;
  readonly seconds: number;
  readonly capstanVersion: string;
  readonly kubernetesVersion: string;
  readonly drill?: DrillResult;
}

export interface Backup extends ParsedName {
  readonly bytes: number;
  readonly note?: BackupNote;
}

const MAX_NOTE_CHARS = 64 * 1024;
/** Notes that are read at once. */
const READING = 16;

export function noteName(name: string): string {
  return `${name}.json`;
}

/**
 * Newest first; of one cluster where `cluster` (8 digits) is given. Of a cluster the newest has the highest revision, which no clock that jumped sets back; backups of several clusters are
 * merged by time.
 */
export async function listBackups(target: BackupTarget, cluster?: string): Promise<readonly Backup[]> {
  const files = await target.list();
  const noted = new Set(files.map(({ name }) => name));
  const backups = files
    .flatMap(({ name, bytes }) => {
      const parsed = parseBackupName(name);
      return parsed && (cluster === undefined || parsed.cluster === cluster) ? [{ ...parsed, bytes }] : [];
    })
    .toSorted((a, b) => b.revision - a.revision || b.timeMs - a.timeMs);
  const merged = mergeClusters(backups);
  const result: Backup[] = [];
  for (let at = 0; at < merged.length; at += READING)
    result.push(
      ...(await Promise.all(
        merged.slice(at, at + READING).map(async (one) => {
          const note = noted.has(noteName(one.name)) ? await readNote(target, one.name) : undefined;
          return note ? { ...one, note } : one;
        }),
      )),
    );
  return result;
}

/** Keeps the order within each cluster. */
function mergeClusters<T extends ParsedName>(newestFirst: readonly T[]): T[] {
  const clusters = [...Map.groupBy(newestFirst, ({ cluster }) => cluster).values()];
  if (clusters.length < 2) return [...newestFirst];
  const merged: T[] = [];
  while (merged.length < newestFirst.length) {
    const left = clusters.filter((one) => one.length > 0);
    merged.push(left.reduce((a, b) => (b[0]!.timeMs > a[0]!.timeMs ? b : a)).shift()!);
  }
  return merged;
}

/** Undefined where it is absent or damaged: it is a convenience, the backup holds the truth. */
async function readNote(target: BackupTarget, name: string): Promise<BackupNote | undefined> {
  const text = await target.readText(noteName(name));
  if (text === undefined || text.length > MAX_NOTE_CHARS) return undefined;
  try {
    const note = JSON.parse(text) as BackupNote;
    return typeof note.objects === 'number' && typeof note.sha256 === 'string' ? note : undefined;
  } catch {
    return undefined;
  }
}

export async function writeNote(target: BackupTarget, name: string, note: BackupNote): Promise<void> {
  await target.writeText(noteName(name), `${JSON.stringify(note, null, 2)}\n`);
}

export function noteOf(
  manifest: Manifest,
  { bytes, seconds, drill }: Pick<BackupNote, 'bytes' | 'seconds' | 'drill'>,
): BackupNote {
  const { time, revision, cluster, objects, sha256, capstanVersion, kubernetesVersion } = manifest;
  return {
    time,
    revision,
    cluster,
    objects,
    sha256,
    bytes,
    seconds,
    capstanVersion,
    kubernetesVersion,
    ...(drill && { drill }),
  };
}

/** 'latest' is the newest whose drill passed, else the newest. Rejects with BackupError 'missing'. */
export async function findBackup(target: BackupTarget, name: string): Promise<Backup> {
  const backups = await listBackups(target);
  const found =
    name === 'latest'
      ? (backups.find(({ note }) => note?.drill?.passed) ?? backups[0])
      : backups.find((one) => one.name === name);
  if (found) return found;
  throw new BackupError(
    'missing',
    name === 'latest'
      ? `there is no backup in ${target.location}`
      : `there is no backup ${name} in ${target.location}`,
  );
}

interface Pruned {
  readonly removed: readonly string[];
  readonly problems: readonly string[];
}

/** The note goes last, so that a backup without one is not left behind as proven by nothing; one that a killed run left goes with the next. */
export async function pruneBackups(
  target: BackupTarget,
  options: {
    readonly cluster: string | undefined;
    readonly policy: RetentionPolicy;
    readonly dryRun?: boolean | undefined;
  },
): Promise<Pruned> {
  const backups = (await listBackups(target, options.cluster)).map(({ name, timeMs, note }) => ({
    name,
    timeMs,
    proven: note?.drill?.passed === true,
  }));
  const names = expired(backups, options.policy);
  const [removed, problems]: [string[], string[]] = [[], []];
  for (const name of names)
    try {
      if (!options.dryRun) {
        await target.remove(name);
        await target.remove(noteName(name));
      }
      removed.push(name);
    } catch (error) {
      problems.push(`${name}: ${errorMessage(error)}`);
    }
  for (const name of await orphanNotes(target, options.cluster))
    try {
      if (!options.dryRun) await target.remove(name);
      removed.push(name);
    } catch (error) {
      problems.push(`${name}: ${errorMessage(error)}`);
    }
  return { removed, problems };
}

/** Notes of backups that are no more. A backup has its name before its note: one that is made meanwhile is in the second list. */
async function orphanNotes(target: BackupTarget, cluster: string | undefined): Promise<readonly string[]> {
  const suffix = noteName('');
  const names = new Set((await target.list()).map(({ name }) => name));
  const orphans = [...names].filter((name) => {
    const backup = name.endsWith(suffix) ? name.slice(0, -suffix.length) : '';
    const parsed = parseBackupName(backup);
    return parsed && (cluster === undefined || parsed.cluster === cluster) && !names.has(backup);
  });
  if (orphans.length === 0) return [];
  const later = new Set((await target.list()).map(({ name }) => name));
  return orphans.filter((name) => !later.has(name.slice(0, -suffix.length)));
}
