/** Writes kubeconfig files with everything inline, for one cluster, one user and one context. Reading them is the client room's concern. */
import type { KeyPair } from '#pki/certificate.ts';
import { readIfPresent, writeFileAtomically } from './files.ts';

interface KubeconfigOptions {
  /** 'https://127.0.0.1:6443' */
  readonly server: string;
  /** PEM of the certificate authorities the API server's certificate chains to. */
  readonly caPem: string;
  readonly clusterName: string;
  readonly userName: string;
  /** Default: '<user>@<cluster>', as kubeadm names it. */
  readonly contextName?: string;
  readonly namespace?: string | undefined;
  /** certificateFile: PEM of a certificate with its key, read again when it changes. */
  readonly credentials:
    | { readonly certificate: KeyPair }
    | { readonly token: string }
    | { readonly certificateFile: string };
}

/** The text of the file. Every value is written as a JSON string, which is a YAML scalar that nothing can break out of. */
export function renderKubeconfig(options: KubeconfigOptions): string {
  const context = options.contextName ?? `${options.userName}@${options.clusterName}`;
  const quote = JSON.stringify;
  return [
    'apiVersion: v1',
    'kind: Config',
    'preferences: {}',
    `current-context: ${quote(context)}`,
    'clusters:',
    `- name: ${quote(options.clusterName)}`,
    '  cluster:',
    `    certificate-authority-data: ${base64(options.caPem)}`,
    `    server: ${quote(options.server)}`,
    'contexts:',
    `- name: ${quote(context)}`,
    '  context:',
    `    cluster: ${quote(options.clusterName)}`,
    `    user: ${quote(options.userName)}`,
    ...(options.namespace ? [`    namespace: ${quote(options.namespace)}`] : []),
    'users:',
    `- name: ${quote(options.userName)}`,
    '  user:',
    ...credentialLines(options.credentials),
    '',
  ].join('\n');
}

function credentialLines(credentials: KubeconfigOptions['credentials']): string[] {
  if ('token' in credentials) return [`    token: ${JSON.stringify(credentials.token)}`];
  if ('certificateFile' in credentials)
    return [
      `    client-certificate: ${JSON.stringify(credentials.certificateFile)}`,
      `    client-key: ${JSON.stringify(credentials.certificateFile)}`,
    ];
  return [
    `    client-certificate-data: ${base64(credentials.certificate.certificatePem)}`,
    `    client-key-data: ${base64(credentials.certificate.keyPem)}`,
  ];
}

function base64(text: string): string {
  return Buffer.from(text).toString('base64');
}

/** Atomic, mode 0600. Returns false when the content was unchanged. */
export async function writeKubeconfig(path: string, options: KubeconfigOptions): Promise<boolean> {
  const text = renderKubeconfig(options);
  if ((await readIfPresent(path)) === text) return false;
  await writeFileAtomically(path, text);
  return true;
}
