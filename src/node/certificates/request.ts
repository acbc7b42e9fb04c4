/** Certificate signing requests of nodes: creates them and waits for their certificates. */
import { createHash, createPublicKey } from 'node:crypto';
import type { CertificateSigningRequest } from '#api/types.ts';
import type { Client } from '#client/client.ts';
import { certificateSigningRequests } from '#client/refs.ts';
import { isStatusError } from '#machinery/errors.ts';
import { createRequest } from '#pki/request.ts';
import type { Clock } from '#stdx/clock.ts';

/** Subject, signer and usages of a kind of certificate. */
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

/** PEM. */
function makeRequest(keyPem: string, { nodeName, dnsNames = [], ipAddresses = [] }: RequestNames): string {
  const subject = { commonName: `system:node:${nodeName}`, organizations: ['system:nodes'] };
  return createRequest({ keyPem, subject, altNames: { dnsNames, ipAddresses } });
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

/** PEM of the signed certificate. Throws RequestRefused, an Error after a quarter of an hour without approval, and the API's errors. */
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
  const request = Buffer.from(makeRequest(keyPem, names)).toString('base64');
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
