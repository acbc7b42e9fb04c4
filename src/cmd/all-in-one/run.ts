/**
 * The whole cluster in one program: API server and store on the main thread, scheduler and controllers on a second, the node on a third.
 * Started by `capstan up`, which receives its progress over IPC (DaemonMessage); ends on SIGTERM.
 *
 *   lock ─► certificates ─► store ─► API server ─► ready          SIGTERM: node (containers too) ─► control ─► API server ─► store ─► unlock
 *     '───► threads load meanwhile ─► connect when the API is there      kill -9: containers run on and are adopted at the next start
 */
import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { EXIT_LEFTOVERS } from '#deploy/service-unit.ts';
import { connectServiceManager } from '#runtime/service-manager.ts';
import { StoreError } from '#storage/store.ts';
import { dataDir, describeDiskError, readSettings, UserError, type DataDir } from '#deploy/data-dir.ts';
import { PkiError } from '#deploy/pki/pki.ts';
import { describePortHolder } from '#deploy/port-holder.ts';
import { ContainerdError } from '#node/containerd/errors.ts';
import { LockedError } from '#stdx/process-lock.ts';
import { errorMessage } from '#stdx/log.ts';
import type { ApiServerFlags } from '../apiserver/flags.ts';
import { log, send } from './messages.ts';
import { Cluster } from './cluster.ts';

/** One sentence for the user who started the cluster. */
function explain(error: unknown, dir: DataDir): string {
  if (error instanceof UserError) return error.message;
  if (error instanceof LockedError)
    return `The cluster in ${dir.path} is already run by process ${error.holder.pid}; stop it with: capstan down --data-dir ${dir.path}`;
  if (error instanceof StoreError || error instanceof PkiError || error instanceof ContainerdError)
    return error.message;
  const code = (error as NodeJS.ErrnoException).code;
  if (code === 'EADDRINUSE')
    return `${errorMessage(error)}: ${describePortHolder((error as { port?: number }).port ?? 0)} listens there; choose another port with --https-port.`;
  if (code === 'ENOSPC' || code === 'EROFS' || code === 'EACCES')
    return describeDiskError(dir.path, error).message;
  return `The cluster could not be started: ${errorMessage(error)} (see ${join(dir.logs, 'capstan.log')})`;
}

async function main(): Promise<void> {
  const { values } = parseArgs({
    options: { 'data-dir': { type: 'string' }, 'apiserver-flags': { type: 'string' } },
  });
  const dir = dataDir(values['data-dir']);
  let cluster: Cluster | undefined;
  const manager = await connectServiceManager(log);
  const end = (signal: string): void => {
    log.info('stopping', { signal });
    void (cluster?.stop() ?? Promise.resolve(undefined)).then(
      (leftover) => {
        if (leftover === undefined) process.exit(0);
        log.error('not everything was stopped', { leftover });
        manager.status(leftover);
        send({ type: 'fatal', message: leftover });
        setImmediate(() => process.exit(EXIT_LEFTOVERS));
      },
      (error: unknown) => {
        log.error('stop failed', { error: errorMessage(error) });
        process.exit(1);
      },
    );
  };
  process.on('SIGTERM', end);
  process.on('SIGINT', end);
  process.on('SIGHUP', () => {});
  try {
    const settings = readSettings(dir);
    if (!settings)
      throw new UserError(
        `There is no cluster in ${dir.path}; start one with: capstan up --data-dir ${dir.path}`,
      );
    mkdirSync(dir.run, { recursive: true });
    const given = values['apiserver-flags'];
    if (settings.apiServerArgs && given === undefined)
      throw new UserError(
        `The cluster in ${dir.path} has flags for its API server, which 'capstan up' reads: start it with: capstan up --data-dir ${dir.path}`,
      );
    cluster = new Cluster(dir, {
      settings,
      flags: given === undefined ? {} : (JSON.parse(given) as ApiServerFlags),
      manager,
    });
    await cluster.start();
  } catch (error) {
    log.error('start failed', {
      error: error instanceof Error ? (error.stack ?? error.message) : String(error),
    });
    send({ type: 'fatal', message: explain(error, dir) });
    manager.status(explain(error, dir));
    await cluster?.stop().catch(() => {});
    process.exitCode = 1;
    setImmediate(() => process.exit(1));
  }
}

await main();
