/** Evidence of a cluster when its directory's settings file is damaged or gone, or the directory itself is gone. Changes nothing. */
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import type { DataDir } from './data-dir.ts';
import { listClaimants, claimedBy } from './networks.ts';

export interface Remains {
  /** The cluster's ID, which names its service rules; undefined if unknown. */
  readonly id: string | undefined;
}

interface RemainsOptions {
  /** Directory of the claims of address ranges. Default: one for the machine. */
  readonly claimsDir?: string;
}

/** Files that only Capstan creates, by their path in the directory. */
const MARKS = [
  'store/store.mdb',
  'run/lock.guard',
  'kubeconfigs/controller-manager.kubeconfig',
  'node/containerd/config.toml',
];

/** undefined: nothing shows that this is, or was, a cluster's directory. */
export function findRemains(dir: DataDir, { claimsDir }: RemainsOptions = {}): Remains | undefined {
  const [claimant] = listClaimants(dir.path, claimsDir);
  if (claimant !== undefined) return { id: claimant };
  if (!MARKS.some((mark) => existsSync(join(dir.path, mark)))) return undefined;
  const written = idInText(dir);
  // Text that was copied from another cluster's directory must not cost that one its rules.
  const owner = written === undefined ? undefined : claimedBy(written, claimsDir);
  return { id: owner === undefined || owner === dir.path ? written : undefined };
}

/** Of a settings file that is cut off or otherwise no JSON any more. */
function idInText(dir: DataDir): string | undefined {
  try {
    return /"id"\s*:\s*"([0-9a-f]{8})"/.exec(readFileSync(dir.settingsFile, 'utf8'))?.[1];
  } catch {
    return undefined;
  }
}
