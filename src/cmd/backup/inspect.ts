/** `capstan backup list`, `show`, `verify` and `prune`: what there is, what is in one, whether it is whole, and removal of old ones. */
import { findBackup, listBackups, pruneBackups, type Backup } from '#backup/stored-backups.ts';
import { alignColumns } from '#stdx/columns.ts';
import { parseBackupName, type Manifest } from '#backup/format.ts';
import type { BackupTarget } from '#backup/targets/target.ts';
import { openBackup } from '#backup/open-backup.ts';
import { DEFAULT_RETENTION } from '#backup/retention.ts';
import { UserError } from '#deploy/data-dir.ts';
import { decode } from './codec.ts';
import { identitiesFor, type KeyFlags } from './keys.ts';
import { findPlace, type PlaceFlags } from './place.ts';
import { openTarget, type TargetFlags } from './target.ts';
import { ageText, countText, explained, sizeText, type Say } from './words.ts';

export interface InspectFlags extends PlaceFlags, TargetFlags, KeyFlags {
  readonly json?: boolean | undefined;
}

export async function showBackups(flags: InspectFlags, say: Say): Promise<void> {
  await explained(async () => {
    const target = await openTarget(flags, findPlace(flags).location);
    const backups = await listBackups(target);
    if (flags.json) return say(JSON.stringify(backups));
    if (backups.length === 0) return say(`There is no backup in ${target.location}.`);
    const rows = backups.map(({ name, timeMs, revision, bytes, note }) => [
      name,
      ageText(Date.now() - timeMs),
      String(revision),
      note ? String(note.objects) : '',
      sizeText(bytes),
      drillText(note),
    ]);
    for (const line of alignColumns([['NAME', 'AGE', 'REVISION', 'OBJECTS', 'SIZE', 'DRILL'], ...rows]))
      say(line);
  });
}

function drillText(note: Backup['note']): string {
  if (!note?.drill) return 'none';
  const { passed, seconds, problem, invalid = 0, invalidObjects = [] } = note.drill;
  const refused = invalid === 0 ? '' : `, ${countText(invalid)} invalid (${invalidObjects[0]})`;
  return passed ? `passed, ${seconds.toFixed(1)} s${refused}` : `failed: ${problem ?? 'no reason given'}`;
}

/** Reads all of it: what it shows is what it has, not what a note says. */
export async function showBackup(
  flags: InspectFlags & { readonly name: string; readonly objects?: boolean },
  say: Say,
): Promise<void> {
  await explained(async () => {
    const keys: string[] = [];
    const { backup, manifest } = await opened(flags, ({ key }) => void (flags.objects && keys.push(key)));
    if (flags.json)
      return say(JSON.stringify({ name: backup.name, ...manifest, ...(flags.objects ? { keys } : {}) }));
    const { cluster, time, revision, store, capstanVersion, kubernetesVersion, resources, files } = manifest;
    say(`${backup.name}  ${sizeText(backup.bytes)}`);
    say(`cluster ${cluster}, ${time}, revision ${revision} of the ${store} store`);
    say(
      `made by Capstan ${capstanVersion} for Kubernetes ${kubernetesVersion}; drill ${drillText(backup.note)}`,
    );
    if (flags.objects) return keys.forEach((key) => say(key));
    const rows = Object.entries(resources).map(([name, { count, sha256 }]) => [
      name,
      String(count),
      sha256.slice(0, 16),
    ]);
    for (const line of alignColumns([['RESOURCE', 'OBJECTS', 'SHA256'], ...rows])) say(line);
    for (const path of Object.keys(files)) say(`file ${path}`);
  });
}

export async function verifyBackup(flags: InspectFlags & { readonly name: string }, say: Say): Promise<void> {
  await explained(async () => {
    const startedMs = performance.now();
    const { backup, manifest } = await opened(flags);
    const { objects, sha256, revision } = manifest;
    const seconds = (performance.now() - startedMs) / 1000;
    if (flags.json)
      return say(JSON.stringify({ name: backup.name, verified: true, objects, sha256, revision, seconds }));
    say(
      `${backup.name} is whole: ${countText(objects)} objects at revision ${revision}, sha256 ${sha256}  ${seconds.toFixed(1)} s`,
    );
  });
}

async function opened(
  flags: InspectFlags & { readonly name: string },
  onObject?: Parameters<typeof openBackup>[0]['onObject'],
): Promise<{ readonly backup: Backup; readonly manifest: Manifest }> {
  const place = findPlace(flags);
  const target = await openTarget(flags, place.location);
  const backup = await findBackup(target, flags.name);
  const identities = identitiesFor(flags, place.pkiDir);
  return { backup, manifest: await openBackup({ target, name: backup.name, identities, decode, onObject }) };
}

/** Also of one that only has left something. */
async function clustersOf(target: BackupTarget): Promise<ReadonlySet<string>> {
  const files = await target.list();
  return new Set(files.flatMap(({ name }) => parseBackupName(name.replace(/\.json$/, ''))?.cluster ?? []));
}

export interface PruneFlags extends InspectFlags {
  readonly dryRun?: boolean | undefined;
  /** Milliseconds, as in RetentionPolicy. */
  readonly keepAll?: number | undefined;
  readonly keepHourly?: number | undefined;
  readonly keepDaily?: number | undefined;
}

export async function pruneOld(flags: PruneFlags, say: Say): Promise<void> {
  await explained(async () => {
    const target = await openTarget(flags, findPlace(flags).location);
    const policy = {
      allMs: flags.keepAll ?? DEFAULT_RETENTION.allMs,
      hourlyMs: flags.keepHourly ?? DEFAULT_RETENTION.hourlyMs,
      dailyMs: flags.keepDaily ?? DEFAULT_RETENTION.dailyMs,
    };
    // Clusters that share a location are pruned each by itself.
    const clusters = await clustersOf(target);
    const [removed, problems]: [string[], string[]] = [[], []];
    for (const cluster of clusters) {
      const pruned = await pruneBackups(target, { cluster, policy, dryRun: flags.dryRun });
      removed.push(...pruned.removed);
      problems.push(...pruned.problems);
    }
    if (flags.json) say(JSON.stringify({ removed, problems, dryRun: flags.dryRun ?? false }));
    else {
      for (const name of removed) say(`${name}  ${flags.dryRun ? 'would be removed' : 'removed'}`);
      if (removed.length === 0) say('Nothing is old enough to be removed.');
    }
    if (problems.length > 0)
      throw new UserError(`${problems.length} backups could not be removed: ${problems[0]}.`);
  });
}
