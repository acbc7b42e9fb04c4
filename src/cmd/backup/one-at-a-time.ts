/** The Lease kube-system/capstan-backup: of all servers and commands of a cluster one makes a backup at a time, and the others know who does so since when. */
import { hostname } from 'node:os';
import { BackupError } from '#backup/errors.ts';
import { leases } from '#api/refs.ts';
import type { Client } from '#client/client.ts';
import { createLeaderElector, type LeaderElector } from '#client/leader-election.ts';
import type { Clock } from '#stdx/clock.ts';
import { silentLogger, type Logger } from '#stdx/log.ts';
import { realRandom } from '#stdx/random.ts';

const LEASE = { namespace: 'kube-system', name: 'capstan-backup' };
/** For a command: longer than a holder that was killed keeps the lease, and than a server looks whether a backup is due. */
const WAIT_MS = 20_000;

interface Candidate {
  readonly api: Client;
  readonly clock: Clock;
  readonly log?: Logger | undefined;
}

export function backupElector({ api, clock, log = silentLogger }: Candidate): LeaderElector {
  const identity = `${hostname()}_${process.pid}_${Math.floor(realRandom() * 1e9)}`;
  return createLeaderElector({ api, clock, log, identity, lease: LEASE });
}

interface Alone extends Candidate {
  /** Default WAIT_MS. */
  readonly waitMs?: number | undefined;
}

/** Runs while it holds the lease. Rejects with BackupError 'busy' where another one has it, and where it is lost meanwhile. */
export async function whileAlone<T>(candidate: Alone, run: () => Promise<T>): Promise<T> {
  const { clock, waitMs = WAIT_MS } = candidate;
  const waiting = new AbortController();
  const timer = clock.after(waitMs, () => waiting.abort());
  let outcome: { readonly value: T } | undefined;
  await backupElector(candidate).run(waiting.signal, async (leading) => {
    timer.cancel();
    const lost = new Promise<never>((_, reject) =>
      leading.addEventListener('abort', () =>
        reject(new BackupError('busy', `the lease of backups was lost`)),
      ),
    );
    outcome = { value: await Promise.race([run(), lost]) };
  });
  timer.cancel();
  if (outcome) return outcome.value;
  throw new BackupError('busy', `another backup is being made${await holderText(candidate.api)}`);
}

async function holderText(api: Client): Promise<string> {
  const { spec } = await api.get(leases, LEASE);
  const { holderIdentity = '', acquireTime } = (spec ?? {}) as {
    holderIdentity?: string;
    acquireTime?: string;
  };
  return holderIdentity === '' ? '' : ` by ${holderIdentity} since ${acquireTime}`;
}
