/** The directory of a cluster's containerd. A file of its own, so that importing it loads no runtime. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import type { DataDir } from '#deploy/data-dir.ts';

/** True for the --data-dir of `capstan node`, which has a containerd but is no cluster's directory. */
export function isNodeDir(path: string): boolean {
  try {
    // Not every containerd/config.toml is ours: /etc has one too.
    return readFileSync(join(containerdDir({ node: path }), 'config.toml'), 'utf8').startsWith(
      '# Written by Capstan',
    );
  } catch {
    return false;
  }
}

export function containerdDir(dir: Pick<DataDir, 'node'>): string {
  return join(dir.node, 'containerd');
}
