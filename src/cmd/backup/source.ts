/**
 * Where the objects of a backup come from: the API server that runs, the store of a data directory that is off, or an etcd. All give the same snapshot.
 *
 *   --etcd-servers ─► etcd itself     a process holds the directory, or --kubeconfig ─► GET /capstan/backup     else ─► DIR/store
 */
import { existsSync, mkdirSync } from 'node:fs';
import { BackupError } from '#backup/errors.ts';
import { clusterUID, decodeSnapshot, takeSnapshot, type Snapshot } from '#backup/snapshot.ts';
import { createClient } from '#client/create.ts';
import { createKubeconfigTransport } from '#client/kubeconfig.ts';
import type { Transport, TransportResponse } from '#client/transport.ts';
import type { Stored } from '#machinery/object.ts';
import { runningPid } from '#deploy/daemon.ts';
import { UserError } from '#deploy/data-dir.ts';
import { realClock } from '#stdx/clock.ts';
import { createLogger, errorMessage } from '#stdx/log.ts';
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
  /** Whether nobody else makes a backup of the cluster while `alone` runs. Not of an etcd that is read by itself, where API servers may run. */
  readonly isOnly: boolean;
  /** Rejects with BackupError 'busy' where another backup of the cluster is being made. */
  alone<T>(run: () => Promise<T>): Promise<T>;
  close(): Promise<void>;
}

export type SourceFlags = Omit<StoreFlags, 'dataDir'> & { readonly kubeconfig?: string | undefined };

/** Throws a UserError. */
export async function openSource(flags: SourceFlags, place: Place): Promise<Source> {
  const log = createLogger({ level: 'warn' });
  if (flags.etcdServers) {
    const side = await openEtcd({ flags, log });
    return {
      name: side.name,
      snapshot: () => takeSnapshot(side.store),
      cluster: () => clusterUID(side.store),
      isOnly: false,
      alone: (run) => run(),
      close: () => side.close(),
    };
  }
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
