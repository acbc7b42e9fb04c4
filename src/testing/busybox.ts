/** The image that tests run real pods with: Debian's busybox-static under a name no registry has, written to a file for `capstan image load`. */
import { mkdtemp, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { buildBusyboxImage as build } from '#node/images/busybox-image.ts';

export const BUSYBOX = 'capstan.test/busybox:1';

export async function buildBusyboxImage(name = BUSYBOX): Promise<{ readonly name: string; readonly path: string }> {
  const { tar } = await build({ name });
  const path = join(await mkdtemp(join(tmpdir(), 'capstan-image-')), 'busybox.tar');
  await writeFile(path, tar);
  return { name, path };
}
