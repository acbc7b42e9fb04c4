/**
 * Where the objects of a backup come from: the API server that runs, the store of a data directory that is off, or an etcd. All give the same snapshot.
 *
 *   --etcd-servers ─► etcd itself, by turns with its API servers     a process holds the directory, or --kubeconfig ─► GET /capstan/backup     else ─► DIR/store
 */
import { existsSync, mkdirSync } from 'node:fs';
import { BackupError } from '#backup/errors.ts';
import { clusterUID, decodeSnapshot, takeSnapshot, type Snapshot } from '#backup/snapshot.ts';
import { createClient } from '#client/create.ts';
import { createKubeconfigTransport } from '#client/kubeconfig.ts';
import type { Transport, TransportResponse } from '#client/transport.ts';
import { isTransportError } from '#client/transport-error.ts';
import type { Stored } from '#machinery/object.ts';
import { runningPid } from '#deploy/daemon.ts';
import { UserError } from '#deploy/data-dir.ts';
import { realClock } from '#stdx/clock.ts';
import { createLogger, errorMessage, type Logger } from '#stdx/log.ts';
import { acquireProcessLock } from '#stdx/process-lock.ts';
import { openEmbedded, openEtcd, type StoreFlags } from '../store/open.ts';
import { BACKUP_PATH } from './endpoint.ts';
import { whileAlone } from './one-at-a-time.ts';
import type { Place } from './place.ts';

export interface Source {
  /** 'the API server', for messages. */
  readonly name: string;
  /** A new one at each call. */
  snapshot(): Promise<Snapshot>;
  /** UID of Namespace kube-system. */
  cluster(): Promise<string>;
  /** Whether nobody else makes a backup of the cluster while `alone` runs. Not of an etcd of which no API server answers: others may read it too. */
  readonly isOnly: boolean;
  /** Rejects with BackupError 'busy' where another backup of the cluster is being made. */
  alone<T>(run: () => Promise<T>): Promise<T>;
  close(): Promise<void>;
}

export type SourceFlags = Omit<StoreFlags, 'dataDir'> & { readonly kubeconfig?: string | undefined };

/** Throws a UserError. */
export async function openSource(flags: SourceFlags, place: Place): Promise<Source> {
  const log = createLogger({ level: 'warn' });
  if (flags.etcdServers) return etcd(flags, { place, log });
  const { dir } = place;
  if (!dir || flags.kubeconfig !== undefined || runningPid(dir) !== undefined)
    return apiServer(place.kubeconfig);
  if (!existsSync(dir.path)) throw new UserError(`There is no cluster in ${dir.path}.`);
  mkdirSync(dir.run, { recursive: true, mode: 0o700 });
  const lock = acquireProcessLock(dir.lock);
  try {
    const side = await openEmbedded(dir.store, { flags, log, mayCreate: false });
    return {
      name: side.name,
      snapshot: () => takeSnapshot(side.store),
      cluster: () => clusterUID(side.store),
      // The lock of the directory is held.
      isOnly: true,
      alone: (run) => run(),
      async close() {
        await side.close();
        lock.release();
      },
    };
  } catch (error) {
    lock.release();
    throw error;
  }
}

/** Its API servers make backups too: where one answers, its Lease is taken. Where none does, no server makes one. */
async function etcd(
  flags: SourceFlags,
  { place, log }: { readonly place: Place; readonly log: Logger },
): Promise<Source> {
  const side = await openEtcd({ flags, log });
  const cluster = (): Promise<string> => clusterUID(side.store);
  const servers =
    flags.kubeconfig !== undefined || existsSync(place.kubeconfig) ? apiServer(place.kubeconfig) : undefined;
  const close = async (): Promise<void> => {
    await servers?.close();
    await side.close();
  };
  try {
    const answers = servers !== undefined && (await isOf(servers, await cluster()));
    if (!answers)
      log.warn(
        'no API server of this etcd answers: the lease of backups is not taken, and nothing is tidied',
        {
          kubeconfig: place.kubeconfig,
        },
      );
    return {
      name: side.name,
      snapshot: () => takeSnapshot(side.store),
      cluster,
      isOnly: answers,
      alone: (run) => (answers ? servers.alone(run) : run()),
      close,
    };
  } catch (error) {
    await close();
    throw error;
  }
}

/** False where it does not answer, or is of another cluster: this machine's own, say. */
async function isOf(servers: Source, cluster: string): Promise<boolean> {
  try {
    return (await servers.cluster()) === cluster;
  } catch (error) {
    if (isTransportError(error) || error instanceof BackupError) return false;
    throw error;
  }
}

function apiServer(kubeconfig: string): Source {
  const transport = openTransport(kubeconfig);
  const client = createClient(transport, { userAgent: 'capstan-backup' });
  const get = async (path: string): Promise<TransportResponse> => {
    const response = await transport.request({ method: 'GET', path });
    if (response.status === 200) return response;
    const text = (await response.bytes()).toString();
    throw new BackupError('refused', `the API server answered ${response.status}: ${messageOf(text)}`);
  };
  return {
    name: `the API server of ${kubeconfig}`,
    async snapshot() {
      return decodeSnapshot((await get(BACKUP_PATH)).stream());
    },
    async cluster() {
      const response = await get('/api/v1/namespaces/kube-system');
      return (JSON.parse((await response.bytes()).toString()) as Stored).metadata.uid;
    },
    isOnly: true,
    alone: (run) => whileAlone({ api: client, clock: realClock }, run),
    close: () => client.close(),
  };
}

function openTransport(path: string): Transport {
  try {
    return createKubeconfigTransport({ path });
  } catch (error) {
    // A cluster that is being started has none yet.
    throw new UserError(`The cluster runs, and cannot be asked: ${errorMessage(error)}.`, error);
  }
}

/** Of a Status. */
function messageOf(text: string): string {
  try {
    return (JSON.parse(text) as { message?: string }).message ?? text;
  } catch {
    return text.slice(0, 200);
  }
}
