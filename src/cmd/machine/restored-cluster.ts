/**
 * `capstan init --restore`: the backup is opened and verified before anything is written on this machine. Its ClusterConfiguration is that of the new control plane, but for what flags
 * or a --config say; the ranges of addresses have to stay, since its objects have addresses in them.
 */
import { openBackup } from '#backup/open-backup.ts';
import type { BackupFile } from '#backup/format.ts';
import { findBackup } from '#backup/stored-backups.ts';
import { defaultCluster } from '#deploy/config/defaults.ts';
import type { ClusterConfiguration, KubeletConfiguration } from '#deploy/config/types.ts';
import { UserError } from '#deploy/data-dir.ts';
import { ENCRYPTION_FLAG, managedEncryptionPath } from '#deploy/machine/encryption-file.ts';
import { machinePaths } from '#deploy/machine/paths.ts';
import type { EtcdConnectionOptions, InitContext } from '#deploy/phases/init/context.ts';
import { realClock } from '#stdx/clock.ts';
import { createEtcdMembership } from '#storage/drivers/etcd/membership.ts';
import { ClusterFacts } from '../backup/cluster-facts.ts';
import { decode } from '../backup/codec.ts';
import { identitiesFor } from '../backup/keys.ts';
import { LostNodes } from '../backup/lost-nodes.ts';
import { restoreCluster } from '../backup/restore-cluster.ts';
import { encryptionIn, ownIdentity } from '../backup/restored-files.ts';
import { openTarget } from '../backup/target.ts';
import { explained } from '../backup/words.ts';

/** Of init. */
export interface RestoringFlags {
  /** Name of a backup, or latest. */
  readonly restore?: string;
  readonly restoreLocation?: string;
  readonly restoreIdentityFile?: string;
  readonly restoreS3Endpoint?: string;
  readonly restoreS3Region?: string;
  readonly restoreS3CredentialsFile?: string;
  readonly restoreRevisionMargin?: number;
  readonly lostNodes?: readonly string[];
  readonly rootfs?: string;
  readonly certDir?: string;
}

type Restoring = NonNullable<InitContext['restoring']>;

export interface OpenedBackup extends Restoring {
  /** Undefined: the backup is of a cluster of `up`. */
  readonly kubelet: KubeletConfiguration | undefined;
  /** Throws a UserError where the ranges differ from those of the backup. */
  cluster(given: {
    readonly ofFile: ClusterConfiguration | undefined;
    readonly ofFlags: ClusterConfiguration;
  }): ClusterConfiguration;
}

const ETCD_TIMEOUT_MS = 60_000;
const LOOK_EVERY_MS = 100;
const NEEDS_RESTORE = [
  'restoreLocation',
  'restoreIdentityFile',
  'restoreS3Endpoint',
  'restoreS3Region',
  'restoreS3CredentialsFile',
  'restoreRevisionMargin',
  'lostNodes',
] as const satisfies readonly (keyof RestoringFlags)[];

/** Undefined without --restore. Throws a UserError. */
export async function openBackupOf(flags: RestoringFlags): Promise<OpenedBackup | undefined> {
  if (flags.restore === undefined) {
    const alone = NEEDS_RESTORE.find((name) => flags[name] !== undefined);
    if (alone === undefined) return undefined;
    throw new UserError(`--${alone.replaceAll(/[A-Z]/g, '-$&').toLowerCase()} needs --restore too.`);
  }
  return explained(() => open(flags, flags.restore!));
}

