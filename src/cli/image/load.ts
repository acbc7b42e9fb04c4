/** `capstan image load FILE.tar`: bring an image archive (docker save or OCI layout) into the node's container runtime. */
import type { Command } from 'commander';
import { dataDir, readSettings, UserError, type DataDir } from '#deploy/data-dir.ts';
import { isNodeDir } from '#cmd/node/containerd-dir.ts';
import { runningPid } from '#deploy/daemon.ts';
import { action, dataDirOption, print } from '../context.ts';

export function register(image: Command): void {
  image
    .command('load')
    .description("load an image archive into the node's container runtime")
    .argument('<file.tar>', 'an archive made by docker save, or an OCI layout')
    .addOption(dataDirOption())
    .action(
      action(async (file: string, options: { readonly dataDir?: string }) => {
        const dir = dataDir(options.dataDir);
        const node = nodeDirOf(dir);
        const { loadImage } = await import('#cmd/node/control.ts');
        for (const name of await loadImage({ node, file })) print(`loaded ${name}`);
      }),
    );
}

/** The node's directory: below the cluster's directory, or the one given to `capstan node`. */
function nodeDirOf(dir: DataDir): string {
  const settings = readSettings(dir);
  if (!settings && isNodeDir(dir.path)) return dir.path;
  if (!settings)
    throw new UserError(
      `There is no cluster in ${dir.path}; start one with: capstan up --data-dir ${dir.path}`,
    );
  if (settings.runtime !== 'cri')
    throw new UserError(
      `The cluster in ${dir.path} has simulated nodes, which hold no images; every image name works there without loading.`,
    );
  if (runningPid(dir) === undefined)
    throw new UserError(
      `The cluster in ${dir.path} is not running; start it with: capstan up --data-dir ${dir.path}`,
    );
  return dir.node;
}
