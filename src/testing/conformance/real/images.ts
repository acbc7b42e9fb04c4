/** The images that real conformance tests run pods from, built here, never pulled: Debian's busybox, the server of server.ts, and one with an entry point of its own. */
import { execFileSync } from 'node:child_process';
import { existsSync, readFileSync, realpathSync } from 'node:fs';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { loadImage } from '#cmd/node/control.ts';
import { dataDir, readSettings } from '#deploy/data-dir.ts';
import { buildBusyboxImage } from '#node/images/busybox-image.ts';
import type { LayerEntry } from '#node/images/build.ts';
import { BUSYBOX, nameServiceLayer } from '../../busybox.ts';

export { BUSYBOX };
export const SERVER = 'capstan.test/server:1';
/** Says 'image entrypoint' and its arguments; by default those are 'image arguments'. Its /bin/setuid-id is `id` for everybody with root's rights. */
export const ENTRYPOINT = 'capstan.test/entrypoint:1';

/** A program of this machine, and the libraries that it was linked against. */
function programLayer(
  program: string,
  { path, mode = 0o755 }: { readonly path: string; readonly mode?: number },
): { readonly entries: readonly LayerEntry[] } {
  const libraries = [...execFileSync('ldd', [program], { encoding: 'utf8' }).matchAll(/(\/\S+) \(0x/g)].map(
    ([, library = '']) => library,
  );
  const present = new Set(nameServiceLayer().entries.map((entry) => `/${entry.path}`));
  return {
    entries: [
      { path, content: readFileSync(program), mode },
      ...libraries
        .filter((library) => !present.has(library) && existsSync(library))
        .map((library): LayerEntry => ({
          path: library.slice(1),
          content: readFileSync(library),
          mode: 0o755,
        })),
    ],
  };
}

/** Node as the tests run with it. */
function serverLayers(): readonly { readonly entries: readonly LayerEntry[] }[] {
  return [
    programLayer(realpathSync(process.execPath), { path: 'usr/bin/node' }),
    { entries: [{ path: 'server.ts', content: readFileSync(resolve(import.meta.dirname, 'server.ts')) }] },
  ];
}

/** Builds them and gives them to the cluster's node. */
export async function loadImages(path: string): Promise<void> {
  const dir = dataDir(path);
  const settings = readSettings(dir);
  if (!settings) throw new Error(`there is no cluster in ${path}`);
  const base = { layers: [nameServiceLayer()], compress: false };
  const images = [
    await buildBusyboxImage({ ...base, name: BUSYBOX }),
    await buildBusyboxImage({
      ...base,
      name: SERVER,
      layers: [...base.layers, ...serverLayers()],
      config: {
        Entrypoint: ['/usr/bin/node', '--disable-warning=ExperimentalWarning', '/server.ts'],
        Cmd: ['serve'],
      },
    }),
    await buildBusyboxImage({
      ...base,
      name: ENTRYPOINT,
      layers: [...base.layers, programLayer('/usr/bin/id', { path: 'bin/setuid-id', mode: 0o4755 })],
      config: { Entrypoint: ['/bin/echo', 'image entrypoint'], Cmd: ['image arguments'] },
    }),
  ];
  const archives = await mkdtemp(join(tmpdir(), 'capstan-images-'));
  try {
    await Promise.all(
      images.map(async ({ tar }, index) => {
        const file = join(archives, `${index}.tar`);
        await writeFile(file, tar);
        await loadImage({ node: dir.node, file });
      }),
    );
  } finally {
    await rm(archives, { recursive: true, force: true });
  }
}