async function open(flags: RestoringFlags, wanted: string): Promise<OpenedBackup> {
  const paths = machinePaths({ rootfs: flags.rootfs, certificatesDir: flags.certDir });
  const place = {
    location: flags.restoreLocation ?? paths.backups,
    s3Endpoint: flags.restoreS3Endpoint,
    s3Region: flags.restoreS3Region,
    s3CredentialsFile: flags.restoreS3CredentialsFile,
    identityFile: flags.restoreIdentityFile,
  };
  const target = await openTarget(place, place.location);
  const { name } = await findBackup(target, wanted);
  const facts = new ClusterFacts();
  const lost = new LostNodes(flags.lostNodes);
  const files: BackupFile[] = [];
  await openBackup({
    target,
    name,
    identities: identitiesFor(place, paths.pki),
    decode,
    onFile(file) {
      facts.seeFile(file);
      files.push(file);
    },
    onObject(record) {
      facts.see(record);
      lost.see(record.key);
    },
  });
  lost.requireKnown();
  const encryption = encryptionIn(files, facts)?.content;
  const identity = ownIdentity(flags.restoreIdentityFile, files);
  return {
    name,
    files: identity ? [...files, identity] : files,
    encryption,
    kubelet: facts.kubelet(),
    cluster: (given) => settled({ ofBackup: withEncryption(facts.configuration(), encryption), ...given }),
    async write(etcd, { nodeName, encryptionFile, say }) {
      await untilAnswers(etcd);
      await restoreCluster(
        {
          ...place,
          name,
          rootfs: flags.rootfs,
          etcdServers: etcd.endpoints,
          ...(etcd.caFile && { etcdCafile: etcd.caFile }),
          ...(etcd.certFile && etcd.keyFile && { etcdCertfile: etcd.certFile, etcdKeyfile: etcd.keyFile }),
          encryptionProviderConfig: encryptionFile,
          revisionMargin: flags.restoreRevisionMargin,
          lostNodes: flags.lostNodes,
        },
        {
          say,
          whereThere: 'a cluster is restored into an empty etcd: clean this machine with capstan reset',
        },
      );
      const others = lost.known.filter((one) => !lost.lost.includes(one) && one !== nodeName);
      if (others.length > 0)
        say(
          `nodes of the backup: ${others.join(', ')}. Remove those whose machines are gone (kubectl delete node NAME): their pods are replaced then`,
        );
    },
  };
}

/** A cluster of `up` that encrypts: as `capstan config apply` would have it. */
function withEncryption(cluster: ClusterConfiguration, encryption: Buffer | undefined): ClusterConfiguration {
  const extraArgs = cluster.apiServer?.extraArgs ?? [];
  if (!encryption || extraArgs.some(({ name }) => name === ENCRYPTION_FLAG)) return cluster;
  const value = managedEncryptionPath(defaultCluster(cluster, { kubernetesVersion: '' }).certificatesDir);
  return {
    ...cluster,
    apiServer: { ...cluster.apiServer, extraArgs: [...extraArgs, { name: ENCRYPTION_FLAG, value }] },
  };
}

interface Configurations {
  readonly ofBackup: ClusterConfiguration;
  readonly ofFile: ClusterConfiguration | undefined;
  readonly ofFlags: ClusterConfiguration;
}

function settled({ ofBackup, ofFile, ofFlags }: Configurations): ClusterConfiguration {
  const { kubernetesVersion: _, ...before } = ofBackup;
  const given = ofFile ?? ofFlags;
  const was = defaultCluster(before, { kubernetesVersion: '' }).networking;
  for (const [name, value] of Object.entries(given.networking ?? {}))
    if (value !== was[name as keyof typeof was])
      throw new UserError(
        `networking.${name} is ${value}, and the cluster of the backup has ${was[name as keyof typeof was]}: leave it out, or give that.`,
      );
  const apiServer = { ...before.apiServer, ...given.apiServer };
  const merged = ofFile
    ? given
    : { ...before, ...given, ...(Object.keys(apiServer).length > 0 && { apiServer }) };
  return { ...merged, networking: was };
}

async function untilAnswers({ endpoints, ...tls }: EtcdConnectionOptions): Promise<void> {
  const membership = createEtcdMembership({ endpoints, ...tls });
  const begin = performance.now();
  try {
    for (;;)
      try {
        return void (await membership.list());
      } catch (error) {
        if (performance.now() - begin > ETCD_TIMEOUT_MS) throw error;
        await realClock.sleep(LOOK_EVERY_MS);
      }
  } finally {
    membership.close();
  }
}
