/** Where a cluster's containerd lives. Alone in its file so that naming the place loads no runtime. */
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import type { DataDir } from '#deploy/data-dir.ts';

/** True for the --data-dir of `capstan node`, which has a containerd but is no cluster's directory. */
export function isNodeDir(path: string): boolean {
  return existsSync(join(containerdDir({ node: path }), 'config.toml'));
}

export function containerdDir(dir: Pick<DataDir, 'node'>): string {
  return join(dir.node, 'containerd');
}
