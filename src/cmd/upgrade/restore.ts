/** The backup that an upgrade made first: what was written since, object by object, and the way back to it, into etcd while no API server runs. */
import { createHash } from 'node:crypto';
import { findBackup } from '#backup/stored-backups.ts';
import { openBackup } from '#backup/open-backup.ts';
import { isPassing } from '#backup/snapshot.ts';
import type { MachineRecord } from '#deploy/machine/record.ts';
import { UserError } from '#deploy/data-dir.ts';
import { storedResource } from '#resources/stored-resource.ts';
import { realClock } from '#stdx/clock.ts';
import type { BackupToRestore } from '#upgrade/rollback.ts';
import { decode } from '../backup/codec.ts';
import { identitiesFor } from '../backup/keys.ts';
import { findPlace } from '../backup/place.ts';
import { restoreCluster } from '../backup/restore-cluster.ts';
import type { RestoreFlags } from '../backup/restore-steps.ts';
import { openSource } from '../backup/source.ts';
import { openTarget } from '../backup/target.ts';

interface Context {
  readonly rootfs: string;
  readonly record: MachineRecord;
  readonly print: (line: string) => void;
}

/** An API server that was killed may have left its lease. */
const IN_USE_PATIENCE_MS = 60_000;
const IN_USE_RETRY_MS = 2_000;
/** Of the moment: they change without anybody writing anything. */
const NOISE =
  /^\/registry\/(events|leases|masterleases|peerserverleases|endpointslices|services\/endpoints)\//;
const OWN = '/registry/configmaps/kube-system/capstan-';

export function backupToRestore(name: string, context: Context): BackupToRestore {
  return { report: () => report(name, context), restore: () => restore(name, context) };
}

async function report(name: string, { rootfs, print }: Context): Promise<number> {
  const before = await digestsOf(name, rootfs);
  let count = 0;
  const tell = (what: string, key: string): void => {
    count += 1;
    print(`${what.padEnd(8)} ${describeKey(key)}`);
  };
  const place = findPlace({ rootfs });
  const source = await openSource({}, place);
  try {
    const { records } = await source.snapshot();
    for await (const batch of records)
      for (const { key, value } of batch) {
        if (isNoise(key)) continue;
        const old = before.get(key);
        before.delete(key);
        if (old === undefined) tell('created', key);
        else if (old !== digest(value)) tell('changed', key);
      }
  } finally {
    await source.close();
  }
  for (const key of before.keys()) tell('deleted', key);
  return count;
}

async function digestsOf(name: string, rootfs: string): Promise<Map<string, string>> {
  const place = findPlace({ rootfs });
  const target = await openTarget({}, place.location);
  const backup = await findBackup(target, name);
  const found = new Map<string, string>();
  await openBackup({
    target,
    name: backup.name,
    identities: identitiesFor({}, place.pkiDir),
    decode,
    onObject({ key, value }) {
      if (!isNoise(key)) found.set(key, digest(value));
    },
  });
  return found;
}

function isNoise(key: string): boolean {
  return NOISE.test(key) || key.startsWith(OWN) || isPassing(key);
}

/** What its node agent posts every few minutes is nobody's write. */
function digest(value: Buffer): string {
  const object = JSON.parse(value.toString()) as {
    kind?: string;
    metadata?: Record<string, unknown>;
    status?: unknown;
  };
  const { managedFields: _, resourceVersion: __, ...metadata } = object.metadata ?? {};
  const { status, ...rest } = object;
  const kept = { ...rest, metadata, ...(object.kind === 'Node' ? {} : { status }) };
  return createHash('sha256').update(JSON.stringify(kept)).digest('base64');
}

/** 'deployments.apps web/front' */
function describeKey(key: string): string {
  const { prefix, resource } = storedResource(key);
  if (!resource) return key;
  const name = resource.group === '' ? resource.resource : `${resource.resource}.${resource.group}`;
  return `${name} ${key.slice(prefix.length)}`;
}

async function restore(name: string, { rootfs, record, print }: Context): Promise<void> {
  const flags: RestoreFlags = { ...etcdFlags(record), name, rootfs, yes: true };
  const begin = performance.now();
  for (;;) {
    try {
      return await restoreCluster(flags, { say: (line) => print(`[restore] ${line}`) });
    } catch (error) {
      const isInUse = error instanceof UserError && error.message.includes('is in use by the API server');
      if (!isInUse || performance.now() - begin > IN_USE_PATIENCE_MS) throw error;
      await realClock.sleep(IN_USE_RETRY_MS);
    }
  }
}

/** As this machine's API server has them. */
function etcdFlags({ services }: MachineRecord): Partial<RestoreFlags> {
  const service = services.find(({ name }) => name === 'apiserver');
  const words = service && 'capstan' in service.run ? service.run.capstan : [];
  const value = (flag: string): string | undefined =>
    words.find((word) => word.startsWith(`--${flag}=`))?.slice(flag.length + 3);
  const etcdServers = value('etcd-servers')?.split(',');
  if (!etcdServers)
    throw new UserError('The API server of this machine is on no etcd: its backup is restored by hand.');
  return Object.fromEntries(
    Object.entries({
      etcdServers,
      etcdPrefix: value('etcd-prefix'),
      etcdCafile: value('etcd-cafile'),
      etcdCertfile: value('etcd-certfile'),
      etcdKeyfile: value('etcd-keyfile'),
      encryptionProviderConfig: value('encryption-provider-config'),
    }).filter(([, one]) => one !== undefined),
  );
}
