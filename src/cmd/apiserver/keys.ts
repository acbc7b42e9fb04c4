/** The keys and certificates an API server starts with: files that flags name, else those of the data directory. */
import { readFileSync } from 'node:fs';
import { UserError } from '#deploy/data-dir.ts';
import type { Pki } from '#deploy/pki/pki.ts';
import { errorMessage } from '#stdx/log.ts';
import type { ApiServerKeys } from './compose.ts';
import type { ApiServerFlags } from './flags.ts';

/** Files that flags name, else those of the data directory. */
export function keysFrom(flags: ApiServerFlags, pki: Pki | undefined): ApiServerKeys {
  const needed = {
    '--tls-cert-file': flags.tlsCertFile,
    '--tls-private-key-file': flags.tlsPrivateKeyFile,
    '--client-ca-file': flags.clientCaFile,
    '--service-account-signing-key-file': flags.serviceAccountSigningKeyFile,
  };
  const missing = Object.entries(needed)
    .filter(([, file]) => file === undefined)
    .map(([flag]) => flag);
  if (!pki && missing.length > 0)
    throw new UserError(
      `Without --data-dir DIR, which brings its own certificates, these are needed too: ${missing.join(', ')}.`,
    );
  pairOf('--tls-cert-file', flags.tlsCertFile, flags.tlsPrivateKeyFile);
  pairOf('--kubelet-client-certificate', flags.kubeletClientCertificate, flags.kubeletClientKey);
  const none = { certificatePem: '', keyPem: '' };
  const {
    tlsCertFile,
    tlsPrivateKeyFile,
    clientCaFile,
    serviceAccountSigningKeyFile,
    kubeletClientCertificate,
    kubeletClientKey,
  } = flags;
  const publicKeys = (flags.serviceAccountKeyFile ?? [])
    .map((file) => readPem('--service-account-key-file', file))
    .join('\n');
  return {
    ca: clientCaFile
      ? { certificatePem: readPem('--client-ca-file', clientCaFile) }
      : { certificatePem: pki?.ca.certificatePem ?? '' },
    apiServer:
      tlsCertFile && tlsPrivateKeyFile
        ? {
            certificatePem: readPem('--tls-cert-file', tlsCertFile),
            keyPem: readPem('--tls-private-key-file', tlsPrivateKeyFile),
          }
        : (pki?.apiServer ?? none),
    clients: {
      'apiserver-kubelet-client':
        kubeletClientCertificate && kubeletClientKey
          ? {
              certificatePem: readPem('--kubelet-client-certificate', kubeletClientCertificate),
              keyPem: readPem('--kubelet-client-key', kubeletClientKey),
            }
          : (pki?.clients['apiserver-kubelet-client'] ?? none),
    },
    serviceAccountKey: serviceAccountSigningKeyFile
      ? {
          keyPem: readPem('--service-account-signing-key-file', serviceAccountSigningKeyFile),
          publicKeyPem: publicKeys,
        }
      : {
          keyPem: pki?.serviceAccountKey.keyPem ?? '',
          publicKeyPem: `${pki?.serviceAccountKey.publicKeyPem ?? ''}\n${publicKeys}`,
        },
  };
}

function pairOf(flag: string, certificate: string | undefined, key: string | undefined): void {
  if ((certificate === undefined) !== (key === undefined))
    throw new UserError(`${flag} and its key go together: give both or neither.`);
}

export function readPem(flag: string, path: string): string {
  let text: string;
  try {
    text = readFileSync(path, 'utf8');
  } catch (error) {
    throw new UserError(`${flag} ${path} cannot be read: ${errorMessage(error)}.`, error);
  }
  if (!text.includes('-----BEGIN '))
    throw new UserError(`${flag} ${path} holds no PEM block; it should begin with -----BEGIN.`);
  return text;
}
