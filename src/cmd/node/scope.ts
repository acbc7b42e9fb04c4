/** The systemd scope that holds the containers of a cluster's node: named here for who writes the cluster's unit. */
import type { DataDir } from '#deploy/data-dir.ts';
import { containerdLayout } from '#node/containerd/layout.ts';
import { scopeOf } from '#node/containerd/systemd.ts';
import { containerdDir } from './containerd-dir.ts';

export function containerScope(dir: DataDir): string {
  return scopeOf(containerdLayout({ dir: containerdDir(dir) }).id);
}
