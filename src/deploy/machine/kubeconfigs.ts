/**
 * Kubeconfigs of a machine in /etc/kubernetes, with embedded certificates: created where missing, kept while valid, rewritten when the certificate is near
 * its expiry, for another identity or of another authority, or when the server's address changed.
 */
import { createPrivateKey, X509Certificate } from 'node:crypto';
import { loadKubeconfig, resolveContext } from '#client/kubeconfig.ts';
import { issueCertificate, type KeyPair } from '#pki/certificate.ts';
import type { Subject } from '#pki/names.ts';
import { readSubject } from '#pki/read.ts';
import { assert } from '#stdx/assert.ts';
import { UserError } from '../data-dir.ts';
import { readIfPresent } from '../pki/files.ts';
import { writeKubeconfig } from '../pki/kubeconfig.ts';
import { LEAF_LIFETIME_MS, renewalTimeMs } from '../pki/validity.ts';
import { KUBECONFIGS, type KubeconfigEntry } from '../phases/certificate-list.ts';
import type { MachinePaths } from './paths.ts';

interface EnsureOptions {
  readonly paths: Pick<MachinePaths, 'kubeconfig'>;
  readonly name: KubeconfigEntry['name'];
  readonly nodeName: string;
  /** 'https://127.0.0.1:7445' */
  readonly server: string;
  readonly clusterName: string;
  readonly authority: { readonly certificatePem: string; readonly keyPem?: string | undefined };
  readonly nowMs: number;
}

/** 'kept', or why it was written. A UserError where it must be issued and the authority's key is not on this machine. */
export async function ensureKubeconfig(options: EnsureOptions): Promise<'kept' | 'written' | 'renewed'> {
  const { paths, name, nodeName, server, clusterName, authority, nowMs } = options;
  const path = paths.kubeconfig(name);
  const subject = subjectFor(name, nodeName);
  const text = await readIfPresent(path);
  const found = text === undefined ? undefined : foundIn(path);
  if (found === 'foreign') return 'kept';
  const pair = found && isUsable(found.pair, { subject, authority, nowMs, name }) ? found.pair : undefined;
  if (pair && found?.server === server && found.ca === authority.certificatePem) return 'kept';
  if (!pair && authority.keyPem === undefined)
    throw new UserError(
      `${path} has no usable certificate for ${subject.commonName}, and the key of the authority is not on this machine: put a kubeconfig there that your authority signed.`,
    );
  const certificate =
    pair ??
    issueCertificate(
      { certificatePem: authority.certificatePem, keyPem: authority.keyPem ?? '' },
      {
        subject,
        usages: ['clientAuth'],
        nowMs,
        lifetimeMs: LEAF_LIFETIME_MS,
      },
    );
  await writeKubeconfig(path, {
    server,
    caPem: authority.certificatePem,
    clusterName,
    userName: subject.commonName,
    credentials: { certificate },
  });
  return text === undefined ? 'written' : 'renewed';
}

function subjectFor(name: KubeconfigEntry['name'], nodeName: string): Subject {
  const entry = KUBECONFIGS.find((other) => other.name === name);
  assert(entry, `${name} is a kubeconfig of the list`);
  return entry.subject({ nodeName });
}

interface Found {
  readonly server: string;
  readonly ca: string;
  readonly pair: KeyPair;
}

/** 'foreign': its credentials are in another file, such as the kubelet's rotated ones. Undefined: it is damaged. */
function foundIn(path: string): Found | 'foreign' | undefined {
  try {
    const { server, ca, cert, key } = resolveContext(loadKubeconfig({ path })).options;
    if (cert === undefined || key === undefined) return 'foreign';
    return { server, ca: String(ca ?? ''), pair: { certificatePem: String(cert), keyPem: String(key) } };
  } catch {
    return undefined;
  }
}

function isUsable(
  { certificatePem, keyPem }: KeyPair,
  {
    subject,
    authority,
    nowMs,
    name,
  }: { readonly subject: Subject; readonly nowMs: number; readonly name: string } & Pick<
    EnsureOptions,
    'authority'
  >,
): boolean {
  try {
    const certificate = new X509Certificate(certificatePem);
    return (
      certificate.verify(new X509Certificate(authority.certificatePem).publicKey) &&
      certificate.checkPrivateKey(createPrivateKey(keyPem)) &&
      sameSubject(readSubject(certificate), subject) &&
      nowMs < renewalTimeMs(certificate, { name })
    );
  } catch {
    return false;
  }
}

function sameSubject(found: Subject, wanted: Subject): boolean {
  const text = ({ commonName, organizations = [] }: Subject): string =>
    [commonName, ...organizations].join('\n');
  return text(found) === text(wanted);
}
