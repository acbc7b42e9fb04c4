/**
 * `capstan store migrate`: moves a stopped cluster from the embedded store to etcd, or back. `check` and `digest` only read. DIR/store-migration.json records
 * the progress, so that --resume continues after a kill at any step. The old store is renamed, or left in etcd, never deleted.
 *
 *   copying ──compared──► verified ──► the embedded store renamed (aside, or into its place) ──► target finished ──► the file is gone
 */
import { existsSync, mkdirSync, readFileSync, renameSync, rmSync } from 'node:fs';
import { dataDir, UserError, writeFileAtomic, type DataDir } from '#deploy/data-dir.ts';
import { createLogger, type Logger } from '#stdx/log.ts';
import { acquireProcessLock, LockedError, type ProcessLock } from '#stdx/process-lock.ts';
import { StoreError } from '#storage/store.ts';
import { copyStore, CopyRefused, finishCopy } from './copy.ts';
import { readContents, type Contents } from './digest.ts';
import {
  openEmbedded,
  openEtcd,
  requireDataDir,
  requireUnused,
  type OpenedSide,
  type StoreFlags,
} from './open.ts';

type Direction = 'to-etcd' | 'from-etcd';

export interface MigrateFlags extends StoreFlags {
  readonly direction: Direction;
  readonly resume?: boolean | undefined;
}

interface State {
  readonly direction: Direction;
  readonly etcd: string;
  readonly phase: 'copying' | 'verified';
  /** The embedded store's new path, for a migration to etcd. */
  readonly aside: string;
}

interface Migration {
  readonly dir: DataDir;
  readonly flags: MigrateFlags;
  readonly state: State;
  readonly log: Logger;
  readonly say: (line: string) => void;
}

export type Say = (line: string) => void;

export async function migrateStore(flags: MigrateFlags, say: Say): Promise<void> {
  await explained(async () => {
    const dir = dataDir(flags.dataDir);
    requireDataDir(dir);
    const lock = lockDir(dir);
    try {
      await migrate({ dir, flags, say, log: createLogger({ level: 'warn' }), state: begin(dir, flags) });
    } finally {
      lock.release();
    }
  });
}

async function migrate(migration: Migration): Promise<void> {
  const { dir, say } = migration;
  if (migration.state.phase === 'copying') await copy(migration);
  if (migration.state.direction === 'to-etcd') await finishToEtcd(migration);
  else await finishFromEtcd(migration);
  rmSync(stateFile(dir));
  say('done');
}

async function copy(migration: Migration): Promise<void> {
  const { dir, flags, log, say, state } = migration;
  const toEtcd = state.direction === 'to-etcd';
  if (!toEtcd && existsSync(dir.store))
    throw new UserError(`${dir.store} exists: a cluster has its objects there. Move it away first.`);
  if (!toEtcd) mkdirSync(incoming(dir), { recursive: true, mode: 0o700 });
  const opened: OpenedSide[] = [];
  const keep = async (side: Promise<OpenedSide>): Promise<OpenedSide> => {
    opened.push(await side);
    return opened.at(-1)!;
  };
  try {
    const etcd = await keep(openEtcd({ flags, log }));
    await requireUnused(etcd);
    const local = await keep(
      openEmbedded(toEtcd ? dir.store : incoming(dir), { flags, log, mayCreate: !toEtcd }),
    );
    const [source, target] = toEtcd ? [local, etcd] : [etcd, local];
    const contents = await readContents(source.store);
    requireReadable(contents, source.name);
    say(`${source.name}: revision ${contents.revision}, digest ${contents.digest}`);
    await copyStore(source, target, { contents, say, onMarked: () => writeState(dir, state) });
    // The file goes away at once when it is renamed: nothing of it may be open, nor marked.
    if (!toEtcd) await finishCopy(target);
  } finally {
    for (const side of opened) await side.close();
  }
  writeState(dir, { ...state, phase: 'verified' });
}

