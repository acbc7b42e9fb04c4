/** Makes a container's image present according to its pull policy; failed pulls are retried with backoff. After upstream's kubelet/images. */
import type { Pod, Secret } from '#api/types.ts';
import type { EventRecorder } from '#client/events.ts';
import type { Clock } from '#stdx/clock.ts';
import { errorMessage } from '#stdx/log.ts';
import type { CriClient } from '../cri/client.ts';
import { isCriError } from '../cri/errors.ts';
import type { CriInput, Image, PodSandboxConfig } from '../cri/types.ts';
import type { CredentialProviders } from '../images/credential-providers/credential-providers.ts';
import { credentialsOfSecret, type RegistryCredential } from '../images/keyring.ts';
import { pullImage } from '../images/pull.ts';
import { Slots } from './slots.ts';
import { normalizeReference } from '../images/reference.ts';
import { runtimeErrorText } from './cri-text.ts';
import type { AnyContainer } from './pod/restart-policy.ts';

/** The waiting reason of a container's status. */
export class ImageFailure extends Error {
  override readonly name = 'ImageFailure';
  readonly reason:
    | 'ErrImagePull'
    | 'ImagePullBackOff'
    | 'ErrImageNeverPull'
    | 'InvalidImageName'
    | 'ImageInspectError';
  /** Earliest time of the next attempt. */
  readonly retryAtMs: number;
  constructor(reason: ImageFailure['reason'], message: string, retryAtMs: number) {
    super(message);
    this.reason = reason;
    this.retryAtMs = retryAtMs;
  }
}

interface PullRequest {
  readonly pod: Pod;
  readonly container: AnyContainer;
  readonly secrets: readonly Secret[];
  readonly sandbox: CriInput<PodSandboxConfig>;
  readonly signal: AbortSignal;
  /** The container's field path, for events. */
  readonly fieldPath: string;
}

const INITIAL_MS = 10_000;
const MAXIMUM_MS = 300_000;
const INSPECT_RETRY_MS = 10_000;

interface Failure {
  readonly delayMs: number;
  readonly atMs: number;
  readonly message: string;
}

interface ImagePullerOptions {
  readonly cri: CriClient;
  readonly clock: Clock;
  readonly events: EventRecorder;
  /** containerd's registry directory: see pullImage. */
  readonly registryDir?: string | undefined;
  /** Used beside the pod's pull secrets. */
  readonly credentialProviders?: CredentialProviders | undefined;
  /** Default: any number at the same time. */
  readonly maximumParallelPulls?: number | undefined;
}

export class ImagePuller {
  readonly #options: ImagePullerOptions;
  readonly #cri: CriClient;
  readonly #clock: Clock;
  readonly #events: EventRecorder;
  /** By pod and image. */
  readonly #failures = new Map<string, Failure>();
  /** By pod: from the start of its first pull to the end of its last one. */
  readonly #slots: Slots;
  readonly #pulls = new Map<string, { readonly firstMs: number; lastMs: number }>();

  constructor(options: ImagePullerOptions) {
    this.#options = options;
    this.#cri = options.cri;
    this.#clock = options.clock;
    this.#events = options.events;
    this.#slots = new Slots(options.maximumParallelPulls ?? Infinity);
  }

  /** How long the pod was about its pulls. */
  pullingMs(uid: string): number {
    const pulls = this.#pulls.get(uid);
    return pulls ? pulls.lastMs - pulls.firstMs : 0;
  }

  forget(uid: string): void {
    this.#pulls.delete(uid);
    for (const key of this.#failures.keys()) if (key.startsWith(`${uid}/`)) this.#failures.delete(key);
  }

  /** Throws ImageFailure; CriError 'cancelled' when the signal is aborted. */
  async ensure(request: PullRequest): Promise<Image> {
    const { pod, container, fieldPath } = request;
    const image = container.image ?? '';
    const policy = container.imagePullPolicy ?? 'IfNotPresent';
    const present = await this.#inspect(image);
    if (present && policy !== 'Always') {
      this.#events.event(pod, {
        type: 'Normal',
        reason: 'Pulled',
        message: `Container image "${image}" already present on machine and can be accessed by the pod`,
        fieldPath,
      });
      return present;
    }
    if (policy === 'Never') {
      const message = `Container image "${image}" is not present with pull policy of Never`;
      this.#events.event(pod, { type: 'Warning', reason: 'ErrImageNeverPull', message, fieldPath });
      throw new ImageFailure('ErrImageNeverPull', message, this.#clock.now() + INSPECT_RETRY_MS);
    }
    this.#checkBackoff(request, image);
    const startedMs = this.#clock.monotonic();
    try {
      return await this.#pull(request, image);
    } finally {
      this.#notePull(pod.metadata?.uid ?? '', startedMs);
    }
  }

