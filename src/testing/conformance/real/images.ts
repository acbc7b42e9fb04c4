/** The images that real conformance tests run pods from, built here, never pulled: Debian's busybox, the server of server.ts, and one with an entry point of its own. */
import { execFileSync } from 'node:child_process';
import { existsSync, readFileSync, realpathSync } from 'node:fs';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { loadImage } from '#cmd/node-control.ts';
import { dataDir, readSettings } from '#deploy/data-dir.ts';
import { buildBusyboxImage } from '#node/images/busybox-image.ts';
import { buildImage, type LayerEntry } from '#node/images/build.ts';
import { BUSYBOX, nameServiceLayer } from '../../busybox.ts';

export { BUSYBOX };
export const SERVER = 'capstan.test/server:1';
/** Says 'image entrypoint' and its arguments; by default those are 'image arguments'. */
export const ENTRYPOINT = 'capstan.test/entrypoint:1';
/** Files only: /dir/file holds 'one'. */
export const FILES = 'capstan.test/files:1';

/** Node as the tests run with it, and the libraries of this machine that it was linked against. */
function nodeLayer(): { readonly entries: readonly LayerEntry[] } {
  const node = realpathSync(process.execPath);
  const libraries = [...execFileSync('ldd', [node], { encoding: 'utf8' }).matchAll(/(\/\S+) \(0x/g)].map(([, path = '']) => path);
  const present = new Set(nameServiceLayer().entries.map(({ path }) => `/${path}`));
  return {
    entries: [
      { path: 'usr/bin/node', content: readFileSync(node), mode: 0o755 },
      ...libraries.filter((path) => !present.has(path) && existsSync(path)).map((path): LayerEntry => ({ path: path.slice(1), content: readFileSync(path), mode: 0o755 })),
      { path: 'server.ts', content: readFileSync(resolve(import.meta.dirname, 'server.ts')), mode: 0o644 },
    ],
  };
}

/** Builds them and gives them to the cluster's node. */
export async function loadImages(path: string): Promise<void> {
  const dir = dataDir(path);
  const settings = readSettings(dir);
  if (!settings) throw new Error(`there is no cluster in ${path}`);
  const base = { layers: [nameServiceLayer()], compress: false };
  const images = [
    await buildBusyboxImage({ ...base, name: BUSYBOX }),
    await buildBusyboxImage({ ...base, name: SERVER, layers: [...base.layers, nodeLayer()], config: { Entrypoint: ['/usr/bin/node', '--disable-warning=ExperimentalWarning', '/server.ts'], Cmd: ['serve'] } }),
    await buildBusyboxImage({ ...base, name: ENTRYPOINT, config: { Entrypoint: ['/bin/echo', 'image entrypoint'], Cmd: ['image arguments'] } }),
    await buildImage({ name: FILES, layers: [{ entries: [{ path: 'dir', type: 'directory' }, { path: 'dir/file', content: 'one' }] }] }),
  ];
  const archives = await mkdtemp(join(tmpdir(), 'capstan-images-'));
  try {
    await Promise.all(images.map(async ({ tar }, index) => {
      const file = join(archives, `${index}.tar`);
      await writeFile(file, tar);
      await loadImage({ dir, settings, file });
    }));
  } finally {
    await rm(archives, { recursive: true, force: true });
  }
}
