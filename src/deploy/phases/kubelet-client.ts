/**
 * The kubelet's client certificate with its key, behind a link that is replaced atomically: DIR/kubelet-client-current.pem. The node agent renews it as itself while it is valid
 * (node/certificates); where it is not any more, the authority on a control plane's own disk signs the next one.
 */
import { X509Certificate } from 'node:crypto';
import { readlink, rename, rm, symlink } from 'node:fs/promises';
import { join } from 'node:path';
import type { KeyPair } from '#pki/certificate.ts';
import { readPair } from '#pki/chain.ts';
import { formatTime } from '#machinery/time.ts';
import { PkiError } from '../pki/checks.ts';
import { PRIVATE_MODE, readIfPresent, syncDirectory, writeFileAtomically } from '../pki/files.ts';
import type { CertificateFile } from './certificate-files.ts';

const NAME = 'kubelet-client';

export function kubeletClientPath(dir: string): string {
  return join(dir, `${NAME}-current.pem`);
}

export function kubeletClientFile(dir: string): CertificateFile {
  const path = kubeletClientPath(dir);
  return {
    name: NAME,
    kind: 'leaf',
    path,
    authority: 'ca',
    async read() {
      const text = await readIfPresent(path);
      if (text === undefined) return undefined;
      try {
        return readPair(text);
      } catch (cause) {
        throw new PkiError('unreadable', path, `${path} is damaged: remove it and join again`, { cause });
      }
    },
    write: (pair) => writeKubeletClient(dir, pair),
  };
}

/** The file that it replaces is removed. */
export async function writeKubeletClient(dir: string, { certificatePem, keyPem }: KeyPair): Promise<void> {
  const path = kubeletClientPath(dir);
  const before = await readlink(path).catch(() => undefined);
  const from = new X509Certificate(certificatePem).validFromDate.getTime();
  const stamp = formatTime(from).replaceAll(/[TZ:]/g, '-').replace(/-$/, '');
  const file = `${NAME}-${stamp}.pem`;
  await writeFileAtomically(join(dir, file), `${certificatePem}${keyPem}`, PRIVATE_MODE);
  await rm(`${path}.new`, { force: true });
  await symlink(file, `${path}.new`);
  await rename(`${path}.new`, path);
  await syncDirectory(dir);
  if (before !== undefined && !before.endsWith(file))
    await rm(join(dir, before.replace(/.*\//, '')), { force: true });
}
