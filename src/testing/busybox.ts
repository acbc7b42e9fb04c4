/**
 * The image that tests run real pods with: Debian's busybox-static under a name no registry has, written to a file for `capstan image load`.
 * A static glibc program still loads the name service from shared libraries (and crashes without them), so the machine's own are in too.
 */
import { existsSync, readFileSync } from 'node:fs';
import { mkdtemp, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { buildBusyboxImage as build } from '#node/images/busybox-image.ts';
import type { LayerEntry } from '#node/images/build.ts';

export const BUSYBOX = 'capstan.test/busybox:1';

const TRIPLETS: Readonly<Record<string, string>> = { x64: 'x86_64-linux-gnu', arm64: 'aarch64-linux-gnu' };
const LOADERS: Readonly<Record<string, string>> = {
  x64: '/lib64/ld-linux-x86-64.so.2',
  arm64: '/lib/ld-linux-aarch64.so.1',
};
const LIBRARIES = ['libc.so.6', 'libresolv.so.2', 'libnss_dns.so.2', 'libnss_files.so.2'];

/** The layer a static program needs to look names up: for tests that push images themselves too. */
export function nameServiceLayer(): { readonly entries: readonly LayerEntry[] } {
  const folder = `/lib/${TRIPLETS[process.arch] ?? ''}`;
  const files = [...LIBRARIES.map((name) => join(folder, name)), LOADERS[process.arch] ?? ''].filter(
    (path) => path !== '' && existsSync(path),
  );
  return {
    entries: [
      { path: 'etc/nsswitch.conf', content: 'hosts: files dns\n' },
      ...files.map((path): LayerEntry => ({ path: path.slice(1), content: readFileSync(path), mode: 0o755 })),
    ],
  };
}

export async function buildBusyboxImage(
  name = BUSYBOX,
): Promise<{ readonly name: string; readonly path: string }> {
  const { tar } = await build({ name, layers: [nameServiceLayer()] });
  const path = join(await mkdtemp(join(tmpdir(), 'capstan-image-')), 'busybox.tar');
  await writeFile(path, tar);
  return { name, path };
}
