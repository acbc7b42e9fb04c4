/**
 * Signs approved certificate signing requests of the signers kubernetes.io/kube-apiserver-client, kube-apiserver-client-kubelet,
 * kubelet-serving and legacy-unknown; sets the Failed condition where it must not sign. After upstream's pkg/controller/certificates/signer.
 */
import type { CertificateSigningRequest } from '#api/types.ts';
import { certificateSigningRequests } from '#client/refs.ts';
import { formatTime } from '#machinery/time.ts';
import {
  defineController,
  watch,
  type ControllerDefinition,
  type ReconcileContext,
} from '#runtime/controller.ts';
import { conditionOf, isApproved, SIGNERS, signerProblem, type SignerName } from './requests.ts';
import { parseRequest, signRequest, UnsignableError, type SigningKeys } from './x509.ts';

/** A function when keys may be replaced while the controller runs; it is called for each signature. */
export type KeySource = SigningKeys | (() => SigningKeys);

export interface SigningOptions {
  /** The signing key and certificate. Requests of signers without keys are ignored: another controller may sign them. */
  readonly clusterSigner?: KeySource;
  /** Keys of individual signers, instead of clusterSigner. */
  readonly clusterSigners?: Partial<Readonly<Record<SignerName, KeySource>>>;
  /** Lifetime of certificates, unless the request asks for less. Default: one year. */
  readonly clusterSigningDurationMs?: number;
}

const DEFAULT_DURATION_MS = 365 * 86_400_000;
const MIN_DURATION_MS = 10 * 60_000;

export function certificateSigningRequestSigningController({
  clusterSigner,
  clusterSigners = {},
  clusterSigningDurationMs = DEFAULT_DURATION_MS,
}: SigningOptions): ControllerDefinition {
  const keysOf = (signer: SignerName): SigningKeys | undefined => {
    const source = clusterSigners[signer] ?? clusterSigner;
    return typeof source === 'function' ? source() : source;
  };
  return defineController({
    name: 'certificatesigningrequest-signing-controller',
    serviceAccount: 'certificate-controller',
    watches: [watch(certificateSigningRequests)],
    async reconcile(context) {
      const request = context.informer(certificateSigningRequests).get(context.key);
      if (!request || request.status?.certificate || !isApproved(request) || conditionOf(request, 'Failed'))
        return;
      const signer = SIGNERS.find((name) => name === request.spec.signerName);
      const keys = signer && keysOf(signer);
      if (!signer || !keys) return;
      await sign(request, { signer, keys, context, maxMs: clusterSigningDurationMs });
    },
  });
}

interface Signing {
  readonly signer: SignerName;
  readonly keys: SigningKeys;
  readonly context: ReconcileContext;
  readonly maxMs: number;
}

async function sign(
  request: CertificateSigningRequest,
  { signer, keys, context, maxMs }: Signing,
): Promise<void> {
  const { api, clock } = context;
  const { spec } = request;
  const usages = spec.usages ?? [];
  try {
    const parsed = parseRequest(spec.request);
    const problem = signerProblem(signer, parsed, usages);
    if (problem !== undefined) throw new UnsignableError(problem);
    const certificate = signRequest(keys, parsed, {
      usages,
      lifetimeMs: lifetime(spec.expirationSeconds, maxMs),
      nowMs: clock.now(),
    });
    await api.updateStatus(certificateSigningRequests, {
      ...request,
      status: { ...request.status, certificate: Buffer.from(certificate).toString('base64') },
    });
  } catch (error) {
    if (!(error instanceof UnsignableError)) throw error;
    await fail(request, error.message, context);
  }
}

async function fail(
  request: CertificateSigningRequest,
  message: string,
  { api, clock }: ReconcileContext,
): Promise<void> {
  const now = formatTime(clock.now());
  const condition = {
    type: 'Failed',
    status: 'True',
    reason: 'SignerValidationFailure',
    message,
    lastUpdateTime: now,
    lastTransitionTime: now,
  };
  await api.updateStatus(certificateSigningRequests, {
    ...request,
    status: { ...request.status, conditions: [...(request.status?.conditions ?? []), condition] },
  });
}

/** The requested lifetime, at most the configured maximum and at least ten minutes. */
function lifetime(expirationSeconds: number | undefined, maxMs: number): number {
  if (expirationSeconds === undefined) return maxMs;
  return Math.min(Math.max(expirationSeconds * 1000, MIN_DURATION_MS), maxMs);
}
