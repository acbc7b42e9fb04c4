/** Downloads the cluster's authorities to a joining control plane: reads the Secret kubeadm-certs, decrypts, writes what is missing. */
import type { Client } from '#client/client.ts';
import { secrets } from '#client/refs.ts';
import { isStatusError } from '#machinery/errors.ts';
import { UserError } from '../data-dir.ts';
import { PRIVATE_MODE, PUBLIC_MODE, readIfPresent, writeFileAtomically } from '../pki/files.ts';
import { CERTS_SECRET, decryptFile, parseCertificateKey, type SharedFile } from './kubeadm-certs.ts';

interface Download {
  readonly api: Client;
  readonly files: readonly SharedFile[];
  readonly certificateKey: string;
}

interface DecryptedFile extends SharedFile {
  readonly content: string;
}

/** Returns the names of written files. UserError: no Secret, another key, files of another cluster. */
export async function downloadCertificates(download: Download): Promise<readonly string[]> {
  const contents = await decryptedFiles(download);
  // Everything is validated before anything is written.
  const missing = [];
  for (const file of contents) if (await isMissing(file)) missing.push(file);
  for (const { path, content, name } of missing)
    await writeFileAtomically(path, content, name.endsWith('.key') ? PRIVATE_MODE : PUBLIC_MODE);
  return missing.map(({ name }) => name);
}

/** In memory only. Without keys that no machine has, such as an external authority's. */
export async function decryptedFiles({
  api,
  files,
  certificateKey,
}: Download): Promise<readonly DecryptedFile[]> {
  const key = parseCertificateKey(certificateKey);
  const data = await readSecret(api);
  return files.flatMap(({ name, path, optional }) => {
    const encrypted = data[name] ?? (optional ? '' : undefined);
    if (encrypted === undefined)
      throw new UserError(
        `the Secret does not include the required certificate or key - name: ${name}, path: ${path}`,
      );
    if (encrypted === '') return [];
    return [
      {
        name,
        path,
        optional,
        content: decryptFile(Buffer.from(encrypted, 'base64'), { key, name }).toString(),
      },
    ];
  });
}

async function isMissing({ path, content, optional }: DecryptedFile): Promise<boolean> {
  const found = await readIfPresent(path);
  if (found === undefined) return true;
  if (optional || found.trim() === content.trim()) return false;
  throw new UserError(
    `${path} is of another cluster: nothing was written. Clean this machine with \`capstan reset\`, then join again.`,
  );
}

async function readSecret(api: Client): Promise<Readonly<Record<string, string>>> {
  try {
    return (await api.get(secrets, CERTS_SECRET)).data ?? {};
  } catch (error) {
    const again =
      'Upload again on a control plane, and join with the key that this prints: capstan init phase upload-certs --upload-certs';
    if (isStatusError(error, 'NotFound'))
      throw new UserError(
        `Secret "kubeadm-certs" was not found in the "kube-system" Namespace. This Secret might have expired. ${again}`,
        error,
      );
    if (isStatusError(error, 'Forbidden'))
      throw new UserError(
        `The token may not read the Secret kubeadm-certs: the certificates were never uploaded, or the token is of other groups. ${again}`,
        error,
      );
    throw error;
  }
}
