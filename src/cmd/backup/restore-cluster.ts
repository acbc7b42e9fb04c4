/**
 * `capstan backup restore NAME`: a whole cluster, into a data directory or an etcd whose API servers are off. Every revision of the restored store is above all that a client
 * may have seen, and older ones are compacted, so that clients list again. Running it again after a kill at any step ends the same.
 */
import { findBackup, listBackups } from '#backup/stored-backups.ts';
import { UserError } from '#deploy/data-dir.ts';
import { identitiesFor } from './keys.ts';
import { ClusterFacts } from './cluster-facts.ts';
import { LostNodes } from './lost-nodes.ts';
import { findPlace } from './place.ts';
import { backupBefore, momentOf } from './point-in-time.ts';
import { restoreDataDir } from './restore-data-dir.ts';
import { restoreEtcd } from './restore-etcd.ts';
import type { Restore, RestoreContext, RestoreFlags } from './restore-steps.ts';
import { openTarget } from './target.ts';
import { explained } from './words.ts';

export async function restoreCluster(
  flags: RestoreFlags,
  { say, start, whereThere = 'with --yes it is backed up and replaced', before = () => {} }: RestoreContext,
): Promise<void> {
  await explained(async () => {
    const place = findPlace(flags);
    const target = await openTarget(flags, place.location);
    const moment = flags.at === undefined ? undefined : momentOf(flags.at, Date.now());
    if (moment && flags.name !== undefined)
      throw new UserError('--at finds the backup itself: not with a name.');
    if (flags.changeLogPath && !(moment && flags.etcdServers))
      throw new UserError(
        '--change-log-path goes with --at and --etcd-servers; a data directory has its own.',
      );
    const backup = moment
      ? backupBefore(await listBackups(target), moment)
      : await findBackup(target, flags.name ?? 'latest');
    const known = await listBackups(target, backup.cluster);
    const restore: Restore = {
      flags,
      say,
      start,
      before,
      whereThere,
      place,
      target,
      backup,
      moment,
      identities: identitiesFor(flags, place.pkiDir),
      lost: new LostNodes(flags.lostNodes),
      facts: new ClusterFacts(),
      newest: Math.max(...known.map(({ revision }) => revision)),
    };
    if (flags.etcdServers) await restoreEtcd(restore);
    else if (place.dir) await restoreDataDir(restore, place.dir);
    else
      throw new UserError(
        'The objects of this machine are in etcd: give --etcd-servers and its certificates.',
      );
  });
}
