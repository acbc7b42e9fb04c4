/** Pulls an image through CRI with the credentials that fit, one after the other, and the last without any. */
import type { CriCallOptions, CriClient } from '../cri/client.ts';
import { CriError, isCriError } from '../cri/errors.ts';
import type { CriInput, PodSandboxConfig } from '../cri/types.ts';
import { ImageError } from './errors.ts';
import { credentialsFor } from './keyring.ts';
import type { RegistryCredential } from './keyring.ts';
import { normalizeReference } from './reference.ts';
import { allowPlainHttpOnLoopback } from './registry-hosts.ts';

interface PullOptions extends CriCallOptions {
  readonly cri: CriClient;
  readonly image: string;
  readonly credentials?: readonly RegistryCredential[];
  /** Of credential providers: tried after those. */
  readonly provided?: readonly RegistryCredential[];
  readonly sandboxConfig?: CriInput<PodSandboxConfig>;
  /** containerd's registry directory (its layout's registryDir): registries on loopback then use plain HTTP. */
  readonly registryDir?: string | undefined;
}

/** The image's reference as containers are created with it. Throws ImageError 'invalid-name' and CriError: the one of the last attempt. */
export async function pullImage({
  cri,
  image,
  credentials = [],
  provided = [],
  sandboxConfig,
  registryDir,
  ...options
}: PullOptions): Promise<string> {
  if (normalizeReference(image) === undefined)
    throw new ImageError('invalid-name', `couldn't parse image name "${image}": invalid reference format`);
  if (registryDir !== undefined) await allowPlainHttpOnLoopback(registryDir, image);
  const attempts = [...credentialsFor(image, credentials), ...credentialsFor(image, provided), undefined];
  let last: unknown;
  for (const auth of attempts) {
    try {
      const request = {
        image: { image },
        ...(auth ? { auth } : {}),
        ...(sandboxConfig ? { sandboxConfig } : {}),
      };
      return (await cri.pullImage(request, options)).imageRef;
    } catch (error) {
      if (isCriError(error, 'cancelled') || isCriError(error, 'unavailable') || !(error instanceof CriError))
        throw error;
      // The error of the attempt with credentials is more specific.
      last ??= error;
    }
  }
  throw last;
}
