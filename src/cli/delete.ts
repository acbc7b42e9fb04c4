/**
 * `capstan delete`: stops a cluster and removes its data directory and its state on the machine. Asks for confirmation. With a damaged or missing settings
 * file it uses other evidence, and reports what it could not determine; a newer version's directory is left to that version.
 */
import { existsSync, rmSync } from 'node:fs';
import type { Command } from 'commander';
import { isNodeDir } from '#cmd/node/containerd-dir.ts';
import {
  dataDir,
  describeDiskError,
  readSettings,
  SettingsError,
  UserError,
  type ClusterSettings,
  type DataDir,
} from '#deploy/data-dir.ts';
import { stopDaemon } from '#deploy/daemon.ts';
import { findOriginal } from '#deploy/original.ts';
import { releaseNetworks } from '#deploy/networks.ts';
import { findRemains } from '#deploy/remains.ts';
import { removeService } from '#deploy/service-unit.ts';
import { confirmRemoval } from './confirm.ts';
import { action, dataDirOption, print } from './context.ts';

const STOP_TIMEOUT_MS = 120_000;

export function register(program: Command): void {
  program
    .command('delete')
    .description('stop the cluster and remove all its data')
    .addOption(dataDirOption())
    .option('--yes', 'do not ask')
    .action(
      action(async (options: { readonly dataDir?: string; readonly yes?: boolean }) => {
        const dir = dataDir(options.dataDir);
        const cluster = await findCluster(dir);
        for (const line of cluster.unknown) print(line);
        if (!options.yes) await confirmRemoval(`the cluster in ${dir.path} and all its data`);
        if (!(await stopDaemon(dir, { timeoutMs: STOP_TIMEOUT_MS })))
          throw new UserError(
            `The cluster in ${dir.path} did not stop within ${STOP_TIMEOUT_MS / 1000} s: nothing was removed.`,
          );
        await remove(dir, cluster);
        print(`The cluster in ${dir.path} is gone.`);
      }),
    );
}

interface Found {
  readonly id: string | undefined;
  /** Whether it has, or may have, state on the machine beside its files. */
  readonly hasNode: boolean;
  /** Warnings for the user, a line each. */
  readonly unknown: readonly string[];
}

async function findCluster(dir: DataDir): Promise<Found> {
  if (!existsSync(dir.path)) return findWithoutDir(dir);
  const settings = collectSettings(dir);
  if (settings !== undefined && !(settings instanceof SettingsError))
    return { ...ownId(dir, settings), hasNode: settings.runtime === 'cri' };
  const remains = findRemains(dir);
  if (remains)
    return findDamaged(dir, {
      id: remains.id,
      what: `${dir.settingsFile} is ${settings?.code ?? 'missing'}`,
    });
  if (settings)
    throw new UserError(
      `${dir.settingsFile} is ${settings.code}, and nothing else in ${dir.path} shows that it is a cluster's directory: nothing was removed.`,
    );
  throw new UserError(
    `${dir.path} is not a Capstan data directory (it has no capstan.json): nothing was removed.`,
  );
}

/** A copy of a directory has the id of the cluster it was copied from, whose service rules and address ranges stay. */
function ownId(dir: DataDir, { id }: ClusterSettings): Pick<Found, 'id' | 'unknown'> {
  const original = findOriginal(dir, { id });
  return original === undefined
    ? { id, unknown: [] }
    : { id: undefined, unknown: [`${dir.path} is a copy of the cluster in ${original}, which stays.`] };
}

/** undefined: there are none, and no trace of a cluster among the files. */
function collectSettings(dir: DataDir): ClusterSettings | SettingsError | undefined {
  try {
    return readSettings(dir);
  } catch (error) {
    if (error instanceof SettingsError && error.code !== 'newer') return error;
    throw error;
  }
}

async function findDamaged(
  dir: DataDir,
  { id, what }: { readonly id: string | undefined; readonly what: string },
): Promise<Found> {
  const hasNode = isNodeDir(dir.node) || (await leftOnMachine(dir, id)).length > 0;
  const lost =
    id === undefined && hasNode
      ? [
          "Not to be known: its id, which names its service rules (an nftables table 'capstan-services-…'); they stay, see: nft list tables",
        ]
      : [];
  return { id, hasNode, unknown: [`${what}: going by what else there is.`, ...lost] };
}

/** The directory was removed by hand: its state on the machine may still exist. */
async function findWithoutDir(dir: DataDir): Promise<Found> {
  const id = findRemains(dir)?.id;
  const left = await leftOnMachine(dir, id);
  if (left.length === 0 && id === undefined)
    throw new UserError(`There is no cluster in ${dir.path}: the directory does not exist.`);
  return {
    id,
    hasNode: left.length > 0,
    unknown: [
      `${dir.path} is gone, but this is left of its cluster: ${[...left, ...(left.length === 0 ? ['its claim of address ranges'] : [])].join(', ')}.`,
    ],
  };
}

async function leftOnMachine(dir: DataDir, proxyId: string | undefined): Promise<readonly string[]> {
  return process.platform === 'linux'
    ? (await import('#cmd/node/control.ts')).findNode({ node: dir.node, proxyId })
    : [];
}

async function remove(dir: DataDir, { id, hasNode }: Found): Promise<void> {
  if (id !== undefined) removeService({ clusterId: id, dir });
  if (hasNode) await (await import('#cmd/node/control.ts')).destroyNode({ node: dir.node, proxyId: id });
  try {
    rmSync(dir.path, { recursive: true, force: true });
  } catch (error) {
    throw describeDiskError(dir.path, error);
  }
  if (id !== undefined) releaseNetworks(id);
}
