/**
 * Creates the missing keys and certificates of certificate-list.ts, and adopts existing ones: kubeadm's, the user's own root or intermediate, or those of an
 * external authority whose key is elsewhere. Idempotent; a damaged file is refused and kept.
 */
import type { KeyAlgorithm } from '#pki/keys.ts';
import { UserError } from '../data-dir.ts';
import { PkiError } from '../pki/checks.ts';
import { PkiFolder, type CertificateEnd } from '../pki/pki-folder.ts';
import type { Jitter, PkiWarning } from '../pki/validity.ts';
import {
  altNamesFor,
  CERTIFICATES,
  type AuthorityName,
  type CertificateEntry,
  type LeafEntry,
  type MachineNames,
} from './certificate-list.ts';

export interface CertificateOptions {
  /** --cert-dir: /etc/kubernetes/pki. */
  readonly dir: string;
  readonly names: MachineNames;
  readonly nowMs: number;
  /** Of new keys. */
  readonly algorithm?: KeyAlgorithm | undefined;
  /** Default ten years. */
  readonly authorityLifetimeMs?: number | undefined;
  /** Default a year. */
  readonly leafLifetimeMs?: number | undefined;
  /** Whether missing authorities and the signing key are created: not on a machine that joins a cluster. Default true. */
  readonly mayCreate?: boolean | undefined;
  readonly jitter?: Jitter | undefined;
}

interface CertificatesResult {
  /** Names of entries that were created or reissued. */
  readonly made: readonly string[];
  /** One clause each: 'reissued apiserver.crt: it lacked 10.0.0.7'. */
  readonly changes: readonly string[];
  readonly warnings: readonly PkiWarning[];
  readonly ends: readonly CertificateEnd[];
}

/** Creates the missing ones of these entries, in their order; an authority before its leaves. Throws a UserError for problems that need an administrator. */
export async function createMissing(
  list: readonly CertificateEntry[],
  options: CertificateOptions,
): Promise<CertificatesResult> {
  const { dir, nowMs, algorithm, mayCreate, jitter, authorityLifetimeMs, leafLifetimeMs } = options;
  const folder = new PkiFolder({
    dir,
    nowMs,
    algorithm,
    mayCreate,
    jitter,
    authorityLifetimeMs,
    leafLifetimeMs,
  });
  const made: string[] = [];
  try {
    for (const entry of list) {
      const before = folder.changes.length;
      await ensureEntry(folder, { entry, names: options.names });
      if (folder.changes.slice(before).some((change) => change.includes(` ${entry.name}.`)))
        made.push(entry.name);
    }
  } catch (error) {
    throw error instanceof PkiError ? new UserError(`${error.message}.`, error) : error;
  } finally {
    await folder.sync();
  }
  return { made, changes: folder.changes, warnings: folder.warnings, ends: folder.ends };
}

async function ensureEntry(
  folder: PkiFolder,
  { entry, names }: { readonly entry: CertificateEntry; readonly names: MachineNames },
): Promise<void> {
  if (entry.kind === 'authority') await folder.authorityOrExternal(entry.name, entry.commonName);
  else if (entry.kind === 'signing-key') await folder.signingKey(entry.name);
  else await ensureLeaf(folder, { entry, names });
}

async function ensureLeaf(
  folder: PkiFolder,
  { entry, names }: { readonly entry: LeafEntry; readonly names: MachineNames },
): Promise<void> {
  const authority = await folder.authorityOrExternal(entry.authority, authorityName(entry.authority));
  await folder.leaf(entry.name, authority, {
    subject: entry.subject(names),
    usages: entry.usages,
    altNames: altNamesFor(entry, names),
    mayBeForeign: entry.name === 'apiserver',
  });
}

function authorityName(name: AuthorityName): string {
  const entry = CERTIFICATES.find((other) => other.name === name);
  return entry?.kind === 'authority' ? entry.commonName : name;
}
