/** The flags of the controller manager that say what certificate requests are signed with. Files are read again when they change: keys are rotated by replacing them. */
import { createPrivateKey, X509Certificate } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { SIGNERS, type SignerName } from '#controllers/certificates/requests.ts';
import type {
  KeySource,
  SigningOptions,
} from '#controllers/certificates/certificatesigningrequest-signing-controller.ts';
import type { SigningKeys } from '#controllers/certificates/x509.ts';
import { UserError } from '#deploy/data-dir.ts';
import { signerFirst } from '#pki/signer.ts';
import { errorMessage } from '#stdx/log.ts';
import { readFlags, type GivenFlags } from '../flags/define.ts';
import { SIGNING_FLAGS } from './flags.ts';

type ClusterSigningFlags = GivenFlags<typeof SIGNING_FLAGS>;

/** By signer: how upstream's flags call it. */
const SIGNER_FLAGS: Readonly<Record<SignerName, string>> = {
  'kubernetes.io/kube-apiserver-client': 'kube-apiserver-client',
  'kubernetes.io/kube-apiserver-client-kubelet': 'kubelet-client',
  'kubernetes.io/kubelet-serving': 'kubelet-serving',
  'kubernetes.io/legacy-unknown': 'legacy-unknown',
};

/** Throws a UserError for files that cannot be read or hold something else. */
export function clusterSigning(flags: ClusterSigningFlags): SigningOptions {
  const { clusterSigningDuration: clusterSigningDurationMs } = readFlags(SIGNING_FLAGS, flags);
  if (clusterSigningDurationMs === 0)
    throw new UserError('--cluster-signing-duration is 0; it should be longer.');
  const clusterSigner = pairOf(flags, '');
  const own = SIGNERS.flatMap((signer) => {
    const pair = pairOf(flags, `${SIGNER_FLAGS[signer]}-`);
    return pair ? [[signer, pair] as const] : [];
  });
  if (clusterSigner && own.length > 0)
    throw new UserError(
      `--cluster-signing-cert-file is for all signers: give it, or --cluster-signing-${SIGNER_FLAGS[own[0]![0]]}-cert-file and its likes, not both.`,
    );
  return {
    ...(clusterSigner ? { clusterSigner } : {}),
    ...(own.length > 0 ? { clusterSigners: Object.fromEntries(own) } : {}),
    clusterSigningDurationMs,
  };
}

function pairOf(flags: ClusterSigningFlags, prefix: string): KeySource | undefined {
  const certFlag = `cluster-signing-${prefix}cert-file`,
    keyFlag = `cluster-signing-${prefix}key-file`;
  const certFile = flags[camelCase(certFlag)],
    keyFile = flags[camelCase(keyFlag)];
  if ((certFile === undefined) !== (keyFile === undefined))
    throw new UserError(`--${certFlag} and --${keyFlag} go together: give both or neither.`);
  if (certFile === undefined || keyFile === undefined) return undefined;
  const read = (): SigningKeys => ({
    certificate: readFileOf(`--${certFlag}`, certFile),
    key: readFileOf(`--${keyFlag}`, keyFile),
  });
  const keys = read();
  check(keys, { certFlag, certFile, keyFlag, keyFile });
  return read;
}

function check(
  { certificate, key }: SigningKeys,
  {
    certFlag,
    certFile,
    keyFlag,
    keyFile,
  }: Readonly<Record<'certFlag' | 'certFile' | 'keyFlag' | 'keyFile', string>>,
): void {
  const privateKey = attempt(() => createPrivateKey(key), `--${keyFlag} ${keyFile} holds no private key`);
  const authority = attempt(
    () => new X509Certificate(signerFirst(certificate, privateKey)),
    `--${certFlag} ${certFile} holds no certificate`,
  );
  if (!authority.checkPrivateKey(privateKey))
    throw new UserError(`--${keyFlag} ${keyFile} is not the key of --${certFlag} ${certFile}.`);
  if (!authority.ca) throw new UserError(`--${certFlag} ${certFile} is not a certificate authority.`);
}

function attempt<T>(work: () => T, problem: string): T {
  try {
    return work();
  } catch (error) {
    throw new UserError(`${problem}: ${errorMessage(error)}.`, error);
  }
}

function camelCase(flag: string): Exclude<keyof ClusterSigningFlags, 'clusterSigningDuration'> {
  return flag.replace(/-([a-z])/g, (_, letter: string) => letter.toUpperCase()) as Exclude<
    keyof ClusterSigningFlags,
    'clusterSigningDuration'
  >;
}

function readFileOf(flag: string, path: string): string {
  try {
    return readFileSync(path, 'utf8');
  } catch (error) {
    throw new UserError(`${flag} ${path} cannot be read: ${errorMessage(error)}.`, error);
  }
}
