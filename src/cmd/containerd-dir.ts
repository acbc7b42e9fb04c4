/** Where a cluster's containerd lives. Alone in its file so that naming the place loads no runtime. */
import { join } from 'node:path';
import type { DataDir } from '#deploy/data-dir.ts';

export function containerdDir(dir: Pick<DataDir, 'node'>): string {
  return join(dir.node, 'containerd');
}