  #notePull(uid: string, startedMs: number): void {
    const { firstMs } = this.#pulls.get(uid) ?? { firstMs: startedMs };
    this.#pulls.set(uid, { firstMs, lastMs: this.#clock.monotonic() });
  }

  async #inspect(image: string): Promise<Image | undefined> {
    if (normalizeReference(image) === undefined) {
      throw new ImageFailure(
        'InvalidImageName',
        `Failed to apply default image tag "${image}": couldn't parse image name "${image}": invalid reference format`,
        this.#clock.now() + INSPECT_RETRY_MS,
      );
    }
    try {
      return (await this.#cri.imageStatus({ image: { image } })).image;
    } catch (error) {
      if (isCriError(error, 'cancelled') || isCriError(error, 'unavailable')) throw error;
      throw new ImageFailure(
        'ImageInspectError',
        `Failed to inspect image "${image}": ${runtimeErrorText(error)}`,
        this.#clock.now() + INSPECT_RETRY_MS,
      );
    }
  }

  #checkBackoff({ pod, fieldPath }: PullRequest, image: string): void {
    const failure = this.#failures.get(`${pod.metadata?.uid}/${image}`);
    if (!failure || this.#clock.now() >= failure.atMs + failure.delayMs) return;
    const message = `Back-off pulling image "${image}"`;
    this.#events.event(pod, { type: 'Normal', reason: 'BackOff', message, fieldPath });
    throw new ImageFailure(
      'ImagePullBackOff',
      `${message}: ErrImagePull: ${failure.message}`,
      failure.atMs + failure.delayMs,
    );
  }

  /** Of credential providers; nothing once the request's signal is aborted, which ends the pull. */
  async #provided({ pod, signal }: PullRequest, image: string): Promise<readonly RegistryCredential[]> {
    const { credentialProviders } = this.#options;
    if (!credentialProviders) return [];
    const { promise: aborted, resolve } = Promise.withResolvers<readonly RegistryCredential[]>();
    const give = (): void => resolve([]);
    signal.addEventListener('abort', give, { once: true });
    try {
      return await Promise.race([credentialProviders.credentials(image, pod), aborted]);
    } finally {
      signal.removeEventListener('abort', give);
    }
  }

  /** Returns how long it took, in ms. */
  async #transfer(request: PullRequest, image: string): Promise<number> {
    const provided = await this.#provided(request, image);
    const startedMs = this.#clock.monotonic();
    await pullImage({
      cri: this.#cri,
      image,
      credentials: this.#credentials(request),
      provided,
      sandboxConfig: request.sandbox,
      signal: request.signal,
      registryDir: this.#options.registryDir,
    });
    return this.#clock.monotonic() - startedMs;
  }

  async #pull(request: PullRequest, image: string): Promise<Image> {
    const { pod, fieldPath } = request;
    const key = `${pod.metadata?.uid}/${image}`;
    this.#events.event(pod, {
      type: 'Normal',
      reason: 'Pulling',
      message: `Pulling image "${image}"`,
      fieldPath,
    });
    const startedMs = this.#clock.monotonic();
    try {
      const pulling = await this.#slots.run(() => this.#transfer(request, image), request.signal);
      const pulled = (await this.#cri.imageStatus({ image: { image } })).image;
      if (!pulled) throw new Error(`image "${image}" is not there after it was pulled`);
      const waited = goDuration(this.#clock.monotonic() - startedMs);
      this.#events.event(pod, {
        type: 'Normal',
        reason: 'Pulled',
        message: `Successfully pulled image "${image}" in ${goDuration(pulling)} (${waited} including waiting). Image size: ${pulled.size} bytes.`,
        fieldPath,
      });
      this.#failures.delete(key);
      return pulled;
    } catch (error) {
      if (isCriError(error, 'cancelled')) throw error;
      const text = runtimeErrorText(error);
      const before = this.#failures.get(key);
      const nowMs = this.#clock.now();
      const failure = {
        delayMs: before ? Math.min(before.delayMs * 2, MAXIMUM_MS) : INITIAL_MS,
        atMs: nowMs,
        message: text,
      };
      this.#failures.set(key, failure);
      this.#events.event(pod, {
        type: 'Warning',
        reason: 'Failed',
        message: `Failed to pull image "${image}": ${text}`,
        fieldPath,
      });
      throw new ImageFailure('ErrImagePull', text, nowMs + failure.delayMs);
    }
  }

  /** A malformed secret gives no credentials, as upstream's. */
  #credentials({ pod, secrets }: PullRequest): RegistryCredential[] {
    return secrets.flatMap((secret) => {
      try {
        return credentialsOfSecret(secret);
      } catch (error) {
        this.#events.event(pod, {
          type: 'Warning',
          reason: 'FailedToRetrieveImagePullSecret',
          message: `Unable to use image pull secret ${secret.metadata?.name ?? ''}: ${errorMessage(error)}`,
        });
        return [];
      }
    });
  }
}

function goDuration(ms: number): string {
  return ms < 1000 ? `${Math.round(ms)}ms` : `${(ms / 1000).toFixed(3).replace(/\.?0+$/, '')}s`;
}
