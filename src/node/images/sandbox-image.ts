/** The image of the sandbox container: the program of pause-elf.ts and nothing else. */
import { buildImage } from './build.ts';
import type { BuiltImage, ImageArchitecture } from './build.ts';
import { pauseElf } from './pause-elf.ts';

/** Never pulled: 'localhost' is no registry anyone has, and the node imports it before the first pod. Image garbage collection leaves it alone. */
export const SANDBOX_IMAGE = 'localhost/capstan/pause:1';

export function buildSandboxImage(architecture: ImageArchitecture): Promise<BuiltImage> {
  return buildImage({
    name: SANDBOX_IMAGE,
    architecture,
    layers: [{ entries: [{ path: 'pause', content: pauseElf(architecture), mode: 0o755 }] }],
    config: { Entrypoint: ['/pause'], WorkingDir: '/', User: '65535:65535', Env: ['PATH=/'] },
  });
}
