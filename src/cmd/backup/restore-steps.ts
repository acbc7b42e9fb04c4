/** What restores into data directories and into etcd have in common: the restore as it was asked for, and the steps before anything changes. */
import { BackupError } from '#backup/errors.ts';
import type { BackupHeader, Manifest } from '#backup/format.ts';
import { openBackup } from '#backup/open-backup.ts';
import type { Backup } from '#backup/stored-backups.ts';
import type { BackupTarget } from '#backup/targets/target.ts';
import { UserError, type DataDir } from '#deploy/data-dir.ts';
import { StoreError, type Revision } from '#storage/store.ts';
import { decode } from './codec.ts';
import { createBackup, type CreateFlags } from './create.ts';
import type { ClusterFacts } from './cluster-facts.ts';
import type { LostNodes } from './lost-nodes.ts';
import type { Place } from './place.ts';
import type { PointInTime } from './overlay.ts';
import type { Moment } from './point-in-time.ts';
import { countText, type Say } from './words.ts';

export interface RestoreFlags extends CreateFlags {
  /** Undefined only with `at`. */
  readonly name?: string | undefined;
  /** A revision or a time: the newest backup before it, and the changes since. */
  readonly at?: string | undefined;
  /** With `at` of etcd: the change logs of all API servers, where etcd's own revisions do not reach. */
  readonly changeLogPath?: readonly string[] | undefined;
  readonly yes?: boolean | undefined;
  readonly revisionMargin?: number | undefined;
  /** Names of Nodes whose machines are gone for good, or 'all'. */
  readonly lostNodes?: readonly string[] | undefined;
  /** Of a data directory: whether the cluster runs afterwards. Default: as before. */
  readonly start?: boolean | undefined;
}

export interface RestoreContext {
  readonly say: Say;
  /** Starts the cluster of a data directory as `capstan up --detach` does. Undefined: the command is only named. */
  readonly start?: ((dir: DataDir) => Promise<void>) | undefined;
  /** What to do about a cluster that is there already; default: --yes. */
  readonly whereThere?: string | undefined;
  /** Called before each step, by its name; tests throw there, as if the process were killed. */
  readonly before?: ((step: string) => void) | undefined;
}

export interface Restore {
  readonly say: Say;
  readonly start: RestoreContext['start'];
  readonly before: (step: string) => void;
  readonly whereThere: string;
  readonly flags: RestoreFlags;
  readonly place: Place;
  readonly target: BackupTarget;
  readonly backup: Backup;
  readonly moment: Moment | undefined;
  readonly identities: readonly string[];
  readonly lost: LostNodes;
  readonly facts: ClusterFacts;
  /** The newest revision that a backup of the location has seen. */
  readonly newest: Revision;
}

/** The whole backup is read once before anything changes. cluster: of the objects that are there. */
export async function verify(
  { target, backup, identities, lost, facts, say }: Restore,
  { cluster, point }: { readonly cluster: string | undefined; readonly point?: PointInTime | undefined },
): Promise<Manifest> {
  const manifest = await openBackup({
    target,
    name: backup.name,
    identities,
    decode,
    onHeader: (header) => requireCluster(header, cluster),
    onFile: (file) => facts.seeFile(file),
    onObject(record) {
      point?.see(record);
      lost.see(record.key);
      facts.see(record);
    },
  });
  point?.requireWhole();
  lost.requireKnown();
  if (point) say(`${backup.name} and ${countText(point.changes)} changes since`);
  say(`verified: ${countText(manifest.objects)} objects, sha256 ${manifest.sha256}`);
  if (lost.lost.length > 0) say(`left out, with their machines: nodes ${lost.lost.join(', ')}`);
  return manifest;
}

function requireCluster({ cluster }: BackupHeader, expected: string | undefined): void {
  if (expected !== undefined && cluster !== expected)
    throw new BackupError('refused', `it is of another cluster (${cluster}, and ${expected} is there)`);
}

/** The name of the backup; undefined where the store cannot be read. */
export async function backUpFirst({ flags, say, before }: Restore): Promise<string | undefined> {
  before('backup');
  try {
    const { name } = await createBackup({ ...flags, json: false, drill: false }, () => {});
    say(`what is there is in ${name}`);
    return name;
  } catch (error) {
    if (!isDamage((error as Error).cause)) throw error;
    say(`what is there cannot be backed up, and is kept as it is: ${(error as Error).message}`);
    return undefined;
  }
}

export function isDamage(error: unknown): boolean {
  if (error instanceof UserError) return isDamage(error.cause);
  if (error instanceof StoreError) return ['corrupt', 'missing', 'version'].includes(error.code);
  return error instanceof BackupError && ['damaged', 'missing'].includes(error.code);
}