async function finishToEtcd({ dir, flags, log, say, state }: Migration): Promise<void> {
  if (existsSync(dir.store)) {
    renameSync(dir.store, state.aside);
    say(`the embedded store is kept in ${state.aside}`);
  }
  const etcd = await openEtcd({ flags, log });
  try {
    await finishCopy(etcd);
  } finally {
    await etcd.close();
  }
  say(`start API servers with: capstan apiserver --etcd-servers ${state.etcd} …`);
}

async function finishFromEtcd({ dir, say }: Migration): Promise<void> {
  if (existsSync(incoming(dir))) renameSync(incoming(dir), dir.store);
  say(`the objects are in ${dir.store}; those in etcd are left as they are`);
}

/** The interrupted migration, or a new one. */
function begin(dir: DataDir, { direction, resume = false, etcdServers }: MigrateFlags): State {
  const etcd = (etcdServers ?? []).join(',');
  const path = stateFile(dir);
  if (existsSync(path)) {
    const found = JSON.parse(readFileSync(path, 'utf8')) as State;
    if (!resume)
      throw new UserError(
        `A migration ${found.direction === 'to-etcd' ? 'to' : 'from'} etcd ${found.etcd} was interrupted: go on with --resume.`,
      );
    if (found.direction !== direction)
      throw new UserError(`The migration that was interrupted is --${found.direction}, not --${direction}.`);
    return found;
  }
  if (resume) throw new UserError(`There is no interrupted migration in ${dir.path}: leave --resume away.`);
  const aside = `${dir.store}.before-etcd-${Date.now()}`;
  return { direction, etcd, aside, phase: 'copying' };
}

function stateFile({ path }: DataDir): string {
  return `${path}/store-migration.json`;
}

function incoming({ store }: DataDir): string {
  return `${store}.migrating`;
}

function writeState(dir: DataDir, state: State): void {
  writeFileAtomic(stateFile(dir), JSON.stringify(state));
}

function lockDir(dir: DataDir): ProcessLock {
  mkdirSync(`${dir.path}/run`, { recursive: true, mode: 0o700 });
  return acquireProcessLock(dir.lock);
}

function requireReadable({ unreadable }: Contents, name: string): void {
  const [first] = unreadable;
  if (first)
    throw new UserError(
      `${name} has ${unreadable.length} objects that cannot be read, first ${first.key}: ${first.problem}. Encrypted ones need --encryption-provider-config.`,
    );
}

/** Prints counts by resource; rejects where something cannot be read. */
export async function checkStore(flags: StoreFlags, say: Say): Promise<void> {
  await look(flags, ({ contents, name }) => {
    for (const [resource, count] of [...contents.counts].toSorted()) say(`${resource} ${count}`);
    for (const { key, problem } of contents.unreadable) say(`unreadable ${key}: ${problem}`);
    requireReadable(contents, name);
    say(`${name}: ${contents.keys.length} objects can be read`);
  });
}

export async function digestStore(flags: StoreFlags, say: Say): Promise<void> {
  await look(flags, ({ contents, name }) => {
    requireReadable(contents, name);
    say(`${contents.digest} revision ${contents.revision} objects ${contents.keys.length}`);
  });
}

async function look(
  flags: StoreFlags,
  show: (found: { readonly contents: Contents; readonly name: string }) => void,
): Promise<void> {
  await explained(async () => {
    const log = createLogger({ level: 'warn' });
    const dir = flags.etcdServers ? undefined : dataDir(flags.dataDir);
    const lock = dir && (requireDataDir(dir), lockDir(dir));
    try {
      const side = dir
        ? await openEmbedded(dir.store, { flags, log, mayCreate: false })
        : await openEtcd({ flags, log });
      try {
        show({ contents: await readContents(side.store), name: side.name });
      } finally {
        await side.close();
      }
    } finally {
      lock?.release();
    }
  });
}

async function explained(run: () => Promise<void>): Promise<void> {
  try {
    await run();
  } catch (error) {
    if (error instanceof CopyRefused || error instanceof StoreError)
      throw new UserError(`${error.message}.`, error);
    if (error instanceof LockedError)
      throw new UserError(`The cluster is run by process ${error.holder.pid}: stop it first.`, error);
    throw error;
  }
}
