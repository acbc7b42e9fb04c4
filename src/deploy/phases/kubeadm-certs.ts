/**
 * The Secret kube-system/kubeadm-certs: the files of a control plane in it, their names, and their encryption. Format of kubeadm's phases/copycerts and
 * util/crypto: AES-256-GCM, a nonce of 12 bytes before the ciphertext and its tag; a missing file is an empty value.
 */
import { createCipheriv, createDecipheriv, randomBytes } from 'node:crypto';
import { join } from 'node:path';
import { UserError } from '../data-dir.ts';
import { ENCRYPTION_FILE } from '../machine/encryption-file.ts';

export const CERTS_SECRET = { name: 'kubeadm-certs', namespace: 'kube-system' };
const KEY_BYTES = 32;
const NONCE_BYTES = 12;
const TAG_BYTES = 16;

export interface SharedFile {
  /** Key in the Secret. */
  readonly name: string;
  readonly path: string;
  /** Of Capstan alone: absent in Secrets of kubeadm and of older versions, and what the machine has stays. */
  readonly optional?: boolean | undefined;
}

/** kubeadm's external etcd: the client's files, wherever they are. */
interface ExternalEtcdFiles {
  readonly caFile?: string | undefined;
  readonly certFile?: string | undefined;
  readonly keyFile?: string | undefined;
}

const AUTHORITIES = [
  'ca.crt',
  'ca.key',
  'front-proxy-ca.crt',
  'front-proxy-ca.key',
  'sa.pub',
  'sa.key',
] as const;

export function sharedFiles(
  { pki, etcdPki }: { readonly pki: string; readonly etcdPki: string },
  externalEtcd?: ExternalEtcdFiles,
): readonly SharedFile[] {
  const authorities = AUTHORITIES.map((name) => ({ name, path: join(pki, name) }));
  const etcd = externalEtcd
    ? [
        { name: 'external-etcd-ca.crt', path: externalEtcd.caFile },
        { name: 'external-etcd.crt', path: externalEtcd.certFile },
        { name: 'external-etcd.key', path: externalEtcd.keyFile },
      ].flatMap(({ name, path }) => (path ? [{ name, path }] : []))
    : [
        { name: 'etcd-ca.crt', path: join(etcdPki, 'ca.crt') },
        { name: 'etcd-ca.key', path: join(etcdPki, 'ca.key') },
      ];
  return [...authorities, ...etcd, ...backupKeys(pki), encryptionFile(pki)];
}

/** So that the backups of all control planes open with the same key. */
function backupKeys(pki: string): SharedFile[] {
  return [
    { name: 'backup-identity.key', path: join(pki, 'backup-identity.txt'), optional: true },
    { name: 'backup-recipients.pub', path: join(pki, 'backup-recipients.txt'), optional: true },
  ];
}

/** What `capstan config apply` gave the API servers, without which one cannot read what others wrote. */
function encryptionFile(pki: string): SharedFile {
  return { name: 'encryption-config.key', path: join(pki, ENCRYPTION_FILE), optional: true };
}

/** 64 hexadecimal digits. */
export function createCertificateKey(): string {
  return randomBytes(KEY_BYTES).toString('hex');
}

/** UserError for an invalid key, without repeating the input. */
export function parseCertificateKey(text: string): Buffer {
  if (!/^[0-9a-fA-F]{64}$/.test(text))
    throw new UserError(
      'The certificate key should be 64 hexadecimal digits; `capstan init phase upload-certs --upload-certs` prints one.',
    );
  return Buffer.from(text, 'hex');
}

export function encryptFile(content: Buffer, key: Buffer): Buffer {
  const nonce = randomBytes(NONCE_BYTES);
  const cipher = createCipheriv('aes-256-gcm', key, nonce);
  return Buffer.concat([nonce, cipher.update(content), cipher.final(), cipher.getAuthTag()]);
}

/** UserError for the wrong key, or damaged data. */
export function decryptFile(
  encrypted: Buffer,
  { key, name }: { readonly key: Buffer; readonly name: string },
): Buffer {
  const wrong = (cause?: unknown): UserError =>
    new UserError(
      `"${name}" in the Secret kubeadm-certs cannot be decrypted with this certificate key: it is another upload's. Upload again on a control plane, and join with the key that this prints: capstan init phase upload-certs --upload-certs`,
      cause,
    );
  if (encrypted.length < NONCE_BYTES + TAG_BYTES) throw wrong();
  try {
    const decipher = createDecipheriv('aes-256-gcm', key, encrypted.subarray(0, NONCE_BYTES));
    decipher.setAuthTag(encrypted.subarray(-TAG_BYTES));
    return Buffer.concat([decipher.update(encrypted.subarray(NONCE_BYTES, -TAG_BYTES)), decipher.final()]);
  } catch (error) {
    throw wrong(error);
  }
}
