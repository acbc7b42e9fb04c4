/** Makes keys and PKCS #10 requests of nodes, and asks the cluster to sign them. */
import { createHash, createPrivateKey, createPublicKey, generateKeyPairSync, webcrypto } from 'node:crypto';
import type { CertificateSigningRequest } from '#api/types.ts';
import type { Client } from '#client/client.ts';
import { certificateSigningRequests } from '#client/refs.ts';
import { isStatusError } from '#machinery/errors.ts';
import type { Clock } from '#stdx/clock.ts';

/** What a kind of certificate is asked for with. */
export interface CertificateKind {
  readonly signerName: string;
  readonly usages: readonly string[];
}

export const KUBELET_CLIENT: CertificateKind = {
  signerName: 'kubernetes.io/kube-apiserver-client-kubelet',
  usages: ['digital signature', 'client auth'],
};
export const KUBELET_SERVING: CertificateKind = {
  signerName: 'kubernetes.io/kubelet-serving',
  usages: ['digital signature', 'server auth'],
};

export interface RequestNames {
  readonly nodeName: string;
  readonly dnsNames?: readonly string[];
  readonly ipAddresses?: readonly string[];
}

/** The request was denied, or signing failed. */
export class RequestRefused extends Error {
  constructor(message: string) {
    super(message);
    this.name = 'RequestRefused';
  }
}

const WAIT_MS = 15 * 60_000;
const LOOK_FIRST_MS = 250;
const LOOK_MAX_MS = 5_000;

export function makeKey(): string {
  return generateKeyPairSync('ec', { namedCurve: 'P-256' }).privateKey.export({
    type: 'pkcs8',
    format: 'pem',
  }) as string;
}

/** PEM. */
async function makeRequest(
  keyPem: string,
  { nodeName, dnsNames = [], ipAddresses = [] }: RequestNames,
): Promise<string> {
  await import('reflect-metadata');
  const x509 = await import('@peculiar/x509');
  const algorithm = { name: 'ECDSA', namedCurve: 'P-256', hash: 'SHA-256' };
  const key = createPrivateKey(keyPem),
    der = { type: 'pkcs8', format: 'der' } as const;
  const keys = {
    privateKey: await webcrypto.subtle.importKey('pkcs8', key.export(der), algorithm, false, ['sign']),
    publicKey: await webcrypto.subtle.importKey(
      'spki',
      createPublicKey(key).export({ type: 'spki', format: 'der' }),
      algorithm,
      true,
      ['verify'],
    ),
  };
  const names = [
    ...dnsNames.map((value) => ({ type: 'dns' as const, value })),
    ...ipAddresses.map((value) => ({ type: 'ip' as const, value })),
  ];
  const request = await x509.Pkcs10CertificateRequestGenerator.create({
    name: [{ O: ['system:nodes'] }, { CN: [`system:node:${nodeName}`] }],
    keys,
    signingAlgorithm: algorithm,
    extensions: names.length === 0 ? [] : [new x509.SubjectAlternativeNameExtension(names)],
  });
  return `${request.toString('pem').trim()}\n`;
}

interface AskOptions {
  readonly api: Client;
  readonly clock: Clock;
  readonly signal: AbortSignal;
  readonly kind: CertificateKind;
  readonly names: RequestNames;
  readonly keyPem: string;
  /** The name follows from the key: who starts again with the same key meets the same request. */
  readonly resumable?: boolean;
  /** Called when the request was created and is waiting for approval. */
  readonly waiting?: (name: string) => void;
}

/** PEM of the signed certificate. Throws RequestRefused, an Error when nobody answers in a quarter of an hour, and what the API says. */
export async function askForCertificate(options: AskOptions): Promise<string> {
  const { api, clock, signal } = options;
  const { name = '' } = (await submit(options)).metadata ?? {};
  const endMs = clock.now() + WAIT_MS;
  for (let pauseMs = LOOK_FIRST_MS, told = false; ; pauseMs = Math.min(pauseMs * 2, LOOK_MAX_MS)) {
    signal.throwIfAborted();
    const { status } = await look(api, name);
    const refused = status?.conditions?.find(({ type }) => type === 'Denied' || type === 'Failed');
    if (refused)
      throw new RequestRefused(
        `certificate request ${name} was ${refused.type === 'Denied' ? 'denied' : 'not signed'}: ${refused.message || refused.reason || 'no reason was given'}`,
      );
    if (status?.certificate) return Buffer.from(status.certificate, 'base64').toString();
    if (clock.now() >= endMs)
      throw new Error(
        `certificate request ${name} was neither approved nor denied in ${WAIT_MS / 60_000} minutes`,
      );
    if (!told && pauseMs === LOOK_MAX_MS) {
      told = true;
      options.waiting?.(name);
    }
    await clock.sleep(pauseMs, signal);
  }
}

/** An API server that is away for a moment has not forgotten the request. */
async function look(api: Client, name: string): Promise<CertificateSigningRequest> {
  try {
    return await api.get(certificateSigningRequests, { name });
  } catch (error) {
    if (
      isStatusError(error, 'NotFound') ||
      isStatusError(error, 'Forbidden') ||
      isStatusError(error, 'Unauthorized')
    )
      throw error;
    return { spec: { request: '', signerName: '' } };
  }
}

async function submit({
  api,
  kind,
  names,
  keyPem,
  resumable,
}: AskOptions): Promise<CertificateSigningRequest> {
  const request = Buffer.from(await makeRequest(keyPem, names)).toString('base64');
  const name = `node-csr-${createHash('sha256')
    .update(createPublicKey(keyPem).export({ type: 'spki', format: 'der' }))
    .update(`${kind.signerName}\n${names.nodeName}`)
    .digest('base64url')}`;
  const object = {
    metadata: resumable ? { name } : { generateName: 'csr-' },
    spec: { request, signerName: kind.signerName, usages: [...kind.usages] },
  };
  try {
    return await api.create(certificateSigningRequests, object);
  } catch (error) {
    if (!resumable || !isStatusError(error, 'AlreadyExists')) throw error;
    return api.get(certificateSigningRequests, { name });
  }
}
