/**
 * CNI's cache of the attachments of our pods' network: one file for each interface of a sandbox, the only record of a network namespace when containerd is
 * gone. libcni does not sync these files: after a power cut some are empty, and libcni then refuses to delete their sandboxes.
 */
import { readdir, readFile, rm } from 'node:fs/promises';
import { join } from 'node:path';
import type { ContainerdLayout } from './layout.ts';

const CNI_CACHE_DIR = '/var/lib/cni/results';
const LOOPBACK = /^cni-loopback-(.+)-lo$/;

export interface CachedAttachment {
  readonly path: string;
  readonly containerId: string;
  readonly ifName: string;
  readonly netns: string;
  readonly portMappings: readonly PortMapping[];
  /** The plugins' result of its creation. */
  readonly result: object | undefined;
}
interface CachedResult {
  readonly capabilityArgs?: { readonly portMappings?: readonly PortMapping[] };
  readonly result?: { readonly interfaces?: readonly { readonly sandbox?: string }[] };
}
interface PortMapping {
  readonly hostPort?: number;
}

type Names = Pick<ContainerdLayout, 'networkName'>;

/** Those of the pods' network of this directory; of a damaged file what its name tells. dir: another place, for tests. */
export async function cachedAttachments(layout: Names, dir = CNI_CACHE_DIR): Promise<CachedAttachment[]> {
  return Promise.all(
    (await namesIn(dir, layout)).map(async (name) => {
      const path = join(dir, name);
      const cached = (await readResult(path)) ?? {};
      return {
        path,
        ...parseName(name, layout),
        netns: cached.result?.interfaces?.find(({ sandbox }) => sandbox)?.sandbox ?? '',
        portMappings: cached.capabilityArgs?.portMappings ?? [],
        result: cached.result,
      };
    }),
  );
}

export async function forgetAttachment({ path, containerId }: CachedAttachment): Promise<void> {
  await rm(path, { force: true });
  await rm(join(CNI_CACHE_DIR, `cni-loopback-${containerId}-lo`), { force: true });
}

/** Deletes the damaged files of our sandboxes, without which libcni can delete them. Returns their number. dir: another place, for tests. */
export async function removeDamagedAttachments(
  layout: Names,
  { sandboxIds, dir = CNI_CACHE_DIR }: { readonly sandboxIds: readonly string[]; readonly dir?: string },
): Promise<number> {
  const ours = await namesIn(dir, layout);
  const ids = new Set([...sandboxIds, ...ours.map((name) => parseName(name, layout).containerId)]);
  const loopbacks = (await readdir(dir).catch(() => [] as string[])).filter((name) =>
    ids.has(LOOPBACK.exec(name)?.[1] ?? ''),
  );
  let removed = 0;
  for (const name of [...ours, ...loopbacks]) {
    const path = join(dir, name);
    if (await readResult(path)) continue;
    await rm(path, { force: true });
    removed += 1;
  }
  return removed;
}

async function namesIn(dir: string, { networkName }: Names): Promise<string[]> {
  const names = await readdir(dir).catch(() => [] as string[]);
  return names.filter((name) => name.startsWith(`${networkName}-`));
}

/** NETWORK-CONTAINER-INTERFACE, as libcni makes it. */
function parseName(
  name: string,
  { networkName }: Names,
): { readonly containerId: string; readonly ifName: string } {
  const rest = name.slice(networkName.length + 1);
  const end = rest.lastIndexOf('-');
  return { containerId: rest.slice(0, end), ifName: rest.slice(end + 1) };
}

/** undefined: missing or damaged. */
async function readResult(path: string): Promise<CachedResult | undefined> {
  try {
    const value: unknown = JSON.parse(await readFile(path, 'utf8'));
    return typeof value === 'object' && value !== null ? value : undefined;
  } catch {
    return undefined;
  }
}
